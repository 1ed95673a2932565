//! The keys of those who issue ID tokens: found where OpenID Connect Discovery 1.0 (section 4) says, kept for a while,
//! fetched again when a token names a key that is not among them.
//!
//! Only issuers that an administrator wrote into a token resource are asked, and those of the clouds of Azure; and however
//! many joiners come, each seldom.

use crate::web::Web;
use jiff::{SignedDuration, Timestamp};
use join::oidc::Jwks;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Clock;
use transport::https::{Client, Question};

/// How long keys are used without asking.
const FRESH: SignedDuration = SignedDuration::from_mins(15);
/// How long they are used when the issuer does not answer.
const USABLE: SignedDuration = SignedDuration::from_hours(24);
/// Between two questions to one issuer, whatever joiners show; from the end of the one to the begin of the next.
const PACE: SignedDuration = SignedDuration::from_secs(10);
/// Issuers remembered at once; they come from token resources alone.
const MOST: usize = 256;

/// See the module.
pub struct Issuers {
    web: Arc<Web>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, Arc<Known>>>,
}

#[derive(Default)]
struct Known {
    state: Mutex<State>,
    /// Held while asking: who needs the answer waits for the same one, and nobody else does.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    keys: Option<(Arc<Jwks>, Timestamp)>,
    /// When the last question ended.
    tried: Option<Timestamp>,
    trouble: String,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuers {
    /// Nobody has been asked yet.
    pub fn new(web: Arc<Web>, clock: Arc<dyn Clock>) -> Self {
        Self { web, clock, known: Mutex::default() }
    }

    /// The keys of an issuer; `anew` when those that are kept lack one. The error is for administrators.
    pub async fn keys(&self, issuer: &str, anew: bool) -> Result<Arc<Jwks>, String> {
        self.keys_at(issuer, issuer, anew).await
    }

    /// The same of one whose discovery document is elsewhere than its name says.
    pub async fn keys_at(&self, address: &str, issuer: &str, anew: bool) -> Result<Arc<Jwks>, String> {
        let known = self.known(address);
        let came = self.clock.now();
        if !anew && let Some(keys) = known.state().not_older(came, FRESH) {
            return Ok(keys);
        }
        let turn = Arc::clone(&known.asking).lock_owned().await;
        let now = self.clock.now();
        let meanwhile = match anew {
            false => known.state().not_older(now, FRESH),
            true => known.state().fetched_since(came),
        };
        if let Some(keys) = meanwhile {
            return Ok(keys);
        }
        if known.state().may_ask(now) {
            // On its own, so that a joiner that goes away takes the answer from nobody.
            let (client, clock) = (self.web.client().clone(), Arc::clone(&self.clock));
            let known = Arc::clone(&known);
            let (address, issuer) = (address.to_owned(), issuer.to_owned());
            let asking = tokio::spawn(async move {
                let found = fetch(&client, &address, &issuer).await;
                known.state().learn(&issuer, found, clock.now());
                drop(turn);
            });
            asking.await.map_err(|error| error.to_string())?;
        }
        let state = known.state();
        state.not_older(self.clock.now(), USABLE).ok_or_else(|| state.trouble.clone())
    }

    fn known(&self, issuer: &str) -> Arc<Known> {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(issuer) {
            all.clear();
        }
        Arc::clone(all.entry(issuer.to_owned()).or_default())
    }
}

async fn fetch(client: &Client, address: &str, issuer: &str) -> Result<Jwks, String> {
    let ask = async |url: &str| {
        let answer = client.ask(Question::get(url)).await;
        answer.map_err(|error| error.to_string())
    };
    // As the standard has it, without the slash that it may end with.
    let address = address.strip_suffix('/').unwrap_or(address);
    let found = ask(&format!("{address}/.well-known/openid-configuration")).await?;
    let found: Discovery =
        serde_json::from_slice(&found).map_err(|_| "its discovery document is not one".to_owned())?;
    if found.issuer != issuer {
        return Err("its discovery document is another issuer's".to_owned());
    }
    let keys = ask(&found.jwks_uri).await?;
    Jwks::parse(&keys).map_err(|error| error.to_string())
}

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn not_older(&self, now: Timestamp, than: SignedDuration) -> Option<Arc<Jwks>> {
        let (keys, since) = self.keys.as_ref()?;
        (now.duration_since(*since).abs() < than).then(|| Arc::clone(keys))
    }

    fn fetched_since(&self, earliest: Timestamp) -> Option<Arc<Jwks>> {
        let (keys, since) = self.keys.as_ref()?;
        (*since >= earliest).then(|| Arc::clone(keys))
    }

    fn may_ask(&self, now: Timestamp) -> bool {
        self.tried.is_none_or(|tried| now.duration_since(tried).abs() >= PACE)
    }

    fn learn(&mut self, issuer: &str, found: Result<Jwks, String>, now: Timestamp) {
        self.tried = Some(now);
        match found {
            Ok(keys) => self.keys = Some((Arc::new(keys), now)),
            Err(trouble) => {
                tracing::warn!(issuer, trouble, "the keys of an issuer of ID tokens cannot be fetched");
                self.trouble = trouble;
            }
        }
    }
}
