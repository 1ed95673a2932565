//! Our client against our server and against OpenSSH's.

mod openssh;

use std::net::SocketAddr;
use std::time::Duration;

use openssh::{Pki, Server};
use russh::keys::ssh_key::{Certificate, PublicKey};
use testkit::Sshd;
use tokio::net::TcpStream;
use transport::ssh::client::{
    Client, ClientConfig, ConnectError, Forwarded, HostRefusal, HostVerifier, OpenError, PtyRequest,
    RequestError, Session, connect,
};
use transport::ssh::{Cipher, Ended, ExitSignal, Inbound, KeyExchange, Negotiated, WindowSize, relay};

/// Trusts certificates of one authority for one name.
struct OneHost {
    authority: String,
    name: &'static str,
}

impl HostVerifier for OneHost {
    fn certificate(&self, blob: &[u8]) -> Result<(), HostRefusal> {
        let certificate = Certificate::from_bytes(blob).expect("the engine read it");
        let authority = PublicKey::from_openssh(&self.authority).expect("a CA");
        let refuse = |code: &str, reason: String| Err(HostRefusal { code: code.to_owned(), reason });
        if certificate.signature_key() != authority.key_data() {
            return refuse("untrusted_ca", "of another authority".to_owned());
        }
        let names = certificate.valid_principals();
        if !names.iter().any(|name| name == self.name) {
            return refuse("host_name", format!("expected {}, got {}", self.name, names.join(", ")));
        }
        Ok(())
    }
}

