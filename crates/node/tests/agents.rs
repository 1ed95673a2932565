//! A client's agent in sessions on a node, with the `ssh`, `ssh-agent` and `ssh-add` of OpenSSH.

mod support;

use serde_json::json;
use support::agent::{Agent, forwarding};
use support::forwarding::{Waiting, certify_all};
use support::{Fixture, NODENAME, run, text};

/// What a session says of its agent.
const LOOK: &str = "ssh-add -l; echo \"socket ${SSH_AUTH_SOCK-none}\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_of_a_session_use_the_client_s_agent() {
    let node = Fixture::start_with(json!({"forward_agent": true}), |_| {}).await;
    certify_all(&node, "full");
    let agent = Agent::start(&node.pki);
    let fingerprint = agent.add(&[]);
    let ssh = || forwarding(&node, "full", &agent.socket);
    let mut session = Waiting::start(
        ssh(),
        "ssh-add -l; echo $SSH_AUTH_SOCK; stat -c '%F %a %U' $(dirname $SSH_AUTH_SOCK) $SSH_AUTH_SOCK",
    );
    assert!(session.line().contains(&fingerprint));
    let socket = session.line();
    let me = support::login();
    assert_eq!(session.line(), format!("directory 700 {me}"));
    assert_eq!(session.line(), format!("socket 600 {me}"));
    let event = node.event("agent-forward", |_| true).await;
    assert_eq!((&event["code"], &event["success"]), (&json!("PA010I"), &json!(true)));
    let start = node.event("session.start", |_| true).await;
    assert_eq!(event["sid"], start["sid"]);
    // Another session has its own, or none.
    let mut other = ssh();
    other.args([NODENAME, "echo $SSH_AUTH_SOCK"]);
    let other = text(&run(other).await.stdout);
    assert!(other.starts_with("/tmp/ssh-") && other.trim() != socket, "{other}");
    assert_eq!(text(&node.run(LOOK).await.stdout).lines().last(), Some("socket none"));
    session.end();
    let directory = std::path::Path::new(&socket).parent().expect("a directory").to_owned();
    support::until("the end of the socket", || !directory.exists()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_refused_without_the_role_or_the_certificate() {
    for (allowed, name) in [(false, "full"), (true, "alice")] {
        let node = Fixture::start_with(json!({"forward_agent": allowed}), |_| {}).await;
        certify_all(&node, "full");
        let agent = Agent::start(&node.pki);
        agent.add(&[]);
        let mut ssh = forwarding(&node, name, &agent.socket);
        ssh.args([NODENAME, LOOK]);
        let output = run(ssh).await;
        assert_eq!(text(&output.stdout), "socket none\n", "{name}");
        let event = node.event("agent-forward", |_| true).await;
        assert_eq!(event["code"], "PA010W");
        assert_eq!(event["denial"], "agent_forwarding_not_allowed");
        assert_eq!(node.refusals("agent_forwarding_not_allowed"), 1);
    }
}
