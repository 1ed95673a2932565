//! Whom others have to trust to believe the cluster's workloads: the SPIFFE bundle, and the same keys as OpenID Connect
//! Discovery has them. Public by nature; asked of auth seldom, however many visitors come. Who issues tokens is what auth says,
//! the same from every proxy and in every token: never the address of this one.

use super::Facts;
use access::spiffe::TokenIssuer;
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
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use transport::rpc::within;

/// The page with the keys alone, below the issuer's address.
const JWKS: &str = "jwt-jwks.json";
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
    told: Option<Arc<Told>>,
    fresh_until: Option<Instant>,
}

/// What auth said.
struct Told {
    trust: WorkloadTrust,
    issuer: Option<TokenIssuer>,
}

impl Known {
    /// What auth says; the last that is known while it is away.
    async fn told(&self, agent: &HostAgent) -> Option<Arc<Told>> {
        // Held while asking: who comes meanwhile waits for the same answer.
        let mut kept = self.0.lock().await;
        if kept.fresh_until.is_some_and(|until| Instant::now() < until) {
            return kept.told.clone();
        }
        match ask(agent).await {
            Ok(told) => {
                kept.told = Some(Arc::new(told));
                kept.fresh_until = Some(Instant::now() + FRESH);
            }
            Err(error) => {
                tracing::warn!(error, "auth was not asked whom to trust for workloads");
                kept.fresh_until = Some(Instant::now() + PACE);
            }
        }
        kept.told.clone()
    }
}

async fn ask(agent: &HostAgent) -> Result<Told, String> {
    let request = within(ANSWER, WorkloadTrustRequest {});
    let answer = WorkloadServiceClient::new(agent.channel()).trust(request).await;
    let mut answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
    let issuer = match std::mem::take(&mut answer.jwt_issuer).as_str() {
        "" => None,
        given => Some(given.parse::<TokenIssuer>().map_err(|error| error.to_string())?),
    };
    let trust = convert::workload_trust(answer).map_err(|error| error.to_string())?;
    Ok(Told { trust, issuer })
}

/// Its pages.
pub(super) fn pages() -> Router<Arc<Facts>> {
    Router::new()
        .route("/webapi/spiffe/bundle.json", get(bundle))
        .route(&format!("{ISSUER_PATH}/.well-known/openid-configuration"), get(discovery))
        .route(&format!("{ISSUER_PATH}/{JWKS}"), get(jwks))
}

async fn bundle(State(facts): State<Arc<Facts>>) -> Response {
    answer(&facts, |told| Some(told.trust.bundle())).await
}

async fn jwks(State(facts): State<Arc<Facts>>) -> Response {
    answer(&facts, |told| Some(told.trust.jwks())).await
}

async fn discovery(State(facts): State<Arc<Facts>>) -> Response {
    answer(&facts, |told| told.issuer.as_ref().map(of_issuer)).await
}

/// OpenID Connect Discovery 1.0, section 3, as far as it is about tokens.
fn of_issuer(issuer: &TokenIssuer) -> Value {
    json!({
        "issuer": issuer.to_string(),
        "jwks_uri": format!("{issuer}/{JWKS}"),
        "claims_supported": ["iss", "sub", "aud", "jti", "iat", "exp"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
    })
}

async fn answer(facts: &Facts, render: fn(&Told) -> Option<Value>) -> Response {
    let error = |status: StatusCode, message: &str| {
        (status, Json(json!({ "error": { "message": message } }))).into_response()
    };
    let told = facts.workloads.told(&facts.agent).await;
    match told.as_deref().map(render) {
        Some(Some(page)) => Json(page).into_response(),
        Some(None) => error(
            StatusCode::NOT_FOUND,
            "the tokens of this cluster name no issuer; it is set with auth_service.workload_identity_issuer",
        ),
        None => error(StatusCode::SERVICE_UNAVAILABLE, "the auth service cannot be asked now; try again"),
    }
}
