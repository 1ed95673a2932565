//! Which certificates a lock hits, where OpenSSH could not tell by itself: it sees neither roles, nor copies of a bot, nor what they joined with. The
//! audit log has every certificate that was issued, and once a lock is in force no more are.

use crate::catalog::Found;
use crate::core::Core;
use crate::lifetime;
use access::resource::Lock;
use access::resource::lock::LockTarget;
use api::status::Problem;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::collections::HashMap;
use store::{Direction, EventFilter, Revision};
use tokio::sync::Mutex;

/// Clocks may have been set, and events may be late.
const SLACK: SignedDuration = SignedDuration::from_hours(1);
/// Locks remembered at once.
const MOST: usize = 1024;
/// Of all that a server is told of at once. More cannot be listed, and the server is locked.
pub const MOST_SERIALS: usize = 100_000;

/// The certificates for each lock that was asked about.
#[derive(Debug, Default)]
pub struct Revoked {
    known: Mutex<HashMap<(String, Revision), Hit>>,
}

/// What one lock hits.
#[derive(Debug)]
struct Hit {
    certificates: Vec<Certificate>,
    /// Otherwise there are more than may be told, and how many there are now is seen by looking again.
    whole: bool,
    made: Timestamp,
}

impl Hit {
    fn is_good(&self, now: Timestamp) -> bool {
        self.whole || now.duration_since(self.made) < SLACK
    }

    /// As many as there may be, and more, where there are too many.
    fn serials(&self, now: Timestamp) -> Vec<u64> {
        let told = self.certificates.iter().filter(|found| !self.whole || found.may_be_valid(now));
        told.map(|certificate| certificate.serial).collect()
    }
}

#[derive(Debug, Clone, Copy)]
struct Certificate {
    serial: u64,
    expires: Option<Timestamp>,
}

impl Certificate {
    /// The server's clock may be behind.
    fn may_be_valid(self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now.duration_since(expires) < SLACK)
    }
}

/// As much of an event as matters.
#[derive(Deserialize)]
struct Issued {
    cert_type: String,
    serial: u64,
    identity: About,
}

#[derive(Deserialize)]
struct About {
    #[serde(default)]
    expires: Option<Timestamp>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    bot_instance_id: Option<String>,
    #[serde(default)]
    join_token: Option<String>,
}

impl Revoked {
    /// The serial numbers of user certificates that may be valid and are hit by role, instance or join token; more than
    /// [`MOST_SERIALS`] where there are too many.
    pub(super) async fn by(&self, core: &Core, lock: &Found<Lock>) -> Result<Vec<u64>, Problem> {
        let name = (lock.value.metadata.name.clone(), lock.revision);
        let now = core.now();
        // Held meanwhile: all servers ask at the same moment, for the same.
        let mut known = self.known.lock().await;
        let hit = match known.remove(&name).filter(|hit| hit.is_good(now)) {
            Some(hit) => hit,
            None => look(core, &lock.value.spec.target).await?,
        };
        let serials = hit.serials(now);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(name, hit);
        Ok(serials)
    }
}

async fn look(core: &Core, target: &LockTarget) -> Result<Hit, Problem> {
    let longest = SignedDuration::try_from(lifetime::LONGEST).unwrap_or(SignedDuration::MAX) + SLACK;
    let now = core.now();
    let from = now.checked_sub(longest).ok();
    let mut filter = EventFilter {
        from,
        names: vec![crate::audit::kind::CERT_CREATE.event.to_owned()],
        direction: Direction::Ascending,
        ..EventFilter::default()
    };
    let mut certificates = Vec::new();
    loop {
        let found = core.audit().search(filter.clone()).await;
        let found = found.map_err(|error| crate::refusal::internal("the audit log cannot be read", error))?;
        let Some(last) = found.last() else { return Ok(Hit { certificates, whole: true, made: now }) };
        filter.after = Some(last.seq);
        let issued = found.iter().filter_map(|event| serde_json::from_str::<Issued>(&event.json).ok());
        let hit = issued.filter(|issued| issued.cert_type == "user" && hit(target, &issued.identity));
        let hit = hit.map(|issued| Certificate { serial: issued.serial, expires: issued.identity.expires });
        certificates.extend(hit.filter(|certificate| certificate.may_be_valid(now)));
        if certificates.len() > MOST_SERIALS {
            return Ok(Hit { certificates, whole: false, made: now });
        }
    }
}

fn hit(target: &LockTarget, about: &About) -> bool {
    let role = target.role.as_ref().is_some_and(|role| about.roles.contains(role));
    let instance = target.bot_instance_id.as_deref().zip(about.bot_instance_id.as_deref());
    let token = target.join_token.is_some() && target.join_token == about.join_token;
    role || token
        || instance.is_some_and(|(wanted, found)| {
            wanted.split_once('.').map_or(wanted, |(id, _)| id).eq_ignore_ascii_case(found)
        })
}

#[cfg(test)]
mod tests {
    use super::{About, Certificate, Hit, SLACK};
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn certificates_that_have_ended_are_left_out() {
        let event = r#"{"roles": ["ops"], "expires": "2026-01-01T00:00:00Z"}"#;
        let expires = serde_json::from_str::<About>(event).expect("of an event").expires;
        let ended = expires.expect("it says so");
        let certificates = vec![Certificate { serial: 1, expires }, Certificate { serial: 2, expires: None }];
        let hit = Hit { certificates, whole: true, made: Timestamp::UNIX_EPOCH };
        assert_eq!(hit.serials(ended), [1, 2], "clocks differ");
        let later = ended + SLACK;
        assert_eq!(hit.serials(later), [2]);
        assert!(hit.is_good(later));
        // Of too many those that end do not make few.
        let hit = Hit { whole: false, made: ended, ..hit };
        assert_eq!(hit.serials(later), [1, 2]);
        assert!(hit.is_good(later - SignedDuration::from_secs(1)) && !hit.is_good(later));
    }
}
