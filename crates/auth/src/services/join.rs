//! `JoinService`: strangers become members.
//!
//! The order is what makes it safe: the proof of possession first, so that a stranger can neither spend a token nor
//! lock anything; then one transaction that spends the token and remembers the attempt, so that a retry is a retry;
//! then the answer. What is wrong with a token is never told apart.

mod admission;
mod bot;
mod host;

pub use bot::own_identity;
pub use host::{Taking, identity_of, name_problem, owner, refuse_bound_key};

use crate::audit::{Event, kind, masked};
use crate::caller::Caller;
use crate::core::Core;
use crate::issuer::{self, Certificates};
use crate::refusal;
use access::SystemRole;
use admission::Admission;
use api::status::{Class, Problem};
use api::v1;
use api::v1::join_service_server::JoinService;
use join::Claim;
use std::net::IpAddr;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
pub struct Join {
    core: Arc<Core>,
}

/// A refusal, and the reason for it that only the log and the audit events tell.
struct Refused {
    problem: Problem,
    why: String,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { why: problem.reason.clone(), problem }
    }
}

impl Refused {
    /// Whatever is wrong with a token, the joiner hears this.
    fn token(why: impl Into<String>) -> Self {
        let problem = Problem::new(Class::Denied, "token_invalid", "the token is not valid")
            .hint("ask for a new one: tctl tokens add, or tctl bots instances add");
        Self { problem, why: why.into() }
    }
}

impl Join {
    /// Over a running auth.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn admit(&self, caller: &Caller, request: &v1::JoinRequest) -> Result<Certificates, Refused> {
        let core = &*self.core;
        if !core.pacing.allows(self.paced(caller), core.now()) {
            let problem = Problem::new(
                Class::Exhausted,
                "too_many_failures",
                "too many attempts to join have failed; this one was not looked at",
            );
            return Err(problem.hint("try again in a minute").into());
        }
        let role = role(&request.role)?;
        let admission = self.proven(caller, role, request)?;
        match role {
            SystemRole::Bot => {
                if request.host.is_some() {
                    return Err(refusal::invalid("host details are for hosts, not for bots").into());
                }
                bot::admit(core, &admission, request.ttl_seconds).await
            }
            SystemRole::Node | SystemRole::Proxy => {
                if request.ttl_seconds != 0 {
                    return Err(refusal::invalid("the life of a host's certificate cannot be chosen").into());
                }
                let details = request.host.as_ref();
                let details = details.ok_or_else(|| refusal::invalid("the host details are missing"))?;
                host::admit(core, &admission, details).await
            }
            SystemRole::Auth => Err(refusal::invalid("an auth service does not join with a token").into()),
        }
    }

    fn proven(
        &self,
        caller: &Caller,
        role: SystemRole,
        request: &v1::JoinRequest,
    ) -> Result<Admission, Refused> {
        let core = &*self.core;
        let key = issuer::public_key(&request.public_key)?;
        let claim = Claim {
            token: &request.token,
            role,
            attempt: &request.attempt,
            public_key: &request.public_key,
            challenge: &request.challenge,
        };
        let proven = join::verify(&claim, &request.signature, &core.challenges, core.now())
            .map_err(|refusal| Problem::new(Class::Denied, refusal.code(), refusal.to_string()))?;
        Ok(Admission {
            fingerprint: key.fingerprint(),
            key,
            proven,
            token_name: request.token.clone(),
            caller: caller.clone(),
        })
    }

    /// The address that failures are charged to; behind a proxy it is everybody's, so nobody's.
    fn paced(&self, caller: &Caller) -> Option<IpAddr> {
        caller.ip().filter(|ip| !self.core.presence.is_proxy(*ip))
    }

    async fn refused(&self, caller: &Caller, request: &v1::JoinRequest, refused: &Refused) {
        let core = &*self.core;
        // What may pass by itself is no failure of the joiner.
        if refused.problem.class.is_transient() {
            return;
        }
        core.pacing.failed(self.paced(caller), core.now());
        let kind = if request.role == "Bot" { kind::BOT_JOIN_FAILED } else { kind::INSTANCE_JOIN_FAILED };
        let event = Event::new(kind)
            .with("method", "token")
            .with("token_name", masked(&request.token))
            .with("role", request.role.chars().take(32).collect::<String>())
            .with("reason", refused.problem.code.as_str())
            .failed(&refused.why);
        let event = match &request.host {
            Some(host) => {
                event.with("host_id", host.host_id.as_str()).with("node_name", host.hostname.as_str())
            }
            None => event,
        };
        let event = caller.locate(event);
        tracing::info!(role = request.role, code = refused.problem.code, why = refused.why, "join refused");
        core.note(event).await;
    }
}

fn role(text: &str) -> Result<SystemRole, Problem> {
    let found = SystemRole::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| refusal::invalid("the role is none of Node, Proxy and Bot"))
}

#[tonic::async_trait]
impl JoinService for Join {
    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeResponse>, Status> {
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce)
            .map_err(|error| refusal::internal("a challenge could not be made", error))?;
        let challenge = self.core.challenges.issue(self.core.now(), nonce);
        Ok(Response::new(v1::ChallengeResponse { challenge: challenge.as_bytes().to_vec() }))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let request = request.into_inner();
        let admitted = self.admit(&caller, &request).await;
        self.core.metrics.join(role(&request.role).ok(), admitted.is_ok());
        match admitted {
            Ok(certificates) => {
                Ok(Response::new(v1::JoinResponse { credentials: Some(certificates.message()) }))
            }
            Err(refused) => {
                self.refused(&caller, &request, &refused).await;
                Err(refused.problem.into())
            }
        }
    }
}
