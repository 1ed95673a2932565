//! What a process inherits, and whom it acts as.

use std::ffi::{CStr, c_int, c_long};
use std::fs::File;
use std::io::{self, Read};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr;

use rustix::process::{Pid, WaitOptions, waitpid};

/// The highest signal number on Linux.
const LAST_SIGNAL: c_int = 64;
/// The kernel's `struct sigaction` is four words or fewer, on every architecture.
const KERNEL_SIGACTION_DEFAULT: [u64; 8] = [0; 8];
/// The kernel's own signal set, in bytes.
const KERNEL_SIGSET_SIZE: usize = 8;
/// `keyctl` operation from `linux/keyctl.h`; the libc crate names it only for some targets.
const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
/// A flag of `clone3` from `linux/sched.h`; the libc crate's overflows.
const CLONE_INTO_CGROUP: u64 = 1 << 33;
/// "Leave this id as it is" for the `setres*id` calls.
const UNCHANGED: u32 = u32::MAX;

/// Gives every signal its default meaning and unblocks all.
///
/// By system call and not through `sigaction(3)`: the C library keeps signals 32 and 33 to itself and would leave them
/// as they were inherited.
pub(crate) fn reset_signals() {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the kernel reads a `struct sigaction`, at most this many bytes; all zero is SIG_DFL with no flags.
        // SIGKILL and SIGSTOP are refused, harmlessly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                KERNEL_SIGACTION_DEFAULT.as_ptr(),
                ptr::null_mut::<u64>(),
                KERNEL_SIGSET_SIZE,
            )
        };
    }
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is valid for writing one set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was initialised above; a null third argument asks for no old set.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
}

/// Makes this process outlive what is sent to end it kindly.
pub(crate) fn ignore_end_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        // SAFETY: no code of ours is run for a signal that is ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Ignores what terminals and service managers send: hang-up, interrupt, quit, terminate, and broken pipes.
pub(crate) fn ignore_signals() {
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGPIPE,
        libc::SIGUSR1,
        libc::SIGUSR2,
    ] {
        // SAFETY: no handler is installed, so nothing runs in a signal's context.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Closes every descriptor from 3 up. Only for the start of the helper, before it has opened any: nothing that owns a
/// descriptor exists yet.
pub(crate) fn close_inherited_descriptors() -> io::Result<()> {
    each_descriptor_from_3(0, |fd| {
        // SAFETY: per this function's contract nothing in this process owns `fd`.
        unsafe { libc::close(fd) };
    })
}

/// Marks every descriptor from 3 up to be closed by `execve`: name service modules open sockets without saying so.
pub(crate) fn keep_descriptors_from_exec() -> io::Result<()> {
    each_descriptor_from_3(libc::CLOSE_RANGE_CLOEXEC, |fd| {
        // SAFETY: setting the flag of any number is sound; a number that is not open is refused.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    })
}

/// `close_range` with these flags, or the same one by one on kernels before 5.9.
fn each_descriptor_from_3(flags: libc::c_uint, one_by_one: impl Fn(c_int)) -> io::Result<()> {
    // SAFETY: takes three integers; the callers answer for what the flags do to descriptors.
    if unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, flags) } == 0 {
        return Ok(());
    }
    // Collected first: the directory being read has a descriptor too.
    let open: Vec<c_int> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= 3)
        .collect();
    open.into_iter().for_each(one_by_one);
    Ok(())
}

/// Leaves the service's session keyring for a fresh, empty one. Best effort: where key management is switched off or
/// filtered out there is nothing to inherit either.
pub(crate) fn leave_session_keyring() {
    // SAFETY: a null name asks for an anonymous keyring; no memory is touched.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<libc::c_char>()) };
}

/// Becomes this user with these groups, in the one order that works: groups while still root, then the gid, then the uid.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length describe `groups`.
    ok(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: takes three integers.
    ok(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: takes three integers.
    ok(unsafe { libc::setresuid(uid, uid, uid) })
}

/// The real, effective and saved user and group ids of this process.
pub(crate) fn ids() -> io::Result<([u32; 3], [u32; 3])> {
    let [mut ruid, mut euid, mut suid] = [UNCHANGED; 3];
    let [mut rgid, mut egid, mut sgid] = [UNCHANGED; 3];
    // SAFETY: three pointers to writable integers.
    ok(unsafe { libc::getresuid(&mut ruid, &mut euid, &mut suid) })?;
    // SAFETY: three pointers to writable integers.
    ok(unsafe { libc::getresgid(&mut rgid, &mut egid, &mut sgid) })?;
    Ok(([ruid, euid, suid], [rgid, egid, sgid]))
}

/// Whether this process can make itself root again, found out by trying. A process for which this is true must end.
pub(crate) fn can_regain_root() -> bool {
    // SAFETY: takes three integers.
    let user = unsafe { libc::setresuid(UNCHANGED, 0, UNCHANGED) } == 0;
    // SAFETY: takes three integers.
    user || unsafe { libc::setresuid(0, 0, 0) } == 0
}

/// Which of the two processes goes on after [`detach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that called.
    Caller,
    /// A new one in a kernel session of its own, which is no child of the caller: whatever that becomes next, it gets to
    /// know nothing of a child.
    Detached,
}

