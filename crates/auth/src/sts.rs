//! AWS STS, which says who signed a request.

use crate::web::{Turns, Web};
use join::iam::{self, Request};
use join::oidc::Claims;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use store::Clock;
use tokio::sync::Semaphore;
use transport::https::{FetchError, Question};

/// Sends requests that joiners signed.
pub struct Sts {
    web: Arc<Web>,
    clock: Arc<dyn Clock>,
    /// By endpoint, of which there are few: one that does not answer holds up nobody at another.
    turns: Mutex<HashMap<String, Arc<Turns>>>,
    /// For all endpoints together.
    inside: Semaphore,
}

/// Joins that wait for STS, at whatever endpoint: a part of those that auth works on.
const MOST: usize = 64;

/// Why it is not known who signed. The words are for administrators.
pub enum Unknown {
    /// STS says that nobody did.
    Refused(String),
    /// It may be told another time.
    Away(String),
}

impl Sts {
    /// Nobody has been asked about yet.
    pub fn new(web: Arc<Web>, clock: Arc<dyn Clock>) -> Self {
        Self { web, clock, turns: Mutex::default(), inside: Semaphore::new(MOST) }
    }

    fn turns(&self, url: &str) -> Arc<Turns> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Turns::new(Arc::clone(&self.clock)));
        Arc::clone(turns.entry(url.to_owned()).or_insert_with(new))
    }

    /// Who signed.
    pub async fn caller(&self, request: &Request) -> Result<Claims, Unknown> {
        let busy = |_| Unknown::Away(format!("{MOST} joins wait for STS already"));
        let _inside = self.inside.try_acquire().map_err(busy)?;
        let turns = self.turns(&request.url);
        let _turn = turns.take().await.map_err(Unknown::Away)?;
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let question =
            Question { headers: &headers, ..Question::post(&request.url, request.body.as_bytes()) };
        match self.web.client().ask(question).await {
            Ok(answer) => iam::caller(&answer)
                .ok_or_else(|| Unknown::Away("the answer of STS names no account and ARN".to_owned())),
            // Not signed by the key, or too long ago.
            Err(error @ FetchError::Status { status: 400..=403, .. }) => {
                Err(Unknown::Refused(error.to_string()))
            }
            Err(error) => Err(Unknown::Away(error.to_string())),
        }
    }
}
