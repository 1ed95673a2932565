//! The accepting side.
//!
//! [`accept`] turns a byte stream into a [`Connection`] whose peer has proven a certificate that the [`Authenticator`]
//! agreed to; nothing of the connection protocol is reachable before. What the peer asks for then arrives as [`Event`]s
//! and, on each channel, as [`Request`]s; everything that is not answered is refused.

mod authenticate;
mod event;
mod handle;
mod handshake;
mod request;
mod side;

pub use ::ssh::server::{Claim, Proof};
pub use authenticate::{Attempt, Attempts, Authenticator, Offer, ProvenCertificate, Rejection};
pub use event::{Channel, Event, Events, ForwardReply, OpenRefusal, OpenRequest, Origin};
pub use handle::Handle;
pub use request::{Display, Pty, Reply, Request, Requests};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::ssh::connection::Limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use super::credentials::HostCredentials;
use super::drive::drive;
use super::link::Link;
use super::meter::{MemoryBudget, Meter};
use super::wire::Wire;
use super::{Algorithms, Keepalive, Negotiated, Rekey, settings};
use handshake::Handshake;
use side::ServerSide;

/// Events that may wait for their consumer besides all channels that there can be; more are refused.
const EVENT_QUEUE: usize = 32;

/// How connections are accepted.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The host key and its certificate; connections accepted after a change show the new one.
    pub host: watch::Receiver<Arc<HostCredentials>>,
    /// How a silent client is noticed.
    pub keepalive: Keepalive,
    /// From the first byte to authentication.
    pub login_grace: Duration,
    /// Channels open at once on one connection.
    pub max_channels: usize,
    /// When fresh keys are agreed on.
    pub rekey: Rekey,
    /// What is offered.
    pub algorithms: Algorithms,
    /// What all connections may keep in memory together.
    pub budget: Arc<MemoryBudget>,
}

impl ServerConfig {
    /// The defaults: 30 seconds to log in, 128 channels, 512 MiB for all.
    #[must_use]
    pub fn new(host: watch::Receiver<Arc<HostCredentials>>) -> Self {
        Self {
            host,
            keepalive: Keepalive::default(),
            login_grace: Duration::from_secs(30),
            max_channels: 128,
            rekey: Rekey::default(),
            algorithms: Algorithms::default(),
            budget: MemoryBudget::new(512 << 20),
        }
    }

    fn engine(&self, host: &HostCredentials) -> ::ssh::server::Config {
        ::ssh::server::Config {
            settings: Arc::new(settings(&self.algorithms, self.rekey, self.keepalive)),
            host_keys: host.shown(),
            // Clients know the hosts of a cluster by its authority; keys of their own would outlive that.
            announced: Vec::new(),
            limits: Limits { channels: self.max_channels, ..Limits::default() },
        }
    }
}

/// An authenticated connection; `G` is what the authenticator granted.
#[derive(Debug)]
pub struct Connection<G> {
    /// What the authenticator said yes with.
    pub grant: G,
    /// What protects it.
    pub negotiated: Negotiated,
    /// Acts on the connection.
    pub handle: Handle,
    /// What the peer asks for.
    pub events: Events,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The client did not log in within the time for it.
    #[error("no login within {}s", .0.as_secs())]
    Grace(Duration, Attempts),
    /// The client offered nothing that was accepted.
    #[error("not authenticated: {0}")]
    Unauthenticated(Attempts),
    /// The client was refused and told why.
    #[error("refused: {0}")]
    Refused(Rejection),
    /// The stream or the protocol failed before authentication.
    #[error("{0}")]
    Broken(String),
}

/// Runs the handshake and authentication on a fresh stream.
///
/// `peer` is the client's true address, for `source-address` and for the record. The stream is closed when this returns
/// an error or is dropped before it returns.
pub async fn accept<IO, A>(
    io: IO,
    config: Arc<ServerConfig>,
    peer: SocketAddr,
    authenticator: A,
) -> Result<Connection<A::Grant>, AcceptError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Authenticator,
{
    let host = Arc::clone(&config.host.borrow());
    let meter = Arc::new(Meter::new());
    let wire = Wire::new(io, Arc::clone(&meter));
    let mut handshake = Handshake::new(wire, config.engine(&host), Arc::clone(&host), peer);
    let outcome = tokio::time::timeout(config.login_grace, handshake.run(&authenticator)).await;
    let admitted = match outcome {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(error)) => {
            handshake.part().await;
            return Err(error);
        }
        Err(_) => return Err(AcceptError::Grace(config.login_grace, handshake.attempts())),
    };
    let negotiated = admitted.negotiated;
    let link = Link::new(admitted.connection, meter, Arc::clone(&config.budget));
    let (sender, events) = mpsc::channel(EVENT_QUEUE + config.max_channels);
    let side = ServerSide::new(sender, host);
    tokio::spawn(drive(handshake.into_wire(), Arc::clone(&link), side));
    let handle = Handle::new(link);
    Ok(Connection {
        grant: admitted.grant,
        negotiated,
        handle: handle.clone(),
        events: Events::new(events, handle),
    })
}
