//! Forwarded connections, and their refusals, with OpenSSH's client.

mod support;

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Fixture, NODENAME, run, text, user};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn assert_echo<S: tokio::io::AsyncRead + AsyncWriteExt + Unpin>(mut stream: S) {
    stream.write_all(b"to and fro").await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut back = String::new();
    stream.read_to_string(&mut back).await.expect("came back");
    assert_eq!(back, "to and fro");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_are_forwarded_both_ways_and_recorded() {
    let node = Fixture::start().await;
    let echo = echo_server().await;
    let local = node.pki.path("local");
    let mut ssh = node.ssh("alice");
    ssh.args(["-N", "-o", "ExitOnForwardFailure=yes", "-L", &format!("{}:{echo}", local.display())]);
    ssh.args(["-R", &format!("0:{echo}"), NODENAME]).stderr(Stdio::piped());
    let mut ssh = tokio::process::Command::from(ssh).kill_on_drop(true).spawn().expect("runs");
    let mut words = BufReader::new(ssh.stderr.take().expect("a pipe"));
    let mut line = String::new();
    words.read_line(&mut line).await.expect("a line");
    let port: u16 = line.split(' ').nth(2).and_then(|port| port.parse().ok()).expect("Allocated port N ...");
    assert_echo(UnixStream::connect(&local).await.expect("the local forward")).await;
    assert_echo(TcpStream::connect(("127.0.0.1", port)).await.expect("the remote forward")).await;
    match std::net::TcpListener::bind(("::1", 0)) {
        Ok(_) => assert_echo(TcpStream::connect(("::1", port)).await.expect("in both families")).await,
        Err(error) => eprintln!("SKIPPED in part: no IPv6 on this host: {error}"),
    }
    let open = node.event("port", |event| event["code"] == "T3003I" && event["direction"] == "local").await;
    assert_eq!((&open["addr"], &open["success"]), (&json!(echo.to_string()), &json!(true)));
    let stop = node.event("port", |event| event["code"] == "T3003S" && event["direction"] == "local").await;
    assert_eq!((&stop["rx"], &stop["tx"]), (&json!(10), &json!(10)));
    ssh.kill().await.expect("killed");
    support::until("the end of the listener", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_can_jump_through_the_node() {
    let node = Fixture::start().await;
    let mut ssh = node.ssh("alice");
    ssh.args(["-W", &node.address.to_string(), NODENAME]);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut ssh = tokio::process::Command::from(ssh).kill_on_drop(true).spawn().expect("runs");
    let mut greeting = [0; 8];
    ssh.stdout.take().expect("a pipe").read_exact(&mut greeting).await.expect("the node's greeting");
    assert_eq!(&greeting, b"SSH-2.0-");
}

/// Tries one forward in each direction; what ssh says.
async fn try_both(node: &Fixture, name: &str) -> (String, String) {
    let echo = echo_server().await;
    let mut local = node.ssh(name);
    local.args(["-W", &echo.to_string(), NODENAME]);
    let mut remote = node.ssh(name);
    remote.args(["-N", "-o", "ExitOnForwardFailure=yes", "-R", &format!("0:{echo}"), NODENAME]);
    let (local, remote) = (run(local).await, run(remote).await);
    assert!(!local.status.success() && !remote.status.success());
    (text(&local.stderr), text(&remote.stderr))
}

async fn assert_refused(node: &Fixture, name: &str, code: &str, words: &str) {
    let (local, remote) = try_both(node, name).await;
    assert!(local.contains(words), "{local}");
    assert!(remote.contains("remote port forwarding failed"), "{remote}");
    for direction in ["local", "remote"] {
        let fits = |event: &serde_json::Map<String, Value>| {
            event["direction"] == direction && event["code"] == "T3003E"
        };
        assert_eq!(node.event("port", fits).await["denial"], code, "{direction}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_can_turn_forwarding_off() {
    let node = Fixture::start_with(json!({"port_forwarding": false}), |_| {}).await;
    assert_refused(
        &node,
        "alice",
        "forwarding_not_allowed",
        "port forwarding is not allowed for user \"alice\"",
    )
    .await;
    assert!(node.run("true").await.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_roles_take_away_is_refused_on_connections_that_are_open() {
    let node = Fixture::start().await;
    let echo = echo_server().await;
    let socket = node.pki.path("control");
    let control = format!("ControlPath={}", socket.display());
    let local = node.pki.path("local");
    let mut master = node.ssh("alice");
    master.args(["-N", "-o", "ControlMaster=yes", "-o", &control, "-R", &format!("0:{echo}")]);
    master.args(["-L", &format!("{}:{echo}", local.display()), NODENAME]).stderr(Stdio::piped());
    let mut master = tokio::process::Command::from(master).kill_on_drop(true).spawn().expect("runs");
    let mut line = String::new();
    let mut words = BufReader::new(master.stderr.take().expect("a pipe"));
    words.read_line(&mut line).await.expect("a line");
    let port: u16 = line.split(' ').nth(2).and_then(|port| port.parse().ok()).expect("Allocated port N ...");
    assert_echo(UnixStream::connect(&local).await.expect("the local forward")).await;
    node.set_policy([support::ops(json!({"port_forwarding": false, "ssh_file_copy": false}))]);
    // The next forward after the news has arrived, in either direction.
    let refused = |direction: &'static str| {
        let node = &node;
        move || node.saw("port", |event| event["direction"] == direction && event["code"] == "T3003E")
    };
    support::until("the refusal of a forward", || {
        drop(std::os::unix::net::UnixStream::connect(&local));
        refused("local")()
    })
    .await;
    let event = node.event("port", |event| event["code"] == "T3003E").await;
    assert_eq!(event["denial"], "forwarding_not_allowed");
    let mut open =
        TcpStream::connect(("127.0.0.1", port)).await.expect("the listener is older than the change");
    let _ = open.read_to_end(&mut Vec::new()).await;
    assert!(refused("remote")());
    let mut copy = node.ssh("alice");
    copy.args(["-o", &control, "-s", NODENAME, "sftp"]);
    assert!(!run(copy).await.status.success());
    node.event("sftp", |event| event["success"] == false).await;
    let mut command = node.ssh("alice");
    command.args(["-o", &control, NODENAME, "echo still in"]);
    assert_eq!(text(&run(command).await.stdout), "still in\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_can_turn_forwarding_off() {
    let node = Fixture::start_with(json!({}), |config| config.port_forwarding = false).await;
    assert_refused(&node, "alice", "forwarding_off", "node does not allow port forwarding").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_can_be_without_forwarding() {
    let node = Fixture::start().await;
    let mut narrow = user("alice");
    narrow.permits.port_forwarding = false;
    node.pki.certify("narrow", narrow, |_| {});
    assert_refused(&node, "narrow", "forwarding_not_allowed", "port forwarding is not allowed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_can_allow_one_direction_alone() {
    let one_way = json!({"ssh_port_forwarding": {"local": {"enabled": true}, "remote": {"enabled": false}}});
    let node = Fixture::start_with(one_way, |_| {}).await;
    let mut remote = node.ssh("alice");
    remote.args(["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", NODENAME]);
    assert!(text(&run(remote).await.stderr).contains("remote port forwarding failed"));
    let mut local = node.ssh("alice");
    local.args(["-W", "127.0.0.1:1", NODENAME]);
    // Allowed, and nobody listens there.
    assert!(text(&run(local).await.stderr).contains("Connection refused"));
    node.event("port", |event| event["denial"] == "connect_failed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_cannot_log_in_cannot_forward() {
    let node = Fixture::start().await;
    let mut ghost = user("alice");
    ghost.logins = vec![access::Login::new("no-such-account").expect("a login")];
    node.pki.certify("ghost", ghost, |_| {});
    let mut ssh = node.ssh("ghost");
    ssh.args(["-l", "no-such-account", "-W", "127.0.0.1:1", NODENAME]);
    let words = text(&run(ssh).await.stderr);
    assert!(words.contains("account no-such-account does not exist on this host"), "{words}");
}

/// Runs the test below where `getent` never answers.
#[test]
fn locks_act_while_name_services_hang() {
    use std::os::unix::fs::PermissionsExt;
    const GETENT: &str = "/usr/bin/getent";
    let directory = tempfile::tempdir().expect("a directory");
    let (script, mark) = (directory.path().join("getent"), directory.path().join("asked"));
    std::fs::write(&script, format!("#!/bin/sh\n: > {}\nexec sleep 1000\n", mark.display()))
        .expect("written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let within = |arguments: &[&std::ffi::OsStr]| {
        let mut command = std::process::Command::new("unshare");
        let enter = format!("mount --bind \"$0\" {GETENT} || exit 99; exec \"$@\"");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", &enter])
            .arg(&script)
            .args(arguments);
        command.env("POSTERN_TEST_MARK", &mark).output().expect("runs")
    };
    if !within(&["true".as_ref()]).status.success() {
        eprintln!("SKIPPED: needs unshare(1), {GETENT} and the right to mount");
        return;
    }
    let own = std::env::current_exe().expect("this program");
    let inner = ["--ignored", "--exact", "a_lock_acts_while_a_listener_waits"].map(std::ffi::OsStr::new);
    let output = within(&[[own.as_os_str()].as_slice(), &inner].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("1 passed"), "{}", text(&output.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only where getent hangs; locks_act_while_name_services_hang makes such a place and runs it"]
async fn a_lock_acts_while_a_listener_waits() {
    let node = Fixture::start().await;
    let mut ssh = node.ssh("alice");
    ssh.args(["-N", "-R", "0:127.0.0.1:1", NODENAME]);
    let client = tokio::spawn(run(ssh));
    let mark = std::env::var_os("POSTERN_TEST_MARK").expect("run by the other test");
    support::until("the question to the name services", || std::path::Path::new(&mark).exists()).await;
    node.set_policy([support::ops(json!({})), support::lock(json!({"user": "alice"}))]);
    let words = text(&client.await.expect("joins").stderr);
    assert!(words.contains("is in force: stolen"), "{words}");
    node.event("client.disconnect", |event| event["denial"] == "locked").await;
    assert!(!node.saw("port", |_| true), "the lock did not wait for the answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_loopback_interface_is_listened_on() {
    let node = Fixture::start().await;
    let mut ssh = node.ssh("alice");
    ssh.args(["-N", "-o", "ExitOnForwardFailure=yes", "-R", "192.0.2.1:0:127.0.0.1:1", NODENAME]);
    assert!(text(&run(ssh).await.stderr).contains("remote port forwarding failed"));
    let event = node.event("port", |event| event["direction"] == "remote").await;
    assert_eq!(event["denial"], "cannot_listen");
}
