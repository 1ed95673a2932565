//! The SSH transport: TLS, one question, one answer, then the node's SSH bytes (one round trip after TLS).

pub mod frame;

use std::time::Duration;

use access::HostPort;
use api::v1::{Connected, Denied, DialRequest, DialResponse, dial_response::Outcome};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::{ConnectError, Problem};
use crate::tls::{
    Connecting, Expected, LiveCredentials, SecureStream, ServerTrust, alpn, dial, first_word_problem,
    shake_hands,
};

/// How long a proxy may take to reach the node and answer; longer than it gives itself.
const ANSWER: Duration = Duration::from_secs(45);

/// Read from the socket at once. The TLS engine asks for 4 KiB at a time, each of which would be a system call.
const READ_AHEAD: usize = 256 * 1024;

/// Why a node could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The proxy could not be reached, or would not have us.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The proxy said no.
    #[error("{reason} ({code}){}", if .hint.is_empty() { String::new() } else { format!("; {hint}") })]
    Denied {
        /// Stable code, for example `host_unknown`.
        code: String,
        /// In words.
        reason: String,
        /// The next step.
        hint: String,
    },
    /// The proxy's answer makes no sense.
    #[error("the proxy at {addr} gave an answer without an outcome; its version may not fit ours")]
    NoOutcome {
        /// The proxy.
        addr: String,
    },
}

/// A stream to a node's SSH port, and the node that the proxy chose.
#[derive(Debug)]
pub struct Dialled {
    /// The node's SSH bytes.
    pub stream: SecureStream<BufReader<TcpStream>>,
    /// Its host id.
    pub host_id: String,
}

/// Asks the proxy at `proxy` for the node in `request`.
pub async fn dial_ssh(
    proxy: &HostPort,
    trust: ServerTrust,
    credentials: &LiveCredentials,
    request: &DialRequest,
) -> Result<Dialled, DialError> {
    if credentials.current().is_none() {
        return Err(ConnectError::new(proxy, Problem::NoCredentials).into());
    }
    let protocols = &[alpn::SSH];
    let connecting = Connecting {
        addr: proxy,
        expected: Expected::Proxy,
        trust,
        credentials: Some(credentials),
        protocols,
    };
    let tcp = BufReader::with_capacity(READ_AHEAD, dial(proxy).await?);
    let mut stream = shake_hands(tcp, connecting).await?;
    let answer = match timeout(ANSWER, ask(&mut stream, request)).await {
        Err(_) => Err(Problem::Timeout { waiting_for: "answer of the proxy", after: ANSWER }),
        Ok(Err(error)) => Err(first_word_problem(error, protocols)),
        Ok(Ok(answer)) => Ok(answer),
    };
    match answer.map_err(|problem| ConnectError::new(proxy, problem))?.outcome {
        Some(Outcome::Connected(Connected { host_id })) => Ok(Dialled { stream, host_id }),
        Some(Outcome::Denied(Denied { code, reason, hint })) => Err(DialError::Denied { code, reason, hint }),
        None => Err(DialError::NoOutcome { addr: proxy.to_string() }),
    }
}

async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &DialRequest,
) -> std::io::Result<DialResponse> {
    frame::write(stream, request).await?;
    frame::read(stream).await
}
