//! The policy that nodes and proxies decide by while auth is away: everything a decision needs, in one
//! document signed by the host authority.
//!
//! Whether a document is newer than the one in force is the caller's question: it keeps the revision.

use crate::Refusal;
use crate::ssh::key_blob;
use crate::trust::TrustBundle;
use access::ClusterName;
use access::resource::cluster::{AuthPreferenceSpec, NetworkingSpec, RecordingSpec};
use access::resource::{Lock, Resource, Role};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest payload that is read: thousands of roles.
pub const MAX_LENGTH: usize = 16 * 1024 * 1024;

/// Sets a policy's signature apart from every other use of the key; no SSH certificate begins like this.
const CONTEXT: &[u8] = b"postern policy statement v1\0";

/// What nodes and proxies decide by.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The cluster it is for.
    pub cluster: ClusterName,
    /// The store's revision that it was made from; a larger one is newer.
    pub revision: i64,
    /// When it was made.
    pub issued_at: Timestamp,
    /// The authorities.
    pub trust: TrustBundle,
    /// Every role that a certificate in force may name.
    pub roles: Vec<Role>,
    /// Locks in force.
    pub locks: Vec<Lock>,
    /// Keep-alives, time-outs, routing.
    pub networking: NetworkingSpec,
    /// Whether sessions are recorded.
    pub recording: RecordingSpec,
    /// How locks and expiry are enforced.
    pub auth_preference: AuthPreferenceSpec,
}

/// Why a document is not in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than any policy.
    #[error("the policy is {length} bytes long; at most {MAX_LENGTH} are read")]
    TooLarge {
        /// Its length.
        length: usize,
    },
    /// No host authority signed it.
    #[error("the policy is not signed by a host authority of this cluster: {0}")]
    Signature(Refusal),
    /// Signed, and not readable here.
    #[error("the policy cannot be read: {0}; upgrade this service")]
    Unreadable(String),
    /// Of another cluster.
    #[error("the policy is for the cluster {got}, not for {expected}")]
    OtherCluster {
        /// Whose it should be.
        expected: ClusterName,
        /// Whose it is.
        got: ClusterName,
    },
}

/// What is signed for a payload.
pub fn sign_statement(payload: &[u8]) -> Vec<u8> {
    [CONTEXT, payload].concat()
}

/// A policy as this version understands it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// What can be decided by.
    pub policy: Policy,
    /// The roles that it lacks, because auth is newer and says something in them that is not known here. Whoever has one
    /// of them is refused, since a role that is not there may be the one that denies.
    pub left_out: Vec<String>,
}

/// A policy with what others can verify it by themselves with.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// What it says.
    pub policy: std::sync::Arc<Policy>,
    /// As it was signed.
    pub payload: Vec<u8>,
    /// By a host authority.
    pub signature: Vec<u8>,
}

impl Signed {
    /// Whether it was signed by this authority (a public key as a blob of SSH).
    pub fn is_by(&self, authority: &[u8]) -> bool {
        key_blob::verify(authority, &sign_statement(&self.payload), &self.signature).is_ok()
    }
}

/// Checks the signature (an SSH signature blob over [`sign_statement`]) by any host authority, then reads. Only roles
/// may be left out; what cannot be read of anything else makes the whole unreadable.
pub fn open(payload: &[u8], signature: &[u8], trust: &TrustBundle) -> Result<Opened, PolicyError> {
    if payload.len() > MAX_LENGTH {
        return Err(PolicyError::TooLarge { length: payload.len() });
    }
    let statement = sign_statement(payload);
    let by = |key: &ssh_key::PublicKey| {
        let blob = key.to_bytes().map_err(|_| Refusal::Malformed("authority"))?;
        key_blob::verify(&blob, &statement, signature)
    };
    let mut outcome = Err(Refusal::UntrustedCa { authority: "host", signer: "nobody".to_owned() });
    for key in &trust.host.ssh {
        outcome = by(key);
        if outcome.is_ok() {
            break;
        }
    }
    outcome.map_err(PolicyError::Signature)?;
    let opened = Policy::from_json(payload)?;
    for got in [&opened.policy.cluster, &opened.policy.trust.cluster] {
        if *got != trust.cluster {
            return Err(PolicyError::OtherCluster { expected: trust.cluster.clone(), got: got.clone() });
        }
    }
    Ok(opened)
}

