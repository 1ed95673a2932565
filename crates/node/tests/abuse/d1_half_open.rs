//! Connections that never say who they are, by the thousand.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Fixture, NODENAME, run, text, until};

const MANY: usize = 5_000;

/// A connection from this address of the loopback network.
async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("set");
    socket.bind(SocketAddr::from((from, 0))).expect("bound");
    socket.connect(to).await.expect("connects")
}

/// A login from this address of the loopback network.
async fn log_in(node: &Fixture, from: &str) {
    let mut ssh = node.ssh("alice");
    ssh.args(["-b", from, NODENAME, "true"]);
    let output = run(ssh).await;
    assert!(output.status.success(), "from {from}: {}", text(&output.stderr));
}

/// How many connections fit, each of which has two ends here.
fn room() -> usize {
    let most = testkit::descriptors::as_many_as_possible();
    let many = MANY.min(most.saturating_sub(2_000));
    if many < MANY {
        eprintln!("{many} connections and not {MANY}: this process may have {most} descriptors");
    }
    many
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_one_address_keep_nobody_out() {
    let many = room();
    // None of them goes by itself.
    let patient = |config: &mut node::Config| config.limits.login_grace = Duration::from_secs(3_600);
    let node = Fixture::start_with(json!({}), patient).await;
    let mut member = node.ssh("alice");
    member.args([NODENAME, "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut member = tokio::process::Command::from(member).kill_on_drop(true).spawn().expect("runs");
    node.event("session.start", |_| true).await;

    let mut open = Vec::new();
    for _ in 0..many {
        open.push(connect([127, 0, 0, 1], node.address).await);
    }
    log_in(&node, "127.0.0.2").await;
    log_in(&node, "127.0.0.1").await;
    let kept = 256;
    until("the drops to be counted", || {
        node.refusals("too_many_strangers") >= u64::try_from(many - kept).expect("fits")
    })
    .await;
    assert_eq!(node.refusals("too_many_connections"), 0);

    // Who has logged in long before is not concerned.
    drop(member.stdin.take());
    assert!(member.wait().await.expect("ends").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_addresses_share_the_places_of_strangers() {
    let node = Fixture::start_with(json!({}), |config| config.limits.startups = 8).await;
    let mut open = Vec::new();
    for last in 1..=4 {
        for _ in 0..4 {
            open.push(connect([127, 0, 1, last], node.address).await);
        }
    }
    log_in(&node, "127.0.0.2").await;
    // Each counts itself when it has gone, which none of them has to be for the login.
    until("the ends of nine", || node.refusals("too_many_strangers") >= 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dropped_are_closed_and_places_come_back() {
    let node = Fixture::start_with(json!({}), |config| config.limits.strangers_per_address = 2).await;
    let mut first = connect([127, 0, 0, 1], node.address).await;
    let _second = connect([127, 0, 0, 1], node.address).await;
    let _third = connect([127, 0, 0, 1], node.address).await;
    // Of two, the older half is one.
    let _ = first.read_to_end(&mut Vec::new()).await;
    assert_eq!(node.refusals("too_many_strangers"), 1);
    // Whoever has logged in counts no more against the address.
    let mut members = Vec::new();
    for number in 0..3 {
        let mut ssh = node.ssh("alice");
        ssh.args([NODENAME, "cat"]).stdin(Stdio::piped());
        members.push(tokio::process::Command::from(ssh).kill_on_drop(true).spawn().expect("runs"));
        until("the session", || node.count("session.start", "cat") > number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_does_not_stay() {
    let grace = Duration::from_millis(300);
    let node = Fixture::start_with(json!({}), |config| config.limits.login_grace = grace).await;
    let mut silent = connect([127, 0, 0, 1], node.address).await;
    let _ = silent.read_to_end(&mut Vec::new()).await;
}
