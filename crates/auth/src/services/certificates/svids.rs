//! Documents for workloads, asked for by the bot instance on their machine. Which it may ask for, its roles say
//! (`allow.spiffe`); each is an event in the audit log before it leaves.

use super::issuing::Issuing;
use super::outputs::Decided;
use crate::audit::{Event, kind};
use crate::catalog::{Reads, RolesOf};
use crate::core::Core;
use crate::issuer;
use crate::lifetime;
use crate::metrics::Issued;
use crate::refusal;
use access::rbac::spiffe::{SvidPermit, Wish, check};
use access::resource::Bot;
use access::spiffe::{self, SpiffeError};
use api::status::{Class, Problem};
use api::v1;
use api::v1::output_answer::Answer;
use ca::{JwtOrder, X509Order};
use serde_json::{Value, json};
use std::time::Duration;

const LONGEST_HINT: usize = 1024;

/// A request for a document of either kind.
pub struct Ask<'a> {
    path: &'a str,
    roles: &'a [String],
    hint: &'a str,
    ttl_seconds: u64,
    kind: Kind<'a>,
}

/// What only one kind has.
enum Kind<'a> {
    X509 { public_key: &'a [u8], dns: &'a [String], addresses: &'a [String] },
    Jwt { audience: &'a [String] },
}

impl<'a> From<&'a v1::X509SvidRequest> for Ask<'a> {
    fn from(request: &'a v1::X509SvidRequest) -> Self {
        let v1::X509SvidRequest { public_key, path, dns_sans: dns, ip_sans, ttl_seconds, roles, hint } =
            request;
        let kind = Kind::X509 { public_key, dns, addresses: ip_sans };
        Self { path, roles, hint, ttl_seconds: *ttl_seconds, kind }
    }
}

impl<'a> From<&'a v1::JwtSvidRequest> for Ask<'a> {
    fn from(request: &'a v1::JwtSvidRequest) -> Self {
        let v1::JwtSvidRequest { path, audience, ttl_seconds, roles, hint } = request;
        Self { path, roles, hint, ttl_seconds: *ttl_seconds, kind: Kind::Jwt { audience } }
    }
}

/// Decides about one, and makes it.
pub async fn issue(
    issuing: &Issuing<'_>,
    reads: &mut Reads<'_>,
    bot: &Bot,
    ask: &Ask<'_>,
) -> Result<Decided, Problem> {
    let (core, caller) = (issuing.core, issuing.caller);
    if ask.hint.len() > LONGEST_HINT {
        return Err(refusal::invalid(format!("a hint has at most {LONGEST_HINT} bytes")));
    }
    ask.bounded()?;
    let RolesOf { set, .. } = issuing.unlocked_roles(reads, bot, ask.roles).await?;
    let permit = check(&set, ask.wish()?).map_err(|denial| refusal::denied(&denial))?;
    let lifetime = issuing.within_own(lifetime::of_svid(ask.ttl_seconds, &set))?;
    core.note_shorter(caller, ask.ttl_seconds, lifetime);
    let Made { answer, counted, told } = ask.make(core, &permit, lifetime)?;
    let event = described(issuing, Event::new(kind::SPIFFE_SVID_ISSUED), ask);
    let event = event.with("roles", json!(set.names())).with("granted_by", permit.granted_by().as_str());
    let event = told.into_iter().fold(event, |event, (name, value)| event.with(name, value));
    Ok(Decided { event: core.audit().record(event), answer, counted })
}

/// Keeps a refusal, unless it may pass by itself.
pub async fn refused(issuing: &Issuing<'_>, ask: &Ask<'_>, problem: &Problem) {
    if problem.class.is_transient() {
        return;
    }
    let event = described(issuing, Event::new(kind::SPIFFE_SVID_DENIED), ask);
    let asked: String = ask.path.chars().take(256).collect();
    let event = event.with("path", asked).with("reason", problem.code.as_str());
    issuing.core.tell_refusal(issuing.caller, event.failed(&problem.reason)).await;
}

