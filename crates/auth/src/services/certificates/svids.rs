//! Documents for workloads, asked for by the bot instance on their machine. Which it may ask for, its roles say
//! (`allow.spiffe`); each is an event in the audit log before it leaves.

use super::Bearer;
use super::outputs::Issuing;
use crate::audit::{Event, kind};
use crate::caller::Caller;
use crate::catalog::{Reads, RolesOf};
use crate::core::Core;
use crate::issuer;
use crate::lifetime;
use crate::metrics::Issued;
use crate::refusal;
use access::rbac::spiffe::{SvidPermit, Wish, check};
use access::resource::Bot;
use access::spiffe::SpiffeError;
use api::status::{Class, Problem};
use api::v1;
use ca::{JwtOrder, X509Order};
use serde_json::{Value, json};
use std::time::Duration;
use store::Txn;

/// The most documents in one call.
const MOST: usize = 32;
const LONGEST_HINT: usize = 1024;

/// One X.509-SVID for each request, all or none.
pub async fn issue_x509(
    core: &Core,
    caller: &Caller,
    requests: &[v1::X509SvidRequest],
) -> Result<Vec<v1::X509Svid>, Problem> {
    let issued = issue(core, caller, requests).await?;
    core.metrics.issued(Issued::X509Svid, issued.len() as u64);
    Ok(issued)
}

/// One JWT-SVID for each request, all or none.
pub async fn issue_jwt(
    core: &Core,
    caller: &Caller,
    requests: &[v1::JwtSvidRequest],
) -> Result<Vec<v1::JwtSvid>, Problem> {
    let issued = issue(core, caller, requests).await?;
    core.metrics.issued(Issued::JwtSvid, issued.len() as u64);
    Ok(issued)
}

async fn issue<R: Ask>(core: &Core, caller: &Caller, requests: &[R]) -> Result<Vec<R::Svid>, Problem> {
    if requests.is_empty() || requests.len() > MOST {
        return Err(refusal::invalid(format!("1 to {MOST} SVIDs can be asked for at once")));
    }
    let bearer = Bearer::of(caller)?;
    let issuing = Issuing { core, caller, bearer: &bearer };
    let mut reads = Reads::new(&core.catalog);
    loop {
        match plan(&issuing, &mut reads, requests).await {
            Ok((txn, svids)) => {
                if reads.commit(txn).await?.is_some() {
                    return Ok(svids);
                }
            }
            Err((at, problem)) if !reads.try_fresh() => {
                refused(&issuing, at.map(|at| &requests[at]), &problem).await;
                return Err(problem);
            }
            Err(_) => {}
        }
    }
}

/// Why there is none, and for which request, where it is one's fault.
type Stop = (Option<usize>, Problem);

async fn plan<R: Ask>(
    issuing: &Issuing<'_>,
    reads: &mut Reads<'_>,
    requests: &[R],
) -> Result<(Txn, Vec<R::Svid>), Stop> {
    let (bot, mut txn) = issuing.begin(reads).await.map_err(|problem| (None, problem))?;
    let mut svids = Vec::with_capacity(requests.len());
    for (at, request) in requests.iter().enumerate() {
        let (event, svid) =
            one(issuing, reads, &bot, request).await.map_err(|problem| (Some(at), problem))?;
        txn = txn.event(issuing.core.audit().record(event));
        svids.push(svid);
    }
    Ok((txn, svids))
}

async fn one<R: Ask>(
    issuing: &Issuing<'_>,
    reads: &mut Reads<'_>,
    bot: &Bot,
    request: &R,
) -> Result<(Event, R::Svid), Problem> {
    let (core, caller) = (issuing.core, issuing.caller);
    let Common { roles, hint, ttl_seconds, .. } = request.common();
    if hint.len() > LONGEST_HINT {
        return Err(refusal::invalid(format!("a hint has at most {LONGEST_HINT} bytes")));
    }
    let RolesOf { set, .. } = issuing.unlocked_roles(reads, bot, roles).await?;
    let permit = check(&set, request.wish()?).map_err(|denial| refusal::denied(&denial))?;
    let lifetime = issuing.within_own(lifetime::of_svid(ttl_seconds, &set))?;
    core.note_shorter(caller, ttl_seconds, lifetime);
    let (svid, told) = request.issue(core, &permit, lifetime)?;
    let event = described(issuing, Event::new(kind::SPIFFE_SVID_ISSUED), request);
    let event = event.with("roles", json!(set.names())).with("granted_by", permit.granted_by().as_str());
    Ok((told.into_iter().fold(event, |event, (name, value)| event.with(name, value)), svid))
}

