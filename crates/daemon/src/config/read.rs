//! What files named in the configuration hold, read while the process may.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;

use super::{Config, JoinProof, Pin, Upstream};
use crate::privileges;

/// A token or some pins, and then some.
const MOST_BYTES: u64 = 64 << 10;

impl Config {
    /// With the content of token and pin files in place of their paths. What cannot be read stays a path, and whoever needs
    /// it says so; root leaves to the daemon's user what somebody else could have put there.
    #[must_use]
    pub fn with_files_read(&self) -> Self {
        let mut read = self.clone();
        for token in read.services.auth.iter_mut().flat_map(|auth| &mut auth.static_tokens) {
            token.secret = token.secret.read();
        }
        if let Upstream::Remote(remote) = &mut read.services.upstream {
            remote.secret = remote.secret.as_ref().map(|secret| secret.read());
            if let JoinProof::BoundKeypair(Some(secret)) = &mut remote.proof {
                *secret = secret.read();
            }
            remote.pins = remote.pins.iter().flat_map(pins).collect();
        }
        read
    }
}

fn pins(pin: &Pin) -> Vec<Pin> {
    let Pin::File(path) = pin else { return vec![pin.clone()] };
    if !is_for_root(path) {
        return vec![pin.clone()];
    }
    let text = file(path).unwrap_or_default();
    let digests: Result<Vec<Pin>, _> = text
        .split_whitespace()
        .map(|word| match Pin::parse(word) {
            Ok(digest @ Pin::Digest(_)) => Ok(digest),
            _ => Err(()),
        })
        .collect();
    digests.ok().filter(|digests| !digests.is_empty()).unwrap_or_else(|| vec![pin.clone()])
}

/// What a small file holds. Nothing but a file is read, and nothing is waited for.
///
/// # Errors
/// When it cannot be read, is no file, or larger than any such file.
pub fn file(path: &Path) -> io::Result<String> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no file"));
    }
    let mut text = String::new();
    file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MOST_BYTES {
        true => Err(io::Error::other("is too large for what it should hold")),
        false => Ok(text),
    }
}

/// Whether this process may read the file with the rights that it has: as root only what nobody else can replace, neither
/// the name nor what a link of root's leads to.
pub(super) fn is_for_root(path: &Path) -> bool {
    let real = || path.canonicalize().is_ok_and(|real| privileges::files::is_roots_alone(&real));
    !privileges::is_root() || (privileges::files::is_roots_alone(path) && real())
}

#[cfg(test)]
mod tests {
    use crate::config::{JoinSecret, Pin, Upstream, parse};

    #[test]
    fn files_are_read_once_and_those_that_are_not_there_stay_paths() {
        // Root reads here, because nobody else writes here.
        let directory = tempfile::tempdir().expect("a directory");
        let (token, pin) = (directory.path().join("token"), directory.path().join("pin"));
        let digest = format!("sha256:{}", "ab".repeat(32));
        let text = format!(
            "version: v3\npostern: {{auth_server: a.example, auth_token: {}, ca_pin: [{}, {digest}]}}\n\
             auth_service: {{enabled: no}}\nproxy_service: {{enabled: no}}\n",
            token.display(),
            pin.display()
        );
        let config = parse("f", &text, "host").expect("valid");
        assert_eq!(config.with_files_read(), config, "nothing is there");
        std::fs::write(&token, "secret\n").expect("written");
        std::fs::write(&pin, format!("{digest}\n{digest}\n")).expect("written");
        let Upstream::Remote(remote) = config.with_files_read().services.upstream else { panic!("remote") };
        assert_eq!(remote.secret, Some(JoinSecret::Literal("secret".into())));
        assert_eq!(remote.pins, vec![Pin::Digest(digest); 3]);
        std::fs::write(&pin, "nonsense").expect("written");
        let Upstream::Remote(remote) = config.with_files_read().services.upstream else { panic!("remote") };
        assert_eq!(remote.pins[0], Pin::File(pin), "who reads it says what is wrong");
    }

    #[test]
    fn root_reads_no_file_that_somebody_else_could_have_put_there() {
        use std::os::unix::fs::PermissionsExt as _;
        if !crate::privileges::is_root() {
            return eprintln!("SKIPPED: needs root to be careful");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let (open, closed) = (directory.path().join("open"), directory.path().join("closed"));
        for path in [&open, &closed] {
            std::fs::create_dir(path).expect("made");
            std::fs::write(path.join("token"), "secret").expect("written");
        }
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o1777)).expect("chmod");
        std::os::unix::fs::symlink(open.join("token"), closed.join("link")).expect("linked");
        let fifo = closed.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("made");
        let read = |path: std::path::PathBuf| {
            let secret = JoinSecret::File(path);
            secret.read() != secret
        };
        assert!(read(closed.join("token")));
        assert!(!read(open.join("token")) && !read(closed.join("link")) && !read(fifo), "nor does it wait");
    }
}
