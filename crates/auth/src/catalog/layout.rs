//! Where things are in the store. Every key is made here, so that two kinds can never share a place.
//!
//! What decisions are made from (roles, users, bots, locks, settings) lies under one prefix and is small; it is
//! followed by one watch. What is many or changes often (tokens, hosts, instances) lies outside and is read.

use access::resource::Kind;
use access::{BotName, HostId, InstanceId, SystemRole};
use join::{AttemptId, TokenHash};
use store::{Key, KeyError};

/// The prefix of everything that decisions are made from.
pub fn state() -> Key {
    fixed("/state")
}

/// The prefix of all resources of a kind; a setting's own place for the kinds of which there is one.
pub fn kind(kind: Kind) -> Key {
    fixed(match kind {
        Kind::Role => "/state/roles",
        Kind::User => "/state/users",
        Kind::Bot => "/state/bots",
        Kind::Lock => "/state/locks",
        Kind::ClusterAuthPreference => "/state/settings/auth_preference",
        Kind::ClusterNetworkingConfig => "/state/settings/networking",
        Kind::SessionRecordingConfig => "/state/settings/recording",
        Kind::Token => "/tokens",
        Kind::Node => "/nodes",
        Kind::BotInstance => "/bot_instances",
        Kind::CertAuthority => "/authorities",
    })
}

/// The place of a resource by its name. Tokens have none: see [`token`].
pub fn resource(of: Kind, name: &str) -> Result<Key, KeyError> {
    match of {
        Kind::BotInstance => match name.split_once('/') {
            Some((bot, instance)) => kind(of).child(bot)?.child(instance),
            None => kind(of).child(name),
        },
        Kind::ClusterAuthPreference | Kind::ClusterNetworkingConfig | Kind::SessionRecordingConfig => {
            Ok(kind(of))
        }
        _ => kind(of).child(name),
    }
}

/// Written with every change to a lock: a transaction that expects it unchanged knows that no lock was added.
pub fn lock_epoch() -> Key {
    fixed("/state/lock_epoch")
}

/// Written with every change to what a user or bot refers to: a transaction that expects it unchanged knows that no
/// reference to a role was added.
pub fn references_epoch() -> Key {
    fixed("/references_epoch")
}

/// What the cluster is called since its first start.
pub fn cluster() -> Key {
    fixed("/cluster")
}

/// Written to see whether the store takes writes.
pub fn probe() -> Key {
    fixed("/probe")
}

/// The sealed authorities.
pub fn authorities() -> Key {
    fixed("/authorities")
}

/// A token, by the hash of its name.
pub fn token(hash: TokenHash) -> Key {
    below(kind(Kind::Token), &hash.to_string())
}

/// The uses of a token, by attempt.
pub fn claim(token: TokenHash, attempt: AttemptId) -> Key {
    below(below(fixed("/claims"), &token.to_string()), &attempt.to_string())
}

/// What is left of a token, by the hash of its name.
pub fn token_trace(token: TokenHash) -> Key {
    below(fixed("/token_traces"), &token.to_string())
}

/// All instances of a bot.
pub fn instances(bot: &BotName) -> Key {
    below(kind(Kind::BotInstance), bot.as_str())
}

/// One instance of a bot.
pub fn instance(bot: &BotName, instance: InstanceId) -> Key {
    below(instances(bot), &instance.to_string())
}

/// A node's record.
pub fn node(id: HostId) -> Key {
    below(kind(Kind::Node), &id.to_string())
}

/// All enrolled hosts.
pub fn hosts() -> Key {
    fixed("/hosts")
}

/// The enrolments of a host, one for each role.
pub fn host_roles(id: HostId) -> Key {
    below(hosts(), &id.to_string())
}

/// The enrolment of a host in one role.
pub fn host(id: HostId, role: SystemRole) -> Key {
    below(host_roles(id), role.as_str())
}

/// Who holds a subject key, by its fingerprint.
pub fn subject_key(fingerprint: &str) -> Key {
    let hex: String = fingerprint.bytes().map(|byte| format!("{byte:02x}")).collect();
    below(fixed("/subject_keys"), &hex)
}

/// Which hosts have which DNS names.
pub fn host_names() -> Key {
    fixed("/host_names")
}

/// Which host of a role has a DNS name.
pub fn host_name(role: SystemRole, name: &str) -> Result<Key, KeyError> {
    below(host_names(), role.as_str()).child(&name.to_ascii_lowercase())
}

fn fixed(text: &str) -> Key {
    Key::new(text).expect("a literal key is well formed")
}

fn below(key: Key, segment: &str) -> Key {
    key.child(segment).expect("hex, UUIDs and checked names are single segments")
}

#[cfg(test)]
mod tests {
    use super::{kind, resource, state, subject_key};
    use access::resource::Kind;

    #[test]
    fn a_name_from_outside_stays_within_its_kind() {
        for of in [Kind::Role, Kind::User, Kind::Bot, Kind::Lock, Kind::Node, Kind::BotInstance] {
            for name in ["x", "x/y", "x/y/z", "../x", "/", "", "//", "é", "\n"] {
                if let Ok(key) = resource(of, name) {
                    assert!(key.is_under(&kind(of)) && key != kind(of), "{of} {name:?}");
                }
            }
        }
    }

    #[test]
    fn what_decisions_are_made_from_is_under_one_prefix() {
        let followed = Kind::all().filter(|of| kind(*of).is_under(&state()));
        let expected = [
            Kind::Role,
            Kind::User,
            Kind::Bot,
            Kind::Lock,
            Kind::ClusterAuthPreference,
            Kind::ClusterNetworkingConfig,
            Kind::SessionRecordingConfig,
        ];
        assert_eq!(followed.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn fingerprints_with_slashes_are_one_segment() {
        assert!(subject_key("SHA256:a/b+c").as_str().rsplit('/').next().is_some_and(|hex| hex.len() == 24));
    }
}
