//! The accepting side.
//!
//! [`accept`] turns a byte stream into a [`Connection`] whose peer has proven a certificate that the [`Authenticator`]
//! agreed to; nothing of the connection protocol is reachable before. What the peer asks for then arrives as [`Event`]s
//! and, on each channel, as [`Request`]s; everything that is not answered is refused.

mod authenticate;
mod bridge;
mod event;
mod handle;
mod overheard;
mod request;

pub use authenticate::{Attempts, Authenticator, Offer, ProvenCertificate, Rejection};
pub use event::{Channel, Event, Events, ForwardReply, OpenRefusal, OpenRequest, Origin};
pub use handle::Handle;
pub use request::{Pty, Reply, Request, Requests};

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::ssh_key;
use russh::{MethodKind, MethodSet, SshId, server};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};

use super::credentials::HostCredentials;
use super::flow::{Ended, Flow, MemoryBudget};
use super::gate::Gate;
use super::ports::Ports;
use super::{Algorithms, Keepalive, MAX_PACKET, Negotiated, Rekey, SOFTWARE, WINDOW};
use bridge::{Bridge, EngineError};
use overheard::{Answer, Overheard};

/// Events that may wait for their consumer; more are refused.
const EVENT_QUEUE: usize = 32;
/// Failed attempts before the connection ends. Clients with a full agent need some; each costs them a signature.
const MAX_ATTEMPTS: usize = 20;

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

    fn engine(&self) -> server::Config {
        let host = Arc::clone(&self.host.borrow());
        server::Config {
            server_id: SshId::Standard(SOFTWARE.into()),
            methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
            // There are no passwords to slow the guessing of; a delay would only slow every login down.
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: None,
            keys: vec![host.key()],
            certificates: vec![host.certificate()],
            limits: self.rekey.limits(),
            window_size: WINDOW,
            maximum_packet_size: MAX_PACKET,
            // The engine's own queues stay unused; see `bridge`.
            channel_buffer_size: 1,
            event_buffer_size: 16,
            preferred: self.algorithms.preferred(&[] as &[ssh_key::Algorithm]),
            max_auth_attempts: MAX_ATTEMPTS,
            inactivity_timeout: None,
            keepalive_interval: (!self.keepalive.interval.is_zero()).then_some(self.keepalive.interval),
            // Whether the peer is silent is judged by `Flow`, which knows when we do not listen.
            keepalive_max: 0,
            nodelay: false,
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
    let flow = Flow::new(Arc::clone(&config.budget));
    let ports = Ports::new(Arc::clone(&flow));
    let guard = CutUnlessKept(Some(Arc::clone(&flow)));
    let attempts = Arc::new(Mutex::new(Attempts::default()));
    let (verdict_sender, verdict) = oneshot::channel();
    let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
    let negotiated = Answer::default();
    let bridge = Bridge {
        authenticator,
        peer,
        negotiated: Arc::clone(&negotiated),
        outcome: None,
        verdict: Some(verdict_sender),
        attempts: Arc::clone(&attempts),
        events: event_sender,
        ports: Arc::clone(&ports),
        flow: Arc::clone(&flow),
        max_channels: config.max_channels,
    };
    let handshake = async {
        let io = Overheard::new(io, config.algorithms.clone(), Arc::clone(&negotiated));
        let gate = Gate::new(io, Arc::clone(&flow));
        let running = server::run_stream(Arc::new(config.engine()), gate, bridge)
            .await
            .map_err(|EngineError(error)| AcceptError::Broken(error.to_string()))?;
        let engine = running.handle();
        tokio::spawn(drive(running, Arc::clone(&flow), Arc::clone(&ports), config.keepalive));
        match verdict.await {
            // Nobody is asked for a verdict before it is known.
            Ok(Ok(grant)) => match negotiated.get() {
                Some(negotiated) => Ok((grant, *negotiated, engine)),
                None => Err(AcceptError::Broken("the key exchange was not understood".to_owned())),
            },
            Ok(Err(rejection)) => Err(AcceptError::Refused(rejection)),
            Err(_) => Err(failure(&flow, &attempts).await),
        }
    };
    let outcome = tokio::time::timeout(config.login_grace, handshake).await;
    match outcome {
        Ok(Ok((grant, negotiated, engine))) => {
            guard.keep();
            let handle = Handle::new(engine, flow, ports);
            Ok(Connection { grant, negotiated, handle: handle.clone(), events: Events::new(events, handle) })
        }
        // The engine is sending the reason and then closes.
        Ok(Err(AcceptError::Refused(rejection))) => {
            guard.keep();
            Err(AcceptError::Refused(rejection))
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(AcceptError::Grace(config.login_grace, snapshot(&attempts))),
    }
}

/// Why the engine stopped before a verdict.
async fn failure(flow: &Flow, attempts: &Mutex<Attempts>) -> AcceptError {
    flow.ended.cancelled().await;
    let attempts = snapshot(attempts);
    match flow.reason() {
        Some(Ended::Broken(reason)) if !attempts.any() => AcceptError::Broken(reason),
        _ => AcceptError::Unauthenticated(attempts),
    }
}

fn snapshot(attempts: &Mutex<Attempts>) -> Attempts {
    attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// How long a peer that was told to go may take to do so.
const FAREWELL: Duration = Duration::from_secs(2);

/// Waits for the end of the engine, or brings it about when the peer falls silent.
async fn drive<A: Authenticator>(
    mut running: server::RunningSession<Bridge<A>>,
    flow: Arc<Flow>,
    ports: Arc<Ports<Request>>,
    keepalive: Keepalive,
) {
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = flow.silence(keepalive) => {
            flow.cut(Ended::Silent);
            running.await
        }
        () = farewell(&flow) => {
            flow.cut.cancel();
            running.await
        }
    };
    ports.end();
    flow.finish(match ended {
        Ok(()) => Ended::Peer(String::new()),
        Err(EngineError(russh::Error::HUP | russh::Error::Disconnect)) => Ended::Peer(String::new()),
        Err(EngineError(error)) => Ended::Broken(error.to_string()),
    });
}

/// Returns some time after the end was announced, for peers that do not close their side.
async fn farewell(flow: &Flow) {
    flow.announced().await;
    tokio::time::sleep(FAREWELL).await;
}

/// Cuts the stream of a handshake that nobody waits for any more.
struct CutUnlessKept(Option<Arc<Flow>>);

impl CutUnlessKept {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for CutUnlessKept {
    fn drop(&mut self) {
        if let Some(flow) = &self.0 {
            flow.cut(Ended::Local("the handshake was given up".to_owned()));
        }
    }
}
