//! The server's side: which certificate it shows, what it wants from clients, and who they are.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use identity::Refusal;
use identity::verify::x509::VerifiedIdentity;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::provider::{VERSIONS, provider};
use super::verify::ClientVerifier;
use super::{HANDSHAKE, LiveCredentials, SecureStream, WebCertificates};
use crate::peer::PeerIdentity;

/// What a server shows.
#[derive(Debug, Clone)]
pub enum ServerCertificates {
    /// The certificate of the cluster's host authority.
    Own(LiveCredentials),
    /// The web certificate for the name that is asked for; while there is none, its own.
    Web(WebCertificates, LiveCredentials),
}

/// What a server wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing; everybody is a stranger.
    Ignored,
    /// A certificate, or none. A bad one is refused, not ignored.
    Optional,
    /// A certificate.
    Required,
}

/// Accepts TLS. Tickets are never given out: every connection shows its certificate anew.
#[derive(Clone)]
pub struct Server {
    certificates: Arc<ServerCertificates>,
    clients: ClientCertificates,
    protocols: Vec<Vec<u8>>,
    credentials: LiveCredentials,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The connection.
    pub stream: SecureStream<S>,
    /// What the client proved.
    pub identity: PeerIdentity,
}

/// Why a handshake failed. The client got the matching alert.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Too slow.
    #[error("no complete TLS handshake within {0:?}")]
    Timeout(Duration),
    /// A certificate that is not accepted.
    #[error("the client's certificate is refused: {reason} ({code})")]
    Refused {
        /// Stable code.
        code: &'static str,
        /// In words.
        reason: String,
    },
    /// Anything else.
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
}

impl Server {
    /// Shows `certificates`, wants `clients`, and speaks only `protocols`, most wanted first.
    #[must_use]
    pub fn new(certificates: ServerCertificates, clients: ClientCertificates, protocols: &[&[u8]]) -> Self {
        let credentials = match &certificates {
            ServerCertificates::Own(own) | ServerCertificates::Web(_, own) => own.clone(),
        };
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self { certificates: Arc::new(certificates), clients, protocols, credentials }
    }

    /// Shakes hands with the client at `peer`, within [`HANDSHAKE`].
    pub async fn accept<S>(&self, stream: S, peer: Option<IpAddr>) -> Result<Accepted<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let verdict = Arc::new(OnceLock::new());
        let config = Arc::new(self.config(peer, &verdict));
        let handshake = TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Err(_) => Err(AcceptError::Timeout(HANDSHAKE)),
            Ok(Err(error)) => Err(match verdict.get() {
                Some(Err(refusal)) => {
                    AcceptError::Refused { code: refusal.code(), reason: refusal.to_string() }
                }
                _ => refusal(&error).unwrap_or(AcceptError::Handshake(error)),
            }),
            Ok(Ok(stream)) => Ok(Accepted {
                stream: SecureStream::new(stream),
                identity: match verdict.get() {
                    Some(Ok(identity)) => PeerIdentity::Verified(identity.clone()),
                    _ => PeerIdentity::Stranger,
                },
            }),
        }
    }

    /// Made for each connection, because the verdict on a client depends on its address and belongs to it alone.
    fn config(
        &self,
        peer: Option<IpAddr>,
        verdict: &Arc<OnceLock<Result<VerifiedIdentity, Refusal>>>,
    ) -> ServerConfig {
        let judge = |required| {
            let (credentials, verdict) = (self.credentials.clone(), Arc::clone(verdict));
            Arc::new(ClientVerifier { credentials, required, peer, verdict })
        };
        let verifier = match self.clients {
            ClientCertificates::Ignored => WebPkiClientVerifier::no_client_auth(),
            ClientCertificates::Optional => judge(false),
            ClientCertificates::Required => judge(true),
        };
        let certificates: Arc<dyn ResolvesServerCert> = Arc::clone(&self.certificates) as _;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(certificates);
        config.alpn_protocols.clone_from(&self.protocols);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }
}

/// A certificate that the engine itself refused, before it asked for a verdict.
fn refusal(error: &io::Error) -> Option<AcceptError> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(_) = tls else { return None };
    Some(AcceptError::Refused { code: "malformed", reason: tls.to_string() })
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({:?})", self.credentials)
    }
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Own(own) => own.resolve(hello),
            Self::Web(web, own) => web.choose(hello.server_name()).or_else(|| own.resolve(hello)),
        }
    }
}
