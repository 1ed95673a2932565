//! What callers learn of the cluster: nodes that they can reach, and administrators why.

use super::bench::{Bench, from, host, id, node_report, of_host, person, root};
use access::SystemRole::Node;
use api::status::Problem;
use api::v1::auth_message::Message;
use api::v1::cluster_service_server::ClusterService;
use api::v1::{
    ExplainSshRequest, ExplainSshResponse, ListNodesRequest, PingRequest, StatusRequest, TrustRequest,
};
use auth::caller::Caller;
use auth::catalog::layout;
use auth::policy::Pace;
use auth::services::cluster::Cluster;
use serde_json::{Value, json};
use store::{SqliteOptions, Txn};
use tokio_stream::StreamExt;

fn service(bench: &Bench) -> Cluster {
    Cluster::new(bench.core.clone(), bench.shutdown.clone())
}

async fn listed(bench: &Bench, caller: &Caller) -> Result<Vec<(String, bool)>, String> {
    let answer = service(bench).list_nodes(from(caller, ListNodesRequest {})).await;
    let answer = answer.map_err(|status| Problem::of(&status).code)?;
    let nodes = answer.into_inner().json.into_iter().map(|json| {
        let node: Value = serde_json::from_str(&json).expect("JSON");
        let online = node["status"]["online"].as_bool().expect("is said");
        (node["spec"]["hostname"].as_str().expect("a name").to_owned(), online)
    });
    Ok(nodes.collect())
}

