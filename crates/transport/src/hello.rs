//! What a new connection wants, told from its first bytes, which stay unread for whoever serves it.
//!
//! Decides nothing; total and bounded: strangers write what is read here.

mod proxy_header;
mod rewind;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::AsyncRead;

pub use proxy_header::HeaderError;
pub use rewind::Rewind;

/// More than any ClientHello with post-quantum key shares and session tickets.
const LONGEST_HELLO: usize = 16 * 1024;

/// What the first bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// `SSH-`: an SSH client's version line.
    Ssh,
    /// A TLS ClientHello.
    Tls(ClientHello),
    /// Something that looks like plain HTTP.
    Http,
    /// Neither.
    Unknown,
}

/// The parts of a TLS ClientHello that say what the client wants. It proves nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Server name.
    pub server_name: Option<String>,
    /// Protocols, most wanted first.
    pub alpn: Vec<Vec<u8>>,
}

impl ClientHello {
    /// Whether the client offers `protocol`.
    #[must_use]
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.alpn.iter().any(|offered| offered == protocol)
    }
}

/// Why the first bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// They did not come in time.
    #[error("no complete hello within {0:?}")]
    Timeout(Duration),
    /// The connection ended or failed.
    #[error("the connection ended before its hello was complete")]
    Io(#[from] io::Error),
    /// The TLS hello is malformed or too long.
    #[error("malformed TLS hello: {0}")]
    Malformed(String),
    /// The PROXY header is malformed.
    #[error("malformed PROXY header: {0}")]
    ProxyHeader(#[from] HeaderError),
    /// There is no PROXY header where one must be.
    #[error("no PROXY header on a connection that must start with one")]
    NoProxyHeader,
}

/// Reads until it is clear what the peer wants; the returned stream yields every byte again.
pub async fn peek<S: AsyncRead + Unpin>(
    stream: S,
    within: Duration,
) -> Result<(Hello, Rewind<S>), HelloError> {
    let mut stream = Rewind::new(stream);
    match tokio::time::timeout(within, recognise(&mut stream)).await {
        Ok(hello) => Ok((hello?, stream)),
        Err(_) => Err(HelloError::Timeout(within)),
    }
}

/// Reads a PROXY protocol header (v1 or v2) and takes it off the stream. The address is the client's own, absent
/// when the load balancer speaks for itself (health checks). A connection without a header is an error: whoever
/// calls this has been told that there is one.
pub async fn take_proxy_header<S: AsyncRead + Unpin>(
    stream: S,
    within: Duration,
) -> Result<(Option<SocketAddr>, Rewind<S>), HelloError> {
    let mut stream = Rewind::new(stream);
    match tokio::time::timeout(within, proxy_header::take(&mut stream)).await {
        Ok(source) => Ok((source?, stream)),
        Err(_) => Err(HelloError::Timeout(within)),
    }
}

async fn recognise<S: AsyncRead + Unpin>(stream: &mut Rewind<S>) -> Result<Hello, HelloError> {
    stream.fill_to(1).await?;
    if stream.buffered()[0] == 0x16 {
        return client_hello(stream).await.map(Hello::Tls);
    }
    if !b"SSH-".starts_with(&stream.buffered()[..1]) && !stream.buffered()[0].is_ascii_uppercase() {
        return Ok(Hello::Unknown);
    }
    stream.fill_to(4).await?;
    Ok(match &stream.buffered()[..4] {
        b"SSH-" => Hello::Ssh,
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"PRI " | b"OPTI" | b"DELE" | b"CONN" => Hello::Http,
        _ => Hello::Unknown,
    })
}

async fn client_hello<S: AsyncRead + Unpin>(stream: &mut Rewind<S>) -> Result<ClientHello, HelloError> {
    let malformed = |error: &dyn std::fmt::Display| HelloError::Malformed(error.to_string());
    let mut acceptor = Acceptor::default();
    let mut read = 0;
    loop {
        let mut fresh = &stream.buffered()[read..];
        read += fresh.len();
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh).map_err(|error| malformed(&error))?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                return Ok(ClientHello {
                    server_name: hello.server_name().map(str::to_owned),
                    alpn: hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect(),
                });
            }
            Ok(None) if read >= LONGEST_HELLO => return Err(malformed(&"longer than 16 KiB")),
            Ok(None) => stream.fill_more(LONGEST_HELLO).await?,
            Err((error, _)) => return Err(malformed(&error)),
        }
    }
}

#[cfg(test)]
mod tests;