/// What an event says of a request, whatever becomes of it.
fn described<R: Ask>(issuing: &Issuing<'_>, event: Event, request: &R) -> Event {
    let bot = &issuing.bearer.bot;
    let event = issuing.caller.describe(event).with("svid_type", R::KIND).with("hint", request.common().hint);
    event.with("bot_name", bot.name.as_str()).with("bot_instance_id", bot.instance.to_string())
}

/// Keeps a refusal, unless it may pass by itself.
async fn refused<R: Ask>(issuing: &Issuing<'_>, request: Option<&R>, problem: &Problem) {
    let Some(request) = request else { return super::refused(issuing.core, issuing.caller, problem).await };
    if problem.class.is_transient() {
        return;
    }
    let event = described(issuing, Event::new(kind::SPIFFE_SVID_DENIED), request);
    let asked: String = request.common().path.chars().take(256).collect();
    let event = event.with("path", asked).with("reason", problem.code.as_str());
    issuing.core.note(event.failed(&problem.reason)).await;
}

/// What requests of both kinds say.
struct Common<'a> {
    path: &'a str,
    roles: &'a [String],
    hint: &'a str,
    ttl_seconds: u64,
}

/// A request for a document of either kind.
trait Ask: Sync {
    /// The document.
    type Svid: Send;
    /// As the audit log has it.
    const KIND: &'static str;

    fn common(&self) -> Common<'_>;
    /// What is asked for, checked.
    fn wish(&self) -> Result<Wish, Problem>;
    /// The document, and what the audit log says of it.
    fn issue(
        &self,
        core: &Core,
        permit: &SvidPermit,
        lifetime: Duration,
    ) -> Result<(Self::Svid, Told), Problem>;
}

type Told = Vec<(&'static str, Value)>;

fn invalid(error: SpiffeError) -> Problem {
    Problem::new(Class::Invalid, "svid_refused", error.to_string())
}

impl Ask for v1::X509SvidRequest {
    type Svid = v1::X509Svid;
    const KIND: &'static str = "x509";

    fn common(&self) -> Common<'_> {
        let Self { path, roles, hint, ttl_seconds, .. } = self;
        Common { path, roles, hint, ttl_seconds: *ttl_seconds }
    }

    fn wish(&self) -> Result<Wish, Problem> {
        let address = |text: &String| {
            text.parse().map_err(|_| {
                let text: String = text.chars().take(80).collect();
                refusal::invalid(format!("{text:?} is not an IP address"))
            })
        };
        Ok(Wish {
            path: self.path.parse().map_err(invalid)?,
            dns: self.dns_sans.iter().map(|name| name.parse()).collect::<Result<_, _>>().map_err(invalid)?,
            addresses: self.ip_sans.iter().map(address).collect::<Result<_, _>>()?,
        })
    }

    fn issue(
        &self,
        core: &Core,
        permit: &SvidPermit,
        lifetime: Duration,
    ) -> Result<(Self::Svid, Told), Problem> {
        let public_key = issuer::public_key(&self.public_key)?;
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
        Ok((message, told))
    }
}

impl Ask for v1::JwtSvidRequest {
    type Svid = v1::JwtSvid;
    const KIND: &'static str = "jwt";

    fn common(&self) -> Common<'_> {
        let Self { path, roles, hint, ttl_seconds, .. } = self;
        Common { path, roles, hint, ttl_seconds: *ttl_seconds }
    }

    fn wish(&self) -> Result<Wish, Problem> {
        let path = self.path.parse().map_err(invalid)?;
        Ok(Wish { path, dns: Default::default(), addresses: Default::default() })
    }

    fn issue(
        &self,
        core: &Core,
        permit: &SvidPermit,
        lifetime: Duration,
    ) -> Result<(Self::Svid, Told), Problem> {
        let issuer = core.presence.proxy_addrs().first().map(|proxy| api::convert::token_issuer(proxy));
        let order = JwtOrder { permit, audience: &self.audience, lifetime, issuer: issuer.as_deref() };
        let svid = core.issuer.jwt_svid(&order, core.now())?;
        let told = vec![
            ("spiffe_id", json!(svid.id.to_string())),
            ("audiences", json!(self.audience)),
            ("jti", json!(svid.jti)),
            ("expires", json!(svid.valid_before)),
        ];
        let message = v1::JwtSvid {
            spiffe_id: svid.id.to_string(),
            token: svid.token,
            expires: svid.valid_before.as_second(),
        };
        Ok((message, told))
    }
}
