//! A destination that vanishes with the process.

use super::FileSet;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// Files in this process only.
#[derive(Default)]
pub struct Memory {
    files: Mutex<FileSet>,
}

impl Memory {
    /// Replaces the set.
    pub fn publish(&self, files: FileSet) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    /// One file.
    pub fn read(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// All are alike: what they hold is not part of what was configured.
impl PartialEq for Memory {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memory {}

impl std::fmt::Debug for Memory {
    /// Names only: the contents are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(files.keys()).finish()
    }
}
