//! A directory of files that change all at once, against real file systems.

use super::{CURRENT, Directory, Symlinks};
use crate::destination::{DestinationError, FileSet};
use jiff::Timestamp;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroizing;

fn set(mark: &str) -> FileSet {
    let file = |name: &str| (name.to_owned(), Zeroizing::new(mark.as_bytes().to_vec()));
    [file("key"), file("key-cert.pub")].into()
}

fn second(at: i64) -> Timestamp {
    Timestamp::from_second(at).expect("a small number of seconds")
}

fn scratch() -> (tempfile::TempDir, Directory) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let directory = Directory::new(scratch.path().join("out"), Symlinks::Secure);
    (scratch, directory)
}

#[test]
fn a_set_is_whole_while_each_file_has_its_name() {
    let (_scratch, out) = scratch();
    assert!(!out.is_whole());
    for mark in ["1", "2"] {
        out.publish(second(1), second(1), |_| set(mark)).expect("published");
        assert!(out.is_whole());
        std::fs::remove_file(out.path().join("key-cert.pub")).expect("ours");
        assert!(!out.is_whole());
    }
    std::fs::write(out.path().join("key-cert.pub"), "another's").expect("ours");
    assert!(!out.is_whole());
}

#[test]
fn files_are_private_and_readable_by_their_names() {
    let (_scratch, out) = scratch();
    out.prepare().expect("writable");
    out.publish(second(10), second(100), |_| set("one")).expect("written");
    let key = out.path().join("key");
    assert_eq!(std::fs::read(&key).expect("readable"), b"one");
    let mode = std::fs::metadata(&key).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(out.read("key").expect("readable").expect("there").as_slice(), b"one");
    assert!(out.read("other").expect("readable").is_none());
}

#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let (_scratch, out) = scratch();
    let files = |length: usize| FileSet::from([("key".to_owned(), Zeroizing::new(vec![b'x'; length]))]);
    out.publish(second(10), second(100), |_| files(1 << 20)).expect("written");
    assert_eq!(out.read("key").expect("readable").expect("there").len(), 1 << 20);
    out.publish(second(11), second(100), |_| files((1 << 20) + 1)).expect("written");
    let told = out.read("key").expect_err("half a file is none").to_string();
    assert!(told.contains("cannot read") && told.contains("more than 1048576 bytes"), "{told}");
    assert_eq!(out.read_within("key", 2 << 20).expect("readable").expect("there").len(), (1 << 20) + 1);
    std::fs::write(out.path().join("kept"), vec![b'x'; (1 << 20) + 1]).expect("written");
    assert!(out.read_at(Path::new("kept")).is_err());
}

#[test]
fn a_reader_of_one_generation_never_sees_a_mix() {
    let (_scratch, out) = scratch();
    out.publish(second(0), second(1_000_000), |_| set("0")).expect("written");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0u32;
            while !done.load(Ordering::Acquire) || rounds < 100 {
                let generation = std::fs::read_link(out.path().join(CURRENT)).expect("in force");
                let read =
                    |name: &str| std::fs::read(out.path().join(&generation).join(name)).expect("whole");
                assert_eq!(read("key"), read("key-cert.pub"));
                assert!(!std::fs::read(out.path().join("key")).expect("always there").is_empty());
                rounds += 1;
            }
        });
        for round in 1..200 {
            out.publish(second(round), second(1_000_000), |_| set(&round.to_string())).expect("written");
        }
        done.store(true, Ordering::Release);
        reader.join().expect("no mix");
    });
}

/// A small file system of its own, which only root can have.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount() -> Option<Self> {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"])
            .arg(scratch.path())
            .output();
        if mount.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(scratch));
        }
        eprintln!("SKIPPED: needs root to mount a small file system");
        None
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_costs_old_sets_before_it_costs_the_new_one() {
    let Some(tiny) = Tiny::mount() else { return };
    let out = Directory::new(tiny.0.path().join("out"), Symlinks::Secure);
    let large = |mark: u8| -> FileSet { [("key".to_owned(), Zeroizing::new(vec![mark; 12_000]))].into() };
    // Three pages each on sixteen: the sixth would not fit beside those that may still be read.
    for round in 0..20u8 {
        out.publish(second(round.into()), second(3600), |_| large(round)).expect("made room");
        assert_eq!(std::fs::read(out.path().join("key")).expect("readable"), vec![round; 12_000]);
    }
    let too_large = |_: &Path| [("key".to_owned(), Zeroizing::new(vec![0; 60_000]))].into();
    let refused = out.publish(second(21), second(3600), too_large).expect_err("no room");
    assert!(refused.to_string().contains("free some space"), "{refused}");
    assert_eq!(std::fs::read(out.path().join("key")).expect("as before"), vec![19; 12_000]);
    out.publish(second(22), second(3600), |_| large(22)).expect("nothing half-written is left");
}

#[test]
fn what_nobody_else_reads_leaves_one_set() {
    let (_scratch, out) = scratch();
    for round in 0..10 {
        out.publish(second(5), second(5), |_| set(&round.to_string())).expect("written");
    }
    let sets = std::fs::read_dir(out.path())
        .expect("listed")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".generation-"));
    assert_eq!(sets.count(), 1);
}

