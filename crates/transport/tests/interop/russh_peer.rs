//! russh, another implementation in Rust.
//!
//! It grants window when data arrives and stops everything while that is not taken, so both peers here take it at once.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use russh::keys::{PublicKeyOrCertificate, decode_secret_key, ssh_key};
use russh::server::{Auth, ChannelOpenHandle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, Limits, Names, Preferred, client, server};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::drill::{self, BOTH, Host, REKEY, assert_negotiated, connect_to, echo_server, noise};
use super::openssh::Pki;
use super::peer::within;
use super::table::{RUSSH, Row};

fn preferred(row: Row, host_certificates: &'static [ssh_key::Algorithm]) -> Preferred {
    let exchange = russh::kex::Name::try_from(row.key_exchange).expect("one of russh's");
    let cipher = russh::cipher::Name::try_from(row.cipher).expect("one of russh's");
    Preferred {
        // Who does not say that its exchange is strict does not get ChaCha20-Poly1305 from us.
        kex: Cow::Owned(vec![
            exchange,
            russh::kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
            russh::kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
        ]),
        cipher: Cow::Owned(vec![cipher]),
        host_key_certificates: Cow::Borrowed(host_certificates),
        ..Preferred::DEFAULT
    }
}

fn limits() -> Limits {
    Limits::new(REKEY as usize, REKEY as usize, std::time::Duration::from_secs(3600))
}

fn certificate(line: &str) -> ssh_key::Certificate {
    ssh_key::Certificate::from_openssh(line.trim()).expect("a certificate")
}

/// The only authority that it trusts, as a client and as a server.
#[derive(Clone)]
struct Trusting {
    authority: ssh_key::PublicKey,
    /// Key exchanges so far.
    exchanges: Arc<AtomicUsize>,
}

impl Trusting {
    fn new(authority: &str) -> Self {
        let authority = ssh_key::PublicKey::from_openssh(authority).expect("a key");
        Self { authority, exchanges: Arc::default() }
    }

    fn signed(&self, certificate: &ssh_key::Certificate) -> bool {
        certificate.signature_key() == self.authority.key_data()
    }
}

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, host: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(match host {
            PublicKeyOrCertificate::Certificate(certificate) => self.signed(certificate),
            PublicKeyOrCertificate::PublicKey { .. } => false,
        })
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        _: &Names,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        self.exchanges.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

/// russh's client on our server.
async fn connected(
    pki: &Pki,
    server: SocketAddr,
    row: Row,
    trusting: Trusting,
    user: &str,
) -> Result<Option<client::Handle<Trusting>>, russh::Error> {
    let preferred = preferred(row, &[ssh_key::Algorithm::Ecdsa { curve: ssh_key::EcdsaCurve::NistP256 }]);
    let config = client::Config { preferred, limits: limits(), nodelay: true, ..client::Config::default() };
    let mut handle = client::connect(Arc::new(config), server, trusting).await?;
    let key = Arc::new(decode_secret_key(&pki.read(user), None).expect("a key"));
    let shown = certificate(&pki.read(&format!("{user}-cert.pub")));
    let answer = handle.authenticate_openssh_cert("alice", key, shown).await?;
    Ok(answer.success().then_some(handle))
}

/// What a channel brings until it is closed: output, errors, status.
async fn all_of(mut reader: russh::ChannelReadHalf) -> (Vec<u8>, Vec<u8>, Option<u32>) {
    let (mut out, mut err, mut status) = (Vec::new(), Vec::new(), None);
    while let Some(message) = within("a channel", reader.wait()).await {
        match message {
            ChannelMsg::Data { data } => out.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, ext: 1 } => err.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            _ => {}
        }
    }
    (out, err, status)
}

async fn ask(handle: &client::Handle<Trusting>, command: &str) -> (Vec<u8>, Vec<u8>, Option<u32>) {
    let channel = handle.channel_open_session().await.expect("opens");
    channel.exec(true, command).await.expect("runs");
    all_of(channel.split().0).await
}

