//! Calls on files that no safe wrapper has.

use std::ffi::{CString, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Sets the length of the file at this path; does not open it, so waits for nobody.
pub(crate) fn truncate(path: &[u8], length: u64) -> Result<(), Errno> {
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    let length = libc::off64_t::try_from(length).map_err(|_| Errno::INVAL)?;
    // SAFETY: the path is NUL-terminated and lives until the end of this function.
    if unsafe { libc::truncate64(path.as_ptr(), length) } == 0 { Ok(()) } else { Err(last_error()) }
}

/// Sets the mode of what is at this path itself, be it a link, which has none on Linux and is refused. `NOSYS` on kernels
/// before 6.6.
pub(crate) fn chmod_no_follow(path: &[u8], mode: u32) -> Result<(), Errno> {
    /// `fchmodat2`, the same number on every architecture; the libc crate names it only for some.
    const SYS_FCHMODAT2: c_long = 452;
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    // SAFETY: the path is NUL-terminated and lives until the end of this function; the rest are integers.
    let code = unsafe {
        libc::syscall(SYS_FCHMODAT2, libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_SYMLINK_NOFOLLOW)
    };
    if code == 0 { Ok(()) } else { Err(last_error()) }
}

/// Has a pipe hold so many bytes, unless it holds more already.
pub fn enlarge_pipe(pipe: BorrowedFd<'_>, bytes: c_int) -> Result<(), Errno> {
    // SAFETY: takes and gives integers.
    let now = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_GETPIPE_SZ) };
    // SAFETY: as above; pages that hold something are kept.
    if now < 0 || (now < bytes && unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) } < 0) {
        return Err(last_error());
    }
    Ok(())
}

/// Makes a reader or a terminal that has gone away an error of the call that meets it, not a signal.
pub(crate) fn ignore_hang_ups() {
    for signal in [libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: ignoring a signal runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn last_error() -> Errno {
    io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
