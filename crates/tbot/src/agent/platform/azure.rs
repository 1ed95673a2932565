//! What Azure says of the machine, from its metadata service (IMDS): the attested document, the certificates that its signer
//! needs, and an access token of the managed identity. Asked for each time: each document is for one attempt.

use super::super::AgentError;
use api::v1;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use join::azure::{
    Cloud, LONGEST_CERTIFICATE, LONGEST_DOCUMENT, MOST_CERTIFICATES, issuer_url, signer, stated_nonce,
};
use serde::Deserialize;
use std::time::Duration;
use transport::https::{FetchError, Question, ask_machine, ask_publicly};
use zeroize::Zeroizing;

/// Where it answers; another is what Azure's own tools know by this variable.
const SERVICE: &str = "http://169.254.169.254";
const ELSEWHERE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
/// Of its interfaces: what is said of the machine, and tokens.
const VERSION: &str = "api-version=2021-02-01";
const TOKENS: &str = "api-version=2018-02-01";
/// It may answer with a document that it made for somebody else just now.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(2);
/// For all certificates together: a challenge is good for a minute.
const CERTIFICATES: Duration = Duration::from_secs(15);
const ADVICE: &str = "run tbot on a machine of Azure that has a managed identity";

/// The metadata service.
pub struct Machine {
    base: String,
}

#[derive(Deserialize)]
struct Attested {
    signature: String,
}

#[derive(Deserialize)]
struct Access {
    access_token: Zeroizing<String>,
}

impl Machine {
    /// As this environment leads to it.
    pub fn new(environment: impl Fn(&str) -> Option<String>) -> Self {
        let base = environment(ELSEWHERE).unwrap_or_else(|| SERVICE.to_owned());
        Self { base: base.trim_end_matches('/').to_owned() }
    }

    /// What is shown of the machine, for this nonce; as the identity with this client id, where it has several.
    pub async fn attest(
        &self,
        nonce: &str,
        client_id: Option<&str>,
    ) -> Result<v1::AzureAttestation, AgentError> {
        let access_token = self.access_token(client_id).await?;
        let document = self.document(nonce).await?;
        let certificates = match tokio::time::timeout(CERTIFICATES, certificates(&document)).await {
            Ok(certificates) => certificates,
            Err(_) => {
                tracing::warn!("the certificates of Azure's authorities do not come; joining without them");
                Vec::new()
            }
        };
        let access_token = access_token.to_string();
        Ok(v1::AzureAttestation { document, certificates, access_token })
    }

    async fn document(&self, nonce: &str) -> Result<Vec<u8>, AgentError> {
        let what = "the machine's attested document";
        for tried in 0..TRIES {
            if tried > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let answer = self.ask(&format!("attested/document?{VERSION}&nonce={nonce}"), what).await?;
            let answer: Attested = serde_json::from_slice(&answer).map_err(|_| none(what))?;
            let document = STANDARD.decode(answer.signature.trim()).map_err(|_| none(what))?;
            if document.len() > LONGEST_DOCUMENT {
                return Err(none(what));
            }
            if stated_nonce(&document).is_none_or(|stated| stated == nonce) {
                return Ok(document);
            }
        }
        let reason = "the metadata service answers with one that was made for somebody else".to_owned();
        Err(AgentError::Unusable { what, reason })
    }

    async fn access_token(&self, client_id: Option<&str>) -> Result<Zeroizing<String>, AgentError> {
        let what = "the machine's access token";
        let path = format!("instance/compute/azEnvironment?{VERSION}&format=text");
        let name = self.ask(&path, "the machine's cloud").await?;
        let name = String::from_utf8_lossy(&name).trim().to_owned();
        let unknown = || missing(&format!("the cloud {name:?} is not known"));
        let resource = Cloud::of_name(&name).ok_or_else(unknown)?.resource();
        let client = client_id.map(|id| format!("&client_id={id}")).unwrap_or_default();
        let answer =
            self.ask(&format!("identity/oauth2/token?{TOKENS}&resource={resource}{client}"), what).await;
        let answer = answer.map_err(|error| match (error, client_id) {
            (AgentError::NoIdToken { .. }, None) => {
                missing("the machine has no managed identity, or several")
            }
            (AgentError::NoIdToken { .. }, Some(id)) => {
                missing(&format!("the machine has no managed identity with the client id {id}"))
            }
            (error, _) => error,
        })?;
        let answer: Access = serde_json::from_slice(&answer).map_err(|_| none(what))?;
        Ok(answer.access_token)
    }

    async fn ask(&self, path: &str, what: &'static str) -> Result<Zeroizing<Vec<u8>>, AgentError> {
        let url = format!("{}/metadata/{path}", self.base);
        let question = Question { headers: &[("metadata", "true")], ..Question::get(&url) };
        ask_machine(question).await.map(Zeroizing::new).map_err(|error| match error {
            FetchError::Status { status: 400 | 404, .. } => missing(&format!("{what}: {error}")),
            error => AgentError::Unusable { what, reason: error.to_string() },
        })
    }
}

/// Those that lead from the signer to a root, as far as they are to be had. Auth verifies them, and may know them already.
async fn certificates(document: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut last = signer(document);
    while found.len() < MOST_CERTIFICATES
        && let Some(url) = last.as_deref().and_then(issuer_url)
    {
        match ask_publicly(&url).await {
            Ok(certificate) if certificate.len() <= LONGEST_CERTIFICATE => found.push(certificate),
            Ok(_) => {
                tracing::warn!(url, "what is there is no certificate of an authority");
                break;
            }
            Err(error) => {
                tracing::warn!(url, %error, "a certificate of Azure's authorities cannot be fetched");
                break;
            }
        }
        last = found.last().cloned();
    }
    found
}

fn none(what: &'static str) -> AgentError {
    AgentError::Unusable { what, reason: "the metadata service answered without one".to_owned() }
}

fn missing(reason: &str) -> AgentError {
    AgentError::NoIdToken { method: "azure", reason: reason.to_owned(), advice: ADVICE }
}