async fn there_and_back(channel: Channel<client::Msg>, data: Vec<u8>) -> Vec<u8> {
    let (reader, writer) = channel.split();
    let sending: JoinHandle<()> = tokio::spawn(async move {
        writer.data(data.as_slice()).await.expect("sent");
        writer.eof().await.expect("sent");
    });
    let (out, _, _) = all_of(reader).await;
    sending.await.expect("joins");
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client() {
    let (pki, echo, noise) = (Pki::new(), echo_server().await, noise());
    let mut server = drill::server(&pki).await;
    for row in RUSSH.rows() {
        let trusting = Trusting::new(&pki.read("host_ca.pub"));
        let exchanges = Arc::clone(&trusting.exchanges);
        let handle = connected(&pki, server.address, row, trusting, "user").await;
        let handle = handle.expect("connects").expect("is let in");
        assert_negotiated(row, server.negotiated().await);
        let channel = handle.channel_open_session().await.expect("opens");
        channel.exec(true, "cat").await.expect("runs");
        assert!(there_and_back(channel, noise.clone()).await == noise, "{row:?}");
        assert!(exchanges.load(Ordering::Acquire) > 1, "keys were never changed: {row:?}");
        assert_eq!(ask(&handle, "both").await, (b"out".to_vec(), b"err".to_vec(), Some(0)), "{row:?}");
        assert_eq!(ask(&handle, "exit 7").await.2, Some(7), "{row:?}");
        let forward = handle.channel_open_direct_tcpip("127.0.0.1", echo.port().into(), "127.0.0.1", 1).await;
        assert!(there_and_back(forward.expect("opens"), noise.clone()).await == noise, "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client_it_refuses_hosts_of_others_and_strangers_are_refused() {
    let pki = Pki::new();
    let server = drill::server(&pki).await;
    let row = RUSSH.rows().next().expect("one");
    let others = Trusting::new(&pki.read("other_ca.pub"));
    let refused = connected(&pki, server.address, row, others, "user").await;
    assert!(matches!(refused, Err(russh::Error::UnknownKey)), "{:?}", refused.err());
    pki.certify_user("stranger", "other_ca", "alice");
    let trusting = Trusting::new(&pki.read("host_ca.pub"));
    let refused = connected(&pki, server.address, row, trusting, "stranger").await.expect("connects");
    assert!(refused.is_none());
}

/// russh's server: `cat` and [`BOTH`], and connections to wherever.
struct Serving {
    trusting: Trusting,
}

impl server::Handler for Serving {
    type Error = russh::Error;

    async fn auth_openssh_certificate(
        &mut self,
        _: &str,
        certificate: &ssh_key::Certificate,
    ) -> Result<Auth, russh::Error> {
        Ok(if self.trusting.signed(certificate) { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        tokio::spawn(serve_session(channel));
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let there = (host.to_owned(), u16::try_from(port).expect("a port"));
        tokio::spawn(async move {
            let mut there = TcpStream::connect(there).await.expect("is there");
            reply.accept().await;
            tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut there).await
        });
        Ok(())
    }
}

async fn serve_session(channel: Channel<Msg>) {
    let (mut reader, writer) = channel.split();
    let Some(ChannelMsg::Exec { command, .. }) = reader.wait().await else { return };
    if command == BOTH.as_bytes() {
        writer.data(&b"out"[..]).await.expect("sent");
        writer.extended_data(1, &b"err"[..]).await.expect("sent");
        writer.exit_status(7).await.expect("sent");
    } else {
        let (sender, mut taken) = mpsc::unbounded_channel::<Bytes>();
        let taking = async move {
            loop {
                match reader.wait().await {
                    Some(ChannelMsg::Data { data }) => sender.send(data).expect("is taken"),
                    Some(ChannelMsg::Eof) | None => return,
                    Some(_) => {}
                }
            }
        };
        let sending = async {
            while let Some(data) = taken.recv().await {
                writer.data_bytes(data).await.expect("sent");
            }
        };
        tokio::join!(taking, sending);
        writer.exit_status(0).await.expect("sent");
    }
    writer.eof().await.expect("sent");
    writer.close().await.expect("sent");
}

/// russh's server for one connection; its port.
async fn serve(pki: &Pki, row: Row) -> SocketAddr {
    let config = server::Config {
        keys: vec![decode_secret_key(&pki.read("host"), None).expect("a key")],
        certificates: vec![certificate(&pki.read("host-cert.pub"))],
        preferred: preferred(row, &[]),
        limits: limits(),
        ..server::Config::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = Serving { trusting: Trusting::new(&pki.read("user_ca.pub")) };
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        server::run_stream(Arc::new(config), stream, serving).await.expect("runs").await
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_server() {
    let (pki, echo) = (Pki::new(), echo_server().await);
    for row in RUSSH.rows() {
        let host = Host::Of(pki.read("host_ca.pub"));
        let (client, _) =
            connect_to(serve(&pki, row).await, "alice", pki.user("user"), host, row).await.expect("connects");
        drill::client(row, client, echo).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_server_of_another_authority_it_is_refused() {
    let pki = Pki::new();
    let row = RUSSH.rows().next().expect("one");
    let host = Host::Of(pki.read("other_ca.pub"));
    let connecting = connect_to(serve(&pki, row).await, "alice", pki.user("user"), host, row);
    let error = connecting.await.expect_err("is refused");
    assert!(error.to_string().contains("of another authority"), "{error}");
}
