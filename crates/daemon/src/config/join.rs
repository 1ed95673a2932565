//! What stands in a file to prove who may join, and whom is joined: secrets, pins, static tokens.

use std::{collections::BTreeSet, fmt, io, path::PathBuf};

use access::SystemRole;

/// A join token, given literally or as a file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum JoinSecret {
    /// The token itself.
    Literal(String),
    /// An absolute path; the file holds the token and may disappear after the host has joined.
    File(PathBuf),
}

/// By what this host shows that it may join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum JoinProof {
    /// That it knows the token.
    #[default]
    Token,
    /// A key that it keeps, and what it is bound to the token with.
    BoundKeypair(Option<JoinSecret>),
    /// The TPM of this machine.
    Tpm {
        /// Where it is.
        device: transport::tpm::Address,
        /// Whether its endorsement key on P-256 is shown, and not the one of RSA.
        ecc: bool,
    },
    /// The ID token in this file.
    Kubernetes(PathBuf),
}

/// Why a join setting is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Neither a digest nor a path.
    #[error(
        "is not a pin; write sha256: and 64 hexadecimal digits (tctl status prints it), or the absolute path of a file with it"
    )]
    Pin,
    /// No roles before a token.
    #[error("is not a static token; write the roles, a colon and the token, as in \"node,proxy:TOKEN\"")]
    StaticToken,
    /// A role a static token cannot give.
    #[error("static tokens are for node and proxy; for {0}, create a token with tctl")]
    Role(&'static str),
    /// Not a system role.
    #[error("{0}")]
    UnknownRole(String),
}

impl JoinSecret {
    /// An absolute path is a file, everything else the token itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        if text.starts_with('/') { Self::File(text.into()) } else { Self::Literal(text.to_owned()) }
    }

    /// The token; read from the file now, without the line's end.
    ///
    /// # Errors
    /// When the file cannot be read, or is empty.
    pub fn reveal(&self) -> io::Result<String> {
        match self {
            Self::Literal(token) => Ok(token.clone()),
            Self::File(path) => match super::read::file(path)?.trim() {
                "" => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
                token => Ok(token.to_owned()),
            },
        }
    }
}

impl JoinSecret {
    /// With the file's content in place of its path; as it is where it cannot be read or not as root, which whoever needs it
    /// will say or do.
    #[must_use]
    pub fn read(&self) -> Self {
        match self {
            Self::File(path) if super::read::is_for_root(path) => {
                self.reveal().map_or_else(|_| self.clone(), Self::Literal)
            }
            _ => self.clone(),
        }
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// What the cluster's certificate authority must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// `sha256:` and the digest of the CA's public key in hexadecimal, lower case.
    Digest(String),
    /// An absolute path to a file that holds such pins.
    File(PathBuf),
}

impl Pin {
    /// # Errors
    /// When the text is neither a digest nor an absolute path.
    pub fn parse(text: &str) -> Result<Self, JoinError> {
        if text.starts_with('/') {
            return Ok(Self::File(text.into()));
        }
        let digest = text.strip_prefix("sha256:").ok_or(JoinError::Pin)?;
        if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(JoinError::Pin);
        }
        Ok(Self::Digest(format!("sha256:{}", digest.to_ascii_lowercase())))
    }
}

/// A token that stands in the configuration of auth and does not expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticToken {
    /// What joiners become; never empty.
    pub roles: BTreeSet<SystemRole>,
    /// The token.
    pub secret: JoinSecret,
}

impl StaticToken {
    /// Reads `role,role:token`.
    ///
    /// # Errors
    /// When it is not of this form, or for a role that such a token cannot give.
    pub fn parse(text: &str) -> Result<Self, JoinError> {
        let (roles, secret) = text.split_once(':').ok_or(JoinError::StaticToken)?;
        if secret.is_empty() || roles.is_empty() {
            return Err(JoinError::StaticToken);
        }
        let roles: Result<BTreeSet<SystemRole>, JoinError> = roles.split(',').map(joinable).collect();
        Ok(Self { roles: roles?, secret: JoinSecret::new(secret) })
    }
}

fn joinable(role: &str) -> Result<SystemRole, JoinError> {
    match role.trim().parse().map_err(JoinError::UnknownRole)? {
        role @ (SystemRole::Node | SystemRole::Proxy) => Ok(role),
        SystemRole::Auth => Err(JoinError::Role("auth")),
        SystemRole::Bot => Err(JoinError::Role("bot")),
    }
}

#[cfg(test)]
mod tests {
    use super::{JoinError, JoinSecret, Pin, StaticToken};

    #[test]
    fn pins() {
        let digest = format!("sha256:{}", "aB".repeat(32));
        assert_eq!(Pin::parse(&digest), Ok(Pin::Digest(digest.to_lowercase().replace("SHA", "sha"))));
        assert_eq!(Pin::parse("/etc/pin"), Ok(Pin::File("/etc/pin".into())));
        for text in
            ["sha256:", "sha256:zz", "sha1:00", "pin", "relative/pin", &digest[..70], &format!("{digest}0")]
        {
            assert_eq!(Pin::parse(text), Err(JoinError::Pin), "{text}");
        }
    }

    #[test]
    fn static_tokens() {
        let token = StaticToken::parse("Proxy,node:a:b").expect("reads");
        assert_eq!(token.roles.len(), 2);
        assert_eq!(token.secret, JoinSecret::Literal("a:b".to_owned()));
        for text in ["node", "node:", ":secret", "bot:x", "auth:x", "kube:x", "node,:x"] {
            assert!(StaticToken::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        assert!(!format!("{:?}", StaticToken::parse("node:hunter2")).contains("hunter2"));
    }
}
