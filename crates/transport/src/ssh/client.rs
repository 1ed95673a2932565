//! The connecting side.
//!
//! [`connect`] ends with a server that the [`HostVerifier`] agreed to and that accepted our certificate. Host keys
//! without a certificate are refused unless the verifier says otherwise.

mod bridge;
mod session;
mod verify;

pub use session::{Controls, OpenError, PtyRequest, RequestError, Session};
pub use verify::{ClusterHost, HostRefusal, HostVerifier};

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use russh::client::AuthResult;
use russh::{Disconnect, SshId, client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::algorithms::KEY_TYPES;
use super::channel::{Half, Reader, Writer};
use super::credentials::UserCredentials;
use super::flow::{Ended, Flow, MemoryBudget, Traffic};
use super::gate::Gate;
use super::ports::{Ports, Release};
use super::{Algorithms, Keepalive, MAX_PACKET, Negotiated, Rekey, SOFTWARE, WINDOW};
use bridge::{Bridge, EngineError};

/// Connections to our listeners that may wait for their consumer; more are rejected.
const FORWARDED_QUEUE: usize = 32;
/// How long a server may think about a channel, a request or a listener. Logins with slow modules and connections that it
/// makes to far places take their time.
const ANSWER: Duration = Duration::from_secs(90);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// How a connection is made.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The account wanted on the host.
    pub login: String,
    /// Who we are.
    pub credentials: UserCredentials,
    /// From the first byte to authentication.
    pub timeout: Duration,
    /// How a silent server is noticed.
    pub keepalive: Keepalive,
    /// When fresh keys are agreed on.
    pub rekey: Rekey,
    /// What is offered.
    pub algorithms: Algorithms,
    /// What connections may keep in memory together.
    pub budget: Arc<MemoryBudget>,
}

impl ClientConfig {
    /// The defaults: 30 seconds, 256 MiB.
    pub fn new(login: impl Into<String>, credentials: UserCredentials) -> Self {
        Self {
            login: login.into(),
            credentials,
            timeout: Duration::from_secs(30),
            keepalive: Keepalive::default(),
            rekey: Rekey::default(),
            algorithms: Algorithms::default(),
            budget: MemoryBudget::new(256 << 20),
        }
    }

    fn engine(&self) -> client::Config {
        client::Config {
            client_id: SshId::Standard(Cow::Borrowed(SOFTWARE)),
            limits: self.rekey.limits(),
            window_size: WINDOW,
            maximum_packet_size: MAX_PACKET,
            channel_buffer_size: 1,
            preferred: self.algorithms.preferred(KEY_TYPES),
            inactivity_timeout: None,
            keepalive_interval: (!self.keepalive.interval.is_zero()).then_some(self.keepalive.interval),
            keepalive_max: 0,
            anonymous: false,
            gex: client::GexParams::default(),
            nodelay: false,
        }
    }
}

/// Why no connection came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The server is not the one that was wanted.
    #[error("the host is not to be trusted: {0}")]
    Host(HostRefusal),
    /// The server does not accept our certificate for this login.
    #[error("the host refuses login {0:?} with this certificate")]
    Denied(String),
    /// It took too long.
    #[error("no answer within {}s", .0.as_secs())]
    Timeout(Duration),
    /// The connection ended.
    #[error("{0}")]
    Ended(Ended),
}

/// An authenticated connection; clones act on the same.
#[derive(Clone)]
pub struct Client {
    engine: Arc<client::Handle<Bridge>>,
    flow: Arc<Flow>,
    ports: Arc<Ports<bool>>,
    negotiated: Negotiated,
}

/// A connection that arrived at a listener which the server holds for us.
#[derive(Debug)]
pub struct Forwarded {
    /// The listener's address as we asked for it.
    pub address: String,
    /// The listener's port.
    pub port: u32,
    /// Who connected there, by the server's word.
    pub origin: (String, u32),
    /// What it sends.
    pub reader: Reader,
    /// What it gets.
    pub writer: Writer,
}

/// Runs the handshake and authentication on a fresh stream. The second value yields connections to the listeners asked
/// for with [`Client::listen`]; drop it to have none.
pub async fn connect<IO, V>(
    io: IO,
    config: ClientConfig,
    verifier: V,
) -> Result<(Client, mpsc::Receiver<Forwarded>), ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HostVerifier,
{
    let flow = Flow::new(Arc::clone(&config.budget));
    let timeout = config.timeout;
    match tokio::time::timeout(timeout, handshake(io, config, verifier, Arc::clone(&flow))).await {
        Ok(outcome) => outcome.inspect_err(|error| flow.cut(Ended::Local(error.to_string()))),
        Err(_) => {
            flow.cut(Ended::Local("it took too long".to_owned()));
            Err(ConnectError::Timeout(timeout))
        }
    }
}

