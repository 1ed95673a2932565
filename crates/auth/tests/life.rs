//! The auth service as a whole: its starts and stops, its files, its table of callers, and hosts that come and go.

mod harness;

use access::SystemRole;
use access::resource::cluster::NetworkingSpec;
use api::status::Problem;
use api::v1;
use api::v1::agent_message::Message;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::inventory_service_client::InventoryServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use auth::StartError;
use harness::{Auth, Joiner, STATIC_TOKEN, output};
use identity::Credentials;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tonic::transport::Channel;
use transport::health::Status;

async fn resource(channel: Channel, kind: &str, name: &str) -> Result<serde_json::Value, Problem> {
    let request = v1::GetRequest { kind: kind.to_owned(), name: name.to_owned(), with_secrets: false };
    let answer = ResourceServiceClient::new(channel).get(request).await;
    let json = answer.map_err(|status| Problem::of(&status))?.into_inner().json;
    Ok(serde_json::from_str(&json).expect("JSON"))
}

async fn remove(channel: Channel, kind: &str, name: &str) -> Result<(), Problem> {
    let request = v1::DeleteRequest { kind: kind.to_owned(), name: name.to_owned() };
    let answer = ResourceServiceClient::new(channel).delete(request).await;
    answer.map(drop).map_err(|status| Problem::of(&status))
}

async fn upsert(channel: Channel, json: &serde_json::Value) -> Result<(), Problem> {
    let request = v1::UpsertRequest { json: json.to_string() };
    let answer = ResourceServiceClient::new(channel).upsert(request).await;
    answer.map(drop).map_err(|status| Problem::of(&status))
}

/// A node's stream that has reported; gives what auth says first, or why it does not listen.
async fn stream(channel: Channel, hostname: &str) -> Result<tonic::Streaming<v1::AuthMessage>, Problem> {
    stream_with(channel, hostname, &[]).await
}

async fn stream_with(
    channel: Channel,
    hostname: &str,
    labels: &[&str],
) -> Result<tonic::Streaming<v1::AuthMessage>, Problem> {
    let labels = labels.iter().map(|label| ((*label).to_owned(), "x".to_owned())).collect();
    let report = v1::NodeReport {
        hostname: hostname.to_owned(),
        addr: "127.0.0.1:22".to_owned(),
        labels,
        ..Default::default()
    };
    let first = v1::AgentMessage { message: Some(Message::Node(report)) };
    let (send, messages) = tokio::sync::mpsc::channel(1);
    send.send(first).await.expect("there is room");
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let answer = InventoryServiceClient::new(channel).connect(messages).await;
    let mut incoming = answer.map_err(|status| Problem::of(&status))?.into_inner();
    incoming.message().await.map_err(|status| Problem::of(&status))?.expect("the policy comes first");
    // The stream ends with its sender; it lives as long as the test.
    std::mem::forget(send);
    Ok(incoming)
}

#[tokio::test]
async fn a_restart_changes_nothing() {
    let auth = Auth::start().await;
    auth.health.until_ready().await;
    let own = auth.joined_bot("ci").await;
    let (node, pins) = (auth.join(&Joiner::node("web-1")).await.expect("joins"), auth.pins.clone());
    let (directory, clock) = auth.stop().await;
    let rename = |config: &mut auth::Config| {
        config.cluster_name = access::ClusterName::new("other.example").expect("a name");
    };
    let auth = Auth::start_in(directory, clock, rename).await.expect("starts again");
    assert_eq!(auth.pins, pins);
    assert_eq!(auth.running.as_ref().expect("runs").cluster.as_str(), "example.com", "the name is fixed");
    output(auth.member(&own), &[], 0).await.expect("the bot is known");
    stream(auth.member(&node), "web-1").await.expect("the node is known");
    let kinds = ["cluster.create", "service.start", "service.stop"];
    let counts = [auth.events(kinds[0]).await, auth.events(kinds[1]).await, auth.events(kinds[2]).await];
    assert_eq!(counts.map(|events| events.len()), [1, 2, 1]);
    let verified = auth.core().audit().verify().await.expect("verifies");
    assert!(matches!(verified, store::Verification::Intact(_)), "{verified:?}");
}

