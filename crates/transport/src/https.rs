//! Web servers that are not ours, as a client: one request, one answer, both bounded. For the issuers of ID tokens,
//! and for the API of Kubernetes.
//!
//! TLS 1.3 with the system's authorities, nothing else; redirects are not followed, because who is asked is who was meant.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use access::HostPort;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::error::ConnectError;
use crate::tls::{VERSIONS, dial, provider};

/// For everything: name, connection, handshake, answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest answer.
const LONGEST: usize = 256 * 1024;
/// As much of a refusal is read as says why.
const LONGEST_REFUSAL: usize = 8 * 1024;

/// Asks web servers.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

/// One question.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// `https://host[:port]/path[?query]`.
    pub url: &'a str,
    /// A bearer token to show.
    pub bearer: Option<&'a str>,
    /// What is asked.
    pub verb: Verb<'a>,
}

/// What is asked.
#[derive(Clone, Copy)]
pub enum Verb<'a> {
    /// To see it.
    Get,
    /// To take this JSON, or nothing.
    Post(&'a [u8]),
    /// To make it be like this JSON: what Kubernetes calls server-side apply.
    Apply(&'a [u8]),
}

/// What a server said with a refusal. It may repeat what it was asked, so nothing shows it by itself.
#[derive(Clone, Default)]
pub struct Said(pub Vec<u8>);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Said({} bytes)", self.0.len())
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// Not an address that can be asked.
    #[error("{0:?} is no https address")]
    BadUrl(String),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// TLS, or HTTP inside it, failed.
    #[error("{host}: {reason}")]
    Broken {
        /// Who was asked.
        host: String,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("{0} did not answer within {DEADLINE:?}")]
    Late(String),
    /// Another answer than 200 or 201.
    #[error("{host} answered {status}")]
    Status {
        /// Who was asked.
        host: String,
        /// The code.
        status: u16,
        /// The beginning of what came with it.
        said: Said,
    },
}

impl Client {
    /// Trusts the system's authorities and those in `more` (DER).
    #[must_use]
    pub fn new(more: &[Vec<u8>]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::trusting(roots, more)
    }

    /// Trusts these authorities (DER) and no others.
    #[must_use]
    pub fn of(authorities: &[Vec<u8>]) -> Self {
        Self::trusting(RootCertStore::empty(), authorities)
    }

    fn trusting(mut roots: RootCertStore, more: &[Vec<u8>]) -> Self {
        roots.add_parsable_certificates(more.iter().map(|der| CertificateDer::from(der.as_slice())));
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .expect("the provider has TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![crate::tls::alpn::HTTP.to_vec()];
        Self(Arc::new(config))
    }

    /// The body of the answer.
    pub async fn ask(&self, question: Question<'_>) -> Result<Vec<u8>, FetchError> {
        let bad = || FetchError::BadUrl(question.url.chars().take(256).collect());
        let uri: Uri = question.url.parse().map_err(|_| bad())?;
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        if uri.scheme_str() != Some("https") {
            return Err(bad());
        }
        let addr = HostPort::parse(authority.as_str(), 443).map_err(|_| bad())?;
        match tokio::time::timeout(DEADLINE, self.answer(&addr, &uri, question)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Late(addr.to_string())),
        }
    }

    async fn answer(
        &self,
        addr: &HostPort,
        uri: &Uri,
        question: Question<'_>,
    ) -> Result<Vec<u8>, FetchError> {
        let broken = |reason: &dyn fmt::Display| FetchError::Broken {
            host: addr.to_string(),
            reason: reason.to_string(),
        };
        let name = ServerName::try_from(addr.host().to_owned()).map_err(|error| broken(&error))?;
        let tcp = dial(addr).await?;
        let tls = TlsConnector::from(Arc::clone(&self.0)).connect(name, tcp).await;
        let stream = TokioIo::new(tls.map_err(|error| broken(&error))?);
        let shaken = hyper::client::conn::http1::handshake(stream).await;
        let (mut sender, connection) = shaken.map_err(|error| broken(&error))?;
        // Ends with its sender; what goes wrong with it shows in the answer.
        let connection = tokio::spawn(async move { drop(connection.await) });
        let request = request(uri, question).map_err(|error| broken(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = answer.status().as_u16();
        if !matches!(status, 200 | 201) {
            let said = Limited::new(answer.into_body(), LONGEST_REFUSAL).collect().await;
            connection.abort();
            let said = Said(said.map(|said| said.to_bytes().to_vec()).unwrap_or_default());
            return Err(FetchError::Status { host: addr.to_string(), status, said });
        }
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        connection.abort();
        Ok(body.map_err(|error| broken(&error))?.to_bytes().to_vec())
    }
}

fn request(uri: &Uri, question: Question<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let (method, kind, body) = match question.verb {
        Verb::Get => (Method::GET, None, &[][..]),
        Verb::Post(body) => (Method::POST, Some("application/json"), body),
        // JSON is YAML.
        Verb::Apply(body) => (Method::PATCH, Some("application/apply-patch+yaml"), body),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "postern");
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    if let Some(bearer) = question.bearer {
        let mut value = HeaderValue::try_from(format!("Bearer {bearer}"))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(Full::from(Bytes::copy_from_slice(body)))
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[cfg(test)]
mod tests {
    use super::{Client, FetchError, Question, Verb};

    #[tokio::test]
    async fn only_https_addresses_are_asked() {
        for url in [
            "",
            "x",
            "http://127.0.0.1/",
            "https://",
            "https://user@127.0.0.1/",
            "file:///etc/passwd",
            "https://a b/",
        ] {
            let asked = Client::new(&[]).ask(Question { url, bearer: None, verb: Verb::Get }).await;
            assert!(matches!(asked, Err(FetchError::BadUrl(_))), "{url}: {asked:?}");
        }
    }
}
