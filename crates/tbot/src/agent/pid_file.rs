//! A signal to the process whose number is in a file. The file must not let its writer have us signal what the writer could
//! not, and a number must not lead to whoever got it next.

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// More than a number and blanks is none.
const LONGEST: u64 = 64;

/// Sends `signal` to it.
pub fn tell(path: &Path, signal: Signal) -> Result<(), String> {
    let (pid, owner) = believed(path)?;
    let failed = |error: Errno| format!("process {pid}: {error}");
    // It is this process from here on, whoever gets its number when it has ended.
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
    let Ok(found) = std::fs::metadata(format!("/proc/{pid}")) else {
        return Err(format!(
            "process {pid}: whose it is cannot be seen; a unit needs ProtectProc=noaccess for that, which tbot install \
             systemd writes"
        ));
    };
    if ![me(), owner].contains(&found.uid()) {
        return Err(format!(
            "process {pid} belongs to uid {}, and the file to uid {owner}: it is another one by now, or the file lies",
            found.uid()
        ));
    }
    pidfd_send_signal(&process, signal).map_err(failed)
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The number in the file, and whose word that is: root's or our own.
fn believed(path: &Path) -> Result<(Pid, u32), String> {
    let system = |error: Errno| std::io::Error::from(error).to_string();
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err("that is not the path of a file".to_owned());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = fs::open(above, flags, Mode::empty()).map_err(system)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = fs::openat(&above, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP => "the file is a symbolic link; name the file itself".to_owned(),
        error => system(error),
    })?;
    let (found, above) = (fs::fstat(&file).map_err(system)?, fs::fstat(&above).map_err(system)?);
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err("that is not a file".to_owned());
    }
    let trusted = [0, me()].contains(&found.st_uid) && [0, found.st_uid].contains(&above.st_uid);
    if !trusted || (found.st_mode | above.st_mode) & 0o022 != 0 {
        return Err(
            "the file or its directory may be written to by others than root and this agent".to_owned()
        );
    }
    let mut text = String::new();
    let read = File::from(file).take(LONGEST).read_to_string(&mut text);
    let number = read.ok().and_then(|_| text.trim().parse::<i32>().ok()).filter(|number| *number > 1);
    let pid = number.and_then(Pid::from_raw).ok_or("the file holds no process number")?;
    Ok((pid, found.st_uid))
}

#[cfg(test)]
mod tests {
    use super::tell;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use rustix::process::Signal;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command};

    /// Nobody's.
    const OTHER: u32 = 65_534;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let file = scratch.path().join("pid");
        (scratch, file)
    }

    fn refused(file: &Path, part: &str) {
        let told = tell(file, Signal::TERM).expect_err("refused");
        assert!(told.contains(part), "{part:?} is not in {told:?}");
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
    }

    /// Ends with the test.
    struct Sleep(Child);

    impl Sleep {
        fn start(command: &mut Command, file: &Path) -> Self {
            let child = command.arg("600").spawn().expect("starts");
            std::fs::write(file, format!("{}\n", child.id())).expect("written");
            set_mode(file, 0o644);
            Self(child)
        }

        fn is_running(&mut self) -> bool {
            self.0.try_wait().expect("our own child").is_none()
        }
    }

    impl Drop for Sleep {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_is_signalled_by_a_file_that_can_be_believed() {
        let (scratch, file) = scratch();
        refused(&file, "No such file");
        for text in ["", "1", "-4", "0", "x", &"2".repeat(1000)] {
            std::fs::write(&file, text).expect("written");
            set_mode(&file, 0o644);
            refused(&file, "no process number");
        }
        let mut sleep = Sleep::start(&mut Command::new("sleep"), &file);
        let others = "may be written to by others";
        set_mode(&file, 0o666);
        refused(&file, others);
        set_mode(&file, 0o644);
        for mode in [0o770, 0o1777] {
            set_mode(scratch.path(), mode);
            refused(&file, others);
        }
        set_mode(scratch.path(), 0o755);
        assert!(sleep.is_running());
        tell(&file, Signal::TERM).expect("told");
        assert_eq!(sleep.0.wait().expect("our own child").signal(), Some(15));
        refused(&file, "No such process");
    }

    #[test]
    fn what_is_no_file_is_neither_followed_nor_waited_for() {
        let (scratch, file) = scratch();
        let mut sleep = Sleep::start(&mut Command::new("sleep"), &file);
        let link = scratch.path().join("link");
        symlink(&file, &link).expect("linked");
        refused(&link, "symbolic link");
        let fifo = scratch.path().join("fifo");
        mkfifoat(CWD, &fifo, Mode::RUSR).expect("made");
        refused(&fifo, "not a file");
        refused(scratch.path(), "not a file");
        assert!(sleep.is_running());
    }

    #[test]
    fn files_and_processes_of_others_are_refused() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root to be somebody else");
            return;
        }
        let (scratch, file) = scratch();
        let mut sleep = Sleep::start(Command::new("sleep").uid(OTHER), &file);
        refused(&file, "belongs to uid 65534, and the file to uid 0");
        let others = "may be written to by others";
        chown(&file, Some(OTHER), None).expect("given away");
        refused(&file, others);
        chown(scratch.path(), Some(OTHER), None).expect("given away");
        refused(&file, others);
        chown(&file, Some(0), None).expect("taken back");
        refused(&file, others);
        assert!(sleep.is_running());
    }
}
