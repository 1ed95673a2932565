//! `JoinService`: strangers become members.
//!
//! The order is what makes it safe: the proof of possession first, so that a stranger can neither spend a token nor
//! lock anything; then one transaction that spends the token and remembers the attempt, so that a retry is a retry;
//! then the answer. What is wrong with a token is never told apart.

mod admission;
mod attested;
mod bot;
mod bound;
mod host;
mod host_bound;
mod keyed;
mod refused;
mod tpm;
mod vouched;

pub use bot::{Own, own_identity};
pub use host::{Taking, identity_of, name_problem, owner, refuse_bound_key};

use crate::attempts;
use crate::audit::{Event, kind, masked};
use crate::caller::{Caller, Who};
use crate::core::Core;
use crate::issuer;
use crate::pacing::{Source, Spender};
use crate::refusal;
use crate::rpc_policy::Via;
use crate::tokens::Tokens;
use access::SystemRole;
use admission::{Admission, Proof, Voucher};
use api::status::{Class, Problem};
use api::v1;
use api::v1::join_service_server::JoinService;
use bot::Joined;
use join::bound_keypair::{self, Proofs, Showing};
use join::{Attempt, AttemptId, Claim, Proven, azure, iam};
use refused::Refused;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

/// Longer texts are no names.
const LONGEST_NAME: usize = 255;

/// The service.
pub struct Join {
    core: Arc<Core>,
}

impl Join {
    /// Over a running auth.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn admit(
        &self,
        caller: &Caller,
        source: Source,
        request: &v1::JoinRequest,
    ) -> Result<Joined, Refused> {
        let core = &*self.core;
        let pause = match caller.who {
            Who::User(_) => core.pacing.pause_of_member(source, core.now()),
            _ => core.pacing.pause(source, core.now()),
        };
        if !pause.is_zero() {
            let problem = Problem::new(
                Class::Exhausted,
                "too_many_failures",
                "too many attempts to join have failed; this one was not looked at",
            );
            return Err(problem.hint("try again in a minute").again_in(pause).into());
        }
        let _inside = core.enter(&core.joins, caller)?;
        let role = role(&request.role).map_err(Refused::unproven)?;
        let admission = self.proven(caller, role, request).map_err(Refused::unproven)?;
        let invalid = |reason: &str| Refused::unproven(refusal::invalid(reason));
        match role {
            SystemRole::Bot => {
                if request.host.is_some() {
                    return Err(invalid("host details are for hosts, not for bots"));
                }
                bot::admit(core, &admission, request.ttl_seconds).await
            }
            SystemRole::Node | SystemRole::Proxy => {
                if request.ttl_seconds != 0 {
                    return Err(invalid("the life of a host's certificate cannot be chosen"));
                }
                let details = request.host.as_ref();
                let details = details.ok_or_else(|| invalid("the host details are missing"))?;
                host::admit(core, &admission, details).await
            }
            SystemRole::Auth => Err(invalid("an auth service does not join with a token")),
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
            .map_err(|refusal| problem(&refusal))?;
        let proof = proof(core, &proven, &claim, request)?;
        Ok(Admission {
            fingerprint: key.fingerprint(),
            key,
            proven,
            proof,
            token_name: request.token.clone(),
            caller: caller.clone(),
        })
    }

    /// Whom failures are charged to; an address behind a proxy is everybody's, so nobody's.
    fn source<T>(&self, caller: &Caller, request: &Request<T>) -> Source {
        let proxy = request.extensions().get::<Via>().and_then(|Via(proxy)| match &proxy.who {
            Who::Host(host) => Some(host.id),
            _ => None,
        });
        Source { address: caller.ip().filter(|ip| !self.core.presence.is_proxy(*ip)), proxy }
    }

    /// For `tctl join explain`.
    fn remember(&self, caller: &Caller, request: &v1::JoinRequest, token_name: &str, refused: &Refused) {
        let Some(attempt) = attempt(request) else { return };
        let at = self.core.now();
        let told = v1::ExplainJoinResponse {
            at: at.to_string(),
            code: refused.problem.code.clone(),
            reason: refused.why.clone(),
            method: method(request).to_owned(),
            token_name: token_name.to_owned(),
            role: request.role.chars().take(32).collect(),
            remote_addr: caller.addr.map(|addr| addr.to_string()).unwrap_or_default(),
            checks: refused.checks.clone(),
        };
        self.core.attempts.remember(attempts::Refusal {
            attempt: attempt.short(),
            from: caller.ip(),
            at,
            told,
        });
    }

    /// The token as it may be told: whole, if the store has one of that name and the name is no secret.
    async fn token_name(&self, request: &v1::JoinRequest) -> String {
        let core = &*self.core;
        let hidden = shown(&request.token);
        if method(request) == "token" {
            return hidden;
        }
        match core.catalog.read(&Tokens::key(&request.token)).await {
            Ok(Some(entry)) => core.tokens.open(&entry).map_or(hidden, |token| token.safe_name()),
            _ => hidden,
        }
    }

    async fn refused(&self, caller: &Caller, source: Source, request: &v1::JoinRequest, refused: &Refused) {
        let core = &*self.core;
        let token_name = self.token_name(request).await;
        self.remember(caller, request, &token_name, refused);
        // What may pass by itself is no failure of the joiner.
        let passes = refused.problem.class.is_transient();
        if refused.charged || !passes {
            core.pacing.failed(source, core.now());
        }
        if passes {
            return;
        }
        let (role, code, why) = (&request.role, &refused.problem.code, &refused.why);
        let untold = match refused.proved {
            true => core.catalog.refusals.tells(&Spender::Token(shown(&request.token)), core.now()),
            false => core.pacing.tells(core.now()),
        };
        let Some(untold) = untold else { return tracing::debug!(role, code, why, "join refused") };
        let kind = if request.role == "Bot" { kind::BOT_JOIN_FAILED } else { kind::INSTANCE_JOIN_FAILED };
        let event = Event::new(kind)
            .with("method", method(request))
            .with("token_name", token_name)
            .with("role", request.role.chars().take(32).collect::<String>())
            .with("reason", refused.problem.code.as_str())
            .failed(&refused.why);
        let event = match attempt(request) {
            Some(attempt) => event.with("attempt", attempt.short()),
            None => event,
        };
        let event = if untold > 0 { event.with("untold_failures", untold) } else { event };
        let event = match &request.host {
            Some(host) => {
                event.with("host_id", host.host_id.as_str()).with("node_name", host.hostname.as_str())
            }
            None => event,
        };
        let event = caller.locate(event);
        tracing::info!(role, code, why, untold, "join refused");
        core.note(event.brief()).await;
    }
}

