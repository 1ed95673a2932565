//! Locks: refusals that come before every other decision (fact sheet, section 9).

use super::{Denial, DenialCode};
use crate::resource::Lock;
use crate::resource::lock::LockTarget;
use crate::{HostId, InstanceId, Login, RoleName, UserName};
use jiff::Timestamp;
use std::fmt;

/// Whom a lock may hit: everything known of a connection or a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct LockSubject<'a> {
    /// The user, `bot-<name>` for a bot.
    pub user: Option<&'a UserName>,
    /// The user's roles.
    pub roles: &'a [RoleName],
    /// The account, where one is asked for.
    pub login: Option<&'a Login>,
    /// The node.
    pub server_id: Option<HostId>,
    /// The copy of a bot.
    pub bot_instance_id: Option<InstanceId>,
    /// The token that it joins with.
    pub join_token: Option<&'a str>,
}

/// The first lock in force that hits the subject.
///
/// Like the incumbent's, a lock with several target fields hits whoever matches any one of them.
pub fn in_force<'l>(
    locks: impl IntoIterator<Item = &'l Lock>,
    subject: &LockSubject<'_>,
    now: Timestamp,
) -> Option<&'l Lock> {
    locks.into_iter().find(|lock| is_in_force(lock, now) && hits(&lock.spec.target, subject))
}

/// Whether the lock has not expired.
pub fn is_in_force(lock: &Lock, now: Timestamp) -> bool {
    let over = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
    !over(lock.spec.expires) && !over(lock.metadata.expires)
}

/// Whether a target hits the subject.
pub fn hits(target: &LockTarget, subject: &LockSubject<'_>) -> bool {
    let LockTarget { user, role, login, server_id, bot_instance_id, join_token } = target;
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_some() && wanted.as_deref() == found;
    is(user, subject.user.map(UserName::as_str))
        || is(login, subject.login.map(Login::as_str))
        || is(join_token, subject.join_token)
        || role.as_deref().is_some_and(|role| subject.roles.iter().any(|held| held.as_str() == role))
        || same_id(server_id, subject.server_id.map(|id| id.to_string()))
        || same_id(bot_instance_id, subject.bot_instance_id.map(|id| id.to_string()))
}

/// Ids in any case; a server's may stand with the cluster's name after it.
fn same_id(wanted: &Option<String>, found: Option<String>) -> bool {
    let (Some(wanted), Some(found)) = (wanted, found) else {
        return false;
    };
    let id = wanted.split_once('.').map_or(wanted.as_str(), |(id, _)| id);
    id.eq_ignore_ascii_case(&found)
}

impl Lock {
    /// What is said to whoever is refused.
    pub fn denial_text(&self) -> String {
        match self.spec.message.as_str() {
            "" => format!("lock targeting {} is in force", self.spec.target),
            message => format!("lock targeting {} is in force: {message}", self.spec.target),
        }
    }
}

impl From<&Lock> for Denial {
    fn from(lock: &Lock) -> Self {
        Denial::new(DenialCode::Locked, format!("{} (lock/{})", lock.denial_text(), lock.metadata.name))
    }
}

