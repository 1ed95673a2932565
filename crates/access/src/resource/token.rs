//! Join tokens.

use super::Metadata;
use crate::BotName;
use crate::name::SystemRole;
use serde::{Deserialize, Serialize};

/// A permission to join. Version `v2`; with method `token` the name is the secret.
#[derive(Clone, PartialEq)]
pub struct Token {
    /// Name (secret with method `token`), labels, expiry.
    pub metadata: Metadata,
    /// Who may join with it and how.
    pub spec: TokenSpec,
}

/// Settings of [`Token`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// What the joiner becomes; never empty.
    pub roles: Vec<SystemRole>,
    /// How the joiner proves itself.
    #[serde(default)]
    pub join_method: JoinMethod,
    /// Required with role `Bot`, forbidden without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot_name: Option<BotName>,
}

/// How a joiner proves itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinMethod {
    /// By knowing the token's name.
    #[default]
    Token,
}

impl JoinMethod {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
        }
    }
}

impl Token {
    /// The name as it may stand in logs and lists: of a secret name only the last quarter, and nothing of a
    /// short one (fact sheet, section 4.1).
    pub fn safe_name(&self) -> String {
        masked(&self.metadata.name)
    }
}

/// See [`Token::safe_name`].
pub fn masked(secret: &str) -> String {
    let length = secret.chars().count();
    let hidden = if length < 16 { length } else { length * 3 / 4 };
    std::iter::repeat_n('*', hidden).chain(secret.chars().skip(hidden)).collect()
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