fn problem(refusal: &join::Refusal) -> Problem {
    Problem::new(Class::Denied, refusal.code(), refusal.to_string())
}

/// What more the joiner shows, where that can be judged without the token.
fn proof(
    core: &Core,
    proven: &Proven,
    claim: &Claim<'_>,
    request: &v1::JoinRequest,
) -> Result<Proof, Problem> {
    let v1::JoinRequest { bound_keypair, id_token, tpm, aws, azure, .. } = request;
    let bound = match (bound_keypair, id_token.as_str(), tpm, aws, azure) {
        (None, "", None, None, None) => return Ok(Proof::Name),
        (None, id_token, None, None, None) => {
            return Ok(Proof::Vouched(Voucher::IdToken(Zeroizing::new(id_token.to_owned()))));
        }
        (None, "", None, Some(aws), None) => {
            return signed(claim, aws).map(Voucher::Aws).map(Proof::Vouched);
        }
        (None, "", None, None, Some(azure)) => {
            return attested(claim, azure).map(Voucher::Azure).map(Proof::Vouched);
        }
        (None, "", Some(tpm), None, None) => {
            let showing = tpm::showing(tpm.keys.as_ref());
            let activated = join::tpm::verify(proven, claim, &showing, &tpm.secret, &core.challenges);
            return activated.map(Proof::Tpm).map_err(|refusal| problem(&refusal));
        }
        (Some(bound), "", None, None, None) => bound,
        _ => {
            let reason = "a joiner shows one of a bound key, an ID token, a TPM, a signed request and an attested document";
            return Err(refusal::invalid(reason));
        }
    };
    let showing = Showing {
        public_key: &bound.public_key,
        join_state: &bound.join_state,
        registration_secret: &bound.registration_secret,
        next_public_key: &bound.next_public_key,
    };
    let proofs = Proofs { own: &bound.signature, next: &bound.next_signature };
    let shown = bound_keypair::verify(proven, claim, &showing, proofs);
    shown.map(Proof::Bound).map_err(|refusal| problem(&refusal))
}

