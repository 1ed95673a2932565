//! What files named in the configuration hold, read while the process may.

use super::{Config, Pin, Upstream};

impl Config {
    /// With the content of token and pin files in place of their paths. What cannot be read stays a path, and whoever needs
    /// it says so.
    #[must_use]
    pub fn with_files_read(&self) -> Self {
        let mut read = self.clone();
        for token in read.services.auth.iter_mut().flat_map(|auth| &mut auth.static_tokens) {
            token.secret = token.secret.read();
        }
        if let Upstream::Remote(remote) = &mut read.services.upstream {
            remote.secret = remote.secret.as_ref().map(|secret| secret.read());
            remote.pins = remote.pins.iter().flat_map(pins).collect();
        }
        read
    }
}

fn pins(pin: &Pin) -> Vec<Pin> {
    let Pin::File(path) = pin else { return vec![pin.clone()] };
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let digests: Result<Vec<Pin>, _> = text
        .split_whitespace()
        .map(|word| match Pin::parse(word) {
            Ok(digest @ Pin::Digest(_)) => Ok(digest),
            _ => Err(()),
        })
        .collect();
    digests.ok().filter(|digests| !digests.is_empty()).unwrap_or_else(|| vec![pin.clone()])
}

#[cfg(test)]
mod tests {
    use crate::config::{JoinSecret, Pin, Upstream, parse};

    #[test]
    fn files_are_read_once_and_those_that_are_not_there_stay_paths() {
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
}
