//! Row P1: who may not forward reaches nothing through the node, and it is on record.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::support::forwarding::Echo;
use crate::support::{Fixture, NODENAME, run, text, user};

async fn assert_nothing_is_reached(node: &Fixture, name: &str, denial: &str) {
    let echo = Echo::start().await;
    let served = node.pki.path("served");
    let came = Echo::start_at(&served);
    let path = node.pki.path("listener");
    let ssh = |arguments: &[&str]| {
        let mut ssh = node.ssh(name);
        ssh.args(arguments).arg(NODENAME);
        run(ssh)
    };
    let direct = ssh(&["-W", &echo.address.to_string()]).await;
    assert!(text(&direct.stderr).contains("administratively prohibited"), "{}", text(&direct.stderr));
    // Through a socket of the client's, because -W takes no path.
    let local = node.pki.path("local");
    let mut streamlocal = node.ssh(name);
    streamlocal.args(["-N", "-L", &format!("{}:{}", local.display(), served.display()), NODENAME]);
    let mut streamlocal =
        tokio::process::Command::from(streamlocal).kill_on_drop(true).spawn().expect("runs");
    crate::support::until("the refusal of a path", || {
        drop(std::os::unix::net::UnixStream::connect(&local));
        node.saw("port", |event| event["addr"] == *served.display().to_string())
    })
    .await;
    streamlocal.kill().await.expect("killed");
    for listen in [format!("0:{}", echo.address), format!("{}:{}", path.display(), echo.address)] {
        let remote = ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-R", &listen]).await;
        assert!(text(&remote.stderr).contains("remote port forwarding failed"), "{listen}");
    }
    assert!(!path.exists());
    assert_eq!((echo.came(), came.load(Ordering::SeqCst)), (0, 0), "refused before anything was connected");
    for (addr, direction) in [
        (echo.address.to_string(), "local"),
        (served.display().to_string(), "local"),
        ("localhost:0".to_owned(), "remote"),
        (path.display().to_string(), "remote"),
    ] {
        let fits = |event: &serde_json::Map<String, Value>| {
            event["addr"] == *addr && event["direction"] == direction
        };
        let event = node.event("port", fits).await;
        assert_eq!((&event["code"], &event["denial"]), (&json!("T3003E"), &json!(denial)), "{addr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_nothing_is_reached_without_the_role() {
    let node = Fixture::start_with(json!({"port_forwarding": false}), |_| {}).await;
    assert_nothing_is_reached(&node, "alice", "forwarding_not_allowed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_nothing_is_reached_without_the_certificate() {
    let node = Fixture::start().await;
    let mut narrow = user("alice");
    narrow.permits.port_forwarding = false;
    node.pki.certify("narrow", narrow, |_| {});
    assert_nothing_is_reached(&node, "narrow", "forwarding_not_allowed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_nothing_is_reached_where_the_node_does_not_forward() {
    let node = Fixture::start_with(json!({}), |config| config.port_forwarding = false).await;
    assert_nothing_is_reached(&node, "alice", "forwarding_off").await;
}
