//! A control group (version 2) for each session, where the host lets this process make one.
//!
//! A process can leave its parent, its process group and its kernel session; it cannot leave its control group without
//! the rights of whoever made that. So when the node ends a session, the group says what there is to end. Hosts without
//! a writable `cgroup2` do without: what made a kernel session of its own then survives ([`crate::Session::kill`]).
//!
//! A group lies within that of the process which makes it. Its name says whose it is, so that leftovers of a daemon that
//! died can be told from the sessions of one that lives.
//!
//! A process that is born in its group costs next to nothing; one that is moved there makes the kernel wait for all others,
//! 15 milliseconds where nothing was moved lately. So a helper is [started](Prepared) in its group, unless it will have a
//! keeper, which must not end with the session: such a helper moves itself when the keeper is outside.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

const PREFIX: &str = "postern-";
const MEMBERS: &str = "cgroup.procs";
const KILL: &str = "cgroup.kill";
/// Before the number of a group that is older than its first process.
const SERIAL: char = 's';
/// How often a group is made anew when somebody removes it before its first process is in it.
const ATTEMPTS: usize = 3;
/// How often a group is searched again for processes that were forked while it was searched before.
const KILL_ROUNDS: usize = 16;
/// More groups that outlived their sessions are not remembered; the next start of the daemon finds them.
const MAX_LEFT: usize = 4096;
/// How many of those are looked at each time.
const LOOKS: usize = 8;

/// Extended attributes of a group that was released; kernels before 5.7 have the second kind only, and that for root.
const LEFT_ALONE: [&str; 2] = ["user.postern.left", "trusted.postern.left"];

/// Groups whose sessions are over and in which something still runs, with the one that was looked at last at the end.
static LEFT: Mutex<VecDeque<PathBuf>> = Mutex::new(VecDeque::new());

/// A group with nothing in it yet.
pub(crate) struct Prepared {
    path: PathBuf,
    directory: File,
}

