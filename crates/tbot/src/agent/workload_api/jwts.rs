//! JWT-SVIDs for workloads that ask: each is an event in the cluster's audit log, so one that is still good for half of its
//! life is given out again, and asking has a pace, for each user by itself.

use super::callers::{Caller, Callers, Key};
use super::{Holding, Line};
use crate::agent::AgentError;
use crate::agent::issue;
use crate::agent::workload::{self, Terms};
use crate::config::Svid;
use api::status::Class;
use api::v1::JwtSvid;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tonic::Status;

/// Their life, in seconds: they are shown to others, who could show them again.
const LIFE: u64 = 300;
/// Questions to auth at once, of all users.
const AT_ONCE: usize = 8;
/// What a workload waits at most.
const ANSWER: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Jwts {
    line: Line,
    callers: Callers,
    asking: Semaphore,
}

impl Jwts {
    pub(super) fn new(line: Line) -> Self {
        Self { line, callers: Callers::new(Instant::now()), asking: Semaphore::new(AT_ONCE) }
    }

    /// A JWT-SVID for each of these workloads, which this user is.
    pub(super) async fn fetch(
        &self,
        uid: u32,
        holding: &Holding,
        svids: &[&Svid],
        audience: &[String],
    ) -> Result<Vec<JwtSvid>, Status> {
        let caller = self.callers.of(uid, Instant::now());
        let key = |svid: &Svid| Key {
            path: svid.path.to_string(),
            hint: svid.hint.clone(),
            roles: holding.terms.roles.clone(),
            audience: audience.to_vec(),
            trust: holding.trust.revision,
        };
        let now = Timestamp::now();
        let known: Vec<Option<JwtSvid>> = svids.iter().map(|svid| caller.known(&key(svid), now)).collect();
        let missing: Vec<&Svid> =
            svids.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(svid, _)| *svid).collect();
        let mut fresh = match missing.is_empty() {
            true => Vec::new(),
            false => self.ask(&caller, &holding.terms, &missing, audience).await?,
        };
        for (svid, fresh) in missing.iter().zip(&fresh) {
            caller.remember(key(svid), fresh, now);
        }
        let mut fresh = fresh.drain(..);
        Ok(known.into_iter().filter_map(|known| known.or_else(|| fresh.next())).collect())
    }

    async fn ask(
        &self,
        caller: &Caller,
        terms: &Terms,
        svids: &[&Svid],
        audience: &[String],
    ) -> Result<Vec<JwtSvid>, Status> {
        if !caller.may_ask(Instant::now()) {
            return Err(Status::resource_exhausted(
                "too many JWT-SVIDs are asked for; try again in a second",
            ));
        }
        let asked = tokio::time::timeout(ANSWER, self.asked(caller, terms, svids, audience)).await;
        let asked = asked.map_err(|_| Status::unavailable("the cluster does not answer; try again"))?;
        asked.map_err(|error| {
            tracing::warn!(%error, "a workload got no JWT-SVID");
            match &*error {
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

    async fn asked(
        &self,
        caller: &Caller,
        terms: &Terms,
        svids: &[&Svid],
        audience: &[String],
    ) -> Result<Vec<JwtSvid>, Arc<AgentError>> {
        // Nobody closes them.
        let _own = caller.asking.acquire().await;
        let _place = self.asking.acquire().await;
        let terms = Terms { ttl_seconds: terms.ttl_seconds.min(LIFE), ..terms.clone() };
        let mut is_stale = false;
        loop {
            let error = match self.once(&terms, svids, audience).await {
                Ok(svids) => return Ok(svids),
                Err(error) => error,
            };
            match (&*error, error.asked_pause()) {
                // The agent renewed its own identity while this was under way.
                (AgentError::Cluster { problem, .. }, _)
                    if problem.code == "generation_stale" && !is_stale =>
                {
                    is_stale = true;
                }
                // Auth has too much to do and says when to come back; what a workload waits has its end.
                (_, Some(pause)) if error.is_put_off() => tokio::time::sleep(pause).await,
                _ => return Err(error),
            }
        }
    }

    async fn once(
        &self,
        terms: &Terms,
        svids: &[&Svid],
        audience: &[String],
    ) -> Result<Vec<JwtSvid>, Arc<AgentError>> {
        let channel = self.line.channel().ok_or(AgentError::NoMember)?;
        let wishes = svids.iter().map(|svid| terms.jwt(svid, audience)).collect();
        let mut given = issue::together(channel, vec![wishes])
            .await
            .pop()
            .unwrap_or_else(|| Err(issue::too_few().into()))?;
        svids.iter().map(|_| workload::jwt(&mut given).map_err(Arc::new)).collect()
    }
}
