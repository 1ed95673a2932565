//! Whom others have to trust to believe the cluster's workloads: the SPIFFE bundle, and the same keys as OpenID Connect
//! Discovery has them. Public by nature; asked of auth seldom, however many visitors come.

use super::Facts;
use access::HostPort;
use agent::HostAgent;
use api::convert::{self, ISSUER_PATH};
use api::v1::WorkloadTrustRequest;
use api::v1::workload_service_client::WorkloadServiceClient;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use identity::svid::WorkloadTrust;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use transport::rpc::within;

/// How long a bundle is given out without asking.
const FRESH: Duration = Duration::from_secs(60);
/// Between two questions while auth does not answer.
const PACE: Duration = Duration::from_secs(5);
/// What a visitor waits at most.
const ANSWER: Duration = Duration::from_secs(5);

/// What is known of the bundle.
#[derive(Default)]
pub(super) struct Known(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    trust: Option<Arc<WorkloadTrust>>,
    fresh_until: Option<Instant>,
}

impl Known {
    /// The bundle; the last one that is known while auth is away.
    async fn trust(&self, agent: &HostAgent) -> Option<Arc<WorkloadTrust>> {
        // Held while asking: who comes meanwhile waits for the same answer.
        let mut kept = self.0.lock().await;
        if kept.fresh_until.is_some_and(|until| Instant::now() < until) {
            return kept.trust.clone();
        }
        match ask(agent).await {
            Ok(trust) => {
                kept.trust = Some(Arc::new(trust));
                kept.fresh_until = Some(Instant::now() + FRESH);
            }
            Err(error) => {
                tracing::warn!(error, "auth was not asked whom to trust for workloads");
                kept.fresh_until = Some(Instant::now() + PACE);
            }
        }
        kept.trust.clone()
    }
}

async fn ask(agent: &HostAgent) -> Result<WorkloadTrust, String> {
    let request = within(ANSWER, WorkloadTrustRequest {});
    let answer = WorkloadServiceClient::new(agent.channel()).trust(request).await;
    let answer = answer.map_err(|status| status.message().to_owned())?;
    convert::workload_trust(answer.into_inner()).map_err(|error| error.to_string())
}

/// Its pages.
pub(super) fn pages() -> Router<Arc<Facts>> {
    Router::new()
        .route("/webapi/spiffe/bundle.json", get(bundle))
        .route(&format!("{ISSUER_PATH}/.well-known/openid-configuration"), get(discovery))
        .route(&format!("{ISSUER_PATH}/jwt-jwks.json"), get(jwks))
}

async fn bundle(State(facts): State<Arc<Facts>>) -> Response {
    told(&facts, WorkloadTrust::bundle).await
}

async fn jwks(State(facts): State<Arc<Facts>>) -> Response {
    told(&facts, WorkloadTrust::jwks).await
}

async fn told(facts: &Facts, render: fn(&WorkloadTrust) -> serde_json::Value) -> Response {
    match facts.workloads.trust(&facts.agent).await {
        Some(trust) => Json(render(&trust)).into_response(),
        None => {
            let body = json!({ "error": { "message": "the auth service cannot be asked now; try again" } });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn discovery(State(facts): State<Arc<Facts>>) -> Response {
    let public = facts.public.first().map(HostPort::to_string).unwrap_or_default();
    let issuer = convert::token_issuer(&public);
    let told = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwt-jwks.json"),
        "claims_supported": ["iss", "sub", "aud", "jti", "iat", "exp"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
    });
    Json(told).into_response()
}
