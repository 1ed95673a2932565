//! JSON Web Tokens in the compact form (RFC 7515, section 3.1), signed with ES256.

use crate::decide::IssueError;
use crate::keys::JwtKeys;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A token with these claims.
pub(crate) fn token(keys: &JwtKeys, claims: &Value) -> Result<String, IssueError> {
    let header = json!({"alg": "ES256", "kid": keys.public.id(), "typ": "JWT"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let signature = keys.pair.sign(&SystemRandom::new(), signed.as_bytes());
    let signature = signature.map_err(|_| IssueError::Signing("the library failed".into()))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
