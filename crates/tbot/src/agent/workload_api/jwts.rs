//! JWT-SVIDs for workloads that ask: each is an event in the cluster's audit log, so one that is still good for half of its
//! life is given out again, and asking has a pace.

use super::{Holding, Line};
use crate::agent::AgentError;
use crate::agent::workload::{self, Terms};
use crate::config::Svid;
use api::status::Class;
use api::v1::JwtSvid;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tonic::Status;

/// Their life, in seconds: they are shown to others, who could show them again.
const LIFE: u64 = 300;
/// Remembered at once.
const MOST: usize = 256;
/// Questions to auth at once.
const AT_ONCE: usize = 8;
/// Questions to auth in a row, and then in a second.
const BURST: f64 = 50.0;
const PACE: f64 = 10.0;

/// See the module.
pub(super) struct Jwts {
    line: Line,
    known: Mutex<HashMap<Key, (JwtSvid, Timestamp)>>,
    asking: Semaphore,
    bucket: Mutex<(f64, Instant)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: String,
    hint: String,
    roles: Vec<String>,
    audience: Vec<String>,
}

impl Jwts {
    pub(super) fn new(line: Line) -> Self {
        Self {
            line,
            known: Mutex::default(),
            asking: Semaphore::new(AT_ONCE),
            bucket: Mutex::new((BURST, Instant::now())),
        }
    }

    /// A JWT-SVID for each of these workloads.
    pub(super) async fn fetch(
        &self,
        holding: &Holding,
        svids: &[&Svid],
        audience: &[String],
    ) -> Result<Vec<JwtSvid>, Status> {
        let key = |svid: &Svid| Key {
            path: svid.path.to_string(),
            hint: svid.hint.clone(),
            roles: holding.terms.roles.clone(),
            audience: audience.to_vec(),
        };
        let now = Timestamp::now();
        let known: Vec<Option<JwtSvid>> = svids.iter().map(|svid| self.known(&key(svid), now)).collect();
        let missing: Vec<&Svid> =
            svids.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(svid, _)| *svid).collect();
        let mut fresh = match missing.is_empty() {
            true => Vec::new(),
            false => self.ask(&holding.terms, &missing, audience).await?,
        };
        for (svid, fresh) in missing.iter().zip(&fresh) {
            self.remember(key(svid), fresh, now);
        }
        let mut fresh = fresh.drain(..);
        Ok(known.into_iter().filter_map(|known| known.or_else(|| fresh.next())).collect())
    }

    async fn ask(&self, terms: &Terms, svids: &[&Svid], audience: &[String]) -> Result<Vec<JwtSvid>, Status> {
        if !self.paced() {
            return Err(Status::resource_exhausted(
                "too many JWT-SVIDs are asked for; try again in a second",
            ));
        }
        let place = self.asking.acquire().await.map_err(|_| Status::unavailable("the agent is stopping"))?;
        let terms = Terms { ttl_seconds: terms.ttl_seconds.min(LIFE), ..terms.clone() };
        let wanted: Vec<(&Svid, &[String])> = svids.iter().map(|svid| (*svid, audience)).collect();
        let mut asked = self.once(&terms, &wanted).await;
        // The agent renewed its own identity while this was under way.
        if matches!(&asked, Err(AgentError::Cluster { problem, .. }) if problem.code == "generation_stale") {
            asked = self.once(&terms, &wanted).await;
        }
        drop(place);
        asked.map_err(|error| {
            tracing::warn!(%error, "a workload got no JWT-SVID");
            match &error {
                AgentError::Cluster { problem, .. } if problem.class == Class::Denied => {
                    Status::permission_denied("the cluster does not allow it; the agent's log says why")
                }
                AgentError::Cluster { problem, .. } if problem.class == Class::Invalid => {
                    Status::invalid_argument(problem.reason.clone())
                }
                _ => Status::unavailable("the cluster cannot be asked now; try again"),
            }
        })
    }

    async fn once(&self, terms: &Terms, wanted: &[(&Svid, &[String])]) -> Result<Vec<JwtSvid>, AgentError> {
        let channel = self.line.channel().ok_or(AgentError::NoMember)?;
        Ok(workload::jwt(channel, terms, wanted).await?.0)
    }

    fn paced(&self) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *bucket;
        let left = (left + since.elapsed().as_secs_f64() * PACE).min(BURST);
        let enough = left >= 1.0;
        *bucket = (if enough { left - 1.0 } else { left }, Instant::now());
        enough
    }

    fn known(&self, key: &Key, now: Timestamp) -> Option<JwtSvid> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(_, fresh_until)| now < *fresh_until).map(|(svid, _)| svid.clone())
    }

    fn remember(&self, key: Key, svid: &JwtSvid, now: Timestamp) {
        let Ok(expires) = Timestamp::from_second(svid.expires) else { return };
        let Ok(left) = Duration::try_from(expires.duration_since(now)) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, fresh_until)| now < *fresh_until);
        if known.len() < MOST {
            known.insert(key, (svid.clone(), now + left / 2));
        }
    }
}
