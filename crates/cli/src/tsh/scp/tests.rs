//! Copying, against OpenSSH's SFTP server and against one that lies.

mod liar;

use super::super::sftp::{Attributes, Sftp};
use super::progress::Progress;
use super::{Manner, Plan, download, plan, upload};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

const MANNER: Manner = Manner { recursive: true, preserve: true, progress: Progress::HIDDEN };

/// OpenSSH's server on pipes, or a visible reason to skip.
async fn openssh() -> Option<(Sftp, Child)> {
    let places =
        ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
    let Some(program) = places.into_iter().find(|place| Path::new(place).exists()) else {
        eprintln!("SKIPPED: OpenSSH's sftp-server is not installed");
        return None;
    };
    let mut server = Command::new(program);
    server.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = server.spawn().expect("runs");
    let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    Some((Sftp::start(tokio::io::join(output, input)).await.expect("greets"), child))
}

fn write(path: &Path, length: usize) {
    let contents: Vec<u8> = (0..length).map(|at| (at / 251 + at) as u8).collect();
    std::fs::write(path, contents).expect("written");
}

/// A tree with sizes around the block's, many files, odd names, modes and times.
fn tree() -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().expect("a directory");
    let tree = scratch.path().join("tree");
    std::fs::create_dir_all(tree.join("many/deeper")).expect("made");
    for length in [0, 1, 32_767, 32_768, 32_769, 3_000_000] {
        write(&tree.join(length.to_string()), length);
    }
    for number in 0..300 {
        write(&tree.join(format!("many/{number}")), number);
    }
    write(&tree.join(std::ffi::OsStr::from_bytes(b"caf\xe9 -x")), 5);
    std::fs::set_permissions(tree.join("1"), PermissionsExt::from_mode(0o751)).expect("ours");
    std::fs::set_permissions(tree.join("many/deeper"), PermissionsExt::from_mode(0o550)).expect("ours");
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::open(tree.join("1")).expect("opens").set_modified(then).expect("ours");
    (scratch, tree)
}

