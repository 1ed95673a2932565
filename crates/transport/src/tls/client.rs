//! The client's side: TCP, then TLS, with an error that says what went wrong.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use access::HostPort;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use identity::trust::AUTH_SERVER_NAME;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::provider::{VERSIONS, provider};
use super::verify::{Judgement, ServerVerifier};
use super::{LiveCredentials, PATIENCE, SecureStream, ServerTrust};
use crate::error::{ConnectError, Problem};
use crate::listen::prepare;

/// How long name resolution and TCP may take, each. A server that cannot take all who come at once is asked again by TCP after 1, 3, 7
/// and 15 seconds.
const DIAL: Duration = Duration::from_secs(20);
/// How long an address is tried alone before the next one is tried too.
const STAGGER: Duration = Duration::from_millis(250);

/// Which server is wanted at the other end of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Auth itself, by its own certificate.
    Auth,
    /// A proxy of the cluster, or a web server with a certificate for the name in the address.
    Proxy,
    /// Either: where joiners ask.
    AuthOrProxy,
}

/// Everything that a TLS connection to a server needs.
pub(crate) struct Connecting<'a> {
    pub(crate) addr: &'a HostPort,
    pub(crate) expected: Expected,
    pub(crate) trust: ServerTrust,
    /// None: show no certificate.
    pub(crate) credentials: Option<&'a LiveCredentials>,
    /// Most wanted first.
    pub(crate) protocols: &'a [&'a [u8]],
}

/// Connects to `addr` without a client certificate and shakes hands.
pub async fn connect(
    addr: &HostPort,
    expected: Expected,
    trust: ServerTrust,
    protocols: &[&[u8]],
) -> Result<SecureStream<TcpStream>, ConnectError> {
    Connecting { addr, expected, trust, credentials: None, protocols }.connect().await
}

impl Connecting<'_> {
    /// TCP and TLS.
    pub(crate) async fn connect(self) -> Result<SecureStream<TcpStream>, ConnectError> {
        let tcp = dial(self.addr).await?;
        shake_hands(tcp, self).await
    }
}

/// A TCP connection to the first address of `addr` that answers.
pub(crate) async fn dial(addr: &HostPort) -> Result<TcpStream, ConnectError> {
    let failed = |problem| ConnectError::new(addr, problem);
    let waited = |waiting_for| move |_| failed_waiting(addr, waiting_for, DIAL);
    let found = timeout(DIAL, lookup_host((addr.host(), addr.port()))).await;
    let found = found.map_err(waited("answer of the resolver"))?;
    let sockets: Vec<_> = found.map_err(|error| failed(Problem::Dns(Arc::new(error))))?.collect();
    let stream = timeout(DIAL, first_of(sockets)).await.map_err(waited("connection"))?.map_err(failed)?;
    prepare(&stream);
    Ok(stream)
}

/// The first connection that comes about (RFC 8305, in small). An address that swallows packets costs a moment then, and
/// not all the time there is; the order stays the resolver's.
async fn first_of(sockets: Vec<SocketAddr>) -> Result<TcpStream, Problem> {
    let mut untried = sockets.into_iter();
    let mut trying = FuturesUnordered::new();
    let no_address = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut last = Problem::Dns(Arc::new(no_address()));
    loop {
        trying.extend(untried.next().map(TcpStream::connect));
        tokio::select! {
            outcome = trying.next() => match outcome {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = connect_problem(error),
                None => return Err(last),
            },
            () = tokio::time::sleep(STAGGER), if untried.len() > 0 => {}
        }
    }
}

fn failed_waiting(addr: &HostPort, waiting_for: &'static str, after: Duration) -> ConnectError {
    ConnectError::new(addr, Problem::Timeout { waiting_for, after })
}

fn connect_problem(error: io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Problem::Refused,
        _ => Problem::Unreachable(Arc::new(error)),
    }
}

/// TLS over a connection that exists.
pub(crate) async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    wanted: Connecting<'_>,
) -> Result<SecureStream<S>, ConnectError> {
    let addr = wanted.addr;
    let name = match wanted.expected {
        Expected::Auth => AUTH_SERVER_NAME,
        Expected::Proxy | Expected::AuthOrProxy => addr.host(),
    };
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| untrusted(addr, "bad_name", "its address is not a name that TLS can check"))?;
    let config = Arc::new(config(&wanted));
    let handshake = TlsConnector::from(config).connect(name, stream);
    match timeout(PATIENCE, handshake).await {
        Err(_) => Err(failed_waiting(addr, "TLS handshake", PATIENCE)),
        Ok(Err(error)) => Err(ConnectError::new(addr, handshake_problem(error, wanted.protocols))),
        Ok(Ok(stream)) => Ok(SecureStream::new(stream)),
    }
}

