//! Which certificates a lock hits, where OpenSSH could not tell by itself: it sees neither roles, nor copies of a bot, nor what they joined with. The
//! audit log has every certificate that was issued, and once a lock is in force no more are.

use crate::catalog::Found;
use crate::core::Core;
use crate::lifetime;
use access::resource::Lock;
use access::resource::lock::LockTarget;
use api::status::Problem;
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use store::{Direction, EventFilter, Revision};
use tokio::sync::Mutex;

/// Clocks may have been set, and events may be late.
const SLACK: SignedDuration = SignedDuration::from_hours(1);
/// Locks remembered at once.
const MOST: usize = 1024;

/// The serial numbers for each lock that was asked about.
#[derive(Debug, Default)]
pub struct Revoked {
    known: Mutex<HashMap<(String, Revision), Arc<Vec<u64>>>>,
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
    roles: Vec<String>,
    #[serde(default)]
    bot_instance_id: Option<String>,
    #[serde(default)]
    join_token: Option<String>,
}

impl Revoked {
    /// The serial numbers of user certificates that may be valid and are hit by role, instance or join token.
    pub(super) async fn by(&self, core: &Core, lock: &Found<Lock>) -> Result<Arc<Vec<u64>>, Problem> {
        let name = (lock.value.metadata.name.clone(), lock.revision);
        // Held meanwhile: all servers ask at the same moment, for the same.
        let mut known = self.known.lock().await;
        if let Some(serials) = known.get(&name) {
            return Ok(serials.clone());
        }
        let serials = Arc::new(look(core, &lock.value.spec.target).await?);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(name, serials.clone());
        Ok(serials)
    }
}

async fn look(core: &Core, target: &LockTarget) -> Result<Vec<u64>, Problem> {
    let longest = SignedDuration::try_from(lifetime::LONGEST).unwrap_or(SignedDuration::MAX) + SLACK;
    let from = core.now().checked_sub(longest).ok();
    let mut filter = EventFilter {
        from,
        names: vec![crate::audit::kind::CERT_CREATE.event.to_owned()],
        direction: Direction::Ascending,
        ..EventFilter::default()
    };
    let mut serials = Vec::new();
    loop {
        let found = core.audit().search(filter.clone()).await;
        let found = found.map_err(|error| crate::refusal::internal("the audit log cannot be read", error))?;
        let Some(last) = found.last() else { return Ok(serials) };
        filter.after = Some(last.seq);
        for event in &found {
            let Ok(issued) = serde_json::from_str::<Issued>(&event.json) else { continue };
            if issued.cert_type == "user" && hit(target, &issued.identity) {
                serials.push(issued.serial);
            }
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
