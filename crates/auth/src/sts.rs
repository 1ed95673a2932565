//! AWS STS, which says who signed a request.

use crate::web::{Turns, Web};
use join::iam::{self, Request};
use join::oidc::Claims;
use std::sync::Arc;
use store::Clock;
use transport::https::{FetchError, Question};

/// Sends requests that joiners signed.
pub struct Sts {
    web: Arc<Web>,
    turns: Turns,
}

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
        Self { web, turns: Turns::new(clock) }
    }

    /// Who signed.
    pub async fn caller(&self, request: &Request) -> Result<Claims, Unknown> {
        let _turn = self.turns.take().await.map_err(Unknown::Away)?;
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