#[tokio::test]
async fn the_local_administrator_and_the_presets_are_there() {
    let auth = Auth::start().await;
    for role in ["editor", "access", "auditor"] {
        resource(auth.admin(), "role", role).await.expect("is a preset");
    }
    for kind in ["cap", "netconfig", "recconfig"] {
        resource(auth.admin(), kind, "").await.expect("has its defaults");
    }
    let ping = ClusterServiceClient::new(auth.admin()).ping(v1::PingRequest {}).await.expect("answers");
    assert_eq!(ping.into_inner().cluster, "example.com");
    let mode =
        std::fs::metadata(auth.data().join(auth::ADMIN_SOCKET)).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn nothing_secret_is_readable_in_the_store_or_by_others() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let token = auth.bot_token("ci").await;
    let node = auth.join(&Joiner::node("web-1")).await.expect("joins");
    assert!(node.expires() > jiff::Timestamp::now());
    let (directory, _) = auth.stop().await;
    let data = directory.path().join("data");
    assert_eq!(std::fs::metadata(&data).expect("is there").permissions().mode() & 0o777, 0o700);
    let mut files = 0;
    for entry in walk(&data) {
        let mode = std::fs::metadata(&entry).expect("is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others", entry.display());
        let bytes = std::fs::read(&entry).expect("reads");
        for secret in [token.as_bytes(), STATIC_TOKEN.as_bytes(), b"PRIVATE KEY"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "a secret stands in {}", entry.display());
        }
        files += 1;
    }
    assert!(files >= 3, "store, key and events");
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = vec![];
    for entry in std::fs::read_dir(directory).expect("reads") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}

#[tokio::test]
async fn without_its_envelope_key_a_cluster_does_not_start_and_is_not_harmed() {
    let auth = Auth::start().await;
    let (directory, clock) = auth.stop().await;
    let key = directory.path().join("data").join(auth::sealing::FILE);
    let kept = std::fs::read(&key).expect("is there");
    std::fs::remove_file(&key).expect("removes");
    let start = |directory: &Arc<tempfile::TempDir>| Auth::start_in(directory.clone(), clock.clone(), |_| {});
    let missing = start(&directory).await.err().expect("cannot start").to_string();
    assert!(missing.contains("envelope.key is missing"), "{missing}");
    assert!(!key.exists(), "no new key takes its place");
    std::fs::write(&key, [7; 32]).expect("writes");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("changes");
    assert!(matches!(start(&directory).await.err(), Some(StartError::Seal(_))), "another key opens nothing");
    std::fs::write(&key, kept).expect("writes");
    start(&directory).await.expect("starts with its own");
}

#[tokio::test]
async fn two_do_not_run_on_one_directory_or_port() {
    let auth = Auth::start().await;
    let second = Auth::start_in(auth.directory.clone(), auth.clock.clone(), |_| {}).await;
    assert!(matches!(second.err(), Some(StartError::Open(_))));
    let (elsewhere, taken) = (Arc::new(tempfile::tempdir().expect("a directory")), auth.addr.port());
    let third = Auth::start_in(elsewhere, auth.clock.clone(), |config| {
        config.listen = std::net::SocketAddr::from(([127, 0, 0, 1], taken)).into()
    })
    .await;
    let error = third.err().expect("cannot start").to_string();
    assert!(error.contains("another process holds this port"), "{error}");
}

#[tokio::test]
async fn settings_of_the_file_are_in_force_until_they_leave_it() {
    let auth = Auth::start().await;
    let (directory, clock) = auth.stop().await;
    let spec = NetworkingSpec { keep_alive_count_max: 7, ..NetworkingSpec::default() };
    let with = |config: &mut auth::Config| config.networking = Some(spec);
    let auth = Auth::start_in(directory, clock, with).await.expect("starts");
    let found = resource(auth.admin(), "netconfig", "").await.expect("is there");
    assert_eq!(found["spec"]["keep_alive_count_max"], 7);
    assert_eq!(upsert(auth.admin(), &found).await.expect_err("stands in the file").code, "set_in_file");
    let name = "cluster-networking-config";
    assert_eq!(remove(auth.admin(), "netconfig", name).await.expect_err("stands there").code, "set_in_file");
    let (directory, clock) = auth.stop().await;
    let auth = Auth::start_in(directory, clock, |_| {}).await.expect("starts");
    let mut found = resource(auth.admin(), "netconfig", "").await.expect("is there");
    assert_eq!(found["spec"]["keep_alive_count_max"], 3);
    found["spec"]["keep_alive_count_max"] = 5.into();
    upsert(auth.admin(), &found).await.expect("may be changed here now");
    let (directory, clock) = auth.stop().await;
    let auth = Auth::start_in(directory, clock, |_| {}).await.expect("starts");
    let found = resource(auth.admin(), "netconfig", "").await.expect("is there");
    assert_eq!(found["spec"]["keep_alive_count_max"], 5, "a start without settings leaves them alone");
}

