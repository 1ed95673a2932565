//! The Kubernetes cluster that auth itself runs in, asked about the service account tokens of joiners (`TokenReview`).

use crate::web::Turns;
use std::path::PathBuf;
use std::sync::Arc;
use store::Clock;
use transport::https::{Client, Question};
use zeroize::Zeroizing;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Asks the API, not faster than it should be asked.
pub struct Reviews {
    /// The API.
    pub api: KubernetesApi,
    turns: Turns,
}

/// How its API is reached, and as whom.
#[derive(Debug, Clone)]
pub struct KubernetesApi {
    /// `https://host:port`.
    pub url: String,
    /// Auth's own token; read each time, because it is changed under us. Needs `system:auth-delegator`.
    pub token: PathBuf,
    /// The authority of the API's certificate, PEM.
    pub authority: PathBuf,
}

impl KubernetesApi {
    /// As pods find it; none outside of one.
    pub fn of_environment() -> Option<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let file = |name: &str| PathBuf::from(ACCOUNT).join(name);
        Some(Self { url: format!("https://{host}:{port}"), token: file("token"), authority: file("ca.crt") })
    }

    async fn review(&self, token: &str, audience: &str) -> Result<Vec<u8>, String> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).map(Zeroizing::new);
            text.map_err(|error| format!("{}: {error}", path.display()))
        };
        let (own, authority) = (read(&self.token)?, read(&self.authority)?);
        let blocks = identity::pem::blocks(&authority).map_err(|error| error.to_string())?;
        let authorities: Vec<Vec<u8>> = blocks.iter().map(|block| block.der.to_vec()).collect();
        let body = Zeroizing::new(join::oidc::review::question(token, audience));
        let (url, bearer) = (format!("{}{REVIEWS}", self.url), Some(own.trim()));
        let question = Question { bearer, ..Question::post(&url, &body) };
        Client::of(&authorities).ask(question).await.map_err(|error| error.to_string())
    }
}

impl Reviews {
    /// Nothing has been asked yet.
    pub fn new(api: KubernetesApi, clock: Arc<dyn Clock>) -> Self {
        Self { api, turns: Turns::new(clock) }
    }

    /// The answer about a token that should be for `audience`. The error is for administrators.
    pub async fn ask(&self, token: &str, audience: &str) -> Result<Vec<u8>, String> {
        let _turn = self.turns.take().await?;
        self.api.review(token, audience).await
    }
}
