//! Our server against the `ssh` of OpenSSH.

mod openssh;

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use openssh::{Pki, Server, run, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use transport::ssh::server::AcceptError;
use transport::ssh::{Ended, Keepalive, Negotiated, Rekey};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_and_their_outputs_and_statuses_come_back() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["localhost", "both"]);
    let output = run(ssh).await;
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("out", "err"));
    assert_eq!(output.status.code(), Some(0));
    for (command, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("nonsense", 127), ("killed", 255)]
    {
        let mut ssh = pki.ssh(server.address, "user");
        ssh.args(["localhost", command]);
        assert_eq!(run(ssh).await.status.code(), Some(code), "{command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_and_variables_are_seen_in_order() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["-tt", "-o", "SetEnv=A=1 B=2", "localhost", "seen"]).env("TERM", "xterm-test");
    let output = run(ssh).await;
    assert_eq!(text(&output.stdout), "pty xterm-test [0];A=1;B=2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_data_goes_either_way_also_while_keys_change() {
    let pki = Pki::new();
    let server =
        Server::start_with(&pki, |config| config.rekey = Rekey { bytes: 8 << 20, ..Rekey::default() }).await;
    const SIZE: usize = 50 << 20;
    for cipher in ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"] {
        let mut ssh = pki.ssh(server.address, "user");
        ssh.args(["-c", cipher, "-o", "RekeyLimit=16M", "localhost", &format!("zeros {SIZE}")]);
        assert_eq!(run(ssh).await.stdout.len(), SIZE, "{cipher}");
    }
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["localhost", "count"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    assert_eq!(feed(ssh, SIZE).await, SIZE.to_string());
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["localhost", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    assert_eq!(feed(ssh, SIZE).await.len(), SIZE);
}

/// Runs a command with so many bytes on its standard input.
async fn feed(mut command: std::process::Command, size: usize) -> String {
    let work = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("runs");
        let mut input = child.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || input.write_all(&vec![b'a'; size]).expect("written"));
        let output = child.wait_with_output().expect("ends");
        writer.join().expect("joins");
        text(&output.stdout)
    });
    work.await.expect("joins")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_much_before_reading_gets_through() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    const SIZE: usize = 50 << 20;
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["localhost", &format!("late {SIZE}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    assert_eq!(feed(ssh, SIZE).await.len(), 2 * SIZE);
}

/// The first window of a channel and the handshakes of a few requests: more than that never comes while nobody reads.
const AT_REST: u64 = 320 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_not_read_comes_to_rest_and_does_not_stop_another() {
    let pki = Pki::new();
    let mut server = Server::start(&pki).await;
    let socket = pki.path("control");
    let mut master = pki.ssh(server.address, "user");
    master.args(["-o", "ControlMaster=yes", "-o"]).arg(format!("ControlPath={}", socket.display()));
    master.args(["localhost", "deaf"]).stdin(Stdio::piped());
    let mut master = master.spawn().expect("runs");
    let mut input = master.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || while input.write_all(&[0; 64 << 10]).is_ok() {});
    let handle = server.connection().await;
    while !socket.exists() || handle.traffic().received < 256 << 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..3 {
        let mut second = pki.ssh(server.address, "user");
        second
            .args(["-o"])
            .arg(format!("ControlPath={}", socket.display()))
            .args(["localhost", "zeros 10485760"]);
        assert_eq!(run(second).await.stdout.len(), 10 << 20);
    }
    assert!(handle.traffic().received < AT_REST, "{:?}", handle.traffic());
    master.kill().expect("killed");
    master.wait().expect("ends");
    let _ = writer.join();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_forwarded_both_ways() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    let echo = echo_server().await;
    let local = pki.path("local");
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["-N", "-o", "ExitOnForwardFailure=yes", "-L"])
        .arg(format!("{}:{}:{}", local.display(), echo.ip(), echo.port()))
        .args(["-R", &format!("0:{}:{}", echo.ip(), echo.port()), "localhost"])
        .stderr(Stdio::piped());
    let mut ssh = tokio::process::Command::from(ssh).kill_on_drop(true).spawn().expect("runs");
    let mut words = tokio::io::BufReader::new(ssh.stderr.take().expect("a pipe"));
    let mut line = String::new();
    // "Allocated port 1234 for remote forward to ..."
    tokio::io::AsyncBufReadExt::read_line(&mut words, &mut line).await.expect("a line");
    let port: u16 = line.split(' ').nth(2).and_then(|port| port.parse().ok()).expect("a port");
    assert_echo(TcpStream::connect(("127.0.0.1", port)).await.expect("the remote forward")).await;
    assert_echo(tokio::net::UnixStream::connect(&local).await.expect("the local forward")).await;
    let mut refused = pki.ssh(server.address, "user");
    refused.args(["-W", "forbidden:1", "localhost"]);
    let words = text(&run(refused).await.stderr);
    assert!(words.contains("not there"), "{words}");
}

