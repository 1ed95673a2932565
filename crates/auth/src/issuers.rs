//! The keys of those who issue ID tokens: found where OpenID Connect Discovery 1.0 (section 4) says, kept for a while,
//! fetched again when a token names a key that is not among them.
//!
//! Only issuers that an administrator wrote into a token resource are asked, and however many joiners come, each seldom.

use jiff::{SignedDuration, Timestamp};
use join::oidc::Jwks;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;
use transport::https::{Client, Question, Verb};

/// How long keys are used without asking.
const FRESH: SignedDuration = SignedDuration::from_mins(15);
/// How long they are used when the issuer does not answer.
const USABLE: SignedDuration = SignedDuration::from_hours(24);
/// Between two questions to one issuer, whatever joiners show.
const PACE: SignedDuration = SignedDuration::from_secs(10);
/// Issuers remembered at once; they come from token resources alone.
const MOST: usize = 256;

/// See the module.
pub struct Issuers {
    roots: Vec<Vec<u8>>,
    client: OnceLock<Client>,
    known: Mutex<HashMap<String, Arc<Mutex<Known>>>>,
}

#[derive(Default)]
struct Known {
    keys: Option<(Arc<Jwks>, Timestamp)>,
    tried: Option<Timestamp>,
    trouble: String,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuers {
    /// Believes servers by the system's authorities and these (DER).
    pub fn new(roots: Vec<Vec<u8>>) -> Self {
        Self { roots, client: OnceLock::new(), known: Mutex::default() }
    }

    /// The keys of an issuer; `anew` when those that are kept lack one. The error is for administrators.
    pub async fn keys(&self, issuer: &str, anew: bool, now: Timestamp) -> Result<Arc<Jwks>, String> {
        let known = self.known(issuer).await;
        // Held while asking: who comes meanwhile waits for the same answer.
        let mut known = known.lock().await;
        if let Some(keys) = known.enough(anew, now) {
            return Ok(keys);
        }
        if known.tried.is_none_or(|tried| now.duration_since(tried).abs() >= PACE) {
            known.tried = Some(now);
            match self.fetch(issuer).await {
                Ok(keys) => known.keys = Some((Arc::new(keys), now)),
                Err(trouble) => {
                    tracing::warn!(issuer, trouble, "the keys of an issuer of ID tokens cannot be fetched");
                    known.trouble = trouble;
                }
            }
        }
        known.usable(now).ok_or_else(|| known.trouble.clone())
    }

    async fn known(&self, issuer: &str) -> Arc<Mutex<Known>> {
        let mut all = self.known.lock().await;
        if all.len() >= MOST && !all.contains_key(issuer) {
            all.clear();
        }
        Arc::clone(all.entry(issuer.to_owned()).or_default())
    }

    async fn fetch(&self, issuer: &str) -> Result<Jwks, String> {
        let client = self.client.get_or_init(|| Client::new(&self.roots));
        let ask = async |url: &str| {
            let answer = client.ask(Question { url, bearer: None, verb: Verb::Get }).await;
            answer.map_err(|error| error.to_string())
        };
        let found = ask(&format!("{issuer}/.well-known/openid-configuration")).await?;
        let found: Discovery =
            serde_json::from_slice(&found).map_err(|_| "its discovery document is not one".to_owned())?;
        if found.issuer != issuer {
            return Err("its discovery document is another issuer's".to_owned());
        }
        let keys = ask(&found.jwks_uri).await?;
        Jwks::parse(&keys).map_err(|error| error.to_string())
    }
}

impl Known {
    fn enough(&self, anew: bool, now: Timestamp) -> Option<Arc<Jwks>> {
        let (keys, since) = self.keys.as_ref()?;
        (!anew && now.duration_since(*since).abs() < FRESH).then(|| Arc::clone(keys))
    }

    fn usable(&self, now: Timestamp) -> Option<Arc<Jwks>> {
        let (keys, since) = self.keys.as_ref()?;
        (now.duration_since(*since).abs() < USABLE).then(|| Arc::clone(keys))
    }
}