impl Policy {
    /// The payload.
    pub fn to_json(&self) -> Vec<u8> {
        let Policy {
            cluster,
            revision,
            issued_at,
            trust,
            roles,
            locks,
            networking,
            recording,
            auth_preference,
        } = self.clone();
        let wire = Wire {
            cluster,
            revision,
            issued_at,
            trust,
            roles: roles.iter().map(role_to_json).collect(),
            locks: locks.into_iter().map(Resource::Lock).collect(),
            networking,
            recording,
            auth_preference,
        };
        serde_json::to_vec(&wire).expect("resources are text, lists and numbers")
    }

    fn from_json(payload: &[u8]) -> Result<Opened, PolicyError> {
        let wire: Wire =
            serde_json::from_slice(payload).map_err(|error| PolicyError::Unreadable(error.to_string()))?;
        let Wire {
            cluster,
            revision,
            issued_at,
            trust,
            roles,
            locks,
            networking,
            recording,
            auth_preference,
        } = wire;
        let other = |kind| PolicyError::Unreadable(format!("something else stands among its {kind}"));
        let mut left_out = Vec::new();
        let mut known = Vec::with_capacity(roles.len());
        for role in roles {
            let name = named(&role);
            match Resource::from_json(role) {
                Ok(Resource::Role(role)) => known.push(*role),
                Ok(_) => return Err(other("roles")),
                Err(_) => left_out.push(name),
            }
        }
        let locks = locks.into_iter().map(|resource| match resource {
            Resource::Lock(lock) => Ok(lock),
            _ => Err(other("locks")),
        });
        let policy = Self {
            cluster,
            revision,
            issued_at,
            trust,
            roles: known,
            locks: locks.collect::<Result<_, _>>()?,
            networking,
            recording,
            auth_preference,
        };
        Ok(Opened { policy, left_out })
    }
}

fn role_to_json(role: &Role) -> Value {
    let resource = Resource::Role(Box::new(role.clone()));
    serde_json::to_value(resource).expect("resources are text, lists and numbers")
}

