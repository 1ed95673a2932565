//! The audit log over RPC: hosts report about themselves, auditors read.

use super::bench::{Bench, from, id, of_host, person, root};
use api::status::Problem;
use api::v1::audit_service_server::AuditService;
use api::v1::{EmitRequest, SearchRequest, TailRequest, VerifyRequest};
use auth::caller::Caller;
use auth::services::audit::Audit;
use serde_json::{Value, json};
use tokio_stream::StreamExt;

pub fn service(bench: &Bench) -> Audit {
    Audit::new(bench.core.catalog.clone(), bench.shutdown.clone())
}

pub async fn emit(bench: &Bench, caller: &Caller, ids: &[&str], events: &[Value]) -> Result<(), String> {
    let request = EmitRequest {
        json: events.iter().map(Value::to_string).collect(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    };
    let answer = service(bench).emit(from(caller, request)).await;
    answer.map(drop).map_err(|status| Problem::of(&status).code)
}

pub async fn search(bench: &Bench, caller: &Caller, request: SearchRequest) -> Result<Vec<Value>, String> {
    let answer = service(bench).search(from(caller, request)).await;
    let events = answer.map_err(|status| Problem::of(&status).code)?.into_inner().events;
    Ok(events.iter().map(|event| serde_json::from_str(&event.json).expect("JSON")).collect())
}

pub fn session(user: &str) -> Value {
    json!({"event": "session.start", "code": "T2000I", "user": user, "server_id": id(99).to_string()})
}

#[tokio::test]
async fn hosts_report_under_their_own_id() {
    let bench = Bench::new().await;
    let web = bench.enrolled(1).await;
    emit(&bench, &web, &["a", "b"], &[session("x"), session("y")]).await.expect("is kept");
    emit(&bench, &web, &["b"], &[session("y")]).await.expect("is kept once");
    let found = search(&bench, &root(), SearchRequest::default()).await.expect("is found");
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|event| event["server_id"] == id(1).to_string()));
}

#[tokio::test]
async fn others_do_not_report() {
    let bench = Bench::new().await;
    let web = bench.enrolled(1).await;
    let table = [
        (emit(&bench, &of_host(2), &["a"], &[session("x")]).await, "host_unknown"),
        (emit(&bench, &of_host(1), &["a"], &[session("x")]).await, "certificate_stale"),
        (emit(&bench, &root(), &["a"], &[session("x")]).await, "wrong_role"),
        (emit(&bench, &person("alice", &["a"]), &["a"], &[session("x")]).await, "wrong_role"),
        (emit(&bench, &web, &[], &[session("x")]).await, "invalid"),
        (emit(&bench, &web, &["a"], &[json!("text")]).await, "report_refused"),
        (
            emit(&bench, &web, &["a"], &[json!({"event": "user.login", "code": "T1000I"})]).await,
            "report_refused",
        ),
    ];
    for (outcome, code) in table {
        assert_eq!(outcome, Err(code.to_owned()));
    }
    assert!(search(&bench, &root(), SearchRequest::default()).await.expect("reads").is_empty());
}

#[tokio::test]
async fn events_are_found_followed_and_verified() {
    let bench = Bench::new().await;
    let web = bench.enrolled(1).await;
    for (id, user) in [("a", "x"), ("b", "y"), ("c", "z")] {
        emit(&bench, &web, &[id], &[session(user)]).await.expect("is kept");
    }
    let newest = SearchRequest { newest_first: true, limit: 1, ..SearchRequest::default() };
    assert_eq!(search(&bench, &root(), newest).await.expect("is found")[0]["user"], "z");
    let after = SearchRequest { after: 1, ..SearchRequest::default() };
    assert_eq!(search(&bench, &root(), after).await.expect("is found").len(), 2);
    let none = SearchRequest { events: vec!["exec".to_owned()], ..SearchRequest::default() };
    assert!(search(&bench, &root(), none).await.expect("is found").is_empty());
    let wrong = SearchRequest { from: "yesterday".to_owned(), ..SearchRequest::default() };
    assert_eq!(search(&bench, &root(), wrong).await, Err("invalid".to_owned()));

    let service = service(&bench);
    let tail = service.tail(from(&root(), TailRequest { after: 2 })).await.expect("follows");
    let mut tail = tail.into_inner();
    assert_eq!(tail.next().await.expect("one").expect("an event").sequence, 3);
    emit(&bench, &web, &["d"], &[session("w")]).await.expect("is kept");
    assert_eq!(tail.next().await.expect("one").expect("an event").sequence, 4);

    let walked = service.verify(from(&root(), VerifyRequest {})).await.expect("walks").into_inner();
    assert_eq!((walked.events, walked.first_broken, walked.head.len()), (4, 0, 32));
    bench.shutdown.cancel();
    let end = tail.next().await.expect("a reason").expect_err("it ends");
    assert_eq!(Problem::of(&end).code, "stopping");
}