#[test]
fn generations_stay_until_their_time_and_no_longer() {
    let (_scratch, out) = scratch();
    let mut first = None;
    out.publish(second(0), second(50), |path| {
        first = Some(path.to_owned());
        set("one")
    })
    .expect("written");
    let first = first.expect("told");
    out.publish(second(20), second(70), |_| set("two")).expect("written");
    assert_eq!(std::fs::read(first.join("key")).expect("still there"), b"one");
    out.publish(second(60), second(110), |_| set("three")).expect("written");
    assert!(!first.exists());
}

#[test]
fn files_that_were_not_written_here_are_left_alone() {
    let (_scratch, out) = scratch();
    std::fs::create_dir(out.path()).expect("created");
    std::fs::write(out.path().join("key"), "precious").expect("written");
    let refused = out.publish(second(0), second(50), |_| set("new"));
    assert!(matches!(refused, Err(DestinationError::Foreign { .. })), "{refused:?}");
    assert_eq!(std::fs::read(out.path().join("key")).expect("readable"), b"precious");
    assert!(!out.path().join("key-cert.pub").exists());
}

#[test]
fn a_link_on_the_way_is_refused_unless_allowed() {
    let (scratch, out) = scratch();
    std::fs::create_dir(out.path()).expect("created");
    let link = scratch.path().join("link");
    symlink(out.path(), &link).expect("linked");
    for mode in [Symlinks::Secure, Symlinks::TrySecure] {
        let refused = Directory::new(&link, mode).prepare();
        assert!(matches!(refused, Err(DestinationError::Symlink { .. })), "{refused:?}");
    }
    Directory::new(&link, Symlinks::Insecure).prepare().expect("allowed");
}

#[test]
fn nothing_is_made_behind_a_link() {
    let (scratch, real) = scratch();
    std::fs::create_dir(real.path()).expect("created");
    let link = scratch.path().join("link");
    symlink(real.path(), &link).expect("linked");
    for mode in [Symlinks::Secure, Symlinks::TrySecure] {
        // As if the link had been put there after the look that found nothing.
        let refused = Directory::new(link.join("a/b"), mode).create();
        assert!(matches!(refused, Err(DestinationError::Symlink { .. })), "{refused:?}");
        assert!(!real.path().join("a").exists(), "it was made before the link was seen");
    }
    Directory::new(link.join("a/b"), Symlinks::Insecure).prepare().expect("allowed");
    let made = Directory::new(real.path().join("c/../c/d"), Symlinks::Secure);
    made.prepare().expect("without a link");
    let mode = std::fs::metadata(real.path().join("c")).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_link_in_place_of_a_file_is_not_followed() {
    let (scratch, out) = scratch();
    let victim = scratch.path().join("victim");
    std::fs::write(&victim, "precious").expect("written");
    std::fs::create_dir(out.path()).expect("created");
    symlink(&victim, out.path().join("key")).expect("linked");
    out.publish(second(0), second(50), |_| set("new")).expect("written");
    assert_eq!(std::fs::read(&victim).expect("readable"), b"precious");
    symlink(&victim, out.path().join(".write-test-2")).expect("linked");
    assert_eq!(std::fs::read(out.path().join("key")).expect("readable"), b"new");
}

/// `tbot status` reads as root what the agent's user wrote.
#[test]
fn what_is_no_file_is_not_read_and_not_waited_for() {
    let (scratch, out) = scratch();
    std::fs::create_dir(out.path()).expect("created");
    let status = Path::new("status.json");
    rustix::fs::mkfifoat(rustix::fs::CWD, out.path().join(status), rustix::fs::Mode::RUSR).expect("made");
    let refused = out.read_at(status);
    assert!(matches!(refused, Err(DestinationError::Foreign { .. })), "{refused:?}");
    let victim = scratch.path().join("victim");
    std::fs::create_dir(&victim).expect("created");
    std::fs::write(victim.join("identity"), "secret").expect("written");
    symlink(victim.join("identity"), out.path().join("identity")).expect("linked");
    out.read_at(Path::new("identity")).expect_err("a link");
    symlink("../victim", out.path().join(CURRENT)).expect("linked");
    out.read("identity").expect_err("a link that leads out of the directory");
}

#[test]
fn a_file_in_place_of_the_directory_is_named() {
    let (_scratch, out) = scratch();
    std::fs::write(out.path(), "").expect("written");
    assert!(matches!(out.prepare(), Err(DestinationError::NotADirectory { .. })));
}

#[test]
fn a_crash_between_steps_leaves_the_old_set() {
    let (_scratch, out) = scratch();
    out.publish(second(0), second(50), |_| set("one")).expect("written");
    let partial = out.path().join(".partial-2");
    std::fs::create_dir(&partial).expect("created");
    std::fs::write(partial.join("key"), "half").expect("written");
    assert_eq!(std::fs::read(out.path().join("key")).expect("readable"), b"one");
    out.publish(second(1), second(50), |_| set("two")).expect("written over the leftovers");
    assert_eq!(std::fs::read(out.path().join("key")).expect("readable"), b"two");
    assert!(!Path::new(&partial).exists());
}
