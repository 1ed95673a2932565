//! Lets the configured readers in, each time that something is written: what somebody changed in between is corrected.

use super::acl::{self, Acls, Id, On, Reader};
use super::{Directory, system};
use crate::destination::DestinationError;
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::path::Path;

impl Directory {
    /// The directory itself; also says, once for all files of a round, what cannot be done.
    pub(super) fn share_root(&self, root: impl AsFd) -> Result<(), DestinationError> {
        if self.readers.is_empty() {
            return self.must_support(root);
        }
        let list = acl::list(On::Directory, &self.reader_ids()?, None);
        let had_one = acl::present(&root).is_ok_and(|list| list.is_some());
        match acl::ensure(&root, On::Directory, &list) {
            Ok(true) if had_one => {
                tracing::warn!(
                    directory = %self.path.display(),
                    "the access control list was another than configured, and is corrected"
                );
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => self.cannot_share(error, &self.path),
        }
    }

    /// Something in the directory that this process has just made.
    pub(super) fn share(&self, made: impl AsFd, on: On, path: &Path) -> Result<(), DestinationError> {
        if self.readers.is_empty() || self.acls == Acls::Off {
            return Ok(());
        }
        let list = acl::list(on, &self.reader_ids()?, None);
        match acl::ensure(made, on, &list) {
            Ok(_) => Ok(()),
            // Told for the directory already.
            Err(_) if self.acls == Acls::Try => Ok(()),
            Err(error) => self.cannot_share(error, path),
        }
    }

    /// The readers by number, without the owner: it reads anyway, and an entry for it changes nothing.
    pub fn reader_ids(&self) -> Result<Vec<Id>, DestinationError> {
        let me = Id::User(rustix::process::geteuid().as_raw());
        let unknown = |reason| DestinationError::Reader { path: self.path.clone(), reason };
        let ids: Result<Vec<Id>, _> = self.readers.iter().map(Reader::id).collect();
        Ok(ids.map_err(unknown)?.into_iter().filter(|id| *id != me).collect())
    }

    fn must_support(&self, root: impl AsFd) -> Result<(), DestinationError> {
        match (self.acls, acl::present(root)) {
            (Acls::Required, Err(error)) => self.cannot_share(error, &self.path),
            _ => Ok(()),
        }
    }

    fn cannot_share(&self, error: Errno, path: &Path) -> Result<(), DestinationError> {
        match (self.acls, error) {
            (Acls::Required, Errno::OPNOTSUPP) => Err(DestinationError::NoAcls { path: self.path.clone() }),
            (Acls::Required, error) => Err(system("set the access control list of", path)(error)),
            _ => {
                tracing::warn!(
                    directory = %self.path.display(), %error,
                    "readers cannot be let in by access control lists: only the owner can read what is written"
                );
                Ok(())
            }
        }
    }
}
