//! The shell around the engine, against clients that do what they should not: each is driven by hand, message by
//! message, over a pipe in memory.

mod openssh;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use openssh::Pki;
use ssh::algorithms::{KeyAlgorithm, SignatureScheme};
use ssh::connection::{ChannelEvent, ChannelId, Event, Limits, Origin, Purpose, Request, Stream};
use ssh::keys::SigningKey;
use ssh::{Settings, client};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::watch;
use transport::ssh::server::{
    self, AcceptError, Attempt, Authenticator, Channel, Connection, Rejection, ServerConfig, accept,
};
use transport::ssh::{MemoryBudget, Rekey};

/// Takes everybody.
struct Anybody;

impl Authenticator for Anybody {
    type Grant = ();

    async fn authenticate(&self, attempt: &Attempt) -> Result<(), Rejection> {
        attempt.verify().map(drop)
    }
}

fn config(pki: &Pki, change: impl FnOnce(&mut ServerConfig)) -> Arc<ServerConfig> {
    let (_, host) = watch::channel(Arc::new(pki.host("host")));
    let mut config = ServerConfig::new(host);
    change(&mut config);
    Arc::new(config)
}

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

/// A client that is in.
struct Hand {
    io: DuplexStream,
    engine: ssh::connection::Connection,
    input: Vec<u8>,
}

/// A client by hand and a server of ours.
async fn joined(config: &Arc<ServerConfig>) -> (Hand, Connection<()>) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let accepting = accept(far, Arc::clone(config), PEER, Anybody);
    let (hand, connection) = tokio::join!(Hand::log_in(near), accepting);
    (hand, connection.expect("accepted"))
}

impl Hand {
    async fn log_in(mut io: DuplexStream) -> Self {
        let key = SigningKey::generate_ed25519();
        let (algorithm, blob) = certificate(&key);
        let mut engine = client::Handshake::new(Arc::new(client::Config {
            settings: Arc::new(Settings::default()),
            host_keys: KeyAlgorithm::ALL.to_vec(),
            login: "alice".to_owned(),
            algorithm,
            blob,
            limits: Limits::default(),
        }));
        let mut input = Vec::new();
        loop {
            let taken = engine.receive(&mut input).expect("the server keeps the rules");
            input.drain(..taken);
            while let Some(event) = engine.event() {
                match event {
                    client::Event::Host(_) => engine.trust().expect("keys"),
                    client::Event::Sign(to_sign) => {
                        engine.signed(&key.sign(to_sign.algorithm.scheme, &to_sign.data).expect("signs"));
                    }
                    client::Event::Accepted => {
                        return Self { io, engine: engine.connection().expect("accepted"), input };
                    }
                    other => panic!("{other:?}"),
                }
            }
            let mut output = Vec::new();
            engine.take_output(&mut output);
            io.write_all(&output).await.expect("open");
            if taken == 0 {
                io.read_buf(&mut input).await.expect("open");
            }
        }
    }

    /// Sends what there is, all at once.
    async fn say(&mut self) {
        let mut output = Vec::new();
        self.engine.take_output(&mut output);
        self.io.write_all(&output).await.expect("open");
    }

    /// The next thing that the server tells.
    async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.engine.event() {
                return event;
            }
            let taken = self.engine.receive(&mut self.input).expect("the server keeps the rules");
            self.input.drain(..taken);
            self.say().await;
            if taken == 0 {
                assert_ne!(self.io.read_buf(&mut self.input).await.expect("open"), 0, "the server went away");
            }
        }
    }

    async fn until(&mut self, id: ChannelId, wanted: &ChannelEvent) {
        while self.event().await != Event::Channel(id, wanted_again(wanted)) {}
    }

    /// Opens a channel, which the server accepts.
    async fn open(&mut self, connection: &mut Connection<()>, purpose: &Purpose) -> (ChannelId, Channel) {
        let id = self.engine.open(purpose).expect("there are not so many");
        self.say().await;
        let open = match connection.events.next().await.expect("it was asked for") {
            server::Event::Session(open) | server::Event::DirectTcpip { open, .. } => open,
            other => panic!("{other:?}"),
        };
        let channel = open.accept().await;
        self.until(id, &ChannelEvent::Opened).await;
        (id, channel)
    }
}

fn wanted_again(event: &ChannelEvent) -> ChannelEvent {
    match event {
        ChannelEvent::Opened => ChannelEvent::Opened,
        ChannelEvent::Answered(yes) => ChannelEvent::Answered(*yes),
        other => panic!("{other:?} is not waited for"),
    }
}

/// A user key in something that looks like a certificate: what the engine reads of one.
fn certificate(key: &SigningKey) -> (KeyAlgorithm, Vec<u8>) {
    let plain = key.public().blob();
    let mut blob = Vec::new();
    for part in [&b"ssh-ed25519-cert-v01@openssh.com"[..], &[7; 32], &plain[4 + 11 + 4..]] {
        blob.extend_from_slice(&u32::try_from(part.len()).expect("short").to_be_bytes());
        blob.extend_from_slice(part);
    }
    (KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: true }, blob)
}

fn direct() -> Purpose {
    let origin = Origin { address: "127.0.0.1".to_owned(), port: 1 };
    Purpose::DirectTcpip { host: "db".to_owned(), port: 5432, origin }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it happens")
}

/// Fresh keys come about without a user: they must not keep an idle connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_keys_are_no_activity() {
    let pki = Pki::new();
    let rekey = Rekey { interval: Duration::from_millis(20), ..Rekey::default() };
    let (mut hand, connection) = joined(&config(&pki, |config| config.rekey = rekey)).await;
    let handle = connection.handle.clone();
    tokio::spawn(async move { hand.event().await });
    let (mut idle, mut exchanges) = (handle.idle(), 0);
    let mut received = handle.traffic().received;
    soon(async {
        while exchanges < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = handle.idle();
            assert!(now >= idle, "it was active");
            let more = handle.traffic().received;
            exchanges += u32::from(more > received);
            (idle, received) = (now, more);
        }
    })
    .await;
}

