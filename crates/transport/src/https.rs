//! Web servers that are not ours, as a client: one request, one answer, both bounded. For those who vouch for joiners,
//! and for the API of Kubernetes.
//!
//! TLS 1.3 or 1.2 with the system's authorities, nothing else; redirects are not followed, because who is asked is who was meant.
//! The exceptions are [`ask_machine`], servers of the machine's own platform at addresses that lead to nobody else, and
//! [`ask_publicly`], for certificates.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use access::HostPort;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::error::ConnectError;
use crate::tls::{FOREIGN_VERSIONS, dial, provider};

/// For everything: name, connection, handshake, answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest answer.
const LONGEST: usize = 256 * 1024;
/// As much of a refusal is read as says why.
const LONGEST_REFUSAL: usize = 8 * 1024;

/// Asks web servers.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    reach: Arc<[(HostPort, HostPort)]>,
}

/// One question.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// `https://host[:port]/path[?query]`.
    pub url: &'a str,
    /// What is asked.
    pub verb: Verb<'a>,
    /// A bearer token to show.
    pub bearer: Option<&'a str>,
    /// Further headers; their values may be secrets. One that is given takes the place of the usual one.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What is asked.
#[derive(Clone, Copy)]
pub enum Verb<'a> {
    /// For what is there.
    Get,
    /// With nothing to put, as some servers give out tokens.
    Put,
    /// With this, JSON unless a header says something else.
    Post(&'a [u8]),
    /// To make what is there be like this JSON: what Kubernetes calls server-side apply.
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

impl<'a> Question<'a> {
    /// For what is there.
    pub const fn get(url: &'a str) -> Self {
        Self { url, verb: Verb::Get, bearer: None, headers: &[] }
    }

    /// With something to post.
    pub const fn post(url: &'a str, body: &'a [u8]) -> Self {
        Self { verb: Verb::Post(body), ..Self::get(url) }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// Not an address that can be asked.
    #[error("{0:?} is no https address")]
    BadUrl(String),
    /// Not an address of a server of the machine's own platform.
    #[error(
        "{0:?} is not http:// with an address of this machine or link (127.0.0.0/8, 169.254.0.0/16, fd00:ec2::/32)"
    )]
    NotOfMachine(String),
    /// Not an address that can be asked without TLS.
    #[error("{0:?} is no http address")]
    NotPlain(String),
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
            .with_protocol_versions(FOREIGN_VERSIONS)
            .expect("the provider has both")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![crate::tls::alpn::HTTP.to_vec()];
        Self { config: Arc::new(config), reach: Arc::default() }
    }

    /// Reaches servers elsewhere than their names say: each first address is dialled at its second. Who is expected there,
    /// by the certificate, stays who it was.
    #[must_use]
    pub fn reaching(self, reach: &[(HostPort, HostPort)]) -> Self {
        Self { reach: reach.into(), ..self }
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
        let at = self.reach.iter().find(|(known, _)| known == addr).map_or(addr, |(_, at)| at);
        let tcp = dial(at).await?;
        let tls = TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await;
        exchange(tls.map_err(|error| broken(&error))?, addr, uri, question).await
    }
}

/// Asks a server of the platform that this machine runs on, such as the one for metadata, over plain HTTP, because it has
/// nothing else. Only at the machine's own and at link-local addresses, which no network routes.
pub async fn ask_machine(question: Question<'_>) -> Result<Vec<u8>, FetchError> {
    let bad = || FetchError::NotOfMachine(question.url.chars().take(256).collect());
    let uri: Uri = question.url.parse().map_err(|_| bad())?;
    let authority = uri.authority().ok_or_else(bad)?;
    let addr = HostPort::parse(authority.as_str(), 80).map_err(|_| bad())?;
    let host = addr.host().trim_start_matches('[').trim_end_matches(']').parse();
    if uri.scheme_str() != Some("http") || !host.is_ok_and(is_of_machine) {
        return Err(bad());
    }
    plainly(&addr, &uri, question).await
}

/// Asks for something that everybody may see and change, over plain HTTP: a certificate of an authority, which others verify.
/// Nothing else may be asked for so.
pub async fn ask_publicly(url: &str) -> Result<Vec<u8>, FetchError> {
    let bad = || FetchError::NotPlain(url.chars().take(256).collect());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
    let addr = HostPort::parse(authority.as_str(), 80).map_err(|_| bad())?;
    if uri.scheme_str() != Some("http") {
        return Err(bad());
    }
    let question = Question { headers: &[("accept", "*/*")], ..Question::get(url) };
    plainly(&addr, &uri, question).await
}

