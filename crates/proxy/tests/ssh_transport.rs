//! The SSH transport through a real proxy: who reaches what, and when it ends.

mod cluster;

use agent::{Link, Report};
use api::v1::NodeReport;
use cluster::{BANNER, Cluster, PATIENCE, eventually, lock, user};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use transport::dial::{DialError, Dialled};
use transport::health::Status;

async fn reads(dialled: &mut Dialled, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    let read = timeout(PATIENCE, dialled.stream.read_exact(&mut bytes)).await;
    read.expect("in time").expect("read");
    assert_eq!(bytes, expected);
}

/// Whether the relay has ended; what was on its way does not matter.
async fn ends(dialled: &mut Dialled) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, dialled.stream.read_to_end(&mut rest)).await.expect("the relay goes on");
}

fn denied(refused: Result<Dialled, DialError>) -> (String, String, String) {
    match refused {
        Err(DialError::Denied { code, reason, hint }) => (code, reason, hint),
        other => panic!("not denied: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_reaches_what_its_roles_see_and_nothing_shows_of_the_rest() {
    let (cluster, alice) = Cluster::with_nodes().await;
    let id = cluster.hosts[0].agent.host_id().to_string();
    for name in ["web-1", "web-1.example.com", &id] {
        let mut dialled = cluster.dial(&alice, name).await.expect("reached");
        assert_eq!(dialled.host_id, id);
        reads(&mut dialled, BANNER).await;
        dialled.stream.write_all(b"SSH-2.0-alice\r\n").await.expect("written");
        let arrived = || cluster.hosts[0].received.lock().expect("lock").ends_with(b"SSH-2.0-alice\r\n");
        eventually(async || arrived()).await;
        cluster.hosts[0].received.lock().expect("lock").clear();
    }
    let (code, reason, hint) = denied(cluster.dial(&alice, "db-1").await);
    assert_eq!(code, "host_unknown");
    let unknown = denied(cluster.dial(&alice, "xx-1").await);
    assert_eq!((code, reason.replace("db-1", "xx-1"), hint), unknown);
    for raw in ["localhost", "127.0.0.2", "::1", "169.254.169.254", "other.com"] {
        assert_eq!(denied(cluster.dial(&alice, raw).await).0, "host_unknown", "{raw}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_found_by_the_names_of_its_certificate_alone() {
    let (cluster, _) = Cluster::with_nodes().await;
    let bob = cluster.sign("bob").await;
    let (liar, db) = (&cluster.hosts[0].agent, cluster.hosts[1].agent.host_id().to_string());
    for (hostname, public, refused) in
        [("payroll", None, "payroll"), ("db-1", None, "db-1"), ("web-1", Some("payroll:22"), "payroll:22")]
    {
        let mut link = liar.link();
        liar.report(Report::Node(NodeReport {
            hostname: hostname.into(),
            public_addrs: public.into_iter().map(str::to_owned).collect(),
            labels: [("env".to_owned(), "web".to_owned()), ("hostname".to_owned(), "payroll".to_owned())]
                .into(),
            ..NodeReport::default()
        }));
        let told = link.wait_for(|link| matches!(link, Link::Down(reason) if reason.contains(refused)));
        timeout(PATIENCE, told).await.expect("in time").expect("lives");
        assert_eq!(denied(cluster.dial(&bob, "payroll").await).0, "host_unknown", "{hostname} {public:?}");
        assert_eq!(cluster.dial(&bob, "db-1").await.expect("reached").host_id, db, "{hostname} {public:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_ssh_goes_to_a_node() {
    let (cluster, alice) = Cluster::with_nodes().await;
    cluster.hosts[0].received.lock().expect("lock").clear();
    let mut dialled = cluster.dial(&alice, "web-1").await.expect("reached");
    dialled.stream.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nSSH-2.0-x\r\n").await.expect("written");
    ends(&mut dialled).await;
    assert!(cluster.hosts[0].received.lock().expect("lock").is_empty());
}

/// What a listener at a node's address does with whoever connects.
#[derive(Clone, Copy)]
enum Behaviour {
    Closes,
    Waits,
    Says(&'static [u8]),
}

async fn behave(listener: TcpListener, behaviour: Behaviour) {
    let mut kept = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        match behaviour {
            Behaviour::Closes => continue,
            Behaviour::Waits => {}
            Behaviour::Says(bytes) => stream.write_all(bytes).await.expect("written"),
        }
        kept.push(stream);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_close_wait_or_say_other_things_are_told_apart() {
    let (cluster, alice) = Cluster::with_nodes().await;
    cluster
        .upsert(json!({
            "kind": "cluster_networking_config", "version": "v2",
            "metadata": {"name": "cluster-networking-config"}, "spec": {"ssh_dial_timeout": "1s"},
        }))
        .await;
    for (behaviour, code, words) in [
        (Behaviour::Closes, "node_unreachable", "it closed the connection at once"),
        (Behaviour::Waits, "node_unreachable", "no answer within 1s"),
        (Behaviour::Says(b"HTTP/1.1 400 Bad Request\r\n"), "node_not_ssh", "does not speak SSH"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        cluster.hosts[0].agent.report(Report::Node(NodeReport {
            hostname: "web-1".into(),
            addr: listener.local_addr().expect("an address").to_string(),
            labels: [("env".to_owned(), "web".to_owned())].into(),
            ..NodeReport::default()
        }));
        tokio::spawn(behave(listener, behaviour));
        eventually(async || match cluster.dial(&alice, "web-1").await {
            Err(DialError::Denied { code: said, reason, .. }) => said == code && reason.contains(words),
            _ => false,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_cut_live_relays_and_refuse_new_ones() {
    let (cluster, alice) = Cluster::with_nodes().await;
    let bob = cluster.sign("bob").await;
    let id = cluster.hosts[0].agent.host_id().to_string();
    for target in [json!({"user": "alice"}), json!({"login": "root"}), json!({"server_id": id})] {
        let mut dialled = cluster.dial(&alice, "web-1").await.expect("reached");
        reads(&mut dialled, BANNER).await;
        cluster.upsert(lock("l", target.clone())).await;
        ends(&mut dialled).await;
        let (code, reason, _) = denied(cluster.dial(&alice, "web-1").await);
        assert_eq!(code, "locked", "{reason}");
        let bobs = cluster.dial(&bob, "db-1").await;
        assert_eq!(bobs.is_err(), target == json!({"login": "root"}), "{target}");
        cluster.delete("lock", "l").await;
        eventually(async || cluster.dial(&alice, "web-1").await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_taken_away_takes_effect_without_a_new_certificate() {
    let (cluster, alice) = Cluster::with_nodes().await;
    cluster.role("web", json!({"env": "nowhere"})).await;
    eventually(async || cluster.dial(&alice, "web-1").await.is_err()).await;
    assert_eq!(denied(cluster.dial(&alice, "web-1").await).0, "host_unknown");
    cluster.upsert(user("alice", &["all"])).await;
    assert_eq!(denied(cluster.dial(&alice, "web-1").await).0, "host_unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_reached_while_auth_is_away_and_the_health_says_so() {
    let (mut cluster, alice) = Cluster::with_nodes().await;
    timeout(PATIENCE, cluster.health.until_ready()).await.expect("ready");
    cluster.stop_auth().await;
    let mut status = cluster.health.subscribe();
    let degraded = status.wait_for(|status| matches!(status, Status::Degraded(_)));
    let said = format!("{:?}", *timeout(PATIENCE, degraded).await.expect("in time").expect("lives"));
    assert!(said.contains("auth is away"), "{said}");
    let mut dialled = cluster.dial(&alice, "web-1").await.expect("reached");
    reads(&mut dialled, BANNER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_stops_takes_nothing_new_and_then_cuts_what_is_left() {
    let (mut cluster, alice) = Cluster::with_nodes().await;
    let mut dialled = cluster.dial(&alice, "web-1").await.expect("reached");
    reads(&mut dialled, BANNER).await;
    cluster.proxy_stop.cancel();
    let ended = cluster.proxy_ended.take().expect("runs");
    ends(&mut dialled).await;
    timeout(PATIENCE, ended).await.expect("in time").expect("ends");
    assert!(matches!(cluster.dial(&alice, "web-1").await, Err(DialError::Connect(_))));
}
