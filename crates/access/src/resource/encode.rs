//! From resources to JSON; decoding the result gives the same resource.

use super::{Kind, Metadata, Resource, Token};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

impl Resource {
    /// The resource as it is written in files and sent between programs.
    pub fn to_json(&self) -> Value {
        let mut whole = json!({
            "kind": self.kind().as_str(),
            "version": self.version(),
            "metadata": value(self.metadata()),
            "spec": self.spec_json(),
        });
        match self {
            Self::BotInstance(instance) => whole["status"] = value(&instance.status),
            Self::Token(Token { status: Some(status), .. }) => {
                whole["status"] = json!({"bound_keypair": value(status)});
            }
            _ => {}
        }
        whole
    }

    /// The version in which it is written.
    pub fn version(&self) -> &'static str {
        match self {
            Self::Role(role) => role.version.as_str(),
            other => other.kind().version(),
        }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Role(_) => Kind::Role,
            Self::User(_) => Kind::User,
            Self::Bot(_) => Kind::Bot,
            Self::BotInstance(_) => Kind::BotInstance,
            Self::Token(_) => Kind::Token,
            Self::Node(_) => Kind::Node,
            Self::CertAuthority(_) => Kind::CertAuthority,
            Self::Lock(_) => Kind::Lock,
            Self::AuthPreference(_) => Kind::ClusterAuthPreference,
            Self::NetworkingConfig(_) => Kind::ClusterNetworkingConfig,
            Self::RecordingConfig(_) => Kind::SessionRecordingConfig,
        }
    }

    /// The name; with a token of method `token` it is a secret.
    pub fn name(&self) -> &str {
        &self.metadata().name
    }

    /// Name, labels, expiry and revision.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Role(role) => &role.metadata,
            Self::User(user) => &user.metadata,
            Self::Bot(bot) => &bot.metadata,
            Self::BotInstance(instance) => &instance.metadata,
            Self::Token(token) => &token.metadata,
            Self::Node(node) => &node.metadata,
            Self::CertAuthority(authority) => &authority.metadata,
            Self::Lock(lock) => &lock.metadata,
            Self::AuthPreference(config) => &config.metadata,
            Self::NetworkingConfig(config) => &config.metadata,
            Self::RecordingConfig(config) => &config.metadata,
        }
    }

    /// For revisions, labels and expiry; the name stays what it is.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        match self {
            Self::Role(role) => &mut role.metadata,
            Self::User(user) => &mut user.metadata,
            Self::Bot(bot) => &mut bot.metadata,
            Self::BotInstance(instance) => &mut instance.metadata,
            Self::Token(token) => &mut token.metadata,
            Self::Node(node) => &mut node.metadata,
            Self::CertAuthority(authority) => &mut authority.metadata,
            Self::Lock(lock) => &mut lock.metadata,
            Self::AuthPreference(config) => &mut config.metadata,
            Self::NetworkingConfig(config) => &mut config.metadata,
            Self::RecordingConfig(config) => &mut config.metadata,
        }
    }

    /// For showing: what is secret in a token is masked. The result is not a resource to store or to decode again.
    #[must_use]
    pub fn without_secrets(self) -> Self {
        match self {
            Self::Token(token) => Self::Token(token.without_secrets()),
            other => other,
        }
    }

    fn spec_json(&self) -> Value {
        match self {
            Self::Role(role) => value(&role.spec),
            Self::User(user) => value(&user.spec),
            Self::Bot(bot) => json!({
                "roles": value(&bot.roles),
                "traits": bot.traits.0.iter().map(|(name, values)| json!({"name": name, "values": values})).collect::<Vec<_>>(),
                "max_session_ttl": value(&bot.max_session_ttl),
            }),
            Self::BotInstance(instance) => value(&instance.spec),
            Self::Token(token) => value(&token.spec),
            Self::Node(node) => value(&node.spec),
            Self::CertAuthority(authority) => value(&authority.spec),
            Self::Lock(lock) => value(&lock.spec),
            Self::AuthPreference(config) => value(&config.spec),
            Self::NetworkingConfig(config) => value(&config.spec),
            Self::RecordingConfig(config) => value(&config.spec),
        }
    }
}

fn value(part: &impl Serialize) -> Value {
    serde_json::to_value(part).expect("resources are texts, numbers, lists and maps with text keys")
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// As strict as [`Resource::from_json`].
impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Resource::from_json(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
