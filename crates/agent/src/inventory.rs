//! The one stream to auth: its life is this host's presence; policy and nodes come down on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use access::HostId;
use access::resource::{Node, Resource};
use api::v1::inventory_service_client::InventoryServiceClient;
use api::v1::{AgentMessage, AuthMessage, NodeChange, NodeList, SignedPolicy};
use api::v1::{agent_message, auth_message, node_change};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use transport::backoff::between_zero_and;
use transport::rpc::{Channel, LARGEST_MESSAGE};
use transport::{Backoff, ConnectError};

use crate::config::Report;
use crate::policy::{Keeper, Verdict};
use crate::renewal::reason;

/// Auth pings far more often; a stream that is silent this long leads nowhere.
const SILENCE: Duration = Duration::from_secs(90);
/// Auth's word for a stream that another one of this host has replaced, once and again and again.
const REPLACED: [&str; 2] = ["superseded", "host_cloned"];
/// How far two that replace each other keep out of each other's way.
const LONGEST_FIGHT: Duration = Duration::from_secs(120);
/// A stream that lasted so long has nobody to fight with.
const PEACE: Duration = Duration::from_secs(600);
/// Messages on their way to auth.
const QUEUE: usize = 16;

/// Whether auth is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// No stream yet since the start.
    Connecting,
    /// The stream stands.
    Up,
    /// It does not, for this reason; the policy in force is the last one.
    Down(String),
}

/// What a proxy hears of nodes.
#[derive(Debug, Clone)]
pub enum NodeEvent {
    /// All nodes there are; what was known before is void.
    All(Vec<Node>),
    /// A new node, or news of one.
    Upsert(Box<Node>),
    /// A node is gone.
    Remove(HostId),
}

/// When auth was last heard, and how long before that moment.
#[derive(Debug)]
pub(crate) struct Heard(Mutex<(Instant, Duration)>);

impl Heard {
    /// A policy of this age is all that was heard: a restart makes no old view of locks a new one.
    pub(crate) fn through(policy_age: Duration) -> Self {
        Self(Mutex::new((Instant::now(), policy_age)))
    }

    fn again(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Duration::ZERO);
    }

    pub(crate) fn ago(&self) -> Duration {
        let (since, before) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.elapsed().saturating_add(before)
    }
}

pub(crate) struct Inventory {
    pub(crate) channel: Channel,
    pub(crate) policy: Arc<Keeper>,
    pub(crate) report: watch::Receiver<Report>,
    pub(crate) nodes: mpsc::Sender<NodeEvent>,
    pub(crate) link: watch::Sender<Link>,
    pub(crate) heard: Arc<Heard>,
}

/// Why a stream ended.
enum End {
    /// Auth asked us to come back after a while.
    GoAway(Duration),
    Lost(String),
    /// Another process is this host too.
    Replaced(String),
}

