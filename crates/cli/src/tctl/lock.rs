//! `tctl lock`: a refusal that acts at once.

use super::session::Session;
use crate::Failure;
use access::Ttl;
use access::resource::lock::{LockSpec, LockTarget};
use access::resource::{Lock as LockResource, Metadata, Resource};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Arguments of `tctl lock`.
#[derive(Debug, Args)]
pub struct Lock {
    /// Whom it refuses.
    #[command(flatten)]
    pub target: Target,
    /// Shown to whoever is refused
    #[arg(long, default_value = "")]
    pub message: String,
    /// Until when.
    #[command(flatten)]
    pub end: End,
}

/// Exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// A user; bot-NAME for a whole bot
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Everybody who holds a role
    #[arg(long, value_name = "NAME")]
    pub role: Option<String>,
    /// An account, on every server
    #[arg(long, value_name = "NAME")]
    pub login: Option<String>,
    /// A server, by its id
    #[arg(long, alias = "node", value_name = "UUID")]
    pub server_id: Option<String>,
    /// One copy of a bot, by its id or as BOT/UUID
    #[arg(long, alias = "bot-instance-id", value_name = "UUID")]
    pub bot_instance: Option<String>,
    /// Whoever joins with a token, by its name
    #[arg(long, value_name = "NAME")]
    pub join_token: Option<String>,
}

/// When a lock ends; without either it stays until it is removed.
#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub struct End {
    /// How long it is in force, like 8h
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Ttl>,
    /// Until when it is in force, like 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Timestamp>,
}

#[derive(Serialize)]
struct Created {
    name: String,
    expires: Option<Timestamp>,
}

impl Lock {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Target { user, role, login, server_id, bot_instance, join_token } = self.target;
        let instance = |id: String| id.rsplit_once('/').map_or(id.clone(), |(_, id)| id.to_owned());
        let bot_instance_id = bot_instance.map(instance);
        let target = LockTarget { user, role, login, server_id, bot_instance_id, join_token };
        create(target, self.message, self.end, session).await
    }
}

/// Creates a lock and says its name.
pub(super) async fn create(
    target: LockTarget,
    message: String,
    end: End,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let expires = end.at(Timestamp::now())?;
    let name = uuid::Uuid::new_v4().to_string();
    let metadata = Metadata { name: name.clone(), ..Metadata::default() };
    let lock = LockResource { metadata, spec: LockSpec { target, message, expires } };
    // What the server would refuse is refused in the same words before it is asked.
    let checked = Resource::from_json(Resource::Lock(lock).to_json());
    let lock = checked.map_err(|invalid| Failure::usage(invalid.to_string()))?;
    session.resources()?.create(&lock).await?;
    let sentence = format!("Created a lock with name {name:?}.");
    session.tell(&Created { name, expires }, sentence)
}

impl End {
    fn at(&self, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
        let expires = match (self.ttl.and_then(Ttl::limit), self.expires) {
            (None, expires) => expires,
            (Some(ttl), _) => {
                let ttl = SignedDuration::try_from(ttl).ok();
                let at = ttl.and_then(|ttl| now.checked_add(ttl).ok());
                Some(at.ok_or_else(|| Failure::usage("--ttl is longer than time itself"))?)
            }
        };
        match expires.is_some_and(|at| at <= now) {
            true => Err(Failure::usage("the lock would end before it begins").hint("give a later --expires")),
            false => Ok(expires),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::End;
    use jiff::Timestamp;

    #[test]
    fn a_lock_ends_when_it_was_told_to() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().expect("a time");
        let end = |ttl: Option<&str>, expires: Option<&str>| End {
            ttl: ttl.map(|text| text.parse().expect("a duration")),
            expires: expires.map(|text| text.parse().expect("a time")),
        };
        let at = |text: &str| Ok(Some(text.parse().expect("a time")));
        assert_eq!(end(None, None).at(now), Ok(None));
        assert_eq!(end(Some("never"), None).at(now), Ok(None));
        assert_eq!(end(Some("90m"), None).at(now), at("2026-03-01T11:30:00Z"));
        assert_eq!(end(None, Some("2026-03-02T00:00:00+02:00")).at(now), at("2026-03-01T22:00:00Z"));
        assert!(end(None, Some("2026-03-01T10:00:00Z")).at(now).is_err());
        assert!(end(Some("2000000h"), None).at(now).is_ok());
    }
}
