//! Sessions of others: they cannot be listed, joined, watched or played back through a node, whatever is known of them.

use std::collections::HashSet;
use std::process::Stdio;

use serde_json::Value;
use uuid::{Uuid, Variant};

use crate::support::{Fixture, NODENAME, run, text, user};

fn id(event: &serde_json::Map<String, Value>) -> Uuid {
    event["sid"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_opens_nothing() {
    let node = Fixture::start().await;
    node.pki.certify("bob", user("bob"), |_| {});
    let mut theirs = node.ssh("bob");
    theirs.args(["-tt", NODENAME]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut theirs = tokio::process::Command::from(theirs).kill_on_drop(true).spawn().expect("runs");
    let bobs = id(&node.event("session.start", |event| event["user"] == "bob").await);

    // What systems with shared sessions take for the wish to join one.
    let variables: Vec<String> =
        ["TELEPORT_SESSION", "SSH_TELEPORT_SESSION", "SSH_SESSION_ID", "SSH_SESSION"]
            .map(|name| format!("{name}={bobs}"))
            .into();
    let mut ssh = node.ssh("alice");
    ssh.args(["-o", &format!("SetEnv={}", variables.join(" ")), NODENAME, "env"]);
    let output = run(ssh).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains(&bobs.to_string()), "{}", text(&output.stdout));
    let alices = id(&node.event("session.start", |event| event["user"] == "alice").await);
    assert_ne!(alices, bobs);
    assert!(text(&output.stdout).contains(&format!("SSH_SESSION_ID={alices}")), "{}", text(&output.stdout));

    for subsystem in [&format!("session-join:{bobs}"), "sessions", "proxysites", "teleport:join"] {
        let mut ssh = node.ssh("alice");
        ssh.args(["-s", NODENAME, subsystem]);
        let output = run(ssh).await;
        assert!(!output.status.success() && output.stdout.is_empty(), "{subsystem}");
        assert!(text(&output.stderr).contains("subsystem request failed"), "{subsystem}");
    }
    let of_bob = |event: &serde_json::Map<String, Value>| event["sid"] == bobs.to_string();
    assert!(!node.saw("session.join", |_| true));
    assert!(!node.saw("session.end", of_bob), "it goes on, undisturbed");
    theirs.kill().await.expect("runs until here");
}

/// 122 of the 128 bits are drawn; six say that they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_drawn_and_not_counted() {
    let node = Fixture::start().await;
    let mut ids = HashSet::new();
    for number in 0..4 {
        let line = format!("true {number}");
        assert!(node.run(&line).await.status.success());
        let sid = node.event("session.start", |event| event["initial_command"][0] == line).await;
        let sid = id(&sid);
        assert_eq!((sid.get_version_num(), sid.get_variant()), (4, Variant::RFC4122));
        ids.insert(sid.as_u128() >> 80);
    }
    assert_eq!(ids.len(), 4, "they differ from their first bits on");
}
