//! Join tokens.

pub mod bound_keypair;
pub mod oidc;
pub mod tpm;

use super::Metadata;
use crate::BotName;
use crate::name::SystemRole;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt;

pub use bound_keypair::BoundKeypair;
pub use oidc::{Oidc, Provider};
pub use tpm::Tpm;

/// A permission to join. Version `v2`; with method `token` the name is the secret.
#[derive(Clone, PartialEq)]
pub struct Token {
    /// Name (secret with method `token`), labels, expiry.
    pub metadata: Metadata,
    /// Who may join with it and how.
    pub spec: TokenSpec,
    /// What auth keeps with a token of method `bound_keypair`; written by auth alone.
    pub status: Option<Box<bound_keypair::Status>>,
}

/// Settings of [`Token`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSpec {
    /// What the joiner becomes; never empty.
    pub roles: Vec<SystemRole>,
    /// Required with role `Bot`, forbidden without it.
    pub bot_name: Option<BotName>,
    /// How the joiner proves itself.
    pub method: Method,
}

/// How a joiner proves itself, with what the token says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// By knowing the token's name.
    Token,
    /// By a key that it keeps.
    BoundKeypair(BoundKeypair),
    /// By the TPM of its machine.
    Tpm(Tpm),
    /// By an ID token of a platform.
    Oidc(Box<Oidc>),
}

/// The word for a method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JoinMethod {
    /// By knowing the token's name.
    #[default]
    Token,
    /// By a key that it keeps.
    BoundKeypair,
    /// By the TPM of its machine.
    Tpm,
    /// By an ID token of a platform.
    Oidc(Provider),
}

impl JoinMethod {
    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Token, Self::BoundKeypair, Self::Tpm].into_iter().chain(Provider::ALL.map(Self::Oidc))
    }

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::BoundKeypair => "bound_keypair",
            Self::Tpm => "tpm",
            Self::Oidc(provider) => provider.as_str(),
        }
    }

    /// Who joins so, in a sentence.
    pub fn meaning(self) -> String {
        match self {
            Self::Token => "By knowing a one-time token".to_owned(),
            Self::BoundKeypair => {
                "By a key that it keeps in its storage, and with which it comes back after any time away"
                    .to_owned()
            }
            Self::Tpm => "By the TPM 2.0 of this machine".to_owned(),
            Self::Oidc(provider) => format!("As {}", provider.table().joiner),
        }
    }

    /// The method that is written so.
    pub fn find(word: &str) -> Option<Self> {
        Self::all().find(|method| method.as_str() == word)
    }

    /// Whether the token's name is the secret.
    pub fn has_secret_name(self) -> bool {
        self == Self::Token
    }
}

impl TokenSpec {
    /// The word for the method.
    pub fn join_method(&self) -> JoinMethod {
        match &self.method {
            Method::Token => JoinMethod::Token,
            Method::BoundKeypair(_) => JoinMethod::BoundKeypair,
            Method::Tpm(_) => JoinMethod::Tpm,
            Method::Oidc(oidc) => JoinMethod::Oidc(oidc.provider),
        }
    }
}

/// With the settings of a method under its name.
impl Serialize for TokenSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let method = self.join_method().as_str();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("roles", &self.roles)?;
        map.serialize_entry("join_method", method)?;
        if let Some(bot) = &self.bot_name {
            map.serialize_entry("bot_name", bot)?;
        }
        match &self.method {
            Method::Token => {}
            Method::BoundKeypair(bound) => map.serialize_entry(method, bound)?,
            Method::Tpm(tpm) => map.serialize_entry(method, tpm)?,
            // The oldest method, whose rules stand where there was no other.
            Method::Oidc(oidc) if oidc.provider == Provider::Iam => {
                map.serialize_entry("allow", &oidc.allow)?;
            }
            Method::Oidc(oidc) => map.serialize_entry(method, oidc)?,
        }
        map.end()
    }
}

impl Token {
    /// The name as it may stand in logs and lists: of a secret name only the last quarter, and nothing of a
    /// short one (fact sheet, section 4.1). Names that are no secret stand as they are.
    pub fn safe_name(&self) -> String {
        match self.spec.join_method().has_secret_name() {
            true => masked(&self.metadata.name),
            false => self.metadata.name.clone(),
        }
    }

    /// For showing: secrets are masked or left out.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.metadata.name = self.safe_name();
        if let Method::BoundKeypair(bound) = &mut self.spec.method {
            bound.onboarding.mask();
        }
        if let Some(status) = &mut self.status {
            status.join_state = None;
        }
        self
    }
}

/// See [`Token::safe_name`].
pub fn masked(secret: &str) -> String {
    let length = secret.chars().count();
    let hidden = if length < 16 { length } else { length * 3 / 4 };
    std::iter::repeat_n('*', hidden).chain(secret.chars().skip(hidden)).collect()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.safe_name()).field("spec", &self.spec).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn only_the_last_quarter_of_a_long_secret_is_shown() {
        assert_eq!(masked("short"), "*****");
        assert_eq!(masked("fifteen-letters"), "***************");
        assert_eq!(masked("sixteen-letters!"), "************ers!");
        assert_eq!(masked(""), "");
    }
}
