//! The SFTP server against OpenSSH's own `sftp` and `scp`, in a session of another user.

mod support;

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{GID, Host, LOGIN, UID, stderr, stdout};

/// A client on the outside (as root, with files of its own) and a server inside the host.
struct Transfer {
    host: Host,
    /// What the client calls the server by: a program without arguments.
    server: PathBuf,
}

impl Transfer {
    fn new() -> Option<Self> {
        if Command::new("sftp").arg("-h").stderr(Stdio::null()).status().is_err() {
            eprintln!("SKIPPED: needs OpenSSH's sftp");
            return None;
        }
        let host = Host::new()?;
        let server = host.path("server");
        let session = host.session(&[LOGIN, "sftp"]);
        let mut text = String::from("#!/bin/sh\nexec");
        for word in std::iter::once(session.get_program()).chain(session.get_args()) {
            let word = word.to_str().expect("plain text").replace('\'', r"'\''");
            text.push_str(&format!(" '{word}'"));
        }
        fs::write(&server, text + "\n").expect("own directory");
        fs::set_permissions(&server, Permissions::from_mode(0o755)).expect("own file");
        fs::create_dir(host.path("local")).expect("own directory");
        Some(Self { host, server })
    }

    fn sftp(&self, batch: &str) -> Output {
        let mut child = Command::new("sftp")
            .args(["-b", "-", "-D"])
            .arg(&self.server)
            .current_dir(self.local(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sftp runs");
        child.stdin.take().expect("a pipe").write_all(batch.as_bytes()).expect("sftp reads");
        child.wait_with_output().expect("an end")
    }

    /// Runs a batch of which every line must work.
    fn must(&self, batch: &str) -> String {
        let output = self.sftp(batch);
        assert!(output.status.success(), "{batch}\n{}\n{}", stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// Runs one line that must be refused with these words.
    fn must_not(&self, line: &str, words: &str) {
        let output = self.sftp(line);
        assert_eq!(output.status.code(), Some(1), "{line}: {}", stdout(&output));
        assert!(stderr(&output).contains(words), "{line}: {}", stderr(&output));
    }

    fn local(&self, name: &str) -> PathBuf {
        self.host.path("local").join(name)
    }

    fn remote(&self, name: &str) -> PathBuf {
        self.host.home().join(name)
    }
}

/// Bytes without a pattern that a wrong offset could hide in.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut step = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(seed >> 56).expect("eight bits")
    };
    (0..length).map(|_| step()).collect()
}

fn hash(path: &Path) -> String {
    let output =
        Command::new("sha256sum").stdin(fs::File::open(path).expect("a file")).output().expect("runs");
    stdout(&output)
}

#[test]
fn what_goes_up_comes_down_again() {
    let Some(transfer) = Transfer::new() else { return };
    let lengths = [0, 1, 32_767, 32_768, 32_769, 261_120, 261_121, 9_000_001];
    for (seed, length) in (1u64..).zip(lengths) {
        fs::write(transfer.local(&format!("up{length}")), noise(length, seed)).expect("own directory");
    }
    let lines: String = lengths.iter().map(|n| format!("put up{n} far{n}\nget far{n} down{n}\n")).collect();
    transfer.must(&lines);
    for length in lengths {
        let up = hash(&transfer.local(&format!("up{length}")));
        assert_eq!(hash(&transfer.remote(&format!("far{length}"))), up);
        assert_eq!(hash(&transfer.local(&format!("down{length}"))), up);
    }
    let owner = fs::metadata(transfer.remote("far1")).expect("uploaded");
    assert_eq!((owner.uid(), owner.gid()), (UID, GID));
}

#[test]
fn interrupted_transfers_resume() {
    let Some(transfer) = Transfer::new() else { return };
    let content = noise(3_000_000, 5);
    fs::write(transfer.local("whole"), &content).expect("own directory");
    fs::write(transfer.remote("part"), &content[..1_000_003]).expect("root may");
    std::os::unix::fs::chown(transfer.remote("part"), Some(UID), Some(GID)).expect("root may");
    transfer.must("reput whole part\n");
    assert!(fs::read(transfer.remote("part")).expect("there") == content);
    fs::write(transfer.local("half"), &content[..1_500_001]).expect("own directory");
    transfer.must("reget part half\n");
    assert!(fs::read(transfer.local("half")).expect("there") == content);
}

#[test]
fn the_file_system_can_be_worked_on() {
    let Some(transfer) = Transfer::new() else { return };
    fs::write(transfer.local("a"), "content").expect("own directory");
    fs::set_permissions(transfer.local("a"), Permissions::from_mode(0o750)).expect("own file");
    let home = transfer.host.home().display().to_string();
    let shown = transfer.must(
        "pwd\nmkdir d\ncd d\nput a b\nchmod 640 b\nrename b c\nln -s c soft\nln c hard\nls -l\nput -p a kept\n\
         mkdir e\nrmdir e\nrm hard\ncd ..\ndf .\nls -l d/soft\n",
    );
    assert!(shown.contains(&format!("Remote working directory: {home}\n")), "{shown}");
    let listed = |name: &str| {
        let name = format!(" {name}");
        let line = shown.lines().find(|line| !line.starts_with("sftp>") && line.ends_with(&name));
        line.expect("listed").to_owned()
    };
    // The client asks for the names by number and writes these lines itself, so without the count of links.
    assert!(listed("c").starts_with("-rw-r-----    ? tess     tess            7 "), "{shown}");
    assert!(listed("soft").starts_with("lrwxrwxrwx    ? tess"), "{shown}");
    let file = fs::metadata(transfer.remote("d/c")).expect("there");
    assert_eq!((file.mode() & 0o7777, file.nlink()), (0o640, 1));
    assert_eq!(fs::read_link(transfer.remote("d/soft")).expect("a link"), Path::new("c"));
    let (kept, original) = (fs::metadata(transfer.remote("d/kept")), fs::metadata(transfer.local("a")));
    let (kept, original) = (kept.expect("there"), original.expect("there"));
    assert_eq!((kept.mtime(), kept.mode()), (original.mtime(), original.mode()));
    assert!(!transfer.remote("d/e").exists() && !transfer.remote("d/hard").exists());
}

#[test]
fn renaming_replaces_only_when_it_was_asked_to() {
    let Some(transfer) = Transfer::new() else { return };
    fs::write(transfer.local("a"), "new").expect("own directory");
    fs::write(transfer.local("b"), "old").expect("own directory");
    transfer.must("put a\nput b\n");
    transfer.must_not("rename -l a b\n", "Failure");
    assert_eq!(fs::read_to_string(transfer.remote("b")).expect("there"), "old");
    transfer.must("rename a b\n");
    assert_eq!(fs::read_to_string(transfer.remote("b")).expect("there"), "new");
    transfer.must("rename -l b c\nmkdir d\nrename -l d e\n");
    assert!(transfer.remote("c").exists() && transfer.remote("e").exists() && !transfer.remote("b").exists());
}

#[test]
fn the_kernel_refuses_what_the_user_may_not() {
    let Some(transfer) = Transfer::new() else { return };
    fs::write(transfer.host.path("secret"), "x").expect("own directory");
    fs::set_permissions(transfer.host.path("secret"), Permissions::from_mode(0o600)).expect("own file");
    fs::write(transfer.local("a"), "x").expect("own directory");
    transfer.must_not("get ../secret stolen\n", "Permission denied");
    transfer.must_not("put a ../planted\n", "Permission denied");
    transfer.must_not("rm ../secret\n", "Permission denied");
    transfer.must_not("chmod 777 ../secret\n", "Permission denied");
    transfer.must_not("ln -s x ../planted\n", "Permission denied");
    transfer.must_not("get missing\n", "not found");
    transfer.must_not("rmdir missing\n", "No such file");
    // Its own memory, by which a client could make the server run code.
    transfer.must_not("get /proc/self/mem\n", "Permission denied");
    transfer.must_not("put a /proc/self/mem\n", "Permission denied");
}

#[test]
fn names_are_bytes_and_directories_can_be_large() {
    let Some(transfer) = Transfer::new() else { return };
    let many = transfer.remote("many");
    fs::create_dir(&many).expect("root may");
    for number in 0..3_000 {
        fs::write(many.join(format!("file-{number:05}")), "").expect("root may");
    }
    for odd in [&b"new\nline"[..], b"caf\xe9", b"-dash", b" space ", b"\xc3\xa9"] {
        fs::write(many.join(std::ffi::OsStr::from_bytes(odd)), odd).expect("root may");
    }
    let listing = transfer.must("ls -1 many\n");
    assert_eq!(listing.lines().filter(|line| line.starts_with("many/file-")).count(), 3_000);
    transfer.must("get -R many\n");
    assert_eq!(fs::read_dir(transfer.local("many")).expect("downloaded").count(), 3_005);
    let odd = transfer.local("many").join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    assert_eq!(fs::read(odd).expect("downloaded"), b"caf\xe9");
    transfer.must("put -R many back\n");
    assert_eq!(fs::read_dir(transfer.remote("back")).expect("uploaded").count(), 3_005);
}

#[test]
fn scp_speaks_to_it_too() {
    let Some(transfer) = Transfer::new() else { return };
    let content = noise(2_000_000, 9);
    fs::write(transfer.local("a"), &content).expect("own directory");
    let scp = |args: &[&str]| {
        let mut command = Command::new("scp");
        command.args(["-q", "-s", "-D"]).arg(&transfer.server).args(args).current_dir(transfer.local(""));
        let output = command.output().expect("scp runs");
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    };
    scp(&["a", "host:b"]);
    scp(&["host:b", "c"]);
    scp(&["host:~/b", "d"]);
    assert!(fs::read(transfer.local("c")).expect("there") == content);
    assert!(fs::read(transfer.local("d")).expect("there") == content);
    fs::create_dir_all(transfer.local("tree/sub")).expect("own directory");
    fs::write(transfer.local("tree/sub/file"), "x").expect("own directory");
    scp(&["-r", "tree", "host:"]);
    scp(&["-r", "-p", "host:tree", "back"]);
    assert_eq!(fs::read_to_string(transfer.local("back/sub/file")).expect("there"), "x");
}
