//! What was made and has to be removed: sockets in the file system, directories, entries in `.Xauthority`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::display::Authority;

/// How long the end waits for what is still being made.
const PATIENCE: Duration = Duration::from_secs(30);

/// One thing to remove. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Kept(What);

#[derive(Debug)]
enum What {
    Socket { file: File, directory: Option<PathBuf> },
    Display(Authority),
}

/// A file by its identity: at its path there may be another one by now, which is not ours to remove.
#[derive(Debug)]
struct File {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Kept {
    /// A socket that was just made at this path.
    pub(super) fn socket(path: PathBuf) -> Self {
        Self(What::Socket { file: File::at(path), directory: None })
    }

    /// A socket and the directory that was made for it.
    pub(super) fn socket_in(path: PathBuf, directory: PathBuf) -> Self {
        Self(What::Socket { file: File::at(path), directory: Some(directory) })
    }

    pub(super) fn display(authority: Authority) -> Self {
        Self(What::Display(authority))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        match &self.0 {
            What::Socket { file, directory } => {
                file.remove();
                // Not what somebody put there beside it.
                let _ = directory.as_ref().map(fs::remove_dir);
            }
            What::Display(authority) => authority.remove(),
        }
    }
}

impl File {
    fn at(path: PathBuf) -> Self {
        let identity = identity(&path);
        Self { path, identity }
    }

    fn remove(&self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Everything that was made for one connection, by the question that it was made for.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    state: Mutex<State>,
    quiet: Condvar,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<u32, Kept>,
    /// How many questions are worked on that may leave something to keep.
    making: usize,
    closed: bool,
}

/// Somebody who may leave something to keep; the end waits for it.
pub(super) struct Making<'k>(&'k Keeper);

impl Keeper {
    /// Begins to make something; nothing when it is over.
    pub(super) fn begin(&self) -> Option<Making<'_>> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.making += 1;
        Some(Making(self))
    }

    /// Removes what was made for this question.
    pub(super) fn release(&self, id: u32) {
        let kept = self.lock().kept.remove(&id);
        // Removing takes time, and is not done with the others locked out.
        drop(kept);
    }

    /// Removes everything, also what is only being made.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let until = Instant::now() + PATIENCE;
        while state.making > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.quiet.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let kept = std::mem::take(&mut state.kept);
        drop(state);
        drop(kept);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Making<'_> {
    /// Keeps what was made.
    pub(super) fn keep(self, id: u32, kept: Kept) {
        let before = self.0.lock().kept.insert(id, kept);
        drop(before);
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.lock().making -= 1;
        self.0.quiet.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::{Keeper, Kept};

    #[test]
    fn what_was_made_goes_and_what_was_put_in_its_place_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        let keeper = Keeper::default();
        let listeners: Vec<_> = [(1, &first), (2, &second)]
            .into_iter()
            .map(|(id, path)| {
                let listener = UnixListener::bind(path).expect("bound");
                keeper.begin().expect("open").keep(id, Kept::socket(path.clone()));
                listener
            })
            .collect();
        keeper.release(1);
        keeper.release(1);
        assert!(!first.exists() && second.exists());
        std::fs::remove_file(&second).expect("removed");
        // Hard enough to come by the same inode number again; a file of another kind is what users put there.
        std::fs::create_dir(&second).expect("made");
        std::fs::write(second.join("precious"), "").expect("written");
        keeper.close();
        assert!(second.join("precious").exists());
        assert!(keeper.begin().is_none());
        drop(listeners);
    }

    #[test]
    fn a_directory_goes_with_its_socket_unless_something_else_is_in_it() {
        let parent = tempfile::tempdir().expect("a directory");
        for (name, beside) in [("alone", false), ("beside", true)] {
            let directory = parent.path().join(name);
            std::fs::create_dir(&directory).expect("made");
            let path = directory.join("agent");
            let _listener = UnixListener::bind(&path).expect("bound");
            if beside {
                std::fs::write(directory.join("note"), "").expect("written");
            }
            drop(Kept::socket_in(path.clone(), directory.clone()));
            assert!(!path.exists());
            assert_eq!(directory.exists(), beside);
        }
    }
}
