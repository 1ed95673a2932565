//! What the proxy does when another server than the node stands at the node's address.

mod cluster;

use std::time::Duration;

use agent::Report;
use api::v1::NodeReport;
use cluster::{BANNER, Cluster, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use transport::LiveCredentials;

/// Who is asked again anyway is not waited for any longer.
const ENOUGH: Duration = Duration::from_secs(5);

const SECRET: &[u8] = b"what comes after the host key";

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("small").to_be_bytes()[..], bytes].concat()
}

/// A packet before there are keys (RFC 4253, section 6).
fn packet(content: &[u8]) -> Vec<u8> {
    let padding = 4 + (8 - (content.len() + 9) % 8) % 8;
    let length = u32::try_from(1 + content.len() + padding).expect("small");
    [&length.to_be_bytes()[..], &[u8::try_from(padding).expect("small")], content, &vec![0; padding]].concat()
}

/// All of a server's side of a key exchange, and more.
fn exchange(host_key: &[u8]) -> Vec<u8> {
    let proposal = packet(&[&[20][..], &[0; 61]].concat());
    [BANNER, &proposal, &reply(31, host_key), SECRET].concat()
}

/// The same of a server with another first line.
fn with_line(line: &[u8], said: &[u8]) -> Vec<u8> {
    [line, &said[BANNER.len()..]].concat()
}

fn reply(number: u8, host_key: &[u8]) -> Vec<u8> {
    packet(&[&[number][..], &string(host_key), &string(b"share"), &string(b"signature")].concat())
}

/// `web-1` says that it is at the address of a server that says this to everybody.
async fn web_1_says(cluster: &Cluster, said: Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    cluster.hosts[0].agent.report(Report::Node(NodeReport {
        hostname: "web-1".into(),
        addr: listener.local_addr().expect("an address").to_string(),
        labels: [("env".to_owned(), "web".to_owned())].into(),
        ..NodeReport::default()
    }));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let said = said.clone();
            tokio::spawn(async move {
                // By bytes at first, so that nothing depends on how they come.
                for byte in said.chunks(1).take(64) {
                    let _ = stream.write_all(byte).await;
                }
                let _ = stream.write_all(&said[64.min(said.len())..]).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
}

/// All that `alice` gets of `web-1`, to the last that a server says, to the end, or until nothing more comes: until proxy and auth
/// have heard of a change, what was there before is reached, which may say less and wait.
async fn heard(cluster: &Cluster, alice: &LiveCredentials) -> Vec<u8> {
    let mut dialled = cluster.dial(alice, "web-1").await.expect("dialled");
    dialled.stream.write_all(b"SSH-2.0-alice\r\n").await.expect("written");
    let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
    while !heard.ends_with(SECRET) {
        match timeout(ENOUGH, dialled.stream.read(&mut bytes)).await {
            Ok(Ok(count @ 1..)) => heard.extend(&bytes[..count]),
            _ => break,
        }
    }
    heard
}

/// Once `web-1` is where it says now, which is known by the server's line: the words with which the proxy ends the connection.
async fn turned_away(cluster: &Cluster, alice: &LiveCredentials, line: &[u8], words: &str) {
    // What was there before is reached until auth and proxy have heard of the change.
    eventually(async || heard(cluster, alice).await.starts_with(line)).await;
    let heard = heard(cluster, alice).await;
    let told = String::from_utf8_lossy(&heard);
    assert!(told.contains(words), "{words}: {told}");
    assert!(!heard.windows(SECRET.len()).any(|part| part == SECRET), "{words}: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_node_itself_is_reached_at_its_address() {
    let (cluster, alice) = Cluster::with_nodes().await;
    let shown = |at: usize| {
        let current = cluster.hosts[at].agent.credentials().current().expect("credentials");
        current.credentials().ssh_certificate.blob().to_vec()
    };
    let (own, others) = (shown(0), shown(1));

    let all = exchange(&own);
    web_1_says(&cluster, all.clone()).await;
    eventually(async || heard(&cluster, &alice).await == all).await;
    // With a group before it, as older clients ask for one.
    let group = packet(&[&[31][..], &string(&[0, 0xff, 1]), &string(&[2])].concat());
    let proposal = packet(&[&[20][..], &[0; 61]].concat());
    let asked = [BANNER, &proposal, &group, &reply(33, &own), SECRET].concat();
    web_1_says(&cluster, asked.clone()).await;
    eventually(async || heard(&cluster, &alice).await == asked).await;

    let line = b"SSH-2.0-other\r\n";
    web_1_says(&cluster, with_line(line, &exchange(&others))).await;
    turned_away(&cluster, &alice, line, "is another host of this cluster (node_other_host)").await;
    let event = cluster.event(|event| event["reason_code"] == "node_other_host").await;
    assert_eq!((&event["user"], &event["target"]), (&json!("alice"), &json!("web-1")), "{event}");
    assert_eq!(event["node_id"], cluster.hosts[0].agent.host_id().to_string());
    let other = cluster.hosts[1].agent.host_id().to_string();
    assert!(event["server_shown"].as_str().is_some_and(|shown| shown.contains(&other)), "{event}");
    let (_, output, errors) = cluster.ssh(&["-W", "web-1:22", "127.0.0.1"]).await;
    assert!(output.contains("node_other_host") && !output.contains("db-1"), "{output} {errors}");

    // A certificate of ours that was changed, one for users, a plain key, and a group exchange that leads to another host.
    let mut changed = own.clone();
    *changed.last_mut().expect("a signature") ^= 1;
    let users = cluster.credentials("alice").await.ssh_certificate.blob().to_vec();
    let plain = [string(b"ssh-ed25519"), string(&[7; 32])].concat();
    // The key that its certificate is about, which was shown above, of a server that does not prove to have both: whoever asks for a
    // certificate may name any public key.
    let current = cluster.hosts[0].agent.credentials().current().expect("credentials");
    let about = current.credentials().key.ssh_public().to_bytes().expect("a key");
    let no_group = [BANNER, &proposal, &reply(33, &own), SECRET].concat();
    let keys_at_once = [BANNER, &proposal, &packet(&[21]), &reply(31, &own), SECRET].concat();
    let table = [
        (exchange(&changed), "is a server that has no certificate of this cluster (node_other_host)"),
        (exchange(&users), "(node_other_host)"),
        (exchange(&about), "is a server that has no certificate of this cluster (node_other_host)"),
        (exchange(&plain), "is a server that has no certificate of this cluster (node_other_host)"),
        (
            [BANNER, &proposal, &group, &reply(33, &others), SECRET].concat(),
            "is another host of this cluster",
        ),
        (no_group, "message 33 of it comes before it has shown a host key (node_not_ssh)"),
        (keys_at_once, "message 21 of it comes before it has shown a host key (node_not_ssh)"),
        ([BANNER, &[0xff; 64], SECRET].concat(), "a packet of it has an impossible length (node_not_ssh)"),
    ];
    for (at, (said, words)) in table.into_iter().enumerate() {
        let line = format!("SSH-2.0-{at}\r\n");
        web_1_says(&cluster, with_line(line.as_bytes(), &said)).await;
        turned_away(&cluster, &alice, line.as_bytes(), words).await;
    }
}
