//! The connecting side.
//!
//! [`connect`] ends with a server that the [`HostVerifier`] agreed to and that accepted our certificate. Host keys
//! without a certificate are refused unless the verifier says otherwise.

mod asking;
mod handshake;
mod session;
mod side;
mod verify;

pub use asking::host_certificate;
pub use session::{Controls, OpenError, PtyRequest, RequestError, Session};
pub use verify::{ClusterHost, HostRefusal, HostVerifier};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::ssh::algorithms::KeyAlgorithm;
use ::ssh::connection::{GlobalAnswer, Limits, ListenAt, Origin, Purpose};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::channel::{Anchor, Reader, Writer};
use super::credentials::UserCredentials;
use super::drive::drive;
use super::link::Link;
use super::meter::{Ended, MemoryBudget, Meter, Traffic};
use super::wire::Wire;
use super::{Algorithms, Keepalive, Negotiated, Rekey, settings};
use side::{ClientSide, Listeners};

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

    fn engine(&self) -> ::ssh::client::Config {
        ::ssh::client::Config {
            settings: Arc::new(settings(&self.algorithms, self.rekey, self.keepalive)),
            host_keys: KeyAlgorithm::ALL.to_vec(),
            login: self.login.clone(),
            algorithm: self.credentials.algorithm(),
            blob: self.credentials.blob().to_vec(),
            limits: Limits::default(),
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

/// An authenticated connection; clones act on the same. It ends when nobody has one, nor a channel of it, any more.
#[derive(Clone)]
pub struct Client {
    anchor: Arc<Anchor>,
    listeners: Listeners,
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
    let meter = Arc::new(Meter::new());
    let mut wire = Wire::new(io, Arc::clone(&meter));
    let handshake = handshake::run(&mut wire, &config, &verifier);
    let outcome = tokio::time::timeout(config.timeout, handshake).await;
    let (connection, negotiated) = match outcome {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => {
            let _ = tokio::time::timeout(FAREWELL, wire.farewell()).await;
            return Err(error);
        }
        Err(_) => return Err(ConnectError::Timeout(config.timeout)),
    };
    let link = Link::new(connection, meter, Arc::clone(&config.budget));
    let anchor = Arc::new(Anchor(Arc::clone(&link)));
    let (forwarded, arrivals) = mpsc::channel(FORWARDED_QUEUE);
    let listeners = Listeners::default();
    let side = ClientSide::new(&anchor, forwarded, listeners.clone());
    tokio::spawn(drive(wire, link, side));
    Ok((Client { anchor, listeners, negotiated }, arrivals))
}

impl Client {
    /// Opens a session channel.
    pub async fn session(&self) -> Result<Session, OpenError> {
        let (reader, writer, answers) = self.open(Purpose::Session).await?;
        Ok(Session::new(reader, writer, answers))
    }

    /// Opens a connection from the server to somewhere.
    pub async fn direct_tcpip(
        &self,
        host: &str,
        port: u16,
        origin: (&str, u16),
    ) -> Result<(Reader, Writer), OpenError> {
        let origin = Origin { address: origin.0.to_owned(), port: origin.1.into() };
        let purpose = Purpose::DirectTcpip { host: host.to_owned(), port: port.into(), origin };
        let (reader, writer, _) = self.open(purpose).await?;
        Ok((reader, writer))
    }

    async fn open(&self, purpose: Purpose) -> Result<super::link::Opened, OpenError> {
        let link = self.link();
        let opened = link.open(&purpose, ANSWER).await;
        if matches!(opened, Err(OpenError::Ended(_))) {
            // A server that says why it ends the connection has often not been heard when the first request fails.
            let _ = tokio::time::timeout(FAREWELL, link.ended()).await;
            return Err(OpenError::Ended(link.reason()));
        }
        opened
    }

    /// Asks the server to listen for us; gives the port, which the server chooses when `port` is 0.
    pub async fn listen(&self, address: &str, port: u16) -> Result<u16, OpenError> {
        let at = ListenAt::Tcp(address.to_owned(), port.into());
        match self.about_listener(|connection| connection.listen(&at)).await? {
            GlobalAnswer::Port(bound) => Ok(u16::try_from(bound).unwrap_or(port)),
            _ => Ok(port),
        }
    }

    /// Asks the server to listen there no more.
    pub async fn unlisten(&self, address: &str, port: u16) -> Result<(), OpenError> {
        let at = ListenAt::Tcp(address.to_owned(), port.into());
        self.about_listener(|connection| connection.cancel_listen(&at)).await.map(drop)
    }

    async fn about_listener(
        &self,
        ask: impl FnOnce(&mut ::ssh::connection::Connection),
    ) -> Result<GlobalAnswer, OpenError> {
        let link = self.link();
        let answer = self.listeners.ask(|| link.act(|state| ask(&mut state.connection)));
        let answer = tokio::select! {
            answer = tokio::time::timeout(ANSWER, answer) => answer.map_err(|_| OpenError::Timeout(ANSWER))?,
            reason = link.ended() => return Err(OpenError::Ended(reason)),
        };
        match answer {
            Ok(GlobalAnswer::Refused) => Err(OpenError::Rejected("the server does not allow it".to_owned())),
            Ok(answer) => Ok(answer),
            Err(_) => Err(OpenError::Ended(link.reason())),
        }
    }

    /// Ends the connection politely.
    pub async fn disconnect(&self, reason: &str) {
        self.link().disconnect(reason);
        let _ = tokio::time::timeout(FAREWELL, self.link().ended()).await;
    }

    /// What went over the wire so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.link().meter.traffic()
    }

    /// What protects the connection.
    #[must_use]
    pub fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    /// Returns when nothing is left of the connection, with the reason.
    pub async fn ended(&self) -> Ended {
        self.link().ended().await
    }

    fn link(&self) -> &Arc<Link> {
        &self.anchor.0
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("traffic", &self.traffic()).finish_non_exhaustive()
    }
}