fn signed(claim: &Claim<'_>, aws: &v1::AwsRequest) -> Result<iam::Request, Problem> {
    let v1::AwsRequest { host, date, access_key_id, session_token, signature } = aws;
    let shown = iam::Shown { host, date, access_key_id, session_token, signature };
    iam::verify(claim, &shown).map_err(|error| refusal::invalid(format!("the signed request: {error}")))
}

fn attested(claim: &Claim<'_>, shown: &v1::AzureAttestation) -> Result<azure::Shown, Problem> {
    let v1::AzureAttestation { document, certificates, access_token } = shown;
    let fits = (1..=azure::LONGEST_DOCUMENT).contains(&document.len())
        && certificates.len() <= azure::MOST_CERTIFICATES
        && certificates.iter().all(|der| der.len() <= azure::LONGEST_CERTIFICATE)
        && !access_token.is_empty();
    if !fits {
        let reason = "an attested document of at most 16 KiB, at most 4 certificates of 8 KiB and an access token are needed";
        return Err(refusal::invalid(reason));
    }
    Ok(azure::Shown {
        document: document.clone(),
        certificates: certificates.clone(),
        access_token: Zeroizing::new(access_token.clone()),
        nonce: azure::nonce(claim),
    })
}

/// What the attempt is called, to the joiner too.
fn attempt(request: &v1::JoinRequest) -> Option<AttemptId> {
    Attempt::new(&request.attempt).ok().map(|attempt| AttemptId::of(&request.public_key, attempt))
}

/// What the joiner seems to mean.
fn method(request: &v1::JoinRequest) -> &'static str {
    match (&request.bound_keypair, &request.tpm, &request.aws, &request.azure) {
        (Some(_), ..) => "bound_keypair",
        _ if !request.id_token.is_empty() => "id_token",
        (None, Some(_), ..) => "tpm",
        (None, None, Some(_), _) => "iam",
        (None, None, None, Some(_)) => "azure",
        (None, None, None, None) => "token",
    }
}

/// What was given as the name of a token, as it may be kept and shown: a stranger chose it.
fn shown(token: &str) -> String {
    match token.len() <= LONGEST_NAME && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => masked(token),
        false => "<no name of a token>".to_owned(),
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
        let cluster = self.core.cluster.to_string();
        Ok(Response::new(v1::ChallengeResponse { challenge: challenge.as_bytes().to_vec(), cluster }))
    }

    async fn tpm_challenge(
        &self,
        request: Request<v1::TpmChallengeRequest>,
    ) -> Result<Response<v1::TpmChallengeResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let pause = self.core.pacing.pause(self.source(&caller, &request), self.core.now());
        if !pause.is_zero() {
            let reason = "too many attempts to join have failed; this one was not looked at";
            let problem = Problem::new(Class::Exhausted, "too_many_failures", reason);
            return Err(problem.hint("try again in a minute").again_in(pause).into());
        }
        Ok(Response::new(tpm::challenge(&self.core, request.get_ref())?))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let source = self.source(&caller, &request);
        let request = request.into_inner();
        let admitted = self.admit(&caller, source, &request).await;
        self.core.metrics.join(role(&request.role).ok(), admitted.is_ok());
        match admitted {
            Ok(Joined { certificates, join_state, key_accepted }) => {
                let credentials = Some(certificates.message());
                Ok(Response::new(v1::JoinResponse { credentials, join_state, key_accepted }))
            }
            Err(refused) => {
                self.refused(&caller, source, &request, &refused).await;
                Err((*refused.problem).into())
            }
        }
    }
}
