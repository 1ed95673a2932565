//! How the agent is, for `diag_addr`: `/livez`, `/readyz` with a reason, `/metrics`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The agent's own word on how it is; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Seen>>);

#[derive(Debug, Clone, Default)]
struct Seen {
    renewals: u64,
    failures: u64,
    last_success: Option<Timestamp>,
    expires: Option<Timestamp>,
    problem: Option<String>,
}

impl Health {
    /// A round succeeded; what it left on disk is good until `expires`.
    pub fn renewed(&self, expires: Timestamp, now: Timestamp) {
        self.change(|state| {
            state.renewals += 1;
            state.last_success = Some(now);
            state.expires = Some(expires);
            state.problem = None;
        });
    }

    /// A round failed.
    pub fn failed(&self, error: &dyn std::fmt::Display) {
        let problem = error.to_string();
        self.change(|state| {
            state.failures += 1;
            state.problem = Some(problem);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn now(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves until the process ends.
pub async fn serve(address: SocketAddr, health: Health) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let routes = Router::new()
        .route("/livez", get(|| async { "OK" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    tracing::info!(address = %listener.local_addr()?, "serving health and metrics");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "health and metrics are no longer served");
        }
    });
    Ok(())
}

/// Ready means: the credentials on disk are valid now. A failed renewal is told, and is not yet a failure.
async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let state = health.now();
    let ready = state.expires.is_some_and(|expires| expires > Timestamp::now());
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reason = match (&state.problem, ready) {
        (Some(problem), _) => problem.clone(),
        (None, true) => String::new(),
        (None, false) if state.expires.is_some() => "what was written has expired".to_owned(),
        (None, false) => "nothing has been written yet".to_owned(),
    };
    (code, Json(serde_json::json!({ "ready": ready, "expires": state.expires, "reason": reason })))
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let state = health.now();
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    let left = state.expires.map_or(0.0, |expires| expires.duration_since(Timestamp::now()).as_secs_f64());
    metric("tbot_renewals_total", "counter", "Rounds that wrote everything.", state.renewals as f64);
    metric("tbot_failures_total", "counter", "Rounds that failed.", state.failures as f64);
    metric("tbot_credential_seconds_left", "gauge", "Seconds until the written credentials expire.", left);
    ([("content-type", "text/plain; version=0.0.4")], text)
}

#[cfg(test)]
mod tests {
    use super::{Health, ready};
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use jiff::{SignedDuration, Timestamp};

    #[tokio::test]
    async fn ready_is_who_has_valid_files_on_disk() {
        let health = Health::default();
        let answers = async || ready(State(health.clone())).await.into_response().status();
        assert_eq!(answers().await, StatusCode::SERVICE_UNAVAILABLE, "nothing is written yet");
        let now = Timestamp::now();
        for (until, status) in [(1, StatusCode::OK), (-1, StatusCode::SERVICE_UNAVAILABLE)] {
            health.renewed(now + SignedDuration::from_hours(until), now);
            assert_eq!(answers().await, status, "{until}");
        }
        health.renewed(now + SignedDuration::from_hours(1), now);
        health.failed(&"auth is away");
        assert_eq!(answers().await, StatusCode::OK, "a failed renewal is told, and no failure yet");
    }
}