/// The full disk of the store's own tests: a file that may not grow.
#[tokio::test]
async fn a_full_store_is_no_ready_service() {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let auth = Auth::start_in(directory, Arc::default(), |config| config.store.max_size = Some(1_000_000));
    let auth = auth.await.expect("starts");
    auth.health.until_ready().await;
    let mut health = auth.health.subscribe();
    for number in 0.. {
        let key = auth::catalog::layout::probe().child(&format!("{number}")).expect("a key");
        if auth.core().catalog.commit(store::Txn::new().put(key, vec![7; 40_000])).await.is_err() {
            break;
        }
    }
    let degraded =
        |status: &Status| matches!(status, Status::Degraded(reason) if reason.contains("cannot grow"));
    health.wait_for(degraded).await.expect("is told");
}

#[tokio::test]
async fn services_of_one_process_join_without_configuration() {
    let auth = Auth::start().await;
    let running = auth.running.as_ref().expect("runs");
    let [proxy, node] =
        [SystemRole::Proxy, SystemRole::Node].map(|role| running.local_token(role).expect("a token"));
    let mut proxy = Joiner::host(&proxy, "Proxy", "all-in-one");
    proxy.host.as_mut().expect("a host").principals = vec!["all-in-one".to_owned()];
    auth.join(&proxy).await.expect("joins");
    let mut node = Joiner::host(&node, "Node", "all-in-one");
    node.host.as_mut().expect("a host").host_id = proxy.host.as_ref().expect("a host").host_id.clone();
    auth.join(&node).await.expect("shares its id and its name");
    // With its own token, a service may also come back after its files were lost.
    let again = Joiner { key: harness::key(), attempt: harness::random_attempt(), ..node.clone() };
    auth.join(&again).await.expect("joins again");
    let crossed = Joiner { role: "Proxy", ..again };
    assert_eq!(auth.join(&crossed).await.expect_err("is for a node").code, "token_invalid");
}

#[tokio::test]
async fn a_removed_node_is_gone_and_its_name_is_free() {
    let auth = Auth::start().await;
    let joiner = Joiner::node("web-1");
    let node = auth.join(&joiner).await.expect("joins");
    let mut incoming = stream(auth.member(&node), "web-1").await.expect("connects");
    let id = joiner.host.as_ref().expect("a host").host_id.clone();
    assert_eq!(auth.join(&Joiner::node("web-1")).await.expect_err("is taken").code, "host_name_taken");
    remove(auth.admin(), "node", &id).await.expect("is removed");
    while incoming.message().await.is_ok_and(|message| message.is_some()) {}
    let back = stream(auth.member(&node), "web-1").await.expect_err("does not come back");
    assert_eq!(back.code, "host_unknown");
    assert_eq!(remove(auth.admin(), "node", &id).await.expect_err("is gone").code, "not_found");
    auth.join(&Joiner::node("web-1")).await.expect("the name is free");
    auth.join(&Joiner { key: harness::key(), attempt: harness::random_attempt(), ..Joiner::node("web-2") })
        .await
        .expect("others are as they were");
}

mod abuse {
    use super::*;

    async fn refused(credentials: &Credentials, auth: &Auth) -> Vec<String> {
        let channel = auth.member(credentials);
        let code = |result: Result<(), Problem>| result.expect_err("refused").code;
        vec![
            code(resource(channel.clone(), "role", "editor").await.map(drop)),
            code(remove(channel.clone(), "role", "x").await),
            code(upsert(channel.clone(), &serde_json::json!({})).await),
            code(output(channel, &[], 0).await.map(drop)),
        ]
    }

