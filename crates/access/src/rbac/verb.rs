//! What can be done to a resource.

use std::fmt;

/// A verb of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// See which ones there are.
    List,
    /// Make one.
    Create,
    /// See all of one, secrets included.
    Read,
    /// See one without its secrets.
    ReadNoSecrets,
    /// Change one.
    Update,
    /// Remove one.
    Delete,
    /// Replace the keys of an authority.
    Rotate,
    /// Use one without seeing it.
    Use,
    /// Enrol a device.
    Enroll,
    /// Make a token for enrolling a device.
    CreateEnrollToken,
}

/// A word that is no verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown verb {0:?}; known are list, create, read, readnosecrets, update, delete, rotate, use, enroll, create_enroll_token and *"
)]
pub struct UnknownVerb(String);

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 10] = [
        Self::List,
        Self::Create,
        Self::Read,
        Self::ReadNoSecrets,
        Self::Update,
        Self::Delete,
        Self::Rotate,
        Self::Use,
        Self::Enroll,
        Self::CreateEnrollToken,
    ];

    /// As it stands in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Create => "create",
            Self::Read => "read",
            Self::ReadNoSecrets => "readnosecrets",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Rotate => "rotate",
            Self::Use => "use",
            Self::Enroll => "enroll",
            Self::CreateEnrollToken => "create_enroll_token",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Verb {
    type Err = UnknownVerb;

    fn from_str(text: &str) -> Result<Self, UnknownVerb> {
        let found = Self::ALL.into_iter().find(|verb| verb.as_str() == text);
        found.ok_or_else(|| UnknownVerb(text.chars().take(64).collect()))
    }
}
