//! The agent's own identity on disk, in the files of the fact sheet (section 3.1), and what it was about to do.
//!
//! Two sets exist: the identity in force, and beside it the key for a request that was sent or is about to be. The
//! key is stored first; after any crash the same request is made again with the same key, which the cluster knows to be
//! a retry.

use super::AgentError;
use crate::destination::{Destination, FileSet};
use identity::credentials::Credentials;
use identity::key::SubjectKey;
use jiff::Timestamp;
use rustix::fs::FlockOperation;
use std::fs::File;
use zeroize::Zeroizing;

const PENDING_KEY: &str = "pending-key";
const PENDING_ATTEMPT: &str = "pending-attempt";
const PENDING_TOKEN_HASH: &str = "pending-tokenhash";
const TOKEN_HASH: &str = "tokenhash";
const BOUND_KEY: &str = "bound-key";
const PENDING_BOUND_KEY: &str = "pending-bound-key";
const JOIN_STATE: &str = "join-state";
const LOCK: &str = "lock";
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Where the agent keeps what it must not forget.
pub struct Storage {
    destination: Destination,
    /// Held as long as the agent runs.
    _lock: Option<File>,
}

/// What is stored.
pub struct Stored {
    /// The identity in force.
    pub credentials: Option<Credentials>,
    /// Hash of the token that it came from.
    pub token_hash: Option<String>,
    /// A request that may have been sent.
    pub pending: Option<Pending>,
    /// With method `bound_keypair`: the key that is kept.
    pub bound: Option<BoundKey>,
}

/// The key that is bound to a token, or is to be.
#[derive(Clone)]
pub struct BoundKey {
    /// Never certified. Replaced when the token asks for another.
    pub key: SubjectKey,
    /// As the cluster gave it with the last answer; empty before the first.
    pub state: Vec<u8>,
}

/// A request that may have been sent.
pub struct Pending {
    /// The key that it asks to certify.
    pub key: SubjectKey,
    /// For a join: what names the attempt, and the token it is made with.
    pub join: Option<PendingJoin>,
    /// The key that it offers in place of the bound one.
    pub offered: Option<SubjectKey>,
}

/// The part of a pending request that only a join has.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingJoin {
    /// 32 random bytes.
    pub attempt: Vec<u8>,
    /// Hash of the token.
    pub token_hash: String,
}

impl Storage {
    /// Prepares the destination and takes its lock.
    pub fn open(destination: Destination) -> Result<Self, AgentError> {
        destination.prepare()?;
        let lock = match destination.path() {
            None => None,
            Some(path) => Some(lock(&path.join(LOCK), path)?),
        };
        Ok(Self { destination, _lock: lock })
    }

    /// Where it is, for messages.
    pub fn place(&self) -> String {
        self.destination.to_string()
    }

    /// Keeps a file beside the identity, replaced in one step.
    pub(super) fn keep(
        &self,
        name: &str,
        contents: &[u8],
    ) -> Result<(), crate::destination::DestinationError> {
        self.destination.keep(name, contents)
    }

    /// Removes what [`Self::keep`] wrote.
    pub(super) fn forget(&self, name: &str) -> Result<(), crate::destination::DestinationError> {
        self.destination.forget(name)
    }

    /// What is stored; something unreadable counts as nothing, with a warning, so that a token can replace it.
    pub fn load(&self) -> Result<Stored, AgentError> {
        let credentials = match self.credentials() {
            Ok(credentials) => credentials,
            Err(AgentError::Destination(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, storage = %self.destination, "the stored identity is not usable");
                None
            }
        };
        Ok(Stored {
            credentials,
            token_hash: self.text(TOKEN_HASH)?.map(|text| text.to_string()),
            pending: self.pending()?,
            bound: self.bound()?,
        })
    }

    /// Stores the key of a request before it is sent.
    pub fn prepare(&self, now: Timestamp, stored: &Stored, pending: &Pending) -> Result<(), AgentError> {
        let mut files = match &stored.credentials {
            Some(credentials) => identity_files(credentials)?,
            None => FileSet::new(),
        };
        put(&mut files, TOKEN_HASH, stored.token_hash.as_deref());
        put_bound(&mut files, stored.bound.as_ref())?;
        let pem = pending.key.to_pem().map_err(AgentError::unusable("a new key"))?;
        files.insert(PENDING_KEY.to_owned(), Zeroizing::new(pem.as_bytes().to_vec()));
        if let Some(join) = &pending.join {
            put(&mut files, PENDING_ATTEMPT, Some(&hex::encode(&join.attempt)));
            put(&mut files, PENDING_TOKEN_HASH, Some(&join.token_hash));
        }
        if let Some(offered) = &pending.offered {
            let pem = offered.to_pem().map_err(AgentError::unusable("a new key"))?;
            put(&mut files, PENDING_BOUND_KEY, Some(&pem));
        }
        Ok(self.destination.publish(now, now, |_| files)?)
    }

    /// Stores a new identity in place of the old one and of the request that brought it.
    pub fn commit(
        &self,
        now: Timestamp,
        credentials: &Credentials,
        token_hash: Option<&str>,
        bound: Option<&BoundKey>,
    ) -> Result<(), AgentError> {
        let mut files = identity_files(credentials)?;
        put(&mut files, TOKEN_HASH, token_hash);
        put_bound(&mut files, bound)?;
        Ok(self.destination.publish(now, now, |_| files)?)
    }

