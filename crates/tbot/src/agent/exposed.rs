//! Secrets in a configuration file that everybody may read.

use super::Source;
use crate::config::{Config, Method, TokenSource};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is wrong, and what mends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Exposed {
    /// The file, the key and the mode.
    pub said: String,
    /// A command, or another way.
    pub fix: String,
}

impl Exposed {
    /// Looks at the file that `config` was read from.
    pub fn find(source: &Source, config: &Config) -> Option<Self> {
        let (path, key) = (source.path.as_ref()?, secret(source, config)?);
        let found = std::fs::metadata(path).ok().filter(|found| found.mode() & 0o004 != 0)?;
        let said = format!(
            "{} holds a secret, {key}, and has mode {:04o}: everybody can read it",
            path.display(),
            found.mode() & 0o7777
        );
        let fix = format!(
            "{}, or put the secret in a file and write {key}: /path/to/file",
            mend(path, found.uid())
        );
        Some(Self { said, fix })
    }
}

/// The key of a secret that the file itself holds.
fn secret(source: &Source, config: &Config) -> Option<&'static str> {
    let from_flags = source.flags.token.is_some() || source.flags.registration_secret.is_some();
    let is_literal = |secret: &Option<TokenSource>| matches!(secret, Some(TokenSource::Literal(_)));
    match &config.onboarding.method {
        _ if from_flags => None,
        Method::Token if is_literal(&config.onboarding.token) => Some("onboarding.token"),
        Method::BoundKeypair { registration_secret } if is_literal(registration_secret) => {
            Some("onboarding.bound_keypair.registration_secret")
        }
        // By other methods, the token is a name.
        _ => None,
    }
}

/// Whoever runs tbot goes on reading it.
fn mend(path: &Path, owner: u32) -> String {
    let (me, path) = (rustix::process::geteuid().as_raw(), path.display());
    match owner == me {
        true => format!("chmod 600 {path}"),
        false => format!("chown {me} {path} && chmod 600 {path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Exposed, Source};
    use crate::config::StartFlags;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_that_everybody_can_read_is_told_with_the_way_out() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("tbot.yaml");
        let shown = path.display();
        let told = |onboarding: &str, mode: u32, flags: StartFlags| {
            let text = format!("version: v2\nproxy_server: p:1\nonboarding: {onboarding}\n");
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
            let source = Source { path: Some(path.clone()), flags };
            let (config, _) = source.load().expect("read");
            Exposed::find(&source, &config).map(|exposed| exposed.fix)
        };
        let keypair = "{join_method: bound_keypair, token: name, bound_keypair: {registration_secret: s}}";
        for (onboarding, mode, key) in [
            ("{token: s}", 0o644, Some("onboarding.token")),
            (keypair, 0o604, Some("onboarding.bound_keypair.registration_secret")),
            ("{token: s}", 0o640, None),
            ("{token: /run/token}", 0o644, None),
            ("{join_method: tpm, token: name}", 0o644, None),
        ] {
            let fix = key.map(|key| {
                format!("chmod 600 {shown}, or put the secret in a file and write {key}: /path/to/file")
            });
            assert_eq!(told(onboarding, mode, StartFlags::default()), fix, "{onboarding} {mode:o}");
        }
        let flags = StartFlags { token: Some("s".to_owned()), ..StartFlags::default() };
        assert_eq!(told("{token: s}", 0o644, flags), None, "it is not the file's that counts");
    }
}
