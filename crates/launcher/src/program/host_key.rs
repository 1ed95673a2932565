//! The SSH host key: made here, kept here, and used for key exchanges in which it was shown.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use identity::key::SubjectKey;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use ssh::ExchangeRecord;
use ssh::algorithms::{KeyAlgorithm, SignatureScheme};
use ssh::keys::{PublicKey, SigningKey};
use zeroize::Zeroizing;

use super::{Fatal, directory};

const FILE: &str = "host_key";
/// Longer than any key.
const MAX_FILE: u64 = 16 * 1024;

pub(super) struct HostKey {
    spki: Vec<u8>,
    signing: SigningKey,
}

impl HostKey {
    /// The key of an earlier start, or a new one.
    pub(super) fn open(directory: &Path) -> Result<Self, Fatal> {
        let path = directory.join(FILE);
        let failed = |reason: String| Fatal::File { path: path.clone(), reason };
        let key = match read(&path) {
            Ok(text) => SubjectKey::from_pem(&text).map_err(|error| {
                failed(format!("{error}; remove it for a new one, for which the host gets a new certificate"))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = SubjectKey::generate(&SystemRandom::new());
                let key = key.map_err(|error| failed(error.to_string()))?;
                let text = key.to_pem().map_err(|error| failed(error.to_string()))?;
                directory::replace(directory, FILE, text.as_bytes())
                    .map_err(|error| failed(error.to_string()))?;
                eprintln!("session-launcher: a new host key is made, in {}", path.display());
                key
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let der = key.pkcs8_der().map_err(|error| failed(error.to_string()))?;
        let signing = SigningKey::from_pkcs8(&der).map_err(|error| failed(error.to_string()))?;
        Ok(Self { spki: key.spki_der(), signing })
    }

    pub(super) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Signs the hash of a key exchange in which this key was shown.
    pub(super) fn sign(&self, exchange: &ExchangeRecord) -> Result<Vec<u8>, &'static str> {
        if !self.is_shown(exchange.host_key()) {
            return Err("another host key was shown");
        }
        self.signing.sign(self.scheme(), &exchange.hash()).map_err(|_| "the key could not sign")
    }

    /// Whether this is the key, or a certificate over it.
    fn is_shown(&self, blob: &[u8]) -> bool {
        [false, true].into_iter().any(|certificate| {
            let algorithm = KeyAlgorithm { scheme: self.scheme(), certificate };
            PublicKey::of(algorithm, blob).is_ok_and(|shown| shown == *self.signing.public())
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.signing.schemes().first().copied().unwrap_or(SignatureScheme::EcdsaP256)
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(io::Error::other("it has to be a file of this user alone (mode 0600)"));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}
