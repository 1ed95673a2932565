//! Certificate authorities as resources: public keys only.

use super::Metadata;
use serde::{Deserialize, Serialize};

/// The trusted keys of one authority. Version `v2`; private keys never appear in it.
#[derive(Debug, Clone, PartialEq)]
pub struct CertAuthority {
    /// Name is the cluster's; the kind of authority is [`CertAuthoritySpec::kind`].
    pub metadata: Metadata,
    /// The keys.
    pub spec: CertAuthoritySpec,
}

/// Which authority signs what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaKind {
    /// Signs hosts: auth, proxies, nodes.
    Host,
    /// Signs users and bots.
    User,
    /// Signs users towards stock sshd; SSH only.
    Openssh,
    /// Signs workloads: X.509-SVIDs and JWT-SVIDs. Nobody is let into the cluster by it.
    Spiffe,
}

impl CaKind {
    /// Every authority, in the order in which status lists them.
    pub const ALL: [CaKind; 4] = [Self::Host, Self::User, Self::Openssh, Self::Spiffe];
    /// Those by which members of the cluster know each other.
    pub const OF_MEMBERS: [CaKind; 3] = [Self::Host, Self::User, Self::Openssh];

    /// The word used in files and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::User => "user",
            Self::Openssh => "openssh",
            Self::Spiffe => "spiffe",
        }
    }
}

/// The public keys of an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertAuthoritySpec {
    /// `host`, `user`, `openssh` or `spiffe`.
    #[serde(rename = "type")]
    pub kind: CaKind,
    /// The cluster it belongs to.
    pub cluster_name: String,
    /// Sign now.
    pub active_keys: CaKeySet,
    /// Trusted beside them while a rotation is under way.
    #[serde(default)]
    pub additional_trusted_keys: CaKeySet,
    /// `standby` outside a rotation.
    #[serde(default)]
    pub rotation: Rotation,
}

/// Public keys of one generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaKeySet {
    /// OpenSSH public key lines.
    pub ssh: Vec<String>,
    /// PEM certificates.
    pub tls: Vec<String>,
    /// Public keys for JWT-SVIDs, in PEM.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jwt: Vec<String>,
}

/// Where a rotation stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// `standby`, `init`, `update_clients`, `update_servers`, `rollback`.
    pub phase: RotationPhase,
    /// When the last one was completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotated: Option<jiff::Timestamp>,
}

/// The phases of a rotation (fact sheet, section 3.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationPhase {
    /// None under way.
    #[default]
    Standby,
    /// The new key is trusted; the old one signs.
    Init,
    /// Clients get certificates of the new key.
    UpdateClients,
    /// Servers get certificates of the new key.
    UpdateServers,
    /// Back to the old key.
    Rollback,
}