impl Inventory {
    /// Keeps a stream open for ever.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let mut fight = Backoff::new(Duration::from_secs(1), LONGEST_FIGHT);
        loop {
            let started = Instant::now();
            let wait = match self.stream().await {
                End::GoAway(within) => {
                    self.link.send_replace(Link::Down("auth is restarting".to_owned()));
                    between_zero_and(within)
                }
                End::Lost(reason) => {
                    match self.policy.is_there() {
                        true => {
                            tracing::warn!(reason, "no stream to auth; going on with the policy in force")
                        }
                        false => tracing::warn!(reason, "no stream to auth, and no policy: nobody is let in"),
                    }
                    self.link.send_replace(Link::Down(reason));
                    if started.elapsed() > SILENCE {
                        backoff.reset();
                    }
                    backoff.next_wait()
                }
                End::Replaced(reason) => {
                    if started.elapsed() > PEACE {
                        fight.reset();
                    }
                    let wait = fight.next_wait();
                    tracing::warn!(reason, ?wait, "auth ended the stream; trying again after a while");
                    self.link.send_replace(Link::Down(reason));
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn stream(&mut self) -> End {
        let (send, outgoing) = mpsc::channel(QUEUE);
        // The first message is there before the stream is: nothing waits for it.
        let _ = send.try_send(message(self.report.borrow_and_update().clone().into()));
        let mut client =
            InventoryServiceClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_MESSAGE);
        let mut incoming = match client.connect(ReceiverStream::new(outgoing)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return lost(&status),
        };
        loop {
            let step = tokio::select! {
                heard = next(&mut incoming) => match heard {
                    Ok(heard) => self.take(heard).await,
                    Err(end) => return end,
                },
                changed = self.report.changed() => match changed {
                    Ok(()) => Ok(Some(self.report.borrow_and_update().clone().into())),
                    Err(_) => return End::Lost("the service has stopped".to_owned()),
                },
            };
            match step {
                Err(end) => return end,
                Ok(None) => {}
                Ok(Some(answer)) => {
                    if send.send_timeout(message(answer), SILENCE).await.is_err() {
                        return End::Lost("auth takes no messages".to_owned());
                    }
                }
            }
        }
    }

    /// Acts on a message; the answer, if it wants one.
    async fn take(&self, heard: AuthMessage) -> Result<Option<agent_message::Message>, End> {
        use auth_message::Message;
        self.heard.again();
        self.link.send_if_modified(|link| std::mem::replace(link, Link::Up) != Link::Up);
        match heard.message {
            Some(Message::Policy(SignedPolicy { payload, signature })) => {
                match self.policy.take(&payload, &signature) {
                    Verdict::Applied(revision) | Verdict::Kept(revision) => {
                        return Ok(Some(agent_message::Message::PolicyApplied(revision)));
                    }
                    Verdict::Refused => {}
                }
            }
            Some(Message::Nodes(NodeList { nodes })) => {
                let nodes = nodes.iter().filter_map(|json| node(json)).collect();
                self.tell(NodeEvent::All(nodes)).await;
            }
            Some(Message::NodeChange(NodeChange { change })) => match change {
                Some(node_change::Change::Upsert(json)) => {
                    if let Some(node) = node(&json) {
                        self.tell(NodeEvent::Upsert(Box::new(node))).await;
                    }
                }
                Some(node_change::Change::Remove(id)) => match id.parse() {
                    Ok(id) => self.tell(NodeEvent::Remove(id)).await,
                    Err(_) => tracing::warn!(id, "auth removed a node whose id is none"),
                },
                None => {}
            },
            Some(Message::Ping(number)) => return Ok(Some(agent_message::Message::Pong(number))),
            Some(Message::GoAwayMs(ms)) => return Err(End::GoAway(Duration::from_millis(ms.into()))),
            // For servers that are no members.
            Some(Message::SshServer(_)) | None => {}
        }
        Ok(None)
    }

    async fn tell(&self, event: NodeEvent) {
        // Nobody listens on a host that is no proxy.
        let _ = self.nodes.send(event).await;
    }
}

async fn next(incoming: &mut Streaming<AuthMessage>) -> Result<AuthMessage, End> {
    match tokio::time::timeout(SILENCE, incoming.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(End::Lost("auth ended the stream".to_owned())),
        Ok(Err(status)) => Err(lost(&status)),
        Err(_) => Err(End::Lost(format!("auth was silent for {SILENCE:?}"))),
    }
}

fn lost(status: &tonic::Status) -> End {
    let replaced = ConnectError::behind(status).is_none()
        && REPLACED.contains(&api::status::Problem::of(status).code.as_str());
    match replaced {
        true => End::Replaced(reason(status)),
        false => End::Lost(reason(status)),
    }
}

fn node(json: &str) -> Option<Node> {
    let value = serde_json::from_str(json).map_err(|error| error.to_string());
    match value.and_then(|value| Resource::from_json(value).map_err(|error| format!("{error:?}"))) {
        Ok(Resource::Node(node)) => Some(node),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(error, "auth sent a node that cannot be read");
            None
        }
    }
}

fn message(message: agent_message::Message) -> AgentMessage {
    AgentMessage { message: Some(message) }
}

impl From<Report> for agent_message::Message {
    fn from(report: Report) -> Self {
        match report {
            Report::Node(report) => Self::Node(report),
            Report::Proxy(report) => Self::Proxy(report),
        }
    }
}
