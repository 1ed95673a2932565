//! The methods by which a platform vouches for its jobs: an ID token (OpenID Connect Core 1.0, section 2), signed by the
//! platform, names the job; the rules of the join token say which jobs may join.
//!
//! One verifier for all platforms. The joiner's half is only to hand the ID token over: it proves nothing by itself, and
//! whoever has it can use it until it ends. What a platform is told apart by stands in the table of `access`.

mod jwk;
mod jws;
mod managed_identity;
pub mod review;
mod rules;
mod svid;

pub use jwk::{Jwks, KeySetError};
pub use managed_identity::{ManagedIdentity, verify_managed_identity};
pub use rules::{Check, Verdict, judge};
pub use svid::verify_svid;

use access::resource::token::{Oidc, Provider};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

/// By how much the clocks of issuer and cluster may differ (fact sheet, section 4.3).
const LEEWAY: SignedDuration = SignedDuration::from_secs(10);
/// More audiences than this are a mistake.
const AUDIENCES: usize = 64;

/// Why an ID token says nothing. The words are for administrators; the joiner hears a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// Not three parts of base64url, or too long, or not JSON inside.
    #[error("it is no signed ID token: {0}")]
    Malformed(&'static str),
    /// `none`, a shared secret, or something that nobody uses.
    #[error("its algorithm {0:?} is not accepted; accepted are RS256, PS256, ES256 and EdDSA")]
    Algorithm(String),
    /// The issuer has no key of that name for this algorithm.
    #[error("the issuer has no key {0:?} that fits its algorithm")]
    UnknownKey(String),
    /// The signature is not by that key.
    #[error("its signature is wrong")]
    Signature,
    /// A claim is missing or says something else.
    #[error("claim {claim}: {found}, expected {wanted}")]
    Claim {
        /// Its name.
        claim: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        wanted: String,
    },
}

impl Unverified {
    /// Whether the issuer may have a newer key set than the one that was looked in.
    pub fn may_be_rotation(&self) -> bool {
        matches!(self, Self::UnknownKey(_))
    }
}

/// What a platform says of a joiner, verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// As a platform said them.
    pub(crate) fn of(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// A text inside of other claims (RFC 6901).
    fn at(&self, place: &str) -> Option<&str> {
        let (first, rest) = place.strip_prefix('/')?.split_once('/')?;
        self.0.get(first)?.pointer(&format!("/{rest}")).and_then(Value::as_str)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

/// The server's half: whether `token` is one of the issuer that `oidc` expects, for this cluster, and good now.
pub fn verify(
    token: &str,
    keys: &Jwks,
    oidc: &Oidc,
    cluster: &str,
    now: Timestamp,
) -> Result<Claims, Unverified> {
    let claims = jws::verified(token, keys)?;
    if let Some(issuer) = oidc.issuer() {
        same(&claims, "iss", &issuer)?;
    }
    for_audience(&claims, &oidc.audience(cluster))?;
    times(&claims, oidc.provider.table().longest_life, now)?;
    if oidc.provider == Provider::Kubernetes {
        bound_to_pod(&claims)?;
    }
    if oidc.provider == Provider::Gcp
        && claims.get("email").is_some()
        && claims.get("email_verified") != Some(&Value::Bool(true))
    {
        return Err(differs(&claims, "email_verified", "true".to_owned()));
    }
    // env0 gives such tokens to others than deployments too.
    if oidc.provider == Provider::Env0 {
        same(&claims, "apiKeyType", "oidc")?;
    }
    Ok(Claims(claims))
}

/// A service account's token that is no pod's never ends with anything (fact sheet, section 4.3).
fn bound_to_pod(claims: &Map<String, Value>) -> Result<(), Unverified> {
    let pod = claims.get("kubernetes.io").and_then(|own| own.pointer("/pod/name")).and_then(Value::as_str);
    match pod {
        Some(name) if !name.is_empty() => Ok(()),
        _ => Err(differs(claims, "kubernetes.io", "a pod that the token is bound to".to_owned())),
    }
}

fn same(claims: &Map<String, Value>, claim: &'static str, wanted: &str) -> Result<(), Unverified> {
    match claims.get(claim).and_then(Value::as_str) == Some(wanted) {
        true => Ok(()),
        false => Err(differs(claims, claim, wanted.to_owned())),
    }
}

fn for_audience(claims: &Map<String, Value>, wanted: &str) -> Result<(), Unverified> {
    match audiences(claims).contains(&wanted) {
        true => Ok(()),
        false => Err(differs(claims, "aud", wanted.to_owned())),
    }
}

/// One, or a list (RFC 7519, section 4.1.3).
fn audiences(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) if many.len() <= AUDIENCES => {
            many.iter().filter_map(Value::as_str).collect()
        }
        _ => vec![],
    }
}

fn times(claims: &Map<String, Value>, longest_life: i64, now: Timestamp) -> Result<(), Unverified> {
    let wrong = |claim, wanted: String| Err(differs(claims, claim, wanted));
    let Some(expires) = time(claims, "exp") else { return wrong("exp", "a time".to_owned()) };
    let Some(issued) = time(claims, "iat") else { return wrong("iat", "a time".to_owned()) };
    let begins = match claims.get("nbf") {
        None => issued,
        Some(_) => match time(claims, "nbf") {
            Some(begins) => begins,
            None => return wrong("nbf", "a time".to_owned()),
        },
    };
    let (earliest, latest) = ((now - LEEWAY).as_second(), (now + LEEWAY).as_second());
    if expires <= earliest {
        return wrong("exp", format!("after now, {}", now.as_second()));
    }
    if begins > latest {
        return wrong("nbf", format!("before now, {}", now.as_second()));
    }
    if issued > latest {
        return wrong("iat", format!("before now, {}", now.as_second()));
    }
    match expires.checked_sub(issued) {
        Some(life) if life <= longest_life => Ok(()),
        _ => wrong("exp", format!("at most {longest_life} s after iat, {issued}")),
    }
}

/// Seconds since 1970, with or without a fraction (RFC 7519, section 2).
fn time(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    // Beyond this, doubles are no longer exact, and no clock goes there.
    let within = |seconds: f64| (0.0..=253_402_300_799.0).contains(&seconds);
    value
        .as_i64()
        .filter(|seconds| within(*seconds as f64))
        .or_else(|| value.as_f64().filter(|seconds| within(*seconds)).map(|seconds| seconds as i64))
}

fn differs(claims: &Map<String, Value>, claim: &'static str, wanted: String) -> Unverified {
    let found = claims.get(claim).map_or_else(|| "missing".to_owned(), rules::shown);
    Unverified::Claim { claim, found, wanted }
}

#[cfg(test)]
mod tests;
