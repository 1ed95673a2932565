//! What every peer is put through.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use transport::ssh::client::{
    Client, ClientConfig, ConnectError, Forwarded, HostRefusal, HostVerifier, connect,
};
use transport::ssh::{Inbound, Negotiated, Reader, Rekey, UserCredentials, Writer};

use super::openssh::{Pki, Server};
use super::peer::within;
use super::table::Row;

/// So much goes there and back: several windows.
pub const BYTES: usize = 8 << 20;
/// After so much, both sides want fresh keys, as far as they can be told.
pub const REKEY: u64 = 1 << 20;
/// What our client has a peer's server run, besides `cat`.
pub const BOTH: &str = "printf out; printf err >&2; exit 7";

/// Data without a pattern, the same every time.
pub fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(BYTES / 8).flatten().collect()
}

/// The key of this name in the PEM of old, for those that read no PKCS #8, with its certificate beside it.
pub fn in_old_pem(pki: &Pki, name: &str) -> PathBuf {
    let old = format!("{name}.pem");
    std::fs::copy(pki.path(name), pki.path(&old)).expect("copied");
    pki.keygen(&["-q", "-p", "-m", "PEM", "-N", "", "-f", &old]);
    let certificate = format!("{old}-cert.pub");
    std::fs::copy(pki.path(&format!("{name}-cert.pub")), pki.path(&certificate)).expect("copied");
    pki.path(&old)
}

/// A server of ours that changes keys often.
pub async fn server(pki: &Pki) -> Server {
    Server::start_with(pki, |config| config.rekey.bytes = REKEY).await
}

/// What a script needs to know to be a client of `server`, apart from where it knows hosts from.
pub fn client_task(pki: &Pki, server: &Server, row: Row, echo: SocketAddr) -> Value {
    let path = |name: &str| pki.path(name).display().to_string();
    json!({
        "port": server.address.port(),
        "key": path("user"),
        "certificate": path("user-cert.pub"),
        "key_exchange": row.key_exchange,
        "cipher": row.cipher,
        "echo": echo.port(),
        "bytes": BYTES,
        "rekey": REKEY,
    })
}

/// Judges what a script saw as a client of ours.
pub fn assert_saw(row: Row, saw: &Value) {
    assert!(saw["refused"].is_null(), "{row:?}: {saw}");
    for (field, value) in [("out", json!("out")), ("err", json!("err")), ("status", json!(7))] {
        assert_eq!(saw[field], value, "{row:?}: {saw}");
    }
    assert!(saw["sent"].is_string(), "{row:?}: {saw}");
    for hash in ["back", "forwarded"] {
        assert_eq!(saw[hash], saw["sent"], "{row:?}: {saw}");
    }
    assert!(saw["exchanges"].as_u64() > Some(1), "keys were never changed: {row:?}: {saw}");
}

pub fn assert_negotiated(row: Row, negotiated: Negotiated) {
    let names = negotiated.key_exchange.names();
    assert!(names.contains(&row.key_exchange), "{row:?}: {negotiated:?}");
    assert_eq!(negotiated.cipher.name(), row.cipher);
}

/// Our client to a peer's server with nothing but the algorithms of `row`.
pub async fn connect_to(
    server: SocketAddr,
    login: &str,
    credentials: UserCredentials,
    host: Host,
    row: Row,
) -> Result<(Client, mpsc::Receiver<Forwarded>), ConnectError> {
    let mut config = ClientConfig::new(login, credentials);
    config.rekey = Rekey { bytes: REKEY, ..Rekey::default() };
    config.algorithms.key_exchange = vec![row.key_exchange.parse().expect("one of ours")];
    config.algorithms.ciphers = vec![row.cipher.parse().expect("one of ours")];
    let stream = TcpStream::connect(server).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    connect(stream, config, host).await
}

/// Which host a peer has to be.
pub enum Host {
    /// One with a certificate of this authority.
    Of(String),
    /// The one with this key.
    Pinned(String),
}

impl HostVerifier for Host {
    fn certificate(&self, blob: &[u8]) -> Result<(), HostRefusal> {
        let certificate = ssh_key::Certificate::from_bytes(blob).expect("the engine read it");
        let Self::Of(authority) = self else { return refuse("a certificate") };
        let authority = ssh_key::PublicKey::from_openssh(authority).expect("a CA");
        match certificate.signature_key() == authority.key_data() {
            true => Ok(()),
            false => refuse("of another authority"),
        }
    }

    fn key(&self, blob: &[u8], _: &str) -> Result<(), HostRefusal> {
        let Self::Pinned(key) = self else { return refuse("no certificate") };
        let key = ssh_key::PublicKey::from_openssh(key).expect("a key");
        match key.to_bytes().expect("encodes") == blob {
            true => Ok(()),
            false => refuse("another key"),
        }
    }
}

fn refuse(reason: &str) -> Result<(), HostRefusal> {
    Err(HostRefusal { code: "wrong_host".to_owned(), reason: reason.to_owned() })
}

/// Puts a peer's server through everything, with our client.
pub async fn client(row: Row, client: Client, echo: SocketAddr) {
    assert_negotiated(row, client.negotiated());
    let noise = noise();
    let mut session = client.session().await.expect("opens");
    session.exec(b"cat").await.expect("runs");
    let (reader, writer) = session.split();
    let back = within("cat", there_and_back(reader, writer, &noise)).await;
    assert!(back == noise, "{row:?}: {} of {BYTES} bytes came back, or others", back.len());

    speak(row, &client).await;
    let (reader, writer) =
        client.direct_tcpip("127.0.0.1", echo.port(), ("127.0.0.1", 1)).await.expect("is forwarded");
    let back = within("a forwarded connection", there_and_back(reader, writer, &noise)).await;
    assert!(back == noise, "{row:?}: {} of {BYTES} bytes came back forwarded, or others", back.len());
    client.disconnect("done").await;
}

/// A command that says something on both of its outputs and fails.
pub async fn speak(row: Row, client: &Client) {
    let mut session = client.session().await.expect("opens");
    session.exec(BOTH.as_bytes()).await.expect("runs");
    let (mut out, mut err, mut status) = (Vec::new(), Vec::new(), None);
    while let Some(inbound) = within(BOTH, session.next()).await {
        match inbound {
            Inbound::Data(data) => out.extend_from_slice(&data),
            Inbound::Extended { code: 1, data } => err.extend_from_slice(&data),
            Inbound::ExitStatus(code) => status = Some(code),
            _ => {}
        }
    }
    assert_eq!((out.as_slice(), err.as_slice(), status), (&b"out"[..], &b"err"[..], Some(7)), "{row:?}");
}

async fn there_and_back(mut reader: Reader, writer: Writer, data: &[u8]) -> Vec<u8> {
    let pieces: Vec<bytes::Bytes> = data.chunks(40_000).map(bytes::Bytes::copy_from_slice).collect();
    let sending = tokio::spawn(async move {
        for piece in pieces {
            writer.data(piece).await.expect("sent");
        }
        writer.eof().await.expect("sent");
        // Dropped, it would close the channel.
        writer
    });
    let mut back = Vec::new();
    while let Some(data) = reader.data().await {
        back.extend_from_slice(&data);
    }
    drop(sending.await.expect("joins"));
    back
}

/// Sends back what it gets.
pub async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
