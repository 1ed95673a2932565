//! What protects a connection: it is recorded and counted, and can be required to be post-quantum.

mod support;

use serde_json::{Value, json};
use support::client::our_client;
use support::{Fixture, NODENAME, ops, run, text};
use transport::ssh::client::Client;
use transport::ssh::{Inbound, KeyExchange};

const CURVE: &str = "curve25519-sha256";
const MLKEM: &str = "mlkem768x25519-sha256";
const SNTRUP: &str = "sntrup761x25519-sha512";

/// OpenSSH's client as alice, with this key exchange and no other.
fn ssh_by(node: &Fixture, key_exchange: &str, line: &str) -> std::process::Command {
    let mut ssh = node.ssh("alice");
    ssh.args(["-o", &format!("KexAlgorithms={key_exchange}"), NODENAME, line]);
    ssh
}

/// The status with which a command ends.
async fn status(client: &Client, command: &str) -> Option<u32> {
    let mut session = client.session().await.expect("opens");
    session.exec(command.as_bytes()).await.expect("runs");
    let mut status = None;
    while let Some(inbound) = session.next().await {
        if let Inbound::ExitStatus(code) = inbound {
            status = Some(code);
        }
    }
    status
}

fn strict() -> Value {
    json!({"require_post_quantum": true})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_is_required_only_post_quantum_connections_get_in() {
    let node = Fixture::start_with(strict(), |_| {}).await;
    let output = run(ssh_by(&node, CURVE, "true")).await;
    assert_eq!(output.status.code(), Some(255));
    let words = text(&output.stderr);
    for told in [CURVE, "(post_quantum_required)", "OpenSSH 9.0", SNTRUP, MLKEM, "KexAlgorithms"] {
        assert!(words.contains(told), "{told} is not in {words}");
    }
    let event = node.event("auth", |event| event["denial"] == "post_quantum_required").await;
    assert_eq!((&event["code"], &event["user"]), (&json!("T3007W"), &json!("alice")));
    assert_eq!((&event["key_exchange"], &event["post_quantum"]), (&json!(CURVE), &json!(false)));
    assert!(event["rule"].as_str().is_some_and(|rule| rule.contains("require_post_quantum")), "{event:?}");
    assert_eq!(node.refusals("post_quantum_required"), 1);

    assert_eq!(status(&our_client(&node, "alice").await.0, "true").await, Some(0));
    assert_eq!((node.logins(MLKEM), node.logins(CURVE)), (1, 0), "who is refused does not count");
}

/// From 9.0 on with nothing configured, and by the name that it knows since 8.5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_meets_the_requirement_by_itself() {
    let node = Fixture::start_with(strict(), |_| {}).await;
    let by_itself = node.run("true").await;
    assert!(by_itself.status.success(), "{}", text(&by_itself.stderr));
    let by_name = run(ssh_by(&node, "sntrup761x25519-sha512@openssh.com", "true")).await;
    assert!(by_name.status.success(), "{}", text(&by_name.stderr));
    let event = node.event("session.start", |event| event["key_exchange"] == SNTRUP).await;
    assert_eq!(event["post_quantum"], true);
    assert!(node.logins(SNTRUP) >= 1 && node.logins(CURVE) == 0);
    assert_eq!(node.refusals("post_quantum_required"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_can_require_it_of_everybody() {
    let node = Fixture::start().await;
    node.set_policy_with([ops(json!({"require_post_quantum": false}))], |policy| {
        policy.auth_preference.require_post_quantum = true;
    });
    let words = text(&run(ssh_by(&node, CURVE, "true")).await.stderr);
    assert!(words.contains("this cluster requires a post-quantum key exchange"), "{words}");
    assert_eq!(status(&our_client(&node, "alice").await.0, "true").await, Some(0));
}

/// As with every other change of roles: whoever would not get in any more is cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requirement_cuts_open_connections_that_do_not_meet_it_and_no_others() {
    let node = Fixture::start().await;
    let kept = our_client(&node, "alice").await.0;
    let cut = tokio::spawn(run(ssh_by(&node, CURVE, "sleep 1000")));
    node.event("session.start", |event| event["key_exchange"] == CURVE).await;
    node.set_policy([ops(strict())]);
    let output = cut.await.expect("joins");
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("(post_quantum_required)"), "{}", text(&output.stderr));
    let event = node.event("client.disconnect", |event| event["denial"] == "post_quantum_required").await;
    assert_eq!(event["key_exchange"], CURVE);
    assert_eq!(status(&kept, "true").await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_and_figures_say_what_protected_a_connection() {
    let node = Fixture::start().await;
    for exchange in KeyExchange::ALL {
        assert_eq!(node.logins(exchange.name()), 0, "the series is there before the first login");
    }
    assert!(run(ssh_by(&node, CURVE, "true")).await.status.success());
    let client = our_client(&node, "alice").await.0;
    assert_eq!(status(&client, "true").await, Some(0));
    client.disconnect("done").await;
    for (name, post_quantum) in [(CURVE, false), (MLKEM, true)] {
        for kind in ["session.start", "exec", "session.end", "session.data"] {
            let event = node.event(kind, |event| event["key_exchange"] == name).await;
            assert_eq!(event["post_quantum"], post_quantum, "{event:?}");
            assert!(event["cipher"].as_str().is_some_and(|cipher| cipher.contains('@')), "{event:?}");
        }
        assert_eq!(node.logins(name), 1);
    }
}