async fn handshake<IO, V>(
    io: IO,
    config: ClientConfig,
    verifier: V,
    flow: Arc<Flow>,
) -> Result<(Client, mpsc::Receiver<Forwarded>), ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HostVerifier,
{
    let ports = Ports::new(Arc::clone(&flow));
    let refusal = Arc::new(Mutex::new(None));
    let negotiated = Arc::new(OnceLock::new());
    let (forwarded, arrivals) = mpsc::channel(FORWARDED_QUEUE);
    let bridge = Bridge {
        verifier: Box::new(verifier),
        refusal: Arc::clone(&refusal),
        negotiated: Arc::clone(&negotiated),
        forwarded,
        flow: Arc::clone(&flow),
        ports: Arc::clone(&ports),
    };
    let gate = Gate::new(io, Arc::clone(&flow));
    let refused = || refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut engine = client::connect_stream(Arc::new(config.engine()), gate, bridge).await.map_err(
        |EngineError(error)| match refused() {
            Some(refusal) => ConnectError::Host(refusal),
            None => ConnectError::Ended(Ended::Broken(error.to_string())),
        },
    )?;
    let key = config.credentials.key();
    let certificate = config.credentials.certificate();
    let answer = engine.authenticate_openssh_cert(config.login.clone(), key, certificate).await;
    match answer {
        Ok(AuthResult::Success) => {}
        Ok(AuthResult::Failure { .. }) => return Err(ConnectError::Denied(config.login)),
        Err(error) => return Err(ConnectError::Ended(ended(&flow, &error))),
    }
    let Some(negotiated) = negotiated.get().copied() else {
        let reason = "the host chose a key exchange or a cipher that was not offered".to_owned();
        return Err(ConnectError::Ended(Ended::Broken(reason)));
    };
    let watched = Arc::clone(&flow);
    tokio::spawn(async move {
        tokio::select! {
            () = watched.silence(config.keepalive) => watched.cut(Ended::Silent),
            () = watched.ended.cancelled() => {}
        }
    });
    Ok((Client { engine: Arc::new(engine), flow, ports, negotiated }, arrivals))
}

/// The reason that the connection itself gave, or else the engine's.
fn ended(flow: &Flow, error: &russh::Error) -> Ended {
    flow.reason().unwrap_or_else(|| Ended::Broken(error.to_string()))
}

impl Client {
    /// Opens a session channel.
    pub async fn session(&self) -> Result<Session, OpenError> {
        let entry = self.ports.opening();
        let half = self.opened(self.engine.channel_open_session()).await?;
        let ends = entry.take(half.id().number());
        let writer = self.writer(half, ends.closed);
        Ok(Session::new(ends.reader, writer, ends.control))
    }

    /// Opens a connection from the server to somewhere.
    pub async fn direct_tcpip(
        &self,
        host: &str,
        port: u16,
        origin: (&str, u16),
    ) -> Result<(Reader, Writer), OpenError> {
        let (address, origin_port) = origin;
        let entry = self.ports.opening();
        let opening =
            self.engine.channel_open_direct_tcpip(host, u32::from(port), address, u32::from(origin_port));
        let half = self.opened(opening).await?;
        let ends = entry.take(half.id().number());
        Ok((ends.reader, self.writer(half, ends.closed)))
    }

    /// Asks the server to listen for us; gives the port, which the server chooses when `port` is 0.
    pub async fn listen(&self, address: &str, port: u16) -> Result<u16, OpenError> {
        let asked = tokio::time::timeout(ANSWER, self.engine.tcpip_forward(address, u32::from(port)));
        let bound = asked.await.map_err(|_| OpenError::Timeout(ANSWER))?.map_err(|error| self.why(error))?;
        match u16::try_from(bound) {
            Ok(0) | Err(_) => Ok(port),
            Ok(bound) => Ok(bound),
        }
    }

    /// Ends the connection politely.
    pub async fn disconnect(&self, reason: &str) {
        self.flow.announce(Ended::Local(reason.to_owned()));
        let farewell = async {
            let _ = self.engine.disconnect(Disconnect::ByApplication, reason, "").await;
            self.flow.ended.cancelled().await;
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        self.flow.cut(Ended::Local(reason.to_owned()));
    }

    /// What protects the connection.
    #[must_use]
    pub fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    /// What went over the wire so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.flow.traffic()
    }

    /// Returns when nothing is left of the connection, with the reason.
    pub async fn ended(&self) -> Ended {
        self.flow.ended.cancelled().await;
        self.flow.reason().unwrap_or(Ended::Peer(String::new()))
    }

    async fn opened(
        &self,
        opening: impl Future<Output = Result<russh::Channel<client::Msg>, russh::Error>>,
    ) -> Result<russh::ChannelWriteHalf<client::Msg>, OpenError> {
        let channel = tokio::select! {
            opened = opening => opened,
            () = self.flow.ended.cancelled() => Err(russh::Error::Disconnect),
            // Should it be opened after all, it is closed again at once: see `Ports::confirm`.
            () = tokio::time::sleep(ANSWER) => return Err(OpenError::Timeout(ANSWER)),
        };
        match channel {
            Ok(channel) => Ok(channel.split().1),
            Err(error) => Err(self.why_opened(error).await),
        }
    }

    /// A server that says why it ends the connection has often not been heard when the first request fails.
    async fn why_opened(&self, error: russh::Error) -> OpenError {
        if !matches!(error, russh::Error::ChannelOpenFailure(_)) {
            let _ = tokio::time::timeout(FAREWELL, self.flow.ended.cancelled()).await;
        }
        self.why(error)
    }

    fn why(&self, error: russh::Error) -> OpenError {
        match error {
            russh::Error::ChannelOpenFailure(failure) => {
                OpenError::Rejected(failure.description().to_owned())
            }
            russh::Error::RequestDenied => OpenError::Rejected("the server does not allow it".to_owned()),
            error => OpenError::Ended(ended(&self.flow, &error)),
        }
    }

    fn writer(
        &self,
        half: russh::ChannelWriteHalf<client::Msg>,
        closed: tokio_util::sync::CancellationToken,
    ) -> Writer {
        let release = Release::new(&self.ports, half.id().number());
        let writer = Writer::new(Half::Client(half), Arc::clone(&self.flow), closed, release);
        writer.opened();
        writer
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("traffic", &self.traffic()).finish_non_exhaustive()
    }
}
