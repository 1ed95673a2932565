//! What every service stands on.

use crate::arm::ResourceManager;
use crate::attempts::Attempts;
use crate::audit::{AuditLog, Event, UserKind};
use crate::caller::{Caller, Who};
use crate::catalog::Catalog;
use crate::issuer::{Certificates, Issuer};
use crate::issuers::Issuers;
use crate::kubernetes::Reviews;
use crate::metrics::Metrics;
use crate::pacing::{Budgets, Pacing, Spender, Spending};
use crate::policy::Policies;
use crate::presence::Presence;
use crate::sts::Sts;
use crate::tokens::Tokens;
use crate::turnstile::{Inside, Turnstile};
use access::ClusterName;
use access::spiffe::TokenIssuer;
use api::status::{Class, Problem};
use identity::{Identity, Subject};
use jiff::Timestamp;
use join::ChallengeKey;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::NewRecord;

/// The code of a budget that is spent.
const TOO_MANY: &str = "too_many_certificates";

/// One running auth service.
pub struct Core {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its state.
    pub catalog: Arc<Catalog>,
    /// Its authorities.
    pub issuer: Issuer,
    /// What JWT-SVIDs say of who issued them.
    pub workload_issuer: Option<TokenIssuer>,
    /// Its join tokens.
    pub tokens: Arc<Tokens>,
    /// Makes challenges for joiners.
    pub challenges: ChallengeKey,
    /// How often strangers may be wrong.
    pub pacing: Pacing,
    /// What each member may have in an hour.
    pub budgets: Budgets,
    /// How many calls of members that end in certificates are worked on at once.
    pub renewals: Turnstile,
    /// How many joins are worked on at once.
    pub joins: Turnstile,
    /// The keys of those who vouch for joiners.
    pub issuers: Issuers,
    /// Says who signed requests to it.
    pub sts: Sts,
    /// Says where machines of Azure are.
    pub arm: ResourceManager,
    /// The Kubernetes cluster that this runs in.
    pub kubernetes: Option<Reviews>,
    /// Joiners that were refused.
    pub attempts: Attempts,
    /// Which hosts are connected.
    pub presence: Arc<Presence>,
    /// What nodes and proxies decide by.
    pub policies: Policies,
    /// What is counted.
    pub metrics: Metrics,
}

impl Core {
    /// A call that costs much comes to its turnstile. Only when it is there as a whole: nobody holds a place by sending slowly.
    pub fn enter(&self, turnstile: &Turnstile, caller: &Caller) -> Result<Inside, Problem> {
        turnstile.enter(caller.spender(), Instant::now()).inspect_err(|_| self.metrics.put_off())
    }

    /// Spends so many certificates of what the caller may have. Of those it does not get, the audit log says so: no agent needs
    /// that many.
    pub async fn spend(&self, of: &Spending, caller: &Caller, amount: usize) -> Result<(), Problem> {
        let who = caller.spender().filter(|who| amount > 0 && !matches!(who, Spender::LocalAdmin(_)));
        let Some(who) = who else { return Ok(()) };
        let Err((pause, _)) = of.spend(&who, amount, self.now()) else { return Ok(()) };
        let reason = format!(
            "{} has had as many certificates as one identity may have: {} at once, then {} in an hour",
            caller.name(),
            of.most(),
            of.per_hour(),
        );
        let event = caller.describe(Event::new(crate::audit::kind::CERT_DENIED));
        self.tell_refusal(caller, event.with("reason", TOO_MANY).failed(&reason)).await;
        let problem = Problem::new(Class::Exhausted, TOO_MANY, reason).again_in(pause);
        Err(problem.hint("an agent needs far fewer: see who else uses this identity, and lock it (tctl lock) if somebody does"))
    }

