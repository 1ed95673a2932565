//! `CertificateService`: certificates for those who already have one.
//!
//! What comes out is never wider than what came in: not in roles, time, address or generation. Every certificate is
//! in the audit log, durably, before it leaves; and the commit that puts it there expects everything that it was
//! decided by (the bot, its roles, the locks) to be unchanged.

mod bot;
mod certificate;
mod host;
mod incident;
mod issuing;
mod outputs;
mod ssh_host;
mod svids;
mod user;

pub use bot::{Renewing, Stop};
pub use host::mismatch as host_mismatch;
pub use incident::{Incident, Sighting, Sightings, Whose, lock_name};
pub(super) use issuing::Issuing;
pub(super) use ssh_host::{KEPT_BY, held, id_of, kept_by};

use crate::audit::{Event, kind};
use crate::caller::{Caller, OwnBot, User, Who};
use crate::catalog::Reads;
use crate::core::Core;
use crate::enrol::instance::Instance;
use crate::enrol::lineage::Presented;
use crate::refusal;
use api::status::{Class, Problem};
use api::v1;
use api::v1::certificate_service_server::CertificateService;
use async_trait::async_trait;
use std::sync::Arc;
use store::{Revision, Txn};
use tonic::{Request, Response, Status};

/// The service.
pub struct Certificates {
    core: Arc<Core>,
}

impl Certificates {
    /// Over a running auth.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl CertificateService for Certificates {
    async fn renew_bot(
        &self,
        request: Request<v1::RenewBotRequest>,
    ) -> Result<Response<v1::RenewBotResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let _inside = self.core.enter(&self.core.renewals, &caller)?;
        let credentials = bot::renew(&self.core, &caller, request.get_ref()).await?;
        Ok(Response::new(v1::RenewBotResponse { credentials: Some(credentials) }))
    }

    async fn confirm_renewal(
        &self,
        request: Request<v1::ConfirmRenewalRequest>,
    ) -> Result<Response<v1::ConfirmRenewalResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        match &caller.who {
            Who::Host(bearer) => host::confirm(&self.core, bearer).await?,
            _ => bot::confirm(&self.core, &caller).await?,
        }
        Ok(Response::new(v1::ConfirmRenewalResponse {}))
    }

    async fn issue_outputs(
        &self,
        request: Request<v1::IssueOutputsRequest>,
    ) -> Result<Response<v1::IssueOutputsResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let _inside = self.core.enter(&self.core.renewals, &caller)?;
        self.core.metrics.output_call();
        Ok(Response::new(outputs::issue(&self.core, &caller, &request.get_ref().outputs).await?))
    }

    async fn renew_host(
        &self,
        request: Request<v1::RenewHostRequest>,
    ) -> Result<Response<v1::RenewHostResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let _inside = self.core.enter(&self.core.renewals, &caller)?;
        let credentials = host::renew(&self.core, &caller, request.get_ref()).await?;
        Ok(Response::new(v1::RenewHostResponse { credentials: Some(credentials) }))
    }

    async fn sign_user(
        &self,
        request: Request<v1::SignUserRequest>,
    ) -> Result<Response<v1::SignUserResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let _inside = self.core.enter(&self.core.renewals, &caller)?;
        let credentials = user::sign(&self.core, &caller, request.get_ref()).await?;
        Ok(Response::new(v1::SignUserResponse { credentials: Some(credentials) }))
    }
}

/// The instance of a bot that calls, with what its certificate says.
#[derive(Clone)]
pub struct Bearer<'a> {
    user: &'a User,
    /// Which instance of which bot.
    pub bot: OwnBot<'a>,
    fingerprint: String,
}

impl<'a> Bearer<'a> {
    /// Of a caller that is one.
    pub fn of(caller: &'a Caller) -> Result<Self, Problem> {
        let Who::User(user) = &caller.who else { return Err(not_a_bot()) };
        let bot = user.own_bot().ok_or_else(not_a_bot)?;
        Ok(Self { user, bot, fingerprint: user.key.fingerprint() })
    }

    /// Its key.
    pub fn key(&self) -> &identity::key::PublicKey {
        &self.user.key
    }

    fn presented(&self) -> Presented<'_> {
        Presented { number: self.bot.generation, key: &self.fingerprint }
    }

    /// The record of the instance, from the store.
    pub async fn instance(&self, core: &Core) -> Result<(Instance, Revision), Problem> {
        let key = crate::catalog::layout::instance(self.bot.name, self.bot.instance);
        let Some(entry) = core.catalog.read(&key).await? else {
            let reason =
                format!("bot instance {}/{} is no longer enrolled", self.bot.name, self.bot.instance);
            return Err(Problem::new(Class::Denied, "instance_unknown", reason)
                .hint("join again, with a new token if it came from one: tctl bots instances add"));
        };
        Ok((Instance::read(&entry)?, entry.revision))
    }
}

/// The table lets only bots through; this says the same to whoever comes another way.
fn not_a_bot() -> Problem {
    Problem::new(Class::Denied, "wrong_role", "only the own identity of a bot may call this")
}

/// Keeps a refusal of certificates, in moderation, unless it may pass by itself.
async fn refused(core: &Core, caller: &Caller, problem: &Problem) {
    refused_names(core, caller, problem, &[]).await;
}

/// The same of a host's certificate, with the names that were asked for.
async fn refused_names(core: &Core, caller: &Caller, problem: &Problem, names: &[String]) {
    if problem.class.is_transient() {
        return;
    }
    let event = match names {
        [] => Event::new(kind::CERT_DENIED),
        names => {
            // Anybody's, until they were checked.
            let names = names.iter().take(64).map(|name| name.chars().take(255).collect::<String>());
            Event::new(kind::CERT_DENIED).with("names", names.collect::<Vec<_>>())
        }
    };
    let event = caller.describe(event).with("reason", problem.code.as_str());
    core.tell_refusal(caller, event.failed(&problem.reason)).await;
}

/// Something that is issued on the strength of what the cluster says now.
#[async_trait]
trait Plan: Sync {
    /// What comes of it.
    type Made: Send;

    /// Decides from what is read; may be asked several times.
    async fn plan(&self, reads: &mut Reads<'_>) -> Result<(Txn, Self::Made), Problem>;

    /// Whether something in it is refused: that is decided again from the store, because the view may be old.
    fn refuses(_: &Self::Made) -> bool {
        false
    }

    /// The names that are asked for, where it is for a host.
    fn names(&self) -> &[String] {
        &[]
    }
}

/// What was planned, once it is committed while all that it was decided by still holds. A refusal is in the audit log.
async fn committed<P: Plan>(core: &Core, caller: &Caller, what: &P) -> Result<P::Made, Problem> {
    let mut reads = Reads::new(&core.catalog);
    loop {
        match what.plan(&mut reads).await {
            Ok((_, made)) if P::refuses(&made) && reads.try_fresh() => {}
            Ok((txn, made)) => {
                // Where everything is refused there is nothing to keep.
                if txn.events.is_empty() || reads.commit(txn).await?.is_some() {
                    return Ok(made);
                }
            }
            Err(problem) if !reads.try_fresh() => {
                refused_names(core, caller, &problem, what.names()).await;
                return Err(problem);
            }
            Err(_) => {}
        }
    }
}

/// A failure that happens at most when the table and the services disagree.
fn unexpected_caller() -> Problem {
    refusal::internal("a call reached a service that it is not for", "unexpected caller")
}
