//! Forwarded connections, and their refusals, with OpenSSH's client.

mod support;

use std::process::Stdio;

use serde_json::{Value, json};
use support::forwarding::{Echo, assert_echo};
use support::{Fixture, NODENAME, run, text, user};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_are_forwarded_both_ways_and_recorded() {
    let node = Fixture::start().await;
    let echo = Echo::start().await.address;
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

/// As a browser behind `ssh -D` has them, or a build behind `ssh -L`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_connections_are_forwarded_at_once() {
    let node = Fixture::start().await;
    let echo = Echo::start().await.address;
    let local = node.pki.path("local");
    let master = Master::start(&node, &["-L", &format!("{}:{echo}", local.display())]).await;
    let mut open = Vec::new();
    for _ in 0..300 {
        open.push(UnixStream::connect(&local).await.expect("the local forward"));
    }
    for stream in open {
        assert_echo(stream).await;
    }
    drop(master);
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
    let echo = Echo::start().await.address;
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
    let echo = Echo::start().await.address;
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

/// What looks the account up never answers, as where a directory service is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_acts_while_a_listener_waits_for_name_services() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let (script, mark) = (directory.path().join("helper"), directory.path().join("helper.asked"));
    let hang = ": > \"$0.asked\"; while test -e \"$0\"; do sleep 0.1; done";
    std::fs::write(&script, format!("#!/bin/sh\n{hang}\n")).expect("written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let node = Fixture::start_with(json!({}), |config| config.session_exec = script).await;
    let mut ssh = node.ssh("alice");
    ssh.args(["-N", "-R", "0:127.0.0.1:1", NODENAME]);
    let client = tokio::spawn(run(ssh));
    support::until("the question to the name services", || mark.exists()).await;
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

/// `ssh` in the background as the master of a control socket, which other `ssh` then use.
struct Master {
    _ssh: tokio::process::Child,
    control: String,
}

impl Master {
    async fn start(node: &Fixture, args: &[&str]) -> Self {
        let socket = node.pki.path("control");
        let control = format!("ControlPath={}", socket.display());
        let mut ssh = node.ssh("alice");
        ssh.args(["-N", "-o", "ControlMaster=yes", "-o", &control, "-o", "ExitOnForwardFailure=yes"]);
        ssh.args(args).arg(NODENAME);
        let ssh = tokio::process::Command::from(ssh).kill_on_drop(true).spawn().expect("runs");
        support::until("the control socket", || socket.exists()).await;
        Self { _ssh: ssh, control }
    }

    fn ssh(&self, node: &Fixture) -> std::process::Command {
        let mut ssh = node.ssh("alice");
        ssh.args(["-o", &self.control]);
        ssh
    }

    /// `ssh -O`, which says something only when it fails.
    async fn order(&self, node: &Fixture, args: &[&str]) -> std::process::Output {
        let mut ssh = self.ssh(node);
        ssh.args(args).arg(NODENAME);
        run(ssh).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_sockets_are_forwarded_both_ways_and_recorded() {
    let node = Fixture::start().await;
    let echo = Echo::start().await;
    let path = |name: &str| node.pki.path(name).display().to_string();
    let (served, local, remote) = (path("served"), path("local"), path("remote"));
    let _served = Echo::start_at(&node.pki.path("served"));
    let master = Master::start(&node, &["-L", &format!("{local}:{served}")]).await;
    let forward = format!("{remote}:{}", echo.address);
    let ordered = master.order(&node, &["-O", "forward", "-R", &forward]).await;
    assert!(ordered.status.success(), "{}", text(&ordered.stderr));
    // From a path to a path, and from a path to a port.
    assert_echo(UnixStream::connect(&local).await.expect("the local forward")).await;
    assert_echo(UnixStream::connect(&remote).await.expect("the remote forward")).await;
    assert_eq!(echo.came(), 1);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&remote).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    for (addr, direction) in [(&served, "local"), (&remote, "remote")] {
        for code in ["T3003I", "T3003S"] {
            let fits = |event: &serde_json::Map<String, Value>| {
                event["addr"] == **addr && event["code"] == code && event["direction"] == direction
            };
            assert_eq!(node.event("port", fits).await["success"], true);
        }
    }
    // A second one in the place of the first, and in that of something else.
    std::fs::write(node.pki.path("precious"), "kept").expect("written");
    for taken in [&remote, &path("precious")] {
        let forward = format!("{taken}:127.0.0.1:1");
        assert!(!master.order(&node, &["-O", "forward", "-R", &forward]).await.status.success());
        node.event("port", |event| event["addr"] == **taken && event["code"] == "T3003E").await;
    }
    assert_eq!(node.pki.read("precious"), "kept");
    for _ in 0..5 {
        // The client does not wait for the end before it asks anew.
        assert!(master.order(&node, &["-O", "cancel", "-R", &forward]).await.status.success());
        assert!(master.order(&node, &["-O", "forward", "-R", &forward]).await.status.success());
    }
    assert_echo(UnixStream::connect(&remote).await.expect("again")).await;
    drop(master);
    support::until("the end of the socket", || !node.pki.path("remote").exists()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_port_ends_when_it_is_cancelled() {
    let node = Fixture::start().await;
    let echo = Echo::start().await;
    let master = Master::start(&node, &[]).await;
    let forward = format!("0:{}", echo.address);
    let ordered = master.order(&node, &["-O", "forward", "-R", &forward]).await;
    let port: u16 = text(&ordered.stdout).trim().parse().expect("the port that was chosen");
    assert_echo(TcpStream::connect(("127.0.0.1", port)).await.expect("the remote forward")).await;
    let cancelled = master.order(&node, &["-O", "cancel", "-R", &forward]).await;
    assert!(cancelled.status.success(), "{}", text(&cancelled.stderr));
    support::until("the end of the listener", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err())
        .await;
}

/// `ssh -D`, as a browser uses it (RFC 1928).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_can_be_a_socks_proxy() {
    let node = Fixture::start().await;
    let echo = Echo::start().await;
    // ssh takes no 0 here; another process could take the port in between, so a few are tried.
    for _ in 0..5 {
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let mut ssh = node.ssh("alice");
        ssh.args(["-N", "-o", "ExitOnForwardFailure=yes", "-D", &free.to_string(), NODENAME]);
        let mut ssh = tokio::process::Command::from(ssh).kill_on_drop(true).spawn().expect("runs");
        let mut stream = None;
        support::until("the proxy", || {
            stream = std::net::TcpStream::connect(free).ok();
            stream.is_some() || ssh.try_wait().expect("a child").is_some()
        })
        .await;
        let Some(stream) = stream else { continue };
        stream.set_nonblocking(true).expect("an option");
        let mut stream = TcpStream::from_std(stream).expect("a stream");
        let [high, low] = echo.address.port().to_be_bytes();
        stream.write_all(&[5, 1, 0]).await.expect("sent");
        assert_eq!(answer::<2>(&mut stream).await, [5, 0]);
        // By name: the node looks it up.
        stream.write_all(&[5, 1, 0, 3, 9]).await.expect("sent");
        stream.write_all(b"localhost").await.expect("sent");
        stream.write_all(&[high, low]).await.expect("sent");
        assert_eq!(answer::<10>(&mut stream).await[..2], [5, 0]);
        assert_echo(stream).await;
        let event = node.event("port", |event| event["code"] == "T3003I").await;
        assert_eq!(event["addr"], format!("localhost:{}", echo.address.port()));
        return;
    }
    panic!("no port stayed free");
}

async fn answer<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut answer = [0; N];
    stream.read_exact(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_has_as_many_sessions_as_the_role_says() {
    const MANY: usize = 50;
    let node = Fixture::start_with(json!({"max_sessions": MANY}), |_| {}).await;
    let master = Master::start(&node, &[]).await;
    let sessions = (0..MANY).map(|number| {
        let mut ssh = master.ssh(&node);
        ssh.args([NODENAME, &format!("echo {number}; cat")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        tokio::process::Command::from(ssh).kill_on_drop(true).spawn().expect("runs")
    });
    let mut sessions: Vec<_> = sessions.collect();
    for (number, session) in sessions.iter_mut().enumerate() {
        let mut line = String::new();
        let output = session.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut line).await.expect("a line");
        assert_eq!(line, format!("{number}\n"));
    }
    // OpenSSH then tries it with a connection of its own.
    let refused = master.order(&node, &["-T"]).await;
    assert!(text(&refused.stderr).contains("Session open refused by peer"), "{}", text(&refused.stderr));
    let event = node.event("session.rejected", |_| true).await;
    assert_eq!(event["max"], MANY);
    for mut session in sessions {
        drop(session.stdin.take());
        assert!(session.wait().await.expect("ends").success());
    }
    let mut again = master.ssh(&node);
    again.args([NODENAME, "echo again"]);
    assert_eq!(text(&run(again).await.stdout), "again\n");
}

/// As with sshd: the client warns by itself, and with -v the server's reason is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reason_of_a_refused_listener_is_told_on_demand() {
    let node = Fixture::start_with(json!({"port_forwarding": false}), |_| {}).await;
    let mut ssh = node.ssh("alice");
    ssh.args(["-v", "-o", "LogLevel=DEBUG1", "-R", "0:127.0.0.1:1", NODENAME, "true"]);
    let words = text(&run(ssh).await.stderr);
    assert!(words.contains("remote port forwarding failed for listen port 0"), "{words}");
    assert!(words.contains("port forwarding is not allowed for user \"alice\""), "{words}");
}
