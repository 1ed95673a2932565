//! A socket for programs that look for an agent, where nobody but the user can reach it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, fchmod, mkdir, open};

use super::keeper::Kept;
use super::{Refusal, RefusalKind};

/// Where sshd has them too.
const PARENT: &str = "/tmp";
/// Names are tried until one is free.
const TRIES: usize = 16;
/// Random characters of a name: 64 of them leave nothing to guess or to occupy beforehand.
const NAME: usize = 16;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Makes a directory, and the socket in it.
pub(super) fn listen() -> Result<(OwnedFd, Kept, String), Refusal> {
    let failed = |error: io::Error| {
        Refusal::new(
            RefusalKind::NoAgent,
            format!("no directory for the agent's socket in {PARENT}: {error}"),
        )
    };
    let directory = private_directory().map_err(failed)?;
    let path = directory.join(format!("agent.{}", std::process::id()));
    let name = path.to_string_lossy().into_owned();
    match UnixListener::bind(&path) {
        Ok(listener) => Ok((listener.into(), Kept::socket_in(path, directory), name)),
        Err(error) => {
            let _ = std::fs::remove_dir(directory);
            Err(failed(error))
        }
    }
}

/// As `mkdtemp(3)`: `mkdir` takes nothing that is there already, no symbolic link either, and the user owns what it makes.
/// From then on nobody else can put something in its place, because [`PARENT`] is sticky.
fn private_directory() -> io::Result<PathBuf> {
    for _ in 0..TRIES {
        let path = PathBuf::from(PARENT).join(format!("ssh-{}", random_name()?));
        match mkdir(&path, Mode::RWXU) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => continue,
            Err(error) => return Err(error.into()),
        }
        // The mask of this process took the search permission away.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fchmod(open(&path, flags, Mode::empty())?, Mode::RWXU)?;
        return Ok(path);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn random_name() -> io::Result<String> {
    let mut random = [0; NAME];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect())
}
