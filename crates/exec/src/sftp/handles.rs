//! What a client has open. Bounded, and a number is never used twice, so a handle that was closed stays closed.

use std::collections::BTreeMap;
use std::fs::File;

use rustix::process::{Resource, getrlimit};

use super::directory::Directory;
use super::record::cut;
use super::status::Refusal;

const MOST_HANDLES: u64 = 1024;
/// Descriptors that the process needs for itself: its own four, and what a single request opens besides.
const RESERVED: u64 = 16;

pub(super) enum Handle {
    File(File),
    Directory(Directory),
}

/// With the path that it was opened by, for the record.
struct Opened {
    handle: Handle,
    path: Vec<u8>,
}

pub(super) struct Handles {
    open: BTreeMap<[u8; 8], Opened>,
    next: u64,
    limit: u64,
}

impl Handles {
    pub(super) fn new() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limit = descriptors.saturating_sub(RESERVED).clamp(1, MOST_HANDLES);
        Self { open: BTreeMap::new(), next: 0, limit }
    }

    /// The most handles that may be open at once.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Opens something and gives it a handle; refuses before opening when there are too many.
    pub(super) fn open(
        &mut self,
        path: &[u8],
        open: impl FnOnce() -> Result<Handle, Refusal>,
    ) -> Result<[u8; 8], Refusal> {
        if u64::try_from(self.open.len()).unwrap_or(u64::MAX) >= self.limit {
            return Err(Refusal::TOO_MANY_HANDLES);
        }
        let opened = Opened { handle: open()?, path: cut(path).to_vec() };
        let handle = self.next.to_be_bytes();
        self.next += 1;
        self.open.insert(handle, opened);
        Ok(handle)
    }

    /// What a handle was opened by; nothing for one that is not open.
    pub(super) fn path(&self, handle: &[u8]) -> &[u8] {
        let key = <[u8; 8]>::try_from(handle).ok();
        key.and_then(|key| self.open.get(&key)).map_or(b"", |opened| &opened.path)
    }

    pub(super) fn find(&self, handle: &[u8]) -> Result<&Handle, Refusal> {
        let opened = self.open.get(&key(handle)?).ok_or(Refusal::UNKNOWN_HANDLE)?;
        Ok(&opened.handle)
    }

    pub(super) fn file(&self, handle: &[u8]) -> Result<&File, Refusal> {
        match self.find(handle)? {
            Handle::File(file) => Ok(file),
            Handle::Directory(_) => Err(Refusal::UNKNOWN_HANDLE),
        }
    }

    pub(super) fn directory(&mut self, handle: &[u8]) -> Result<&mut Directory, Refusal> {
        match self.open.get_mut(&key(handle)?) {
            Some(Opened { handle: Handle::Directory(directory), .. }) => Ok(directory),
            _ => Err(Refusal::UNKNOWN_HANDLE),
        }
    }

    pub(super) fn take(&mut self, handle: &[u8]) -> Result<Handle, Refusal> {
        let opened = self.open.remove(&key(handle)?).ok_or(Refusal::UNKNOWN_HANDLE)?;
        Ok(opened.handle)
    }
}

fn key(handle: &[u8]) -> Result<[u8; 8], Refusal> {
    handle.try_into().map_err(|_| Refusal::UNKNOWN_HANDLE)
}
