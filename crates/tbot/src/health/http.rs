//! `diag_addr`: `/livez`, `/readyz` and `/readyz/NAME` with reasons, `/metrics`.

use super::{Health, Service};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::SocketAddr;

/// Serves until the process ends.
pub async fn serve(address: SocketAddr, health: Health) -> std::io::Result<()> {
    let unusable = |error: std::io::Error| {
        std::io::Error::new(
            error.kind(),
            format!("{address}: {error}; give each agent an address of its own"),
        )
    };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(unusable)?;
    let routes = Router::new()
        .route("/livez", get(|| async { "OK" }))
        .route("/readyz", get(ready))
        .route("/readyz/{name}", get(ready_one))
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

/// One service as `/readyz` and `tbot status` tell it.
pub fn describe(service: &Service, now: Timestamp) -> Value {
    json!({
        "name": service.name,
        "kind": service.kind,
        "destination": service.destination,
        "ready": service.is_ready(now),
        "status": service.status(now),
        "reason": service.reason(now),
        "expires": service.expires,
        "last_success": service.last_success,
        "next": service.next,
        "iterations": service.iterations,
        "failures": service.failures,
        "hook_failures": service.hook_failures,
    })
}

fn code(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let now = Timestamp::now();
    let services = health.services();
    let ready = health.is_ready(now);
    let told: serde_json::Map<String, Value> =
        services.iter().map(|service| (service.name.clone(), describe(service, now))).collect();
    let reason = if ready { String::new() } else { super::summary(&services, now) };
    (code(ready), Json(json!({ "ready": ready, "reason": reason, "services": told })))
}

async fn ready_one(State(health): State<Health>, Path(name): Path<String>) -> impl IntoResponse {
    let now = Timestamp::now();
    let services = health.services();
    match services.iter().find(|service| service.name == name) {
        Some(service) => (code(service.is_ready(now)), Json(describe(service, now))),
        None => {
            let known: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
            let error = format!("no service is called {name:?}");
            (StatusCode::NOT_FOUND, Json(json!({ "error": error, "known": known })))
        }
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let text = exposition(&health.services(), Timestamp::now());
    ([("content-type", "text/plain; version=0.0.4")], text)
}

/// Names of outputs are plain words (`config::outputs`), so labels need no escapes.
fn exposition(services: &[Service], now: Timestamp) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Service) -> Option<f64>| {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for service in services {
            if let Some(value) = value(service) {
                let (kind, service) = (service.kind.as_str(), &service.name);
                let _ = writeln!(text, "{name}{{service=\"{kind}\",name=\"{service}\"}} {value}");
            }
        }
    };
    metric("tbot_task_iterations_total", "counter", "Rounds of a service.", &|s| Some(s.iterations as f64));
    metric("tbot_task_iterations_failed", "counter", "Rounds that failed.", &|s| Some(s.failures as f64));
    metric("tbot_task_iterations_successful", "counter", "Rounds that succeeded.", &|s| {
        Some(s.iterations.saturating_sub(s.failures) as f64)
    });
    metric("tbot_hook_failures_total", "counter", "Times that on_renew failed.", &|s| {
        s.kind.is_output().then_some(s.hook_failures as f64)
    });
    metric("tbot_ready", "gauge", "1 while what the service keeps is valid.", &|s| {
        Some(f64::from(u8::from(s.is_ready(now))))
    });
    metric("tbot_credential_seconds_left", "gauge", "Seconds until what was written expires.", &|s| {
        s.expires.map(|expires| expires.duration_since(now).as_secs_f64().round())
    });
    text
}

#[cfg(test)]
mod tests {
    use super::{exposition, ready_one};
    use crate::health::{Health, Kind, Service};
    use axum::extract::{Path, State};
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use jiff::{SignedDuration, Timestamp};

    #[tokio::test]
    async fn each_service_answers_for_itself() {
        let health = Health::default();
        health.set_services(vec![
            Service::new("a", Kind::IdentityOutput),
            Service::new("b", Kind::IdentityOutput),
        ]);
        let now = Timestamp::now();
        health.succeeded("a", Some(now + SignedDuration::from_hours(1)), None, now);
        let answers = async |name: &str| {
            ready_one(State(health.clone()), Path(name.to_owned())).await.into_response().status()
        };
        assert_eq!(answers("a").await, StatusCode::OK);
        assert_eq!(answers("b").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answers("c").await, StatusCode::NOT_FOUND);
    }

    #[test]
    fn metrics_are_told_for_each() {
        let now = Timestamp::UNIX_EPOCH;
        let mut service = Service::new("a", Kind::IdentityOutput);
        service.expires = Some(now + SignedDuration::from_secs(90));
        let text = exposition(&[service], now);
        let left = "tbot_credential_seconds_left{service=\"identity-output\",name=\"a\"} 90\n";
        assert!(text.contains(left), "{text}");
    }
}