async fn connect_to(
    pki: &Pki,
    server: SocketAddr,
    change: impl FnOnce(&mut ClientConfig, &mut OneHost),
) -> Result<(Client, tokio::sync::mpsc::Receiver<Forwarded>), ConnectError> {
    let mut config = ClientConfig::new("root", pki.user("user"));
    let mut verifier = OneHost { authority: pki.read("host_ca.pub"), name: "localhost" };
    change(&mut config, &mut verifier);
    let stream = TcpStream::connect(server).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    connect(stream, config, verifier).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_know_what_they_negotiated() {
    let pki = Pki::new();
    let mut server = Server::start(&pki).await;
    for (key_exchange, post_quantum) in
        [(KeyExchange::MlKem768X25519, true), (KeyExchange::Curve25519, false)]
    {
        for cipher in Cipher::ALL {
            let only = |config: &mut ClientConfig, _: &mut OneHost| {
                config.algorithms.key_exchange = vec![key_exchange];
                config.algorithms.ciphers = vec![cipher];
            };
            let (client, _) = connect_to(&pki, server.address, only).await.expect("connects");
            assert_eq!(client.negotiated(), Negotiated { key_exchange, cipher });
            assert_eq!(server.negotiated().await, client.negotiated());
            assert_eq!(client.negotiated().is_post_quantum(), post_quantum);
        }
    }
    let (client, _) = connect_to(&pki, server.address, |_, _| {}).await.expect("connects");
    assert!(client.negotiated().is_post_quantum(), "it is what both prefer");
}

/// Everything a session says: output, errors, and its other words.
async fn all_of(mut session: Session) -> (String, String, Vec<Inbound>) {
    let (mut out, mut err, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(inbound) = session.next().await {
        match inbound {
            Inbound::Data(data) => out.extend_from_slice(&data),
            Inbound::Extended { data, .. } => err.extend_from_slice(&data),
            other => rest.push(other),
        }
    }
    rest.sort_by_key(|inbound| !matches!(inbound, Inbound::Eof));
    (openssh::text(&out), openssh::text(&err), rest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_on_our_own_server() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    let (client, _) = connect_to(&pki, server.address, |_, _| {}).await.expect("connects");
    let mut session = client.session().await.expect("opens");
    session.exec(b"both").await.expect("runs");
    let expected = ("out".to_owned(), "err".to_owned(), vec![Inbound::Eof, Inbound::ExitStatus(0)]);
    assert_eq!(all_of(session).await, expected);

    let mut session = client.session().await.expect("opens");
    session.exec(b"killed").await.expect("runs");
    let signal = ExitSignal { name: "KILL".to_owned(), core_dumped: false, message: String::new() };
    assert_eq!(all_of(session).await.2, vec![Inbound::ExitSignal(signal)]);

    let mut session = client.session().await.expect("opens");
    let size = WindowSize { columns: 80, rows: 24, ..WindowSize::default() };
    let pty = PtyRequest { term: "vt100".to_owned(), size, modes: vec![(1, 3), (53, 0)] };
    session.pty(&pty).await.expect("a terminal");
    session.env("A", "1").await.expect("sent");
    session.exec(b"seen").await.expect("runs");
    assert_eq!(all_of(session).await.0, "pty vt100 [1, 0, 0, 0, 3, 53, 0, 0, 0, 0, 0];A=1");

    let mut session = client.session().await.expect("opens");
    session.exec(b"signal").await.expect("runs");
    assert_eq!(session.next().await, Some(Inbound::Data("ready".into())));
    session.controls().signal("USR2").await.expect("sent");
    assert_eq!(session.next().await, Some(Inbound::Data("USR2".into())));

    let mut session = client.session().await.expect("opens");
    assert_eq!(session.subsystem("nothing").await, Err(RequestError::Refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_host_is_refused_with_the_names_expected_and_got() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    let wrong_name = connect_to(&pki, server.address, |_, host| host.name = "other").await;
    let Err(ConnectError::Host(refusal)) = wrong_name else { panic!("not refused") };
    assert_eq!(refusal.reason, "expected other, got localhost, 127.0.0.1");
    let wrong_ca =
        connect_to(&pki, server.address, |_, host| host.authority = pki.read("other_ca.pub")).await;
    assert!(matches!(wrong_ca, Err(ConnectError::Host(refusal)) if refusal.code == "untrusted_ca"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denials_come_with_or_without_words() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    let denied = connect_to(&pki, server.address, |config, _| config.login = "bob".to_owned()).await;
    assert_eq!(denied.err(), Some(ConnectError::Denied("bob".to_owned())));
    let told = "login \"mallory\" is not allowed (no_grant)".to_owned();
    match connect_to(&pki, server.address, |config, _| config.login = "mallory".to_owned()).await {
        Ok((client, _)) => {
            assert_eq!(client.session().await.err(), Some(OpenError::Ended(Ended::Peer(told))))
        }
        Err(error) => assert_eq!(error, ConnectError::Ended(Ended::Peer(told))),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_given_up() {
    let pki = Pki::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let timeout = Duration::from_millis(50);
    let outcome = connect_to(&pki, address, |config, _| config.timeout = timeout).await;
    assert_eq!(outcome.err(), Some(ConnectError::Timeout(timeout)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwards_on_our_own_server() {
    let pki = Pki::new();
    let server = Server::start(&pki).await;
    let (client, mut forwarded) = connect_to(&pki, server.address, |_, _| {}).await.expect("connects");
    let port = client.listen("localhost", 0).await.expect("listens");
    assert_ne!(port, 0);
    let (mut reader, writer) = client.direct_tcpip("127.0.0.1", port, ("127.0.0.1", 1)).await.expect("opens");
    let arrived = forwarded.recv().await.expect("arrives");
    assert_eq!((arrived.address.as_str(), arrived.port), ("localhost", u32::from(port)));
    let (near, far) = tokio::io::duplex(1024);
    tokio::spawn(relay(arrived.reader, arrived.writer, far));
    let (mut from, mut to) = tokio::io::split(near);
    tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
    writer.data("there and back".into()).await.expect("sent");
    assert_eq!(reader.data().await, Some("there and back".into()));
    let refused = client.direct_tcpip("forbidden", 1, ("127.0.0.1", 1)).await;
    assert!(matches!(refused, Err(OpenError::Rejected(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_so_many_channels_and_a_dropped_one_makes_room() {
    let pki = Pki::new();
    let server = Server::start_with(&pki, |config| config.max_channels = 3).await;
    let (client, _) = connect_to(&pki, server.address, |_, _| {}).await.expect("connects");
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(client.session().await.expect("opens"));
    }
    for _ in 0..100 {
        let refused = client.session().await.err();
        assert_eq!(refused, Some(OpenError::Rejected("too many channels".to_owned())));
    }
    open.pop();
    let mut session = loop {
        match client.session().await {
            Ok(session) => break session,
            Err(OpenError::Rejected(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    };
    session.exec(b"both").await.expect("runs");
    assert_eq!(all_of(session).await.0, "out");
}

/// A stock sshd that shows our host certificate and trusts our user CA.
fn stock_sshd(pki: &Pki) -> Sshd {
    let path = |name: &str| pki.path(name).display().to_string();
    let lines = format!(
        "HostKey {}\nHostCertificate {}\nTrustedUserCAKeys {}",
        path("host"),
        path("host-cert.pub"),
        path("user_ca.pub")
    );
    Sshd::start(&pki.path(""), &lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_on_a_stock_sshd() {
    if !is_root() {
        eprintln!("skipped: a stock sshd that accepts anybody needs root");
        return;
    }
    let pki = Pki::new();
    let sshd = stock_sshd(&pki);
    let (client, _) = connect_to(&pki, sshd.address(), |_, _| {}).await.expect("connects");
    let mut session = client.session().await.expect("opens");
    session.exec(b"echo out; echo err >&2; exit 7").await.expect("runs");
    let (out, err, rest) = all_of(session).await;
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    assert!(rest.contains(&Inbound::ExitStatus(7)), "{rest:?}");

    let mut session = client.session().await.expect("opens");
    session.exec(b"wc -c").await.expect("runs");
    let (mut reader, writer) = session.split();
    for _ in 0..64 {
        writer.data(vec![b'a'; 1 << 20].into()).await.expect("sent");
    }
    writer.eof().await.expect("sent");
    assert_eq!(reader.data().await, Some("67108864\n".into()));

    let denied = connect_to(&pki, sshd.address(), |config, _| config.login = "daemon".to_owned()).await;
    assert_eq!(denied.err(), Some(ConnectError::Denied("daemon".to_owned())));
    let wrong = connect_to(&pki, sshd.address(), |_, host| host.name = "other").await;
    assert!(matches!(wrong, Err(ConnectError::Host(_))));
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_neither_opened_nor_refused_is_given_up_and_closed_when_it_comes() {
    use transport::ssh::server::{Event, ServerConfig, accept};
    let pki = Pki::new();
    let (near, far) = tokio::io::duplex(1 << 20);
    let (_host, source) = tokio::sync::watch::channel(std::sync::Arc::new(pki.host("host")));
    let config = std::sync::Arc::new(ServerConfig::new(source));
    let authenticator = openssh::OneAuthority(pki.read("user_ca.pub"));
    let accepting = accept(far, config, SocketAddr::from(([127, 0, 0, 1], 1)), authenticator);
    let verifier = OneHost { authority: pki.read("host_ca.pub"), name: "localhost" };
    let connecting = connect(near, ClientConfig::new("root", pki.user("user")), verifier);
    let (accepted, connected) = tokio::join!(accepting, connecting);
    let mut connection = accepted.expect("accepts");
    let (client, _forwarded) = connected.expect("connects");
    let given_up = client.session().await.expect_err("nobody answers");
    assert!(matches!(given_up, OpenError::Timeout(_)), "{given_up}");
    let Some(Event::Session(open)) = connection.events.next().await else { panic!("a session") };
    let late = open.accept().await;
    late.writer.closed().await;
}
