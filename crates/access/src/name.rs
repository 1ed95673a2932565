//! Names as types: a string that was checked once and cannot be wrong afterwards.
//!
//! Everything here ends up in certificates, configuration files, logs or terminals, so each alphabet is
//! narrow on purpose: a name that would need escaping anywhere is refused where it is made.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// Why a string is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{what} is empty")]
    Empty {
        /// The kind of name.
        what: &'static str,
    },
    /// More than the kind allows.
    #[error("{what} is {length} bytes long; at most {limit} are allowed")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// A character outside the alphabet.
    #[error("{what} {name:?} contains {character:?}; allowed are {allowed}")]
    Character {
        /// The kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The first character that is not allowed.
        character: char,
        /// The alphabet in words.
        allowed: &'static str,
    },
    /// A first character that would be read as something else.
    #[error("{what} {name:?} must start with a letter or a digit")]
    Start {
        /// The kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
    },
}

fn check(
    what: &'static str,
    name: &str,
    limit: usize,
    allowed: &'static str,
    legal: fn(char) -> bool,
) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > limit {
        return Err(NameError::TooLong { what, length: name.len(), limit });
    }
    if let Some(character) = name.chars().find(|c| !legal(*c)) {
        return Err(NameError::Character { what, name: name.to_owned(), character, allowed });
    }
    match name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(()),
        false => Err(NameError::Start { what, name: name.to_owned() }),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $limit:literal, $allowed:literal, $legal:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks `name` and wraps it.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                check($what, &name, $limit, $allowed, $legal)?;
                Ok(Self(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        /// Sound, because equality, order and hash are those of the text.
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+')
}

name!(
    /// A cluster's name: a DNS name in lower case, fixed when the cluster is first started.
    ClusterName, "cluster name", 253, "lower-case letters, digits, '-' and '.'",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.')
);
name!(
    /// A role's name.
    RoleName, "role name", 255, "letters, digits and -_.@+", plain
);
name!(
    /// A user's name; the user of a bot is `bot-<name>`.
    UserName, "user name", 255, "letters, digits and -_.@+", plain
);
name!(
    /// A bot's name, without the `bot-` of its user and role.
    BotName, "bot name", 200, "letters, digits and -_.@+", plain
);
name!(
    /// A node's host name as clients give it: letters, digits, dots and hyphens.
    NodeName, "node name", 253, "letters, digits, '-', '_' and '.'",
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
);
name!(
    /// An operating-system account, which is also the SSH principal.
    Login, "login", 64, "letters, digits and -_.@+$",
    |c| plain(c) || c == '$'
);

impl BotName {
    /// The name of the user and of the role that stand for this bot (fact sheet, section 5).
    pub fn resource_name(&self) -> String {
        format!("{}{}", crate::bot::PREFIX, self.0)
    }
}

/// The identifier of a host (auth service, proxy or node), drawn once and kept in its data directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(pub Uuid);

/// The identifier of one running copy of a bot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

macro_rules! uuid_name {
    ($($type:ident),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl std::str::FromStr for $type {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    )*};
}
uuid_name!(HostId, InstanceId);

/// What a host does in the cluster; one certificate carries one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SystemRole {
    /// The auth service: certificate authority, policy, audit.
    Auth,
    /// The proxy.
    Proxy,
    /// An SSH node.
    Node,
    /// A bot; appears in tokens only, never in a host certificate.
    Bot,
}

impl SystemRole {
    /// Every role, in the order in which they are listed.
    pub const ALL: [SystemRole; 4] = [Self::Auth, Self::Proxy, Self::Node, Self::Bot];

    /// The name as it stands in tokens and certificates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "Auth",
            Self::Proxy => "Proxy",
            Self::Node => "Node",
            Self::Bot => "Bot",
        }
    }
}

impl fmt::Display for SystemRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for SystemRole {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|role| role.as_str().to_ascii_lowercase() == wanted)
            .ok_or_else(|| format!("unknown system role {text:?}; known are node, proxy, auth and bot"))
    }
}

#[cfg(test)]
mod tests {
    use super::{BotName, ClusterName, HostId, Login, NodeName, RoleName, SystemRole, UserName};

    /// Row I1 and I2 of the abuse table: nothing that a shell, a file or an option parser would read as its own.
    const HOSTILE: [&str; 17] = [
        "",
        " ",
        "a b",
        "a\nb",
        "a\rb",
        "a\0b",
        "$(id)",
        "`id`",
        "a\"b",
        "a'b",
        "%h%r",
        "-oProxyCommand=x",
        "--",
        ".hidden",
        "a,b",
        "a/../b",
        "\u{202e}x",
    ];

    #[test]
    fn hostile_names_are_refused_everywhere() {
        for name in HOSTILE {
            assert!(ClusterName::new(name).is_err(), "cluster {name:?}");
            assert!(RoleName::new(name).is_err(), "role {name:?}");
            assert!(UserName::new(name).is_err(), "user {name:?}");
            assert!(BotName::new(name).is_err(), "bot {name:?}");
            assert!(NodeName::new(name).is_err(), "node {name:?}");
            assert!(Login::new(name).is_err(), "login {name:?}");
        }
    }

    #[test]
    fn ordinary_names_are_accepted() {
        for name in ["alice", "a.b-c_d@example.com", "A1", "_svc", "bot-example"] {
            assert!(UserName::new(name).is_ok() && RoleName::new(name).is_ok(), "{name}");
        }
        assert!(Login::new("machine$").is_ok());
        assert!(ClusterName::new("c.example.com").is_ok() && ClusterName::new("C.example.com").is_err());
        assert!(NodeName::new("My-Host.example").is_ok() && NodeName::new("a@b").is_err());
    }

    #[test]
    fn lengths_are_bounded() {
        assert!(Login::new("a".repeat(64)).is_ok() && Login::new("a".repeat(65)).is_err());
        let longest = BotName::new("a".repeat(200)).expect("a name");
        assert!(UserName::new(longest.resource_name()).is_ok());
        assert!(BotName::new("a".repeat(201)).is_err());
    }

    #[test]
    fn ids_and_system_roles_read_back() {
        let id: HostId = "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c".parse().expect("an id");
        assert_eq!(id.to_string().parse(), Ok(id));
        for role in SystemRole::ALL {
            assert_eq!(role.as_str().to_uppercase().parse(), Ok(role));
        }
        assert!("wizard".parse::<SystemRole>().is_err());
    }
}