impl Prepared {
    /// Makes one within this process's own. `None` where that is not possible.
    pub(crate) fn make() -> Option<Self> {
        static WITHIN: OnceLock<Option<(PathBuf, Owner)>> = OnceLock::new();
        static LAST: AtomicU64 = AtomicU64::new(0);
        let within = WITHIN.get_or_init(|| Some((own_group()?, Owner::of(getpid())?)));
        let (within, owner) = within.as_ref()?;
        let path = within.join(owner.name_for(Holder::Serial(LAST.fetch_add(1, Ordering::Relaxed))));
        fs::create_dir(&path).ok()?;
        match File::open(&path) {
            Ok(directory) => Some(Self { path, directory }),
            Err(_) => {
                let _ = fs::remove_dir(&path);
                None
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it away again.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir(&self.path);
    }
}

impl AsFd for Prepared {
    /// As the kernel wants it of whoever is to be born there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// The group of the calling process that its parent owns: the one that it was born in, or one that is made now. `None`
/// where that is not possible.
pub(crate) fn enter() -> Option<PathBuf> {
    let owner = Owner::of(getppid()?)?;
    let own = own_group()?;
    if own.file_name().and_then(|name| Owner::parse(name.to_str()?)).is_some_and(|(whose, _)| whose == owner)
    {
        return Some(own);
    }
    let group = own.join(owner.name_for(Holder::Leader(getpid())));
    for _ in 0..ATTEMPTS {
        fs::create_dir(&group).ok()?;
        match fs::write(group.join(MEMBERS), "0") {
            Ok(()) => return Some(group),
            // Whoever cleans up has taken it for a leftover.
            Err(error) if is_gone(&error) => {}
            Err(_) => break,
        }
    }
    let _ = fs::remove_dir(&group);
    None
}

/// The group that a child of this process has made for itself, if it is where this process's own is. For when the child
/// did not live to say.
pub(crate) fn of_child(child: Pid) -> Option<PathBuf> {
    let group = own_group()?.join(Owner::of(getpid())?.name_for(Holder::Leader(child)));
    group.exists().then_some(group)
}

/// The group that a child of `owner` has made for itself, if it is where this process's own is, whether the owner lives or not.
pub fn left_by(owner: u32, start: u64, child: u32) -> Option<PathBuf> {
    let number = |pid: u32| Pid::from_raw(i32::try_from(pid).ok()?);
    let name = Owner { pid: number(owner)?, start }.name_for(Holder::Leader(number(child)?));
    let group = own_group()?.join(name);
    group.exists().then_some(group)
}

/// When this process was started, in clock ticks since the host was: with its number it tells whose a group is.
pub fn own_start() -> Option<u64> {
    Owner::of(getpid()).map(|owner| owner.start)
}

/// Whether a path can be that of a group made here.
pub fn is_group(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.is_absolute() && name.is_some_and(|name| Owner::parse(name).is_some())
}

/// Kills everything in a group.
pub fn kill(group: &Path) {
    if fs::write(group.join(KILL), "1").is_ok() {
        return;
    }
    // Kernels before 5.14. What forks faster than this reads is not caught.
    for _ in 0..KILL_ROUNDS {
        let members = members(group);
        if members.is_empty() {
            return;
        }
        for member in members {
            let _ = kill_process(member, Signal::KILL);
        }
    }
}

/// Notes that what is in a group goes on without the node, for good. Where the kernel takes no note, the next start of the
/// daemon takes it for a leftover.
pub(crate) fn leave(group: &Path) {
    for name in LEFT_ALONE {
        if setxattr(group, name, b"1", XattrFlags::empty()).is_ok() {
            return;
        }
    }
}

/// Whether a group was released.
pub fn is_left_alone(group: &Path) -> bool {
    LEFT_ALONE.iter().any(|name| getxattr(group, *name, &mut [0u8; 1][..]).is_ok())
}

/// Removes a group that is no longer wanted, or remembers to do that once it is empty.
pub(crate) fn let_go(group: PathBuf) {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.push_front(group);
    for _ in 0..LOOKS.min(left.len()) {
        let Some(group) = left.pop_front() else { break };
        match fs::remove_dir(&group) {
            Err(error) if !is_gone(&error) => {
                // Its session is over: what is in it goes on, also after the death of this process.
                leave(&group);
                if left.len() < MAX_LEFT {
                    left.push_back(group);
                }
            }
            _ => {}
        }
    }
}

/// Removes what daemons that are dead have left of their sessions. A session whose first process still runs has nobody
/// any more who could end it, so it ends now; what a finished one left in the background, or a client that vanished, goes
/// on.
///
/// Call it once, before the first session is started.
pub fn clean_up() {
    let Some(own) = own_group() else { return };
    let Ok(entries) = fs::read_dir(own) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((owner, holder)) = name.to_str().and_then(Owner::parse) else { continue };
        if owner.lives() {
            continue;
        }
        let group = entry.path();
        let is_over = match holder {
            Holder::Leader(leader) => !members(&group).contains(&leader),
            // Noted at the end, if anything was left.
            Holder::Serial(_) => false,
        };
        if !is_over && !is_left_alone(&group) {
            kill(&group);
        }
        let_go(group);
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Everything that is in a group now.
pub(crate) fn members(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join(MEMBERS)).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// The process that owns sessions. Its start, in clock ticks since the host's, tells it from a later one of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    pid: Pid,
    start: u64,
}

impl Owner {
    fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
        // The name in parentheses may itself contain parentheses and spaces; the last one ends it.
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let mut fields = std::str::from_utf8(stat.get(after_name..)?).ok()?.split_ascii_whitespace();
        // One that waits to be reaped owns nothing any more. Fields 3 and 22 of `proc_pid_stat(5)`.
        let is_dead = matches!(fields.next()?, "Z" | "X");
        let start = fields.nth(18)?.parse().ok()?;
        if is_dead { None } else { Some(Self { pid, start }) }
    }

    fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    fn name_for(self, holder: Holder) -> String {
        let owner = format!("{PREFIX}{}.{}", self.pid.as_raw_pid(), self.start);
        match holder {
            Holder::Leader(leader) => format!("{owner}-{}", leader.as_raw_pid()),
            Holder::Serial(serial) => format!("{owner}-{SERIAL}{serial}"),
        }
    }

    fn parse(name: &str) -> Option<(Self, Holder)> {
        let (owner, holder) = name.strip_prefix(PREFIX)?.split_once('-')?;
        let (pid, start) = owner.split_once('.')?;
        let number = |text: &str| Pid::from_raw(text.parse().ok().filter(|pid| *pid > 0)?);
        let holder = match holder.strip_prefix(SERIAL) {
            Some(serial) => Holder::Serial(serial.parse().ok()?),
            None => Holder::Leader(number(holder)?),
        };
        Some((Self { pid: number(pid)?, start: start.parse().ok()? }, holder))
    }
}

/// Whose session a group is for, in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The first process, which has made it.
    Leader(Pid),
    /// One that was not there yet.
    Serial(u64),
}

/// Where this process is in the one hierarchy of version 2, also beside hierarchies of version 1.
fn own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    place(&mounts, &groups)
}

