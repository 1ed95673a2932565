//! How long certificates live (fact sheet on machine identities, section 6.4). Pure.

use access::Ttl;
use access::rbac::{RoleSet, certificate};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// What a bot gets that asks for nothing.
const BOT_DEFAULT: Duration = HOUR;
/// What a bot, or an output of one, gets at most.
const BOT_MOST: Duration = Duration::from_secs(24 * 3600);
/// What a user gets at most.
const USER_MOST: Duration = Duration::from_secs(30 * 3600);

/// No bot has a certificate for longer, but that of an SSH server.
pub const LONGEST_OF_BOT: Duration = BOT_MOST;

/// No user or bot has a certificate for longer.
pub const LONGEST: Duration = USER_MOST;

/// A bot's own identity.
pub fn of_bot(requested_seconds: u64, max_session_ttl: Ttl) -> Duration {
    let most = max_session_ttl.limit().map_or(BOT_MOST, |limit| limit.min(BOT_MOST));
    requested(requested_seconds, BOT_DEFAULT).min(most)
}

/// An output of a bot with these roles.
pub fn of_output(requested_seconds: u64, roles: &RoleSet) -> Duration {
    certificate::max_ttl(roles, requested(requested_seconds, BOT_DEFAULT).min(BOT_MOST))
}

/// An SSH server that a bot looks after: as long as a host of the cluster at most, whatever roles say of sessions.
pub fn of_ssh_server(requested_seconds: u64) -> Duration {
    requested(requested_seconds, BOT_DEFAULT).min(ca::HOST_LIFETIME)
}

/// A document for a workload, from a bot with these roles.
pub fn of_svid(requested_seconds: u64, roles: &RoleSet) -> Duration {
    of_output(requested_seconds, roles)
}

/// A user with these roles.
pub fn of_user(requested_seconds: u64, cluster_default: Ttl, roles: &RoleSet) -> Duration {
    let default = cluster_default.limit().unwrap_or(USER_MOST);
    certificate::max_ttl(roles, requested(requested_seconds, default).min(USER_MOST))
}

fn requested(seconds: u64, default: Duration) -> Duration {
    match seconds {
        0 => default,
        seconds => Duration::from_secs(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::{of_bot, of_output, of_user};
    use access::rbac::RoleSet;
    use access::resource::{Resource, Role};
    use access::{Traits, Ttl, UserName};
    use serde_json::json;
    use std::time::Duration;

    const HOUR: u64 = 3600;

    fn hours(duration: Duration) -> u64 {
        assert_eq!(duration.as_secs() % HOUR, 0);
        duration.as_secs() / HOUR
    }

    fn role(name: &str, max: &str) -> Role {
        let value = json!({"kind": "role", "version": "v7", "metadata": {"name": name},
            "spec": {"options": {"max_session_ttl": max}}});
        match Resource::from_json(value) {
            Ok(Resource::Role(role)) => *role,
            other => panic!("not a role: {other:?}"),
        }
    }

    fn roles(max: &[&str]) -> RoleSet {
        let roles: Vec<Role> = max.iter().enumerate().map(|(n, max)| role(&format!("r{n}"), max)).collect();
        RoleSet::new(&UserName::new("u").expect("a name"), &roles, &Traits::default())
    }

    #[test]
    fn bots_get_an_hour_and_at_most_their_own_limit() {
        let twelve = Ttl::from_secs(12 * HOUR);
        for (requested, max, expected) in [
            (0, twelve, 1),
            (2, twelve, 2),
            (48, twelve, 12),
            (48, Ttl::from_secs(48 * HOUR), 24),
            (48, Ttl::NEVER, 24),
        ] {
            assert_eq!(hours(of_bot(requested * HOUR, max)), expected, "{requested} {max}");
        }
        assert_eq!(of_bot(u64::MAX, twelve), Duration::from_secs(12 * HOUR));
    }

    #[test]
    fn outputs_get_what_the_shortest_role_allows() {
        for (requested, max, expected) in
            [(0, &["30h"][..], 1), (20, &["30h"], 20), (48, &["30h"], 24), (20, &["30h", "8h", "9h"], 8)]
        {
            assert_eq!(hours(of_output(requested * HOUR, &roles(max))), expected, "{requested} {max:?}");
        }
    }

    #[test]
    fn ssh_servers_get_a_week_at_most() {
        for (requested, expected) in [(0, 1), (2, 2), (24 * 30, 24 * 7)] {
            assert_eq!(hours(super::of_ssh_server(requested * HOUR)), expected, "{requested}");
        }
    }

    #[test]
    fn users_get_the_clusters_default() {
        let twelve = Ttl::from_secs(12 * HOUR);
        for (requested, max, expected) in [(0, "30h", 12), (0, "8h", 8), (29, "30h", 29), (999, "30h", 30)] {
            assert_eq!(
                hours(of_user(requested * HOUR, twelve, &roles(&[max]))),
                expected,
                "{requested} {max}"
            );
        }
    }
}
