//! Reads identity files, as tbot and `tctl auth sign` write them.

use crate::Failure;
use identity::Credentials;
use jiff::Timestamp;
use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

/// The credentials in the file at `path`, whether or not they are valid now.
pub fn read_identity(path: &Path) -> Result<Credentials, Failure> {
    let text = contents(path)?;
    identity::file::decode(&text).map_err(|error| {
        Failure::new(format!("{}: {error}", path.display()))
            .hint("give the file `identity` that tbot or tctl auth sign wrote")
    })
}

/// Refuses credentials from the file at `path` that are not valid at `now`: here the remedy can be named, and later
/// a server would only close the connection.
pub fn in_force(path: &Path, credentials: &Credentials, now: Timestamp) -> Result<(), Failure> {
    let (from, until) = (credentials.valid_after(), credentials.expires());
    if until <= now {
        let reason = format!("the identity {} expired at {until}", path.display());
        return Err(Failure::new(reason).hint(
            "start tbot, which renews it, or look at its log; or have a new one made with tctl auth sign",
        ));
    }
    if now < from {
        return Err(Failure::new(format!("the identity {} is not valid before {from}", path.display()))
            .hint(format!("this machine's clock says {now}; set it")));
    }
    Ok(())
}

fn contents(path: &Path) -> Result<Zeroizing<String>, Failure> {
    const LIMIT: usize = identity::pem::MAX_LENGTH;
    let unreadable =
        |reason: String| Failure::new(format!("cannot read the identity {}: {reason}", path.display()));
    if path.is_dir() {
        let inside = path.join("identity");
        return Err(unreadable("it is a directory".to_owned()).hint(format!("give -i {}", inside.display())));
    }
    let file = std::fs::File::open(path).map_err(|error| {
        unreadable(error.to_string()).hint("is tbot running, and may this user read its output?")
    })?;
    // Room for all of it at once: growing would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(64 * 1024));
    let read = file.take(LIMIT as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| unreadable(error.to_string()))?;
    match text.len() <= LIMIT {
        true => Ok(text),
        false => Err(unreadable("it is far too long for one".to_owned())),
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
        assert!(missing.starts_with("cannot read the identity ") && missing.contains("No such file"));
        for content in [&b""[..], b"hello", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAAAA"] {
            std::fs::write(&path, content).expect("written");
            assert!(read_identity(&path).is_err());
        }
        std::fs::write(&path, "x".repeat(identity::pem::MAX_LENGTH + 1)).expect("written");
        assert!(read_identity(&path).expect_err("too long").to_string().contains("far too long"));
        let refusal = read_identity(directory.path()).expect_err("a directory");
        assert!(refusal.hint.ends_with("/identity"), "{refusal}");
    }
}