fn place(mounts: &str, groups: &str) -> Option<PathBuf> {
    let own = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // Paths with odd characters are written in another way, and are nobody's for this.
        if kind.split(' ').next() != Some("cgroup2") || point.contains('\\') {
            return None;
        }
        let below = own.strip_prefix(root).ok()?;
        let plain = !below.components().any(|part| part == std::path::Component::ParentDir);
        plain.then(|| Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_found_in_pure_and_mixed_hosts_and_in_containers() {
        let pure = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let mixed = "33 32 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     41 32 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let inner = "25 30 0:23 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw";
        for (mounts, groups, expected) in [
            (pure, "0::/system.slice/postern.service\n", Some("/sys/fs/cgroup/system.slice/postern.service")),
            (mixed, "8:pids:/x\n0::/\n", Some("/sys/fs/cgroup/unified")),
            (inner, "0::/docker/ab/c\n", Some("/sys/fs/cgroup/c")),
            (inner, "0::/elsewhere\n", None),
            (pure, "0::/../x\n", None),
            (pure, "1:cpu:/x\n", None),
            ("33 32 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw", "0::/\n", None),
            ("", "", None),
        ] {
            assert_eq!(place(mounts, groups).as_deref(), expected.map(Path::new), "{mounts} {groups}");
        }
    }

    #[test]
    fn names_say_whose_a_group_is() {
        let owner = Owner::of(getpid()).expect("this process");
        assert!(owner.lives());
        assert!(!Owner { start: owner.start + 1, ..owner }.lives());
        let mut child = std::process::Command::new("true").spawn().expect("runs");
        let pid = Pid::from_child(&child);
        let dead = || {
            fs::read_to_string(format!("/proc/{}/stat", child.id())).is_ok_and(|stat| stat.contains(") Z "))
        };
        while !dead() {
            std::thread::yield_now();
        }
        assert_eq!(Owner::of(pid), None, "dead, though not reaped yet");
        child.wait().expect("reaped");
        for holder in [Holder::Leader(getpid()), Holder::Serial(0), Holder::Serial(u64::MAX)] {
            let name = owner.name_for(holder);
            assert_eq!(Owner::parse(&name), Some((owner, holder)));
            assert!(is_group(&Path::new("/sys/fs/cgroup").join(&name)));
            assert!(!is_group(Path::new(&name)));
        }
        for other in [
            "",
            "postern-",
            "postern-1.2",
            "postern-1-2",
            "postern-x.2-3",
            "postern-1.2--3",
            "postern-0.1-2",
            "postern-1.2-s",
            "postern-1.2-s-1",
            "user.slice",
        ] {
            assert_eq!(Owner::parse(other), None, "{other}");
        }
        assert!(!is_group(Path::new("/")));
    }

    #[test]
    fn an_empty_group_goes_and_one_in_use_is_remembered() {
        let directory = tempfile::tempdir().expect("a directory");
        let (empty, full) = (directory.path().join("empty"), directory.path().join("full"));
        fs::create_dir(&empty).expect("made");
        fs::create_dir_all(full.join("in-it")).expect("made");
        let_go(empty.clone());
        let_go(full.clone());
        assert!(!empty.exists() && full.exists());
        fs::remove_dir(full.join("in-it")).expect("removed");
        let_go(empty);
        assert!(!full.exists());
    }
}