    /// Keeps an event that says no to the caller, in moderation; a refusal stays a refusal when it cannot be kept.
    pub async fn tell_refusal(&self, caller: &Caller, event: Event) {
        if let Err(error) = self.catalog.tell_refusal(caller.spender(), event).await {
            tracing::error!(%error, "a refusal could not be recorded");
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.catalog.now()
    }

    /// The audit log.
    pub fn audit(&self) -> &AuditLog {
        &self.catalog.audit
    }

    /// Whom to trust for workloads, as it is answered.
    pub fn workload_trust(&self) -> api::v1::WorkloadTrust {
        api::convert::workload_trust_message(self.issuer.workload_trust(), self.workload_issuer.as_ref())
    }

    /// The event that says that certificates were issued; committed before they are released.
    pub fn issued(&self, caller: &Caller, identity: &Identity, certificates: &Certificates) -> NewRecord {
        let event = caller.locate(Event::new(crate::audit::kind::CERT_CREATE));
        let described = match &identity.subject {
            Subject::User(user) => event.with("cert_type", "user").with(
                "identity",
                json!({
                    "user": user.name, "roles": user.roles, "logins": user.logins,
                    "expires": certificates.expires(), "teleport_cluster": identity.cluster,
                    "bot_name": user.bot.as_ref().map(|bot| &bot.name),
                    "bot_instance_id": user.bot.as_ref().map(|bot| bot.instance),
                    "join_token": user.bot.as_ref().and_then(|bot| bot.join_token.as_ref()),
                    "generation": user.bot.as_ref().and_then(|bot| bot.generation),
                    "impersonator": user.impersonator, "renewable": user.renewable,
                    "disallow_reissue": user.disallow_reissue,
                }),
            ),
            Subject::Host(host) => event.with("cert_type", "host").with(
                "identity",
                json!({
                    "host_id": host.id, "role": host.role, "names": host.names,
                    "expires": certificates.expires(), "teleport_cluster": identity.cluster,
                }),
            ),
        };
        let described = described.with("serial", certificates.serial());
        // A joiner is what it becomes.
        let described = match &caller.who {
            Who::Stranger => {
                let name = name_of(identity);
                described.user(&name, UserKind::Bot).with("requested_by", name)
            }
            _ => described.with("requested_by", caller.name()),
        };
        self.audit().record(described)
    }

    /// Says in the log that a certificate ends sooner than was asked for. Who asked sees it in the certificate.
    pub fn note_shorter(&self, caller: &Caller, requested_seconds: u64, lifetime: Duration) {
        if is_shorter(requested_seconds, lifetime) {
            let (caller, given) = (caller.name(), lifetime.as_secs());
            tracing::info!(
                caller,
                requested_seconds,
                given,
                "a certificate is shorter than was asked for: see max_session_ttl of the bot and of the roles; what an \
                 identity gets that cannot renew itself ends with it"
            );
        }
    }

    /// Keeps an event that stands alone; a refusal stays a refusal when it cannot be kept.
    pub async fn note(&self, event: Event) {
        if let Err(error) = self.audit().emit(event).await {
            self.catalog.writes.failed(&error);
            tracing::error!(%error, "an event could not be recorded");
        }
    }

    /// Waits until the view shows a revision, so that who was answered sees the change in what comes next. Late is no
    /// failure: the change is durable and on its way.
    pub async fn settled(&self, revision: store::Revision) {
        let mut changes = self.catalog.changes();
        let seen = changes.wait_for(|seen| *seen >= revision);
        let _ = tokio::time::timeout(Duration::from_millis(500), seen).await;
    }
}

/// As a caller with that identity is called.
fn name_of(identity: &Identity) -> String {
    match &identity.subject {
        Subject::User(user) => user.name.to_string(),
        Subject::Host(host) => format!("{}/{}", host.role.as_str().to_ascii_lowercase(), host.id),
    }
}

/// By more than the moments between a certificate and one that must not outlive it.
fn is_shorter(requested_seconds: u64, given: Duration) -> bool {
    requested_seconds.saturating_sub(given.as_secs()) > 60
}

#[cfg(test)]
mod tests {
    use super::is_shorter;
    use std::time::Duration;

    #[test]
    fn moments_are_not_told() {
        for (requested, given, told) in
            [(3600, 3599, false), (3600, 3600, false), (0, 3600, false), (7200, 3600, true)]
        {
            assert_eq!(is_shorter(requested, Duration::from_secs(given)), told, "{requested} {given}");
        }
    }
}