/// What a role is called, as far as it can be told.
fn named(role: &Value) -> String {
    let name = role.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("a role without a name");
    name.chars().take(128).collect()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    cluster: ClusterName,
    revision: i64,
    issued_at: Timestamp,
    trust: TrustBundle,
    /// Read one by one, so that one that is not understood does not take the others along.
    roles: Vec<Value>,
    locks: Vec<Resource>,
    networking: NetworkingSpec,
    recording: RecordingSpec,
    auth_preference: AuthPreferenceSpec,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::wire::put_string;
    use crate::trust::Authority;
    use access::resource::cert_authority::CaKind;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    struct Signer(Ed25519KeyPair);

    impl Signer {
        fn new() -> Self {
            Self(Ed25519KeyPair::generate().expect("a key"))
        }

        fn trust(&self) -> TrustBundle {
            use ssh_key::public::{Ed25519PublicKey, KeyData};
            let key = Ed25519PublicKey(self.0.public_key().as_ref().try_into().expect("32 bytes"));
            let key = ssh_key::PublicKey::from(KeyData::Ed25519(key));
            let mut trust = TrustBundle::empty(ClusterName::new("example.com").expect("a name"));
            trust.host = Authority { ssh: vec![key], tls: vec![] };
            trust.host.check(CaKind::Host).expect("an authority");
            trust
        }

        fn sign(&self, payload: &[u8]) -> Vec<u8> {
            let mut blob = Vec::new();
            put_string(&mut blob, b"ssh-ed25519");
            put_string(&mut blob, self.0.sign(&sign_statement(payload)).as_ref());
            blob
        }
    }

    fn policy(trust: TrustBundle) -> Policy {
        let role = serde_json::json!({
            "kind": "role", "version": "v7", "metadata": {"name": "ops"},
            "spec": {"allow": {"logins": ["root"], "node_labels": {"env": ["prod"]}}},
        });
        let lock = serde_json::json!({
            "kind": "lock", "version": "v2", "metadata": {"name": "out"}, "spec": {"target": {"user": "mallory"}},
        });
        let Ok(Resource::Role(role)) = Resource::from_json(role) else { panic!("a role") };
        let Ok(Resource::Lock(lock)) = Resource::from_json(lock) else { panic!("a lock") };
        Policy {
            cluster: trust.cluster.clone(),
            revision: 42,
            issued_at: Timestamp::from_second(1_800_000_000).expect("a time"),
            trust,
            roles: vec![*role],
            locks: vec![lock],
            networking: NetworkingSpec::default(),
            recording: RecordingSpec::default(),
            auth_preference: AuthPreferenceSpec::default(),
        }
    }

    #[test]
    fn a_signed_policy_comes_back() {
        let signer = Signer::new();
        let policy = policy(signer.trust());
        let payload = policy.to_json();
        let opened = Opened { policy, left_out: Vec::new() };
        assert_eq!(open(&payload, &signer.sign(&payload), &signer.trust()), Ok(opened));
    }

    #[test]
    fn only_the_host_authority_signs() {
        let (signer, stranger) = (Signer::new(), Signer::new());
        let payload = policy(signer.trust()).to_json();
        let refused = |payload: &[u8], signature: &[u8], trust: &TrustBundle| {
            matches!(open(payload, signature, trust), Err(PolicyError::Signature(_)))
        };
        assert!(refused(&payload, &stranger.sign(&payload), &signer.trust()));
        assert!(refused(&payload, &[], &signer.trust()));
        assert!(refused(&payload, &signer.sign(b"other"), &signer.trust()));
        assert!(refused(&payload, &signer.sign(&payload), &stranger.trust()));
        let mut empty = signer.trust();
        empty.host.ssh.clear();
        assert!(refused(&payload, &signer.sign(&payload), &empty));
    }

    #[test]
    fn another_clusters_policy_and_unknown_fields_are_refused() {
        let signer = Signer::new();
        let mut foreign = policy(signer.trust());
        foreign.cluster = ClusterName::new("other.com").expect("a name");
        let payload = foreign.to_json();
        let outcome = open(&payload, &signer.sign(&payload), &signer.trust());
        assert!(matches!(outcome, Err(PolicyError::OtherCluster { .. })));
        let payload = br#"{"unknown": 1}"#;
        let outcome = open(payload, &signer.sign(payload), &signer.trust());
        assert!(matches!(outcome, Err(PolicyError::Unreadable(_))));
    }
    #[test]
    fn a_role_of_a_newer_version_is_left_out_and_nothing_else_is() {
        let signer = Signer::new();
        let policy = policy(signer.trust());
        let changed = |change: fn(&mut Value)| {
            let mut json = serde_json::from_slice(&policy.to_json()).expect("json");
            change(&mut json);
            let payload = serde_json::to_vec(&json).expect("json");
            open(&payload, &signer.sign(&payload), &signer.trust())
        };
        let opened = changed(|json| {
            let mut newer = json["roles"][0].clone();
            newer["metadata"]["name"] = "newer".into();
            newer["spec"]["allow"]["moon_phase"] = "full".into();
            json["roles"].as_array_mut().expect("roles").insert(0, newer);
        });
        let opened = opened.expect("readable");
        assert_eq!((&opened.policy, opened.left_out), (&policy, vec!["newer".to_owned()]));
        for outcome in [
            changed(|json| json["locks"][0]["spec"]["moon_phase"] = "full".into()),
            changed(|json| json["trust"]["moon_phase"] = "full".into()),
            changed(|json| json["auth_preference"]["moon_phase"] = "full".into()),
            changed(|json| json["roles"][0] = json["locks"][0].clone()),
        ] {
            assert!(matches!(outcome, Err(PolicyError::Unreadable(_))), "{outcome:?}");
        }
    }
}
