//! The compact serialization of a signature (RFC 7515, section 3.1): bounded, and nothing in it believed before the
//! signature is.

use super::{Jwks, Unverified};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The longest ID token.
const LONGEST: usize = 16 * 1024;
const ACCEPTED: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

/// What is read of the header. Where it says that a key could be found (`jku`, `x5u`, `jwk`, `x5c`) is not: keys are the
/// issuer's.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: none is.
    crit: Option<Value>,
}

/// A token taken apart.
struct Parts<'t> {
    header: Header,
    signed: &'t str,
    claims: &'t str,
    signature: &'t str,
}

/// The claims of a token that was signed with one of `keys`.
pub(super) fn verified(token: &str, keys: &Jwks) -> Result<Map<String, Value>, Unverified> {
    let Parts { header, signed, claims, signature } = Parts::of(token)?;
    keys.verify(&header.alg, header.kid.as_deref(), signed.as_bytes(), &decoded(signature)?)?;
    object(claims)
}

/// The claims of a token that anybody may have made.
pub(super) fn unverified(token: &str) -> Result<Map<String, Value>, Unverified> {
    object(Parts::of(token)?.claims)
}

impl<'t> Parts<'t> {
    fn of(token: &'t str) -> Result<Self, Unverified> {
        if token.len() > LONGEST {
            return Err(Unverified::Malformed("it is longer than 16 KiB"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Unverified::Malformed("it has no dots"))?;
        let (header, claims) = signed.split_once('.').ok_or(Unverified::Malformed("it has one dot only"))?;
        let header: Header = serde_json::from_slice(&decoded(header)?)
            .map_err(|_| Unverified::Malformed("its header is not the JSON of one"))?;
        if header.crit.is_some() {
            return Err(Unverified::Malformed("its header has critical extensions"));
        }
        if !ACCEPTED.contains(&header.alg.as_str()) {
            return Err(Unverified::Algorithm(header.alg.chars().take(16).collect()));
        }
        Ok(Self { header, signed, claims, signature })
    }
}

fn object(claims: &str) -> Result<Map<String, Value>, Unverified> {
    match serde_json::from_slice(&decoded(claims)?) {
        Ok(Value::Object(claims)) => Ok(claims),
        _ => Err(Unverified::Malformed("its claims are no JSON object")),
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Unverified> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Unverified::Malformed("a part of it is not base64url"))
}
