//! `InventoryService`: the one stream between auth and each node and proxy. Its life is the host's presence; policy
//! and, to proxies, nodes go down on it.
//!
//! The certificate says who the host is; a report cannot claim anything else (row P8 of the abuse table). A stream
//! has a bounded queue, and who does not read it or does not answer is cut and comes back.

mod link;
pub mod removed;
mod report;
mod revoked;
mod ssh_server;

use crate::caller::{Caller, Host, Who};
use crate::core::Core;
use crate::enrol::host::refuse_removed;
use crate::refusal;
use api::status::{Class, Problem};
use api::v1;
use api::v1::inventory_service_server::InventoryService;
use jiff::Timestamp;
use link::Link;
use revoked::Revoked;
use ssh_server::Keeper;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use transport::{Peer, PeerIdentity};

/// Messages on their way to one host.
const QUEUE: usize = 16;

/// What a host reads.
pub type Messages = ReceiverStream<Result<v1::AuthMessage, Status>>;

/// How long things wait.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long the first report may take.
    pub first: Duration,
    /// Between pings; the answer must be there before the next one.
    pub ping: Duration,
    /// How long a full queue may stay full.
    pub send: Duration,
    /// After a report the next message is not read for so long: a report may cost a write.
    pub report: Duration,
    /// When auth stops, hosts come back within this time, and for each of them so much more.
    pub away: Duration,
    /// See [`Pace::away`].
    pub away_each: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            ping: Duration::from_secs(15),
            send: Duration::from_secs(10),
            report: Duration::from_millis(200),
            away: Duration::from_secs(1),
            away_each: Duration::from_millis(2),
        }
    }
}

/// The service.
pub struct Inventory {
    core: Arc<Core>,
    pace: Pace,
    shutdown: CancellationToken,
    revoked: Arc<Revoked>,
}

/// The host at the other end of a stream.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Who it is.
    pub host: Host,
    /// Where its stream comes from.
    pub from: Option<IpAddr>,
    /// When its certificate ends, and with it the stream.
    pub expires: Timestamp,
    /// Where the host is a stock server: the bot that speaks for it.
    pub keeper: Option<Keeper>,
}

impl Inventory {
    /// Over a running auth; with `shutdown` the streams are asked to go elsewhere.
    pub fn new(core: Arc<Core>, pace: Pace, shutdown: CancellationToken) -> Self {
        Self { core, pace, shutdown, revoked: Arc::default() }
    }

    /// Takes a stream in. Returns at once: a host that waits for the answer has not said anything yet.
    pub fn open<S>(&self, connected: Connected, incoming: S) -> Messages
    where
        S: Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin + 'static,
    {
        let (out, messages) = mpsc::channel(QUEUE);
        let link = Link::new(self.core.clone(), self.pace, connected, out);
        tokio::spawn(link.run(incoming, self.shutdown.clone()));
        ReceiverStream::new(messages)
    }
}

#[tonic::async_trait]
impl InventoryService for Inventory {
    type ConnectStream = Messages;

    async fn connect(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Messages>, Status> {
        let connected = connected(&request)?;
        refuse_removed(&self.core.catalog, &connected.host).await?;
        Ok(Response::new(self.open(connected, request.into_inner())))
    }

    type ConnectSshServerStream = Messages;

    async fn connect_ssh_server(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Messages>, Status> {
        let connected = ssh_server::connected(&self.core, &self.revoked, &request).await?;
        Ok(Response::new(self.open(connected, request.into_inner())))
    }
}

fn connected<T>(request: &Request<T>) -> Result<Connected, Problem> {
    let caller = Caller::of_request(request)?;
    let from = caller.ip();
    let host = match caller.who {
        Who::Host(host) => *host,
        _ => {
            return Err(Problem::new(
                Class::Denied,
                "wrong_role",
                "only nodes and proxies have such a stream",
            ));
        }
    };
    let expires = expires(request)?;
    Ok(Connected { host, from, expires, keeper: None })
}

/// When the certificate of the caller ends.
fn expires<T>(request: &Request<T>) -> Result<Timestamp, Problem> {
    match request.extensions().get::<Peer>().map(|peer| &peer.identity) {
        Some(PeerIdentity::Verified(verified)) => Ok(verified.valid_before()),
        _ => Err(refusal::internal("a call came in without its peer", "no Peer in the request")),
    }
}