async fn plainly(addr: &HostPort, uri: &Uri, question: Question<'_>) -> Result<Vec<u8>, FetchError> {
    let answer = async { exchange(dial(addr).await?, addr, uri, question).await };
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(FetchError::Late(addr.to_string())),
    }
}

fn is_of_machine(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        // Where AWS has its servers on machines with IPv6.
        IpAddr::V6(address) => address.is_loopback() || address.segments()[..2] == [0xfd00, 0x0ec2],
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    addr: &HostPort,
    uri: &Uri,
    question: Question<'_>,
) -> Result<Vec<u8>, FetchError> {
    let broken =
        |reason: &dyn fmt::Display| FetchError::Broken { host: addr.to_string(), reason: reason.to_string() };
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
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

fn request(uri: &Uri, question: Question<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    let Question { url: _, verb, bearer, headers } = question;
    let (method, body) = match verb {
        Verb::Get => (Method::GET, None),
        Verb::Put => (Method::PUT, None),
        Verb::Post(body) => (Method::POST, Some(("application/json", body))),
        // JSON is YAML.
        Verb::Apply(body) => (Method::PATCH, Some(("application/apply-patch+yaml", body))),
    };
    let (kind, body) = body.unzip();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "postern")
        .body(Full::from(Bytes::copy_from_slice(body.unwrap_or_default())))?;
    let all = request.headers_mut();
    all.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(kind) = kind {
        all.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let secret = |text: &str| {
        let mut value = HeaderValue::try_from(text)?;
        value.set_sensitive(true);
        Ok::<_, http::Error>(value)
    };
    for (name, value) in headers {
        all.insert(HeaderName::try_from(*name)?, secret(value)?);
    }
    if let Some(bearer) = bearer {
        all.insert(header::AUTHORIZATION, secret(&format!("Bearer {bearer}"))?);
    }
    Ok(request)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[cfg(test)]
mod tests {
    use super::{Client, FetchError, Question, Verb, ask_machine, ask_publicly};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
            let asked = Client::new(&[]).ask(Question::get(url)).await;
            assert!(matches!(asked, Err(FetchError::BadUrl(_))), "{url}: {asked:?}");
        }
    }

    #[tokio::test]
    async fn what_is_public_is_asked_for_at_http_addresses_alone() {
        for url in ["", "x", "https://127.0.0.1/", "http://user@127.0.0.1/", "ftp://127.0.0.1/", "http://"] {
            let asked = ask_publicly(url).await;
            assert!(matches!(asked, Err(FetchError::NotPlain(_))), "{url}: {asked:?}");
        }
    }

    #[tokio::test]
    async fn only_servers_of_the_machine_are_asked_without_tls() {
        for url in [
            "http://192.0.2.1/",
            "http://metadata.google.internal/",
            "http://localhost/",
            "http://169.254.169.254@192.0.2.1/",
            "https://127.0.0.1/",
            "http://[fd00:ec3::254]/",
            "http://[fe80::1]/",
            "",
        ] {
            let asked = ask_machine(Question::get(url)).await;
            assert!(matches!(asked, Err(FetchError::NotOfMachine(_))), "{url}: {asked:?}");
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/latest/api/token", listener.local_addr().expect("an address"));
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("somebody comes");
            let mut read = vec![];
            while !read.ends_with(b"\r\n\r\n") {
                read.push(stream.read_u8().await.expect("a request"));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntoken").await.expect("written");
            String::from_utf8(read).expect("text").to_lowercase()
        };
        let headers = [("x-aws-ec2-metadata-token-ttl-seconds", "60")];
        let question = Question { verb: Verb::Put, headers: &headers, ..Question::get(&url) };
        let (asked, answer) = tokio::join!(server, ask_machine(question));
        assert_eq!(answer.expect("an answer"), b"token");
        assert!(asked.starts_with("put /latest/api/token http/1.1\r\n"), "{asked}");
        assert!(asked.contains("x-aws-ec2-metadata-token-ttl-seconds: 60\r\n"), "{asked}");
    }
}
