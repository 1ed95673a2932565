//! Row S9: what a host that is not the user's friend can do with a forwarded agent.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::agent::{Agent, forwarding, recording};
use crate::support::forwarding::{Waiting, certify_all};
use crate::support::{Fixture, NODENAME, run, text};

/// The largest message that agents take.
const LARGEST: usize = 256 << 10;
/// `SSH_AGENTC_EXTENSION`.
const EXTENSION: u8 = 27;

/// Tries what the host could want: to see the key, and to sign something with it.
const TRY: &str = "ssh-add -l; echo something | ssh-keygen -q -Y sign -n file -f $0";

async fn tried(node: &Fixture, agent: &Agent) -> (String, String) {
    let mut ssh = forwarding(node, "full", &agent.socket);
    ssh.arg(NODENAME);
    // The public key is no secret; with it the host can ask for that very key.
    let public = node.pki.path("shown.pub");
    std::fs::copy(node.pki.path("agent-key.pub"), &public).expect("copied away from its private half");
    ssh.arg(format!("sh -c '{TRY}' {} 2>&1", public.display()));
    let seen = text(&run(ssh).await.stdout);
    let (list, sign) = seen.split_once('\n').expect("two lines at least");
    (list.to_owned(), sign.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s9_a_key_for_certain_hosts_signs_for_no_other() {
    let node = Fixture::start_with(json!({"forward_agent": true}), |_| {}).await;
    certify_all(&node, "full");
    let agent = Agent::start(&node.pki);
    // The control: a key without constraints does both.
    let fingerprint = agent.add(&[]);
    let (list, signed) = tried(&node, &agent).await;
    assert!(list.contains(&fingerprint) && signed.contains("BEGIN SSH SIGNATURE"), "{list}{signed}");
    let mut forget = std::process::Command::new("ssh-add");
    forget.arg("-qD");
    assert!(agent.run(forget).status.success());
    // To log in to the node with, and for nothing that the node does: it does not even see it.
    agent.add(&["-h", NODENAME]);
    let (list, signed) = tried(&node, &agent).await;
    assert_eq!(list, "The agent has no identities.");
    assert!(!signed.contains("BEGIN SSH SIGNATURE"), "{signed}");
    // And for one host after the node: it is seen, and signs nothing but a login there.
    let onward = format!("{NODENAME}>localhost");
    agent.add(&["-h", NODENAME, "-h", &onward]);
    let (list, signed) = tried(&node, &agent).await;
    assert!(list.contains(&fingerprint), "{list}");
    assert!(!signed.contains("BEGIN SSH SIGNATURE"), "{signed}");
}

/// Nothing of it is dropped or changed on the way, so that agents can rely on what binds them to a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s9_messages_pass_untouched_and_not_when_they_are_too_large() {
    let node = Fixture::start_with(json!({"forward_agent": true}), |_| {}).await;
    certify_all(&node, "full");
    let agent = node.pki.path("recording");
    let asked = recording(&agent);
    let ssh = forwarding(&node, "full", &agent);
    let mut session = Waiting::start(ssh, "echo $SSH_AUTH_SOCK");
    let socket = session.line();
    let name = b"session-bind@openssh.com";
    let mut bind = vec![EXTENSION, 0, 0, 0, u8::try_from(name.len()).expect("short")];
    bind.extend_from_slice(name);
    bind.extend_from_slice(&[0xff; 100]);
    let large = vec![EXTENSION; LARGEST];
    let mut program = UnixStream::connect(&socket).await.expect("the session's socket");
    for message in [&bind, &large] {
        program.write_u32(u32::try_from(message.len()).expect("a length")).await.expect("sent");
        program.write_all(message).await.expect("sent");
        let mut answer = [0; 5];
        program.read_exact(&mut answer).await.expect("the agent's no");
        assert_eq!(answer, [0, 0, 0, 1, 5]);
        assert!(asked.lock().expect("a lock").contains(message));
    }
    let before = asked.lock().expect("a lock").len();
    program.write_u32(u32::try_from(LARGEST + 1).expect("a length")).await.expect("sent");
    let _ = program.write_all(&[EXTENSION; 1000]).await;
    let mut rest = Vec::new();
    let _ = program.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "it is closed without an answer");
    let event = node.event("agent-forward", |event| event["success"] == false).await;
    assert_eq!(event["denial"], "agent_message_too_large");
    assert_eq!(asked.lock().expect("a lock").len(), before);
    // The session and its other connections go on. Each begins with the client's own binding.
    let mut again = UnixStream::connect(&socket).await.expect("the session's socket");
    again.write_all(&[0, 0, 0, 1, 11]).await.expect("sent");
    assert_eq!(again.read_u32().await.expect("an answer"), 1);
    let asked = asked.lock().expect("a lock");
    assert!(asked.contains(&vec![11]));
    let binds = asked.iter().filter(|message| message.get(5..29) == Some(&name[..])).count();
    assert!(binds >= 3, "the client's, for each of the two connections, and the program's");
}
