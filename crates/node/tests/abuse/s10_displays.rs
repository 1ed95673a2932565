//! Row S10: other people on a node, at the port of somebody's display.

use std::process::Command;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::display::{on, recording};
use crate::support::forwarding::{Waiting, certify_all};
use crate::support::{Fixture, until};

const PROTOCOL: &[u8] = b"MIT-MAGIC-COOKIE-1\0\0";

/// The first message of a program of X11, with this cookie.
fn greeting(cookie: &[u8]) -> Vec<u8> {
    let mut bytes = vec![b'l', 0, 11, 0, 0, 0, 18, 0, 16, 0, 0, 0];
    bytes.extend_from_slice(PROTOCOL);
    bytes.extend_from_slice(cookie);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_without_the_cookie_nobody_reaches_the_client() {
    if Command::new("xauth").arg("version").output().is_err() {
        eprintln!("SKIPPED: needs xauth(1)");
        return;
    }
    let node = Fixture::start_with(json!({"permit_x11_forwarding": true}), on).await;
    certify_all(&node, "full");
    let (display, reached) = recording().await;
    let mut ssh = node.ssh("full");
    ssh.arg("-Y").env("DISPLAY", display).env("XAUTHORITY", node.pki.path("no-authority"));
    let list = "echo $DISPLAY; xauth list $DISPLAY | cut -d' ' -f5; stat -c '%a' ~/.Xauthority";
    let mut session = Waiting::start(ssh, list);
    let (display, cookie) = (session.line(), session.line());
    assert_eq!(session.line(), "600");
    let number: u16 =
        display.trim_start_matches("localhost:").trim_end_matches(".0").parse().expect("a number");
    let hex = |at: usize| u8::from_str_radix(&cookie[at..at + 2], 16).expect("hexadecimal");
    let cookie: Vec<u8> = (0..32).step_by(2).map(hex).collect();
    let connect = || TcpStream::connect(("127.0.0.1", 6000 + number));

    let mut wrong = cookie.clone();
    wrong[15] ^= 1;
    for attempt in [greeting(&wrong), greeting(&[0; 16]), [&greeting(&wrong)[..], b"more"].concat()] {
        let mut stream = connect().await.expect("the port is open to everybody");
        stream.write_all(&attempt).await.expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer.first(), Some(&0), "a failure, as X11 has it");
    }
    let event = node.event("x11-forward", |event| event["success"] == false).await;
    assert_eq!(event["denial"], "x11_false_cookie");
    assert!(reached.lock().expect("a lock").is_empty(), "the client was not asked");

    // The control: who knows it gets through, and the client puts its own in the place.
    let mut stream = connect().await.expect("connected");
    stream.write_all(&greeting(&cookie)).await.expect("sent");
    let mut answer = vec![0; 48];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer[..32], greeting(&cookie)[..32]);
    assert_eq!(reached.lock().expect("a lock").concat().len(), 48);
    let refused = |event: &serde_json::Map<String, serde_json::Value>| event["success"] == false;
    assert!(node.saw("x11-forward", refused) && node.refusals("x11_false_cookie") == 1, "reported once");

    session.end();
    until("the end of the display", || std::net::TcpStream::connect(("127.0.0.1", 6000 + number)).is_err())
        .await;
    until("the end of the entry", || {
        let list = Command::new("xauth").args(["list", &format!("unix:{number}")]).output().expect("runs");
        list.stdout.is_empty()
    })
    .await;
}
