//! Secrets in the store: sealed with a key that is not in it, so that a stolen database alone gives nobody away.
//!
//! Tokens are sealed here; the authorities' keys are sealed by `ca` with a key of their own from the same file.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The name of the key's file in the data directory.
pub const FILE: &str = "envelope.key";
const LENGTH: usize = 32;
/// How the names of unfinished files begin.
const DRAFT: &str = ".envelope.key.";

/// The key from which every sealing key is derived.
pub struct Envelope(Zeroizing<[u8; LENGTH]>);

/// Why there is no envelope key.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The file cannot be read or made.
    #[error("the envelope key {path} cannot be read or made: {error}; check the directory and its permissions", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others may read it, or it is not of the right length.
    #[error("the envelope key {path} {reason}", path = .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the next step.
        reason: &'static str,
    },
}

impl Envelope {
    /// The key of a cluster that exists.
    pub fn open(directory: &Path) -> Result<Self, EnvelopeError> {
        let path = directory.join(FILE);
        match File::open(&path) {
            Ok(file) => Self::read(&path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(EnvelopeError::Unfit {
                path,
                reason: "is missing, and without it the cluster's store cannot be opened; restore it from a backup",
            }),
            Err(error) => Err(EnvelopeError::Io { path, error }),
        }
    }

    /// The key in the data directory; made if there is none yet. Whoever made one must not replace it: what is
    /// sealed with it cannot be read without it.
    pub fn open_or_make(directory: &Path) -> Result<Self, EnvelopeError> {
        let path = directory.join(FILE);
        match File::open(&path) {
            Ok(file) => Self::read(&path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // What a start that was killed left beside it never came into use.
                remove_drafts(directory).map_err(|error| EnvelopeError::Io { path: path.clone(), error })?;
                Self::make(directory, &path).map_err(|error| EnvelopeError::Io { path, error })
            }
            Err(error) => Err(EnvelopeError::Io { path, error }),
        }
    }

    fn read(path: &Path, mut file: File) -> Result<Self, EnvelopeError> {
        let failed = |error| EnvelopeError::Io { path: path.to_owned(), error };
        let unfit = |reason| EnvelopeError::Unfit { path: path.to_owned(), reason };
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(unfit("can be read by others; make it 0600 and think about who has seen it"));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH + 1));
        (&mut file).take(LENGTH as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        let key = bytes.as_slice().try_into();
        key.map(|key| Self(Zeroizing::new(key)))
            .map_err(|_| unfit("is not 32 bytes long; restore it from a backup of this data directory"))
    }

    /// Written beside, synced, then linked to its name: it is there whole or not at all, and never replaces one.
    fn make(directory: &Path, path: &Path) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; LENGTH]);
        aws_lc_rs::rand::fill(key.as_mut()).map_err(|_| io::Error::other("no random numbers"))?;
        let beside = directory.join(format!("{DRAFT}{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(key.as_ref())?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&beside, path);
        std::fs::remove_file(&beside)?;
        linked?;
        File::open(directory)?.sync_all()?;
        Ok(Self(key))
    }

    /// A key for one purpose.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; LENGTH]> {
        let mut key = Zeroizing::new([0; LENGTH]);
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"postern envelope v1");
        salt.extract(self.0.as_ref())
            .expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut()))
            .expect("32 bytes are within what HKDF-SHA256 gives");
        key
    }
}

fn remove_drafts(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(DRAFT)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Envelope")
    }
}

/// Seals values, each bound to its place.
pub struct Sealer(RandomizedNonceKey);

/// What was to be opened was not sealed with this key for this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it was not sealed with this cluster's envelope key; restore the key and the store from the same backup"
)]
pub struct NotOurs;

impl Sealer {
    /// For one purpose.
    pub fn new(envelope: &Envelope, purpose: &str) -> Self {
        let key = envelope.derive(purpose);
        Self(RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).expect("the key has the cipher's length"))
    }

    /// Seals `plain` for `place`.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut sealed)
            .expect("a record is far below the cipher's limit");
        [nonce.as_ref().as_slice(), &sealed].concat()
    }

    /// Opens what was sealed for `place`.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOurs> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(NotOurs)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOurs)?;
        let mut plain = Zeroizing::new(rest.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut plain);
        let length = opened.map_err(|_| NotOurs)?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::{Envelope, EnvelopeError, FILE, NotOurs, Sealer};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(".envelope.key.1"), [1; 32]).expect("writes");
        let first = Envelope::open_or_make(directory.path()).expect("is made");
        let again = Envelope::open_or_make(directory.path()).expect("is read");
        assert_eq!(first.derive("x"), again.derive("x"));
        assert_ne!(first.derive("x"), first.derive("y"));
        let path = directory.path().join(FILE);
        let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("reads").count(),
            1,
            "nothing is left beside it"
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changes");
        let error = Envelope::open_or_make(directory.path()).expect_err("others can read it");
        assert!(matches!(error, EnvelopeError::Unfit { .. }), "{error}");
    }

    #[test]
    fn a_key_of_another_length_is_refused_and_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        for length in [0, 31, 33] {
            std::fs::write(&path, vec![7; length]).expect("writes");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changes");
            assert!(Envelope::open_or_make(directory.path()).is_err(), "{length} bytes");
            assert_eq!(std::fs::read(&path).expect("reads").len(), length);
        }
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let envelope = Envelope::open_or_make(directory.path()).expect("is made");
        let sealer = Sealer::new(&envelope, "tokens");
        let sealed = sealer.seal("/tokens/1", b"secret");
        assert_eq!(sealer.open("/tokens/1", &sealed).as_deref().map(Vec::as_slice), Ok(&b"secret"[..]));
        assert_eq!(sealer.open("/tokens/2", &sealed), Err(NotOurs));
        assert_eq!(Sealer::new(&envelope, "other").open("/tokens/1", &sealed), Err(NotOurs));
        for length in 0..sealed.len() {
            assert_eq!(sealer.open("/tokens/1", &sealed[..length]), Err(NotOurs));
        }
        assert_ne!(sealed, sealer.seal("/tokens/1", b"secret"));
    }
}