    fn credentials(&self) -> Result<Option<Credentials>, AgentError> {
        let Some(bundle) = self.text("identity")? else { return Ok(None) };
        identity::file::decode(&bundle).map(Some).map_err(AgentError::unusable("the stored identity"))
    }

    fn pending(&self) -> Result<Option<Pending>, AgentError> {
        let Some(pem) = self.text(PENDING_KEY)? else { return Ok(None) };
        let Ok(key) = SubjectKey::from_pem(&pem) else {
            tracing::warn!(storage = %self.destination, "a prepared key is not readable; starting over");
            return Ok(None);
        };
        let attempt = self.text(PENDING_ATTEMPT)?.and_then(|text| hex::decode(text.trim()).ok());
        let join = attempt.zip(self.text(PENDING_TOKEN_HASH)?.map(|text| text.to_string()));
        let join = join.map(|(attempt, token_hash)| PendingJoin { attempt, token_hash });
        let offered = self.text(PENDING_BOUND_KEY)?.and_then(|pem| SubjectKey::from_pem(&pem).ok());
        Ok(Some(Pending { key, join, offered }))
    }

    /// Stores a key that is to be bound, beside everything else that is stored.
    pub fn keep_stored(&self, now: Timestamp, stored: &Stored) -> Result<(), AgentError> {
        if let Some(pending) = &stored.pending {
            return self.prepare(now, stored, pending);
        }
        let mut files = match &stored.credentials {
            Some(credentials) => identity_files(credentials)?,
            None => FileSet::new(),
        };
        put(&mut files, TOKEN_HASH, stored.token_hash.as_deref());
        put_bound(&mut files, stored.bound.as_ref())?;
        Ok(self.destination.publish(now, now, |_| files)?)
    }

    /// A key that is there and cannot be read is no key to replace: only its holder comes back.
    fn bound(&self) -> Result<Option<BoundKey>, AgentError> {
        let Some(pem) = self.text(BOUND_KEY)? else { return Ok(None) };
        let key = SubjectKey::from_pem(&pem).map_err(AgentError::unusable("the bound key in the storage"))?;
        let state = self.text(JOIN_STATE)?.map(|text| hex::decode(text.trim())).transpose();
        let state = state.map_err(AgentError::unusable("the join state in the storage"))?;
        Ok(Some(BoundKey { key, state: state.unwrap_or_default() }))
    }

    fn text(&self, name: &str) -> Result<Option<Zeroizing<String>>, AgentError> {
        let contents = self.destination.read(name)?;
        Ok(contents.and_then(|contents| String::from_utf8(contents.to_vec()).ok()).map(Zeroizing::new))
    }
}

fn put_bound(files: &mut FileSet, bound: Option<&BoundKey>) -> Result<(), AgentError> {
    let Some(BoundKey { key, state }) = bound else { return Ok(()) };
    let pem = key.to_pem().map_err(AgentError::unusable("the bound key"))?;
    put(files, BOUND_KEY, Some(&pem));
    put(files, JOIN_STATE, Some(hex::encode(state)).filter(|state| !state.is_empty()).as_deref());
    Ok(())
}

fn put(files: &mut FileSet, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        files.insert(name.to_owned(), Zeroizing::new(text.as_bytes().to_vec()));
    }
}

/// The separate files are for people and tools that know the layout; the bundle is what the agent itself reads.
fn identity_files(credentials: &Credentials) -> Result<FileSet, AgentError> {
    super::output::base_files(credentials).map(|mut files| {
        let trust = &credentials.trust;
        let ssh: Vec<String> = trust.host.ssh.iter().filter_map(|key| key.to_openssh().ok()).collect();
        put(&mut files, "sshcacerts", Some(&ssh.join("$")));
        let tls: Vec<String> =
            trust.user.tls.iter().chain(&trust.host.tls).map(|der| identity::pem::certificate(der)).collect();
        put(&mut files, "tlscacerts", Some(&tls.join("$")));
        files
    })
}

/// Takes the lock on the storage, or says who might have it.
fn lock(path: &std::path::Path, storage: &std::path::Path) -> Result<File, AgentError> {
    let system = |source: std::io::Error| {
        AgentError::Destination(crate::destination::DestinationError::System {
            action: "lock",
            path: path.to_owned(),
            source,
        })
    };
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(system)?;
    for attempt in 0.. {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // `tbot status` takes it for a moment to see whether it is held.
            Err(rustix::io::Errno::WOULDBLOCK) if attempt < LOCK_ATTEMPTS => std::thread::sleep(LOCK_PAUSE),
            Err(rustix::io::Errno::WOULDBLOCK) => break,
            Err(error) => return Err(system(error.into())),
        }
    }
    Err(AgentError::InUse(storage.to_owned()))
}

/// Whether somebody holds the lock of the storage at `path`.
pub(super) fn is_locked(path: &std::path::Path) -> bool {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path.join(LOCK), flags, Mode::empty()) else { return false };
    let taken = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared);
    taken == Err(rustix::io::Errno::WOULDBLOCK)
}

#[cfg(test)]
mod tests {
    use super::{LOCK, is_locked};
    use rustix::fs::{CWD, Mode, mkfifoat};

    #[test]
    fn a_fifo_in_place_of_the_lock_is_no_lock() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        assert!(!is_locked(scratch.path()));
        mkfifoat(CWD, scratch.path().join(LOCK), Mode::RUSR).expect("made");
        assert!(!is_locked(scratch.path()));
    }
}
