//! Attacks on what auth knows of hosts and their sessions.

use super::audit::{emit, search, service, session};
use super::bench::{Bench, from, of_host, person};
use api::status::Problem;
use api::v1::audit_service_server::AuditService;
use api::v1::{SearchRequest, TailRequest, VerifyRequest};
use serde_json::json;

/// Row S5: the events of sessions are listed, followed and checked by those whose roles say so. There is no other way to
/// hear of somebody's session: nothing is recorded, and nothing can be joined.
#[tokio::test]
async fn s5_only_auditors_learn_of_sessions() {
    let bench = Bench::new().await;
    bench.role("auditor", json!({"rules": [{"resources": ["event"], "verbs": ["list", "read"]}]})).await;
    bench.role("lister", json!({"rules": [{"resources": ["event"], "verbs": ["list"]}]})).await;
    let web = bench.enrolled(1).await;
    emit(&bench, &web, &["a"], &[session("carol")]).await.expect("is kept");
    let auditor = person("alice", &["auditor"]);
    assert_eq!(search(&bench, &auditor, SearchRequest::default()).await.expect("is found").len(), 1);
    for caller in [person("bob", &["lister"]), person("carol", &[]), of_host(1), web] {
        let service = service(&bench);
        let refusals = [
            search(&bench, &caller, SearchRequest::default()).await.expect_err("is refused"),
            Problem::of(
                &service.tail(from(&caller, TailRequest { after: 0 })).await.expect_err("is refused"),
            )
            .code,
            Problem::of(&service.verify(from(&caller, VerifyRequest {})).await.expect_err("is refused")).code,
        ];
        for code in refusals {
            assert!(["action_not_allowed", "wrong_role"].contains(&&*code), "{code}");
        }
    }
}