/// Makes a second process of this one. Only for a process of one thread.
pub(crate) fn detach() -> io::Result<Side> {
    // SAFETY: this process has one thread, so that the copy is whole.
    let between = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: takes nothing; this process leads no group yet.
            unsafe { libc::setsid() };
            // SAFETY: as above.
            match unsafe { libc::fork() } {
                0 => return Ok(Side::Detached),
                // SAFETY: ends this process without running what the caller has registered for its own end.
                pid => unsafe { libc::_exit(c_int::from(pid < 0)) },
            }
        }
        pid => pid,
    };
    let mut status = 0;
    loop {
        // SAFETY: waits for a child of this process; `status` is writable.
        if unsafe { libc::waitpid(between, &mut status, 0) } == between {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    if status == 0 { Ok(Side::Caller) } else { Err(io::Error::other("no second process can be made")) }
}

/// The kernel session and the process group of a process; nothing for one that is gone. Threads of the kernel have none.
pub(crate) fn session_and_group(pid: Pid) -> Option<(Pid, Pid)> {
    // SAFETY: takes and gives integers.
    let session = unsafe { libc::getsid(pid.as_raw_pid()) };
    // SAFETY: as above.
    let group = unsafe { libc::getpgid(pid.as_raw_pid()) };
    let number = |pid: c_int| if pid > 0 { Pid::from_raw(pid) } else { None };
    Some((number(session)?, number(group)?))
}

/// Starts a program in a control group (version 2): without arguments and environment, in `/`, with this standard input, no
/// output, and this process's standard error. It inherits signal settings, and what is not closed by `execve`.
pub(crate) fn start_in(group: BorrowedFd<'_>, program: &CStr, stdin: BorrowedFd<'_>) -> io::Result<Pid> {
    let nothing = File::options().write(true).open("/dev/null")?;
    let (mut failed, fails) = io::pipe()?;
    let words = [program.as_ptr(), ptr::null()];
    // SAFETY: all zero is a valid value of this struct of integers; zero asks for nothing.
    let mut how: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    how.flags = CLONE_INTO_CGROUP;
    how.exit_signal = libc::SIGCHLD as u64;
    how.cgroup = u64::try_from(group.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: pointer and size describe `how`. No memory is shared with the child, which has a copy of this thread's stack.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut how, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => become_program(&words, stdin.as_raw_fd(), nothing.as_raw_fd(), fails.as_raw_fd()),
        pid => {
            drop(fails);
            let pid = c_int::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            let mut error = [0; size_of::<c_int>()];
            // Ends when the program runs, which closes the child's end.
            match failed.read_exact(&mut error) {
                Err(_) => Ok(pid),
                Ok(()) => {
                    let _ = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
                    Err(io::Error::from_raw_os_error(c_int::from_ne_bytes(error)))
                }
            }
        }
    }
}

/// The child of [`start_in`]. Other threads of its parent may have held any lock when it was copied, so nothing here
/// allocates or asks the C library for more than a system call.
fn become_program(words: &[*const libc::c_char; 2], stdin: c_int, nothing: c_int, fails: c_int) -> ! {
    let nowhere: *const libc::c_char = ptr::null();
    // SAFETY: duplicates descriptors that the parent has open; the copies are not closed by `execve`.
    let mut done = unsafe { libc::dup2(stdin, 0) } >= 0;
    // SAFETY: as above.
    done = done && unsafe { libc::dup2(nothing, 1) } >= 0;
    // SAFETY: a literal ends with a zero byte.
    done = done && unsafe { libc::chdir(c"/".as_ptr()) } == 0;
    if done {
        // SAFETY: `words` is a list of C strings that ends with null, and the environment is an empty one.
        unsafe { libc::execve(words[0], words.as_ptr(), &raw const nowhere) };
    }
    // SAFETY: gives the place of this thread's own error number.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: that place is readable for as long as the thread lives.
    let error = unsafe { *place };
    // SAFETY: pointer and size describe `error`.
    unsafe { libc::write(fails, (&raw const error).cast(), size_of::<c_int>()) };
    // SAFETY: ends this process without running what its parent has registered for its own end.
    unsafe { libc::_exit(127) }
}

/// Replaces the groups of this process, whose ids stay root's.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length describe `groups`.
    ok(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
}

/// Closes a descriptor and tells how that went, which dropping it does not.
pub(crate) fn close(descriptor: OwnedFd) -> io::Result<()> {
    let descriptor = descriptor.into_raw_fd();
    // SAFETY: the descriptor was owned by this function alone and is not used again.
    ok(unsafe { libc::close(descriptor) })
}

fn ok(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
