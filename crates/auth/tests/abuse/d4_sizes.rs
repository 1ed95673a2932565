//! Far too much in one request: refused as the caller's mistake at the edge, and nothing of it is kept.

use api::status::{Class, Problem};
use api::v1::agent_message::Message as Said;
use api::v1::auth_message::Message as Heard;
use api::v1::inventory_service_client::InventoryServiceClient;
use api::v1::join_service_client::JoinServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use api::v1::{AgentMessage, ChallengeRequest, HostDetails, NodeReport, UpsertRequest};
use identity::Credentials;
use serde_json::{Map, Value, json};
use tonic::Status;

use crate::harness::{Auth, Joiner};

const TEN_MB: usize = 10 << 20;

fn many() -> Map<String, Value> {
    (0..100_000).map(|n| (format!("label-{n}"), json!("v"))).collect()
}

/// The caller's mistake, which trying again does not mend; told in few words.
fn assert_refused(what: &str, refusal: Status) {
    let problem = Problem::of(&refusal);
    let shown: String = problem.reason.chars().take(500).collect();
    assert!(matches!(problem.class, Class::Invalid | Class::Denied), "{what}: {:?}: {shown}", problem.class);
    assert!(problem.reason.len() < 1_000, "{what}: {} bytes: {shown}", problem.reason.len());
}

async fn upsert(auth: &Auth, json: &Value) -> Result<(), Status> {
    let mut resources = ResourceServiceClient::new(auth.admin());
    resources.upsert(UpsertRequest { json: json.to_string() }).await.map(drop)
}

/// What is too much at any size at which a message is read at all.
fn too_much(size: usize) -> Vec<(&'static str, Value)> {
    let long = "x".repeat(size);
    let role = |metadata: Value, allow: Value| json!({"kind": "role", "version": "v7", "metadata": metadata, "spec": {"allow": allow}});
    let lock =
        |spec: Value| json!({"kind": "lock", "version": "v2", "metadata": {"name": "big"}, "spec": spec});
    let user =
        json!({"kind": "user", "version": "v2", "metadata": {"name": "big"}, "spec": {"traits": many()}});
    vec![
        ("a name", role(json!({"name": long}), json!({}))),
        ("a description", role(json!({"name": "big", "description": long}), json!({}))),
        ("a label", role(json!({"name": "big", "labels": {"a": long}}), json!({}))),
        ("the name of a label", role(json!({"name": "big", "labels": {long.clone(): "a"}}), json!({}))),
        ("labels", role(json!({"name": "big", "labels": many()}), json!({}))),
        ("labels of nodes", role(json!({"name": "big"}), json!({"node_labels": many()}))),
        ("a login", role(json!({"name": "big"}), json!({"logins": [long]}))),
        ("the reason of a lock", lock(json!({"target": {"user": "alice"}, "message": long}))),
        ("the target of a lock", lock(json!({"target": {"user": long}}))),
        ("traits", user),
    ]
}

#[tokio::test]
async fn resources_and_the_reasons_of_locks() {
    let auth = Auth::start().await;
    for size in [3 << 20, TEN_MB] {
        for (what, resource) in too_much(size) {
            assert_refused(what, upsert(&auth, &resource).await.expect_err(what));
        }
    }
    let small = json!({"kind": "role", "version": "v7", "metadata": {"name": "small"}, "spec": {}});
    upsert(&auth, &small).await.expect("it goes on");
}

#[tokio::test]
async fn joins() {
    let auth = Auth::start().await;
    let strangers = auth.stranger();
    for (what, hostname, principals) in [
        ("a name", "x".repeat(TEN_MB), vec![]),
        ("a name of what fits in a message", "x".repeat(50_000), vec![]),
        ("names", "web-1".to_owned(), vec!["a.example.com".to_owned(); 100_000]),
        ("names that fit in a message", "web-1".to_owned(), (0..4_000).map(|n| format!("n{n}")).collect()),
        ("a long name among them", "web-1".to_owned(), vec!["y".repeat(50_000)]),
    ] {
        let mut joiner = Joiner::node(&hostname);
        if let Some(HostDetails { principals: wanted, .. }) = &mut joiner.host {
            *wanted = principals;
        }
        let request = joiner.request(&strangers).await.expect("a challenge");
        let refusal = JoinServiceClient::new(strangers.clone()).join(request).await.expect_err(what);
        assert_refused(what, refusal);
    }
    let challenge = JoinServiceClient::new(strangers).challenge(ChallengeRequest {}).await;
    assert!(challenge.is_ok(), "it goes on");
    auth.join(&Joiner::node("web-1")).await.expect("the name is free");
}

/// What auth says to one report of this node.
async fn report(auth: &Auth, node: &Credentials, report: NodeReport) -> Result<(), Status> {
    let said = AgentMessage { message: Some(Said::Node(report)) };
    let outgoing = tokio_stream::StreamExt::chain(tokio_stream::iter([said]), tokio_stream::pending());
    let mut heard = InventoryServiceClient::new(auth.member(node)).connect(outgoing).await?.into_inner();
    loop {
        // The policy comes after the report was dealt with.
        let heard = heard.message().await?.expect("it ends with a reason");
        if let Some(Heard::Policy(_)) = heard.message {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn reports_of_nodes() {
    let auth = Auth::start().await;
    let node = auth.join(&Joiner::node("web-1")).await.expect("joins");
    let good =
        || NodeReport { hostname: "web-1".into(), addr: "127.0.0.1:3022".into(), ..NodeReport::default() };
    let labels =
        |count: usize, value: &str| (0..count).map(|n| (format!("l{n}"), value.to_owned())).collect();
    for (what, wrong) in [
        ("a name", NodeReport { hostname: "x".repeat(TEN_MB), ..good() }),
        ("a name that fits", NodeReport { hostname: "x".repeat(200_000), ..good() }),
        ("a label", NodeReport { labels: labels(1, &"x".repeat(TEN_MB)), ..good() }),
        ("a label that fits", NodeReport { labels: labels(1, &"x".repeat(200_000)), ..good() }),
        ("labels", NodeReport { labels: labels(100_000, "v"), ..good() }),
        ("labels that fit", NodeReport { labels: labels(10_000, "v"), ..good() }),
        ("labels of commands that fit", NodeReport { command_labels: labels(10_000, "v"), ..good() }),
        ("addresses", NodeReport { public_addrs: vec!["127.0.0.1:22".into(); 10_000], ..good() }),
        ("a version", NodeReport { version: "x".repeat(200_000), ..good() }),
    ] {
        assert_refused(what, report(&auth, &node, wrong).await.expect_err(what));
    }
    report(&auth, &node, good()).await.expect("an honest report is taken");
}
