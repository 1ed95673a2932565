//! AWS STS, which says who signed a request.

use crate::web::{Servers, Silent, Web};
use join::iam::{self, Request};
use join::oidc::Claims;
use std::sync::Arc;
use store::Clock;
use transport::https::{FetchError, Question};

/// Sends requests that joiners signed.
pub struct Sts(Servers);

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
        Self(Servers::new(web, clock, "STS"))
    }

    /// Who signed.
    pub async fn caller(&self, request: &Request) -> Result<Claims, Unknown> {
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let question =
            Question { headers: &headers, ..Question::post(&request.url, request.body.as_bytes()) };
        match self.0.ask(&request.url, question).await {
            Ok(answer) => iam::caller(&answer)
                .ok_or_else(|| Unknown::Away("the answer of STS names no account and ARN".to_owned())),
            // Not signed by the key, or too long ago.
            Err(Silent::Asked(error @ FetchError::Status { status: 400..=403, .. })) => {
                Err(Unknown::Refused(error.to_string()))
            }
            Err(Silent::Asked(error)) => Err(Unknown::Away(error.to_string())),
            Err(Silent::Unasked(trouble)) => Err(Unknown::Away(trouble)),
        }
    }
}