/// Every file below, with its mode and contents.
fn listed(directory: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("lists") {
            let path = entry.expect("an entry").path();
            let metadata = std::fs::metadata(&path).expect("there");
            let contents = if metadata.is_dir() { Vec::new() } else { std::fs::read(&path).expect("reads") };
            if metadata.is_dir() {
                open.push(path.clone());
            }
            let name = path.strip_prefix(directory).expect("below").to_owned();
            all.push((name, metadata.mode(), contents));
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn a_tree_goes_there_and_back() {
    let Some((sftp, _server)) = openssh().await else { return };
    let (scratch, tree) = tree();
    let (there, back) = (scratch.path().join("there"), scratch.path().join("back"));
    upload::run(&sftp, std::slice::from_ref(&tree), there.to_str().expect("UTF-8"), &MANNER)
        .await
        .expect("goes there");
    assert_eq!(listed(&there), listed(&tree));
    download::run(&sftp, &[there.to_str().expect("UTF-8")], &back, false, &MANNER).await.expect("comes back");
    assert_eq!(listed(&back), listed(&tree));
    for copy in [&there, &back] {
        assert_eq!(std::fs::metadata(copy.join("1")).expect("there").mtime(), 1_000_000_000);
    }
}

#[tokio::test]
async fn files_go_into_directories_and_over_files() {
    let Some((sftp, _server)) = openssh().await else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let path = |name: &str| scratch.path().join(name);
    let text = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
    std::fs::create_dir(path("into")).expect("made");
    write(&path("short"), 10);
    write(&path("long"), 100_000);
    let both = [path("short"), path("long")];
    upload::run(&sftp, &both, &text("into"), &MANNER).await.expect("into");
    assert_eq!(std::fs::read(path("into/long")).expect("there"), std::fs::read(path("long")).expect("here"));
    // A shorter file leaves nothing of the longer one behind.
    upload::run(&sftp, &both[..1], &text("into/long"), &MANNER).await.expect("over");
    assert_eq!(std::fs::metadata(path("into/long")).expect("there").len(), 10);
    download::run(&sftp, &[&text("short")], &path("into"), false, &MANNER).await.expect("into");
    // A file whose length is not known before it is read.
    download::run(&sftp, &["/proc/self/status"], &path("status"), false, &MANNER).await.expect("to the end");
    assert!(std::fs::metadata(path("status")).expect("there").len() > 100);
}

#[tokio::test]
async fn what_cannot_be_copied_is_named() {
    let Some((sftp, _server)) = openssh().await else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("file");
    write(&file, 1);
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let flat = Manner { recursive: false, ..MANNER };
    let missing = scratch.path().join("missing");
    let here = |failed: Result<(), crate::Failure>| failed.expect_err("refused").reason;
    let failed = here(download::run(&sftp, &[&text(&missing)], &file, false, &flat).await);
    assert!(failed.ends_with("missing: no such file or directory"), "{failed}");
    let failed = here(download::run(&sftp, &[&text(scratch.path())], &missing, false, &flat).await);
    assert!(failed.ends_with("is a directory"), "{failed}");
    let failed = here(upload::run(&sftp, &[scratch.path().to_owned()], "/tmp", &flat).await);
    assert!(failed.ends_with("is a directory"), "{failed}");
    let failed = here(upload::run(&sftp, &[file.clone(), file.clone()], &text(&file), &flat).await);
    assert!(failed.contains("not a directory"), "{failed}");
    let failed =
        here(upload::run(&sftp, std::slice::from_ref(&file), &text(&missing.join("x")), &flat).await);
    assert!(failed.contains("no such file"), "{failed}");
    assert!(!missing.exists());
}

/// A server that is not what it should be.
mod abuse {
    use super::{Attributes, MANNER, download, liar};

    #[tokio::test]
    async fn n7_names_that_a_server_must_not_choose() {
        for name in [&b"../escaped"[..], b"/tmp/escaped", b"", b"a/b", b"a\0b", b"\x1b]0;title\x07", b"x\ny"]
        {
            let scratch = tempfile::tempdir().expect("a directory");
            let to = scratch.path().join("to");
            let sftp = liar::start(name, Attributes { mode: Some(0o100_644), ..Attributes::default() }).await;
            let failure = download::run(&sftp, &["dir"], &to, false, &MANNER).await.expect_err("refused");
            assert!(failure.reason.contains("which is refused"), "{failure}");
            assert!(!failure.reason.chars().any(char::is_control), "{failure}");
            assert_eq!(
                std::fs::read_dir(scratch.path()).expect("lists").count(),
                1,
                "only the directory itself"
            );
            assert_eq!(std::fs::read_dir(&to).expect("lists").count(), 0);
        }
    }

    #[tokio::test]
    async fn n7_directories_without_end() {
        let scratch = tempfile::tempdir().expect("a directory");
        let sftp = liar::start(b"d", Attributes { mode: Some(0o040_755), ..Attributes::default() }).await;
        let to = scratch.path().join("to");
        let failure = download::run(&sftp, &["dir"], &to, false, &MANNER).await.expect_err("refused");
        assert!(failure.reason.contains("nested too deep"), "{failure}");
    }

    #[tokio::test]
    async fn n7_more_data_than_asked_for() {
        let scratch = tempfile::tempdir().expect("a directory");
        let sftp = liar::start(b"f", Attributes { mode: Some(0o100_644), size: Some(1), times: None }).await;
        let failure = download::run(&sftp, &["dir"], &scratch.path().join("to"), false, &MANNER).await;
        let failure = failure.expect_err("refused");
        assert!(failure.reason.contains("more data than asked for"), "{failure}");
    }
}

fn of(paths: &[&str]) -> Result<Plan, String> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    plan(&paths).map_err(|failure| failure.reason)
}

#[test]
fn directions() {
    assert!(matches!(of(&["a", "b", "h:"]), Ok(Plan::Up { sources, .. }) if sources.len() == 2));
    assert!(matches!(of(&["h:a", "g:b", "."]), Ok(Plan::Down { sources, .. }) if sources.len() == 2));
}

#[test]
fn what_cannot_be_copied() {
    for paths in [&["a", "b"][..], &["h:a", "g:b"], &["a", "h:b", "g:c"], &["h:a", "b", "c"], &["a", "-x:b"]]
    {
        assert!(of(paths).is_err(), "{paths:?}");
    }
}