fn untrusted(addr: &HostPort, code: &'static str, reason: &str) -> ConnectError {
    ConnectError::new(addr, Problem::Untrusted { code, reason: reason.to_owned() })
}

fn config(wanted: &Connecting<'_>) -> ClientConfig {
    let verifier = ServerVerifier::new(wanted.trust.clone(), wanted.expected, wanted.addr.host());
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match wanted.credentials {
        Some(credentials) => builder.with_client_cert_resolver(Arc::new(credentials.clone())),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = wanted.protocols.iter().map(|name| name.to_vec()).collect();
    // Each connection is made afresh: what a server may hold against us is decided at each handshake.
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// What an error right after our side of the handshake means. That the server speaks TLS is known by then; what it thinks
/// of our certificate is not.
pub(crate) fn first_word_problem(error: io::Error, protocols: &[&[u8]]) -> Problem {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(_)) | None => handshake_problem(error, protocols),
        Some(_) => Problem::Broken(Arc::new(error)),
    }
}

/// What an error during the handshake means.
fn handshake_problem(error: io::Error, protocols: &[&[u8]]) -> Problem {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            // What a load balancer does whose servers are away, so it says nothing about what is there.
            io::ErrorKind::UnexpectedEof => Problem::Closed,
            _ => Problem::Broken(Arc::new(error)),
        };
    };
    match tls {
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        | rustls::Error::NoApplicationProtocol => {
            let names = protocols.iter().map(|name| String::from_utf8_lossy(name).into_owned());
            Problem::NoSuchProtocol { wanted: names.collect::<Vec<_>>().join(" or ") }
        }
        rustls::Error::AlertReceived(AlertDescription::InternalError) => Problem::Unavailable,
        rustls::Error::AlertReceived(alert) => Problem::RefusedUs(alert_in_words(*alert)),
        rustls::Error::InvalidMessage(_) | rustls::Error::PeerIncompatible(_) => {
            Problem::NotTls(tls.to_string())
        }
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            match other.0.downcast_ref::<Judgement>() {
                Some(judgement) => judgement.0.clone(),
                None => Problem::Untrusted { code: "untrusted", reason: tls.to_string() },
            }
        }
        _ => Problem::Untrusted { code: "handshake_failed", reason: tls.to_string() },
    }
}

fn alert_in_words(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::CertificateExpired => "our certificate is not valid at the time of its clock",
        AlertDescription::UnknownCA => "our certificate is not of an authority that it trusts",
        AlertDescription::CertificateRequired => "it wants a certificate and we showed none",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "our certificate is not good for this"
        }
        AlertDescription::AccessDenied => "our certificate gives no access",
        other => return format!("TLS alert {other:?}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Problem, first_of};
    use std::net::SocketAddr;
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(100);

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_does_not_keep_from_the_next() {
        let full = TcpSocket::new_v4().expect("a socket");
        full.bind(loopback()).expect("binds");
        let full = full.listen(1).expect("listens");
        let swallowing = full.local_addr().expect("an address");
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) = timeout(SOON, TcpStream::connect(swallowing)).await {
            queued.push(stream);
        }
        let alive = TcpListener::bind(loopback()).await.expect("binds");
        let alive = alive.local_addr().map(|addr| (alive, addr)).expect("an address");
        let found = timeout(super::DIAL, first_of(vec![swallowing, alive.1])).await;
        let stream = found.expect("in time").expect("connects");
        assert_eq!(stream.peer_addr().expect("connected"), alive.1);
    }

    #[tokio::test]
    async fn when_none_answers_the_last_one_says_why() {
        let dead = TcpListener::bind(loopback()).await.expect("binds").local_addr().expect("an address");
        assert!(matches!(first_of(vec![dead, dead]).await, Err(Problem::Refused)));
        assert!(matches!(first_of(Vec::new()).await, Err(Problem::Dns(_))));
    }
}
