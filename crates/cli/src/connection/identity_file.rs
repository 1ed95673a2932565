//! Reads identity files, as tbot and `tctl auth sign` write them.

use crate::Failure;
use identity::Credentials;
use jiff::Timestamp;
use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

/// The credentials in the file at `path`; expired ones are refused here, where the remedy can be named.
pub fn read_identity(path: &Path) -> Result<Credentials, Failure> {
    let named = |reason: &dyn std::fmt::Display| {
        Failure::new(format!("cannot use the identity file {}: {reason}", path.display()))
    };
    let text = read(path).map_err(|error| named(&error))?;
    let credentials = identity::file::decode(&text).map_err(|error| named(&error))?;
    let (now, expires) = (Timestamp::now(), credentials.expires());
    match now < expires {
        true => Ok(credentials),
        false => Err(named(&format!("it expired at {expires}"))
            .hint("see that tbot is running and renews it, or have it written anew with tctl auth sign")),
    }
}

fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    const LIMIT: usize = identity::pem::MAX_LENGTH;
    // Room for all of it at once: growing would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(64 * 1024));
    std::fs::File::open(path)?.take(LIMIT as u64 + 1).read_to_string(&mut text)?;
    match text.len() <= LIMIT {
        true => Ok(text),
        false => Err(std::io::Error::other("it is far too long for one")),
    }
}

#[cfg(test)]
mod tests {
    use super::read_identity;

    #[test]
    fn what_is_no_identity_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("identity");
        let missing = read_identity(&path).expect_err("missing").to_string();
        assert!(missing.starts_with("cannot use the identity file ") && missing.contains("No such file"));
        for content in [&b""[..], b"hello", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAAAA"] {
            std::fs::write(&path, content).expect("written");
            assert!(read_identity(&path).is_err());
        }
    }
}