/// `User:"foo"`, the fields that are set one after the other.
impl fmt::Display for LockTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LockTarget { user, role, login, server_id, bot_instance_id, join_token } = self;
        let fields = [
            ("User", user),
            ("Role", role),
            ("Login", login),
            ("ServerID", server_id),
            ("BotInstanceID", bot_instance_id),
            ("JoinToken", join_token),
        ];
        let set = fields.iter().filter_map(|(name, value)| Some(format!("{name}:{:?}", value.as_ref()?)));
        f.write_str(&set.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::{LockSubject, in_force};
    use crate::rbac::{Denial, DenialCode};
    use crate::resource::{Lock, Resource};
    use crate::{HostId, InstanceId, Login, RoleName, UserName};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    const ID: &str = "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c";
    const OTHER: &str = "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3d";

    fn lock(target: Value) -> Lock {
        let value = json!({"kind": "lock", "version": "v2", "metadata": {"name": "l"},
            "spec": {"target": target, "message": "stolen", "expires": "2030-01-01T00:00:00Z"}});
        match Resource::from_json(value) {
            Ok(Resource::Lock(lock)) => lock,
            other => panic!("not a lock: {other:?}"),
        }
    }

    fn hit(target: Value) -> bool {
        let user = UserName::new("foo").expect("a name");
        let login = Login::new("root").expect("a login");
        let roles = [RoleName::new("a").expect("a name"), RoleName::new("b").expect("a name")];
        let subject = LockSubject {
            user: Some(&user),
            roles: &roles,
            login: Some(&login),
            server_id: Some(HostId(ID.parse().expect("an id"))),
            bot_instance_id: Some(InstanceId(ID.parse().expect("an id"))),
            join_token: Some("ci-runner"),
        };
        in_force([&lock(target)], &subject, Timestamp::UNIX_EPOCH).is_some()
    }

    #[test]
    fn every_target_hits_its_own_and_nothing_else() {
        for (target, expected) in [
            (json!({"user": "foo"}), true),
            (json!({"user": "fo"}), false),
            (json!({"role": "b"}), true),
            (json!({"role": "c"}), false),
            (json!({"login": "root"}), true),
            (json!({"login": "foo"}), false),
            (json!({"server_id": ID}), true),
            (json!({"server_id": ID.to_uppercase()}), true),
            (json!({"server_id": format!("{ID}.example.com")}), true),
            (json!({"node": ID}), true),
            (json!({"server_id": OTHER}), false),
            (json!({"bot_instance_id": ID}), true),
            (json!({"bot_instance_id": OTHER}), false),
            (json!({"join_token": "ci-runner"}), true),
            (json!({"join_token": "ci"}), false),
            (json!({"user": "other", "login": "root"}), true),
            (json!({"user": "other", "login": "other"}), false),
        ] {
            assert_eq!(hit(target.clone()), expected, "{target}");
        }
    }

    #[test]
    fn nobody_is_hit_by_what_is_not_known_of_them() {
        let locks = [lock(json!({"login": "root"})), lock(json!({"server_id": ID}))];
        assert_eq!(in_force(&locks, &LockSubject::default(), Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn a_lock_ends_at_its_expiry() {
        let user = UserName::new("foo").expect("a name");
        let subject = LockSubject { user: Some(&user), ..LockSubject::default() };
        let lock = lock(json!({"user": "foo"}));
        let end = lock.spec.expires.expect("expires");
        let before = end - jiff::SignedDuration::from_nanos(1);
        assert!(in_force([&lock], &subject, before).is_some());
        assert!(in_force([&lock], &subject, end).is_none());
        let mut removed = lock.clone();
        removed.spec.expires = None;
        removed.metadata.expires = Some(end);
        assert!(in_force([&removed], &subject, before).is_some());
        assert!(in_force([&removed], &subject, end).is_none());
        let forever =
            Lock { spec: crate::resource::lock::LockSpec { expires: None, ..lock.spec.clone() }, ..lock };
        assert!(in_force([&forever], &subject, Timestamp::MAX).is_some());
    }

    #[test]
    fn the_refusal_has_the_wording_that_people_search_for() {
        let denial = Denial::from(&lock(json!({"user": "foo"})));
        assert_eq!(denial.code, DenialCode::Locked);
        assert_eq!(denial.reason, "lock targeting User:\"foo\" is in force: stolen (lock/l)");
        assert!(denial.hint().contains("tctl get locks") && denial.hint().contains("tctl rm lock/NAME"));
        let mut silent = lock(json!({"login": "root", "role": "a"}));
        silent.spec.message.clear();
        assert_eq!(silent.denial_text(), "lock targeting Role:\"a\" Login:\"root\" is in force");
    }
}