async fn explained(
    bench: &Bench,
    caller: &Caller,
    request: [&str; 3],
) -> Result<ExplainSshResponse, Problem> {
    let [subject, login, node] = request.map(str::to_owned);
    let request = from(caller, ExplainSshRequest { subject, login, node });
    let answer = service(bench).explain_ssh(request).await.map_err(|status| Problem::of(&status))?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn nodes_that_cannot_be_reached_are_not_listed() {
    let bench = Bench::new().await;
    bench.node(2, "db", "prod").await;
    bench.node(3, "lab", "test").await;
    bench.role("tester", json!({"logins": ["root"], "node_labels": {"env": ["test"]}})).await;
    bench.role("nobody", json!({"node_labels": {"*": ["*"]}})).await;
    let mut stream = bench.connect(host(1, Node, "ci"));
    stream.say(node_report("ci", "test")).await;
    // The policy comes after the report was dealt with.
    stream.find(|message| matches!(message, Message::Policy(_)).then_some(())).await;
    let all = [("ci".to_owned(), true), ("db".to_owned(), false), ("lab".to_owned(), false)];
    assert_eq!(listed(&bench, &root()).await, Ok(all.to_vec()));
    let reachable = [("ci".to_owned(), true), ("lab".to_owned(), false)];
    assert_eq!(listed(&bench, &person("alice", &["tester"])).await, Ok(reachable.to_vec()));
    assert_eq!(listed(&bench, &person("bob", &["nobody"])).await, Ok(vec![]), "no login, no node");
    assert_eq!(listed(&bench, &person("eve", &["gone"])).await, Err("role_not_found".to_owned()));
    assert_eq!(listed(&bench, &of_host(1)).await, Err("wrong_role".to_owned()));
    bench.lock("out", json!({"user": "alice"})).await;
    assert_eq!(listed(&bench, &person("alice", &["tester"])).await, Err("locked".to_owned()));
}

async fn with_a_bot() -> Bench {
    let bench = Bench::new().await;
    bench.node(2, "db", "prod").await;
    bench
        .role("ops", json!({"logins": ["root", "{{internal.logins}}"], "node_labels": {"env": ["prod"]}}))
        .await;
    bench
        .put(json!({"kind": "bot", "version": "v1", "metadata": {"name": "ci"},
            "spec": {"roles": ["ops"], "traits": [{"name": "logins", "values": ["deploy"]}]}}))
        .await;
    bench
}

#[tokio::test]
async fn a_login_is_explained() {
    let bench = with_a_bot().await;
    let allowed = explained(&bench, &root(), ["bot/ci", "deploy", "db"]).await.expect("is explained");
    let expected = ExplainSshResponse {
        allowed: true,
        code: "allowed".to_owned(),
        reason: "granted by role \"ops\"".to_owned(),
        rule: String::new(),
        trace: vec![
            "role \"ops\" allow: grants (node_labels {\"env\": [\"prod\"]} fits; \
             logins {\"deploy\", \"root\"} list \"deploy\")"
                .to_owned(),
            "logins that reach the node: deploy, root".to_owned(),
        ],
    };
    assert_eq!(allowed, expected);
    let refused =
        explained(&bench, &root(), ["bot/ci", "www", &id(2).to_string()]).await.expect("is explained");
    assert!(!refused.allowed);
    assert_eq!(refused.code, "login_not_allowed");
    assert_eq!(refused.rule, "role \"ops\": allow.logins {\"deploy\", \"root\"} lists no \"www\"");
    bench.lock("out", json!({"user": "bot-ci"})).await;
    let locked = explained(&bench, &root(), ["bot/ci", "deploy", "db"]).await.expect("is explained");
    assert!(!locked.allowed);
    assert_eq!(locked.code, "locked");
    assert_eq!(locked.trace[0], "lock \"out\": refuses (lock targeting User:\"bot-ci\" is in force: stolen)");
}

#[tokio::test]
async fn what_the_connection_must_be_like_is_explained() {
    let bench = with_a_bot().await;
    let options = json!({"require_post_quantum": true});
    let allow = json!({"logins": ["deploy"], "node_labels": {"env": ["prod"]}});
    let spec = json!({"options": options, "allow": allow});
    bench.put(json!({"kind": "role", "version": "v7", "metadata": {"name": "ops"}, "spec": spec})).await;
    let answer = explained(&bench, &root(), ["bot/ci", "deploy", "db"]).await.expect("is explained");
    assert!(answer.allowed);
    let expected =
        "the connection needs a post-quantum key exchange (role \"ops\": options.require_post_quantum)";
    assert_eq!(answer.trace.last().map(String::as_str), Some(expected));
}

#[tokio::test]
async fn what_cannot_be_explained_is_said() {
    let bench = with_a_bot().await;
    bench.node(3, "twin", "prod").await;
    bench.node(4, "twin", "prod").await;
    bench
        .put(json!({"kind": "user", "version": "v2", "metadata": {"name": "eve"}, "spec": {"roles": ["gone"]}}))
        .await;
    let table = [
        (["bot/none", "root", "db"], "not_found"),
        (["user/none", "root", "db"], "not_found"),
        (["bot/ci", "root", "none"], "not_found"),
        (["bot/ci", "root", "DB"], "not_found"),
        (["bot/ci", "root", "twin"], "node_ambiguous"),
        (["ci", "root", "db"], "invalid"),
        (["team/ci", "root", "db"], "invalid"),
        (["bot/ci", "-o", "db"], "invalid"),
    ];
    for (request, code) in table {
        let problem = explained(&bench, &root(), request).await.expect_err("is refused");
        assert_eq!(problem.code, code, "{request:?}");
    }
    let missing = explained(&bench, &root(), ["user/eve", "root", "db"]).await.expect("is explained");
    assert_eq!((missing.allowed, missing.code.as_str()), (false, "role_not_found"));
}

#[tokio::test]
async fn only_readers_of_roles_get_explanations() {
    let bench = with_a_bot().await;
    bench.role("reader", json!({"rules": [{"resources": ["role"], "verbs": ["read"]}]})).await;
    let request = ["bot/ci", "deploy", "db"];
    assert!(explained(&bench, &person("alice", &["reader"]), request).await.is_ok());
    let problem = explained(&bench, &person("bob", &["ops"]), request).await.expect_err("is refused");
    assert_eq!(problem.code, "action_not_allowed");
    let problem = explained(&bench, &of_host(1), request).await.expect_err("is refused");
    assert_eq!(problem.code, "wrong_role");
}

#[tokio::test]
async fn the_cluster_says_how_it_is_and_whom_to_trust() {
    let bench = with_a_bot().await;
    let mut policies = bench.core.policies.watch();
    policies.wait_for(Option::is_some).await.expect("auth lives");
    let service = service(&bench);
    let status = service.status(from(&root(), StatusRequest {})).await.expect("is told").into_inner();
    assert_eq!((status.cluster.as_str(), status.health.as_str()), ("example.com", "ok"));
    assert_eq!((status.nodes_online, status.nodes_known, status.proxies_online), (0, 1, 0));
    assert_eq!(status.ca_pins.len(), 1);
    let rotations: Vec<(&str, &str)> =
        status.authorities.iter().map(|authority| (&*authority.kind, &*authority.rotation)).collect();
    let never = "never updated";
    assert_eq!(rotations, [("host", never), ("user", never), ("openssh", never), ("spiffe", never)]);
    let ping = service.ping(from(&person("alice", &["ops"]), PingRequest {})).await.expect("answers");
    assert_eq!(ping.into_inner().identity, "alice");
    let trust = service.trust(from(&root(), TrustRequest::default())).await.expect("is told").into_inner();
    let watch = service.watch_trust(from(&of_host(1), TrustRequest::default())).await.expect("is told");
    let mut watch = watch.into_inner();
    assert_eq!(watch.next().await.expect("the bundle").expect("no end"), trust);
    // Whoever says that it has this one is not told it again.
    let known = TrustRequest { revision: trust.revision };
    let resumed = service.watch_trust(from(&of_host(1), known)).await.expect("is told");
    let mut resumed = resumed.into_inner();
    bench.shutdown.cancel();
    let end = resumed.next().await.expect("a reason").expect_err("nothing comes before the end");
    assert_eq!(Problem::of(&end).code, "stopping");
    let end = watch.next().await.expect("a reason").expect_err("it ends");
    assert_eq!(Problem::of(&end).code, "stopping");
}

/// A write of this size under a key of its own, which nobody reads.
async fn write(bench: &Bench, number: usize, size: usize) -> Result<(), Problem> {
    let key = layout::probe().child(&number.to_string()).expect("a key");
    let outcome = bench.core.catalog.commit(Txn::new().put(key, vec![7; size])).await;
    outcome.map(|outcome| {
        outcome.expect("no conflict");
    })
}

#[tokio::test]
async fn a_full_store_is_told_until_a_write_succeeds() {
    let options = SqliteOptions { max_size: Some(1_000_000), ..SqliteOptions::default() };
    let bench = Bench::over(options, Pace::default()).await;
    let mut policies = bench.core.policies.watch();
    policies.wait_for(Option::is_some).await.expect("the first");
    let health = async || {
        let answer = service(&bench).status(from(&root(), StatusRequest {})).await;
        answer.expect("answers").into_inner().health
    };
    assert_eq!(health().await, "ok");
    let mut written = 0;
    let refused = loop {
        match write(&bench, written, 40_000).await {
            Ok(()) => written += 1,
            Err(problem) => break problem,
        }
    };
    assert_eq!(refused.code, "store_failed");
    assert!(health().await.starts_with("degraded: store /") && health().await.contains("free some space"));
    write(&bench, written, 1).await.expect("a small write still fits");
    assert_eq!(health().await, "ok");
}