/// What an event says of a request, whatever becomes of it.
fn described(issuing: &Issuing<'_>, event: Event, ask: &Ask<'_>) -> Event {
    let bot = &issuing.bearer.bot;
    let event = issuing.caller.describe(event).with("svid_type", ask.word()).with("hint", ask.hint);
    event.with("bot_name", bot.name.as_str()).with("bot_instance_id", bot.instance.to_string())
}

/// A document, and what the audit log says of it.
struct Made {
    answer: Answer,
    counted: Issued,
    told: Vec<(&'static str, Value)>,
}

fn invalid(error: SpiffeError) -> Problem {
    Problem::new(Class::Invalid, "svid_refused", error.to_string())
}

impl Ask<'_> {
    /// The kind, as the audit log has it.
    fn word(&self) -> &'static str {
        match self.kind {
            Kind::X509 { .. } => "x509",
            Kind::Jwt { .. } => "jwt",
        }
    }

    /// Nothing is done with more than an SVID may have.
    fn bounded(&self) -> Result<(), Problem> {
        match self.kind {
            Kind::X509 { dns, addresses, .. } => spiffe::bounded(dns, addresses).map_err(invalid),
            Kind::Jwt { .. } => Ok(()),
        }
    }

    /// What is asked for, checked.
    fn wish(&self) -> Result<Wish, Problem> {
        let path = self.path.parse().map_err(invalid)?;
        Ok(match self.kind {
            Kind::X509 { dns, addresses, .. } => Wish {
                path,
                dns: dns.iter().map(|name| name.parse()).collect::<Result<_, _>>().map_err(invalid)?,
                addresses: addresses
                    .iter()
                    .map(|text| spiffe::address(text))
                    .collect::<Result<_, _>>()
                    .map_err(invalid)?,
            },
            Kind::Jwt { .. } => Wish { path, dns: Default::default(), addresses: Default::default() },
        })
    }

    fn make(&self, core: &Core, permit: &SvidPermit, lifetime: Duration) -> Result<Made, Problem> {
        match self.kind {
            Kind::X509 { public_key, .. } => x509(core, permit, lifetime, public_key),
            Kind::Jwt { audience } => jwt(core, permit, lifetime, audience),
        }
    }
}

fn x509(core: &Core, permit: &SvidPermit, lifetime: Duration, public_key: &[u8]) -> Result<Made, Problem> {
    let public_key = issuer::public_key(public_key)?;
    let order = X509Order { permit, public_key: &public_key, lifetime };
    let svid = core.issuer.x509_svid(&order, core.now())?;
    let dns: Vec<&str> = permit.dns().iter().map(|name| name.as_str()).collect();
    let told = vec![
        ("spiffe_id", json!(svid.id.to_string())),
        ("dns_sans", json!(dns)),
        ("ip_sans", json!(permit.addresses())),
        ("serial_number", json!(svid.serial)),
        ("public_key", json!(public_key.fingerprint())),
        ("expires", json!(svid.valid_before)),
    ];
    let message =
        v1::X509Svid { spiffe_id: svid.id.to_string(), certificates: vec![svid.certificate.to_vec()] };
    Ok(Made { answer: Answer::X509Svid(message), counted: Issued::X509Svid, told })
}

fn jwt(core: &Core, permit: &SvidPermit, lifetime: Duration, audience: &[String]) -> Result<Made, Problem> {
    let issuer = core.workload_issuer.as_ref().map(ToString::to_string);
    let order = JwtOrder { permit, audience, lifetime, issuer: issuer.as_deref() };
    let svid = core.issuer.jwt_svid(&order, core.now())?;
    let told = vec![
        ("spiffe_id", json!(svid.id.to_string())),
        ("audiences", json!(audience)),
        ("jti", json!(svid.jti)),
        ("expires", json!(svid.valid_before)),
    ];
    let message = v1::JwtSvid {
        spiffe_id: svid.id.to_string(),
        token: svid.token,
        expires: svid.valid_before.as_second(),
    };
    Ok(Made { answer: Answer::JwtSvid(message), counted: Issued::JwtSvid, told })
}