/// Requests and the end of their channel come in order, also when they come at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_just_before_the_end_is_heard() {
    let pki = Pki::new();
    let (mut hand, mut connection) = joined(&config(&pki, |_| {})).await;
    let (id, mut channel) = hand.open(&mut connection, &Purpose::Session).await;
    hand.engine.request(id, &Request::Exec(b"run".to_vec()), false).expect("open");
    hand.engine.request(id, &Request::Signal("TERM".to_owned()), false).expect("open");
    hand.engine.close(id);
    hand.say().await;
    let exec = soon(channel.requests.next()).await;
    assert!(matches!(exec, Some(server::Request::Exec { .. })), "{exec:?}");
    let signal = soon(channel.requests.next()).await;
    assert!(matches!(&signal, Some(server::Request::Signal(name)) if name == "TERM"), "{signal:?}");
    assert!(soon(channel.requests.next()).await.is_none());
}

/// What came in one read with the end of the connection was said before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_just_before_a_disconnect_is_heard() {
    let pki = Pki::new();
    let (mut hand, mut connection) = joined(&config(&pki, |_| {})).await;
    let (id, mut channel) = hand.open(&mut connection, &Purpose::Session).await;
    hand.engine.request(id, &Request::Exec(b"run".to_vec()), false).expect("open");
    hand.engine.disconnect("enough");
    hand.say().await;
    let exec = soon(channel.requests.next()).await;
    assert!(matches!(exec, Some(server::Request::Exec { .. })), "{exec:?}");
    assert!(soon(channel.requests.next()).await.is_none());
}

/// Nobody looks for requests on a forwarded connection: they are refused, and not kept for its life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarded_connections_take_no_requests() {
    let pki = Pki::new();
    let (mut hand, mut connection) = joined(&config(&pki, |_| {})).await;
    let (id, mut channel) = hand.open(&mut connection, &direct()).await;
    hand.engine.request(id, &Request::Exec(vec![b'x'; 30_000]), true).expect("open");
    hand.say().await;
    soon(hand.until(id, &ChannelEvent::Answered(false))).await;
    assert!(soon(channel.requests.next()).await.is_none());
}

/// Whoever limits the number of strangers does so by waiting for `accept`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_stranger_that_was_turned_away() {
    let pki = Pki::new();
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let config = config(&pki, |_| {});
    near.write_all(b"GET / HTTP/1.1\r\n").await.expect("open");
    // It does not go by itself.
    let accepted = soon(accept(far, config, PEER, Anybody)).await;
    assert!(matches!(accepted, Err(AcceptError::Broken(_))), "{:?}", accepted.err());
    near.write_all(b"x").await.expect_err("nobody is there");
}

/// A connection that is held because others fill the memory goes on when they give it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_connection_goes_on_when_another_gives_memory_back() {
    const WINDOW: usize = 256 << 10;
    const HELD: usize = 17;
    let pki = Pki::new();
    let config = config(&pki, |config| config.budget = MemoryBudget::new((HELD + 8) * WINDOW));
    let (mut one, mut connection) = joined(&config).await;
    let mut kept = Vec::new();
    fill(&mut one, &mut connection, HELD, &mut kept).await;
    let (mut other, mut filling) = joined(&config).await;
    let mut gone = Vec::new();
    fill(&mut other, &mut filling, 8, &mut gone).await;

    let asking = async {
        let (_, channel) = one.open(&mut connection, &Purpose::Session).await;
        drop(channel);
    };
    let giving_back = async {
        // Long enough for the first to be held.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop((other, filling, gone));
    };
    soon(async { tokio::join!(asking, giving_back) }).await;
}

/// A stream that is no good any more once it is told so.
struct Fragile(DuplexStream, Arc<AtomicBool>);

impl AsyncRead for Fragile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(!self.1.load(Ordering::SeqCst), "as it should");
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl AsyncWrite for Fragile {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Should the task of a connection die, by whatever mistake, then what runs on the connection hears of the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_connection_whose_task_died() {
    let pki = Pki::new();
    let (near, far) = tokio::io::duplex(64 << 10);
    let dies = Arc::new(AtomicBool::new(false));
    let accepting = accept(Fragile(far, Arc::clone(&dies)), config(&pki, |_| {}), PEER, Anybody);
    let (mut hand, connection) = tokio::join!(Hand::log_in(near), accepting);
    let mut connection = connection.expect("accepted");
    let (id, mut channel) = hand.open(&mut connection, &Purpose::Session).await;
    dies.store(true, Ordering::SeqCst);
    hand.engine.write(id, Stream::Data, b"x").expect("open");
    hand.say().await;
    soon(connection.handle.ended()).await;
    assert!(soon(channel.requests.next()).await.is_none());
    while soon(channel.reader.next()).await.is_some() {}
}

/// Fills the windows of so many new channels that nobody reads.
async fn fill(hand: &mut Hand, connection: &mut Connection<()>, channels: usize, kept: &mut Vec<Channel>) {
    for _ in 0..channels {
        let (id, channel) = hand.open(connection, &Purpose::Session).await;
        kept.push(channel);
        let data = vec![0; 256 << 10];
        let mut written = 0;
        while written < data.len() {
            written += hand.engine.write(id, Stream::Data, &data[written..]).expect("open");
            hand.say().await;
        }
    }
    let traffic = || connection.handle.traffic().received;
    while traffic() < (channels * (256 << 10)) as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