/// Into the node through one socket, back out of it through another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_sockets_are_forwarded_both_ways() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    let echo = echo_server().await;
    let (local, remote) = (pki.path("local"), pki.path("remote"));
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["-N", "-o", "ExitOnForwardFailure=yes", "-L"])
        .arg(format!("{}:{}", local.display(), remote.display()))
        .args(["-R", &format!("{}:{}:{}", remote.display(), echo.ip(), echo.port()), "localhost"]);
    let _ssh = tokio::process::Command::from(ssh).kill_on_drop(true).spawn().expect("runs");
    while !remote.exists() || !local.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_echo(tokio::net::UnixStream::connect(&local).await.expect("the local forward")).await;
}

async fn echo_server() -> std::net::SocketAddr {
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

/// Sends, ends its half, and wants everything back and an end.
async fn assert_echo<S: tokio::io::AsyncRead + AsyncWriteExt + Unpin>(mut stream: S) {
    stream.write_all(b"to and fro").await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut back = String::new();
    stream.read_to_string(&mut back).await.expect("came back");
    assert_eq!(back, "to and fro");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_a_certificate_of_the_authority_gets_in() {
    let pki = Pki::new();
    let mut server = Server::start(&pki).await;
    pki.keygen(&["-q", "-t", "ed25519", "-N", "", "-f", "plain"]);
    pki.certify_user("stranger", "other_ca", "alice");
    pki.certify_user("expired", "user_ca", "alice");
    pki.keygen(&["-q", "-s", "user_ca", "-I", "x", "-n", "alice", "-V", "-2h:-1h", "expired.pub"]);
    pki.certify_user("bob", "user_ca", "bob");
    for user in ["plain", "stranger", "expired", "bob"] {
        let mut ssh = pki.ssh(server.address, user);
        ssh.args(["localhost", "both"]);
        let output = run(ssh).await;
        assert_eq!(output.status.code(), Some(255), "{user}");
        assert!(text(&output.stderr).contains("Permission denied (publickey)"), "{}", text(&output.stderr));
        let error = server.refusal().await;
        assert!(matches!(error, AcceptError::Unauthenticated(_)), "{user}: {error}");
        assert!(error.to_string().contains("\"alice\""), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_not_even_offered() {
    let pki = Pki::new();
    let mut server = Server::start(&pki).await;
    for method in ["password", "keyboard-interactive", "none", "hostbased"] {
        let mut ssh = pki.ssh(server.address, "plain");
        ssh.args([
            "-o",
            &format!("PreferredAuthentications={method}"),
            "-o",
            "BatchMode=no",
            "localhost",
            "both",
        ]);
        let output = run(ssh).await;
        assert!(text(&output.stderr).contains("Permission denied (publickey)"), "{}", text(&output.stderr));
        assert!(matches!(server.refusal().await, AcceptError::Unauthenticated(_)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_with_words_reaches_the_user() {
    let pki = Pki::new();
    let mut server = Server::start(&pki).await;
    let mut ssh = pki.ssh_as(server.address, "user", "mallory");
    ssh.args(["localhost", "both"]);
    let output = run(ssh).await;
    assert_eq!(output.status.code(), Some(255));
    assert!(
        text(&output.stderr).contains("login \"mallory\" is not allowed (no_grant)"),
        "{}",
        text(&output.stderr)
    );
    let error = server.refusal().await;
    assert!(matches!(error, AcceptError::Refused(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_shows_its_certificate_and_a_changed_one_from_then_on() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    pki.certify_host("elsewhere", "host_ca", "elsewhere");
    pki.certify_host("foreign", "other_ca", "localhost");
    for (host, accepted) in [("host", true), ("elsewhere", false), ("foreign", false), ("host", true)] {
        server.host.send_replace(std::sync::Arc::new(pki.host(host)));
        let mut ssh = pki.ssh(server.address, "user");
        ssh.args(["localhost", "both"]);
        let output = run(ssh).await;
        assert_eq!(output.status.success(), accepted, "{host}: {}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_log_in_is_cut_off() {
    let pki = Pki::new();
    let grace = Duration::from_millis(100);
    let mut server = Server::start_with(&pki, |config| config.login_grace = grace).await;
    for greeting in ["", "SSH-2.0-slow", "SSH-2.0-slow\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        stream.write_all(greeting.as_bytes()).await.expect("sent");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(matches!(server.refusal().await, AcceptError::Grace(_, _)));
    }
    for nonsense in ["GET / HTTP/1.1\r\n\r\n", "SSH-1.5-old\r\n", "SSH-2.0-x\r\n\0\0\0\0\0\0\0\0"] {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        stream.write_all(nonsense.as_bytes()).await.expect("sent");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        server.refusal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_reaches_the_user_and_ends_even_a_client_that_does_not_read() {
    let pki = Pki::new();
    let mut server = Server::start(&pki).await;
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["localhost", "deaf"]);
    let client = tokio::spawn(run(ssh));
    let handle = server.connection().await;
    handle.disconnect("lock \"x\" is in force").await;
    let output = client.await.expect("joins");
    assert!(text(&output.stderr).contains("lock \"x\" is in force"), "{}", text(&output.stderr));
    assert_eq!(handle.ended().await, Ended::Local("lock \"x\" is in force".to_owned()));

    // Its output goes into a pipe that nobody empties.
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["localhost", "zeros 500000000"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = ssh.spawn().expect("runs");
    let handle = server.connection().await;
    while handle.traffic().sent < 1 << 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    handle.disconnect("enough").await;
    assert_eq!(handle.ended().await, Ended::Local("enough".to_owned()));
    client.kill().expect("killed");
    client.wait().expect("ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_answers_nothing_is_given_up() {
    let pki = Pki::new();
    let keepalive = Keepalive { interval: Duration::from_millis(100), count: 2 };
    let mut server = Server::start_with(&pki, |config| config.keepalive = keepalive).await;
    let mut ssh = pki.ssh(server.address, "user");
    ssh.args(["localhost", "deaf"]).stderr(Stdio::null());
    let mut ssh = ssh.spawn().expect("runs");
    let handle = server.connection().await;
    // It answers keep-alives, so it may be as quiet as it likes.
    let quiet = handle.traffic().received;
    while handle.traffic().received < quiet + 500 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!handle.is_ended());
    let stop = std::process::Command::new("kill").args(["-STOP", &ssh.id().to_string()]).status();
    assert!(stop.expect("runs").success());
    assert_eq!(handle.ended().await, Ended::Silent);
    ssh.kill().expect("killed");
    ssh.wait().expect("ends");
}

/// What both sides are told is what OpenSSH's log says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_negotiated_is_what_the_client_says_it_is() {
    let pki = Pki::new();
    let mut server = Server::start(&pki).await;
    for options in [
        &[][..],
        &["KexAlgorithms=curve25519-sha256"],
        &["KexAlgorithms=diffie-hellman-group14-sha256,curve25519-sha256@libssh.org"],
        &["Ciphers=aes256-ctr,aes256-gcm@openssh.com"],
        &["Ciphers=aes128-gcm@openssh.com,aes256-gcm@openssh.com"],
    ] {
        let mut ssh = pki.ssh(server.address, "user");
        ssh.arg("-v").args(options.iter().flat_map(|option| ["-o", *option])).args(["localhost", "exit 0"]);
        let log = text(&run(ssh).await.stderr);
        let after = |words: &str| {
            let line = log.lines().find_map(|line| line.split_once(words)).expect("a line of the log");
            line.1.split_whitespace().next().expect("a name").to_owned()
        };
        let (exchange, cipher) = (after("kex: algorithm: "), after("kex: client->server cipher: "));
        let Negotiated { key_exchange, cipher: agreed } = server.negotiated().await;
        assert_eq!(Ok(key_exchange), exchange.parse(), "{options:?}");
        assert_eq!(Ok(agreed), cipher.parse(), "{options:?}");
    }
}
