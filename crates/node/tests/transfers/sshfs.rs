//! `sshfs`: a directory of the node's as one of this side's.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::{Site, contents, hash, noise, shape};

/// Unmounts what was mounted, even when the test fails.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").args(["-u", "-z"]).arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mounted_directory_is_one_like_any() {
    if !Path::new("/dev/fuse").exists() || testkit::programs::where_present("sshfs").is_none() {
        eprintln!("SKIPPED: needs sshfs and /dev/fuse");
        return;
    }
    let site = Site::new().await;
    // No links: sshfs sets the times of what they lead to.
    let (large, tree) = (site.large("large"), site.tree("tree"));
    let at = site.here("mnt");
    fs::create_dir(&at).expect("own directory");
    let mut sshfs = Command::new("sshfs");
    sshfs.arg(site.remote("")).arg(&at).arg("-F").arg(site.config());
    sshfs.args(["-o", "dir_cache=no"]);
    let mounting = tokio::process::Command::from(sshfs).output().await.expect("runs");
    if !mounting.status.success() && String::from_utf8_lossy(&mounting.stderr).contains("fuse: mount failed")
    {
        eprintln!("SKIPPED: mounting is not allowed here");
        return;
    }
    assert!(mounting.status.success(), "{mounting:?}");
    let mount = Mount(at.clone());
    let there = site.there("");
    let work = tokio::task::spawn_blocking(move || {
        copy(&large, &at.join("large"));
        assert_eq!(hash(&at.join("large")), hash(&large));
        let status = Command::new("cp").arg("-a").arg(&tree).arg(at.join("tree")).status().expect("runs");
        assert!(status.success());
        assert_eq!(contents(&at.join("tree")), contents(&tree));
        assert_eq!(shape(&there.join("tree")), shape(&tree));
        in_place(&at, &there);
    });
    work.await.expect("works");
    drop(mount);
    assert_eq!(hash(&site.there("large")), hash(&site.here("large")));
    assert_eq!(contents(&site.there("tree")), contents(&site.here("tree")));
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status().expect("runs");
    assert!(status.success());
}

/// What programs do with files besides copying them.
fn in_place(at: &Path, there: &Path) {
    let mut file =
        fs::File::options().read(true).write(true).create_new(true).open(at.join("f")).expect("makes it");
    file.write_all(&noise(100_000, 7)).expect("takes it");
    file.seek(SeekFrom::Start(50_000)).expect("a file");
    file.write_all(b"over").expect("takes it");
    file.sync_all().expect("takes it");
    file.set_len(70_000).expect("takes it");
    file.seek(SeekFrom::Start(49_998)).expect("a file");
    let mut six = [0; 6];
    file.read_exact(&mut six).expect("gives it");
    assert_eq!(&six[2..], b"over");
    drop(file);
    assert_eq!(fs::metadata(there.join("f")).expect("there").len(), 70_000);
    let mut more = fs::File::options().append(true).open(at.join("f")).expect("there");
    more.write_all(b"end").expect("takes it");
    drop(more);
    assert!(fs::read(there.join("f")).expect("there").ends_with(b"end"));
    fs::write(at.join("g"), "other").expect("makes it");
    fs::rename(at.join("f"), at.join("g")).expect("over what is there");
    assert_eq!(fs::metadata(there.join("g")).expect("there").len(), 70_003);
    fs::set_permissions(at.join("g"), PermissionsExt::from_mode(0o604)).expect("ours");
    assert_eq!(fs::metadata(there.join("g")).expect("there").mode() & 0o777, 0o604);
    fs::create_dir(at.join("dir")).expect("makes it");
    symlink("../g", at.join("dir/soft")).expect("makes it");
    fs::hard_link(at.join("g"), at.join("dir/hard")).expect("makes it");
    assert_eq!(fs::metadata(there.join("g")).expect("there").nlink(), 2);
    assert_eq!(fs::read_link(there.join("dir/soft")).expect("a link"), Path::new("../g"));
    fs::remove_dir(at.join("dir")).expect_err("it is not empty");
    fs::remove_dir_all(at.join("dir")).expect("goes");
    fs::read(at.join("nothing")).expect_err("there is none");
    assert!(Command::new("df").arg(at).output().expect("runs").status.success());
}