    /// Row P9: certificates of hosts on the administrators' API.
    #[tokio::test]
    async fn p9_hosts_administer_nothing() {
        let auth = Auth::start().await;
        let proxy = auth.join(&Joiner::host(STATIC_TOKEN, "Proxy", "edge")).await.expect("joins");
        let node = auth.join(&Joiner::node("web-1")).await.expect("joins");
        for credentials in [&proxy, &node] {
            assert_eq!(refused(credentials, &auth).await, ["wrong_role"; 4]);
        }
        assert_eq!(auth.events("access.denied").await.len(), 8);
        let strange = resource(auth.stranger(), "role", "editor").await.expect_err("refused");
        assert_eq!(strange.code, "no_certificate");
        let proxy_as_node = stream(auth.member(&proxy), "edge").await.expect_err("a proxy is no node");
        assert_eq!(proxy_as_node.code, "wrong_role");
    }

    /// A proxy sits between people and nodes: it never gets a node's name or id, not by joining and not by renewing.
    #[tokio::test]
    async fn j8_a_proxy_passes_for_no_node() {
        let auth = Auth::start().await;
        let node = Joiner::node("web-1");
        auth.join(&node).await.expect("joins");
        let mut proxy = Joiner::host(STATIC_TOKEN, "Proxy", "edge");
        proxy.host.as_mut().expect("a host").principals = vec!["edge.example.net".to_owned()];
        let own = auth.join(&proxy).await.expect("joins");
        let mut details = proxy.host.clone().expect("a host");
        details.principals = vec!["web-1".to_owned()];
        let request = v1::RenewHostRequest { public_key: harness::key().spki_der(), host: Some(details) };
        let mut client = CertificateServiceClient::new(auth.member(&own));
        let refused = client.renew_host(request).await.expect_err("a node's name");
        assert_eq!(Problem::of(&refused).code, "host_name_taken");
        let token = "another-token-than-that-of-the-node";
        auth.put(serde_json::json!({"kind": "token", "version": "v2", "metadata": {"name": token},
            "spec": {"roles": ["Proxy"]}}))
            .await;
        let mut thief = Joiner::host(token, "Proxy", "edge-2");
        thief.host.as_mut().expect("a host").host_id = node.host.as_ref().expect("a host").host_id.clone();
        assert_eq!(auth.join(&thief).await.expect_err("a node's id").code, "host_id_taken");
        let mut thief = Joiner::host(token, "Proxy", "edge-2");
        thief.host.as_mut().expect("a host").principals = vec!["web-1.example.com".to_owned()];
        assert_eq!(auth.join(&thief).await.expect_err("a node's name").code, "host_name_taken");
        // The services of one process share their id; knowing id and token does not make a process that one.
        let mut beside = Joiner::host(STATIC_TOKEN, "Proxy", "edge-3");
        beside.host.as_mut().expect("a host").host_id = node.host.as_ref().expect("a host").host_id.clone();
        assert_eq!(auth.join(&beside).await.expect_err("a node's id").code, "host_id_taken");
        beside.attempt = node.attempt.clone();
        auth.join(&beside).await.expect("joins");
    }

    /// Row P8: a node is what its certificate says, and an old copy of its files is nothing.
    #[tokio::test]
    async fn p8_a_node_speaks_for_itself_only() {
        let auth = Auth::start().await;
        let node = auth.join(&Joiner::node("web-1")).await.expect("joins");
        auth.join(&Joiner::node("web-2")).await.expect("joins");
        let claimed = stream(auth.member(&node), "web-2").await.expect_err("another's name");
        assert_eq!(claimed.code, "host_name_not_own");
        for label in ["teleport.internal/x", "teleport.dev/bot"] {
            let reserved = stream_with(auth.member(&node), "web-1", &[label]).await.expect_err("reserved");
            assert_eq!(reserved.code, "label_reserved", "{label}");
        }
        stream_with(auth.member(&node), "web-1", &["env"]).await.expect("its own name and labels");
    }
}
