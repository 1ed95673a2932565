//! One stream: what goes down, what comes up, and why it ends.

use super::report::{self, Report};
use super::{Connected, Pace};
use crate::core::Core;
use crate::policy::Issued;
use crate::presence::{Rival, RouteChange, Routes, Ticket};
use crate::refusal;
use access::SystemRole;
use access::rbac::lock::{LockSubject, in_force};
use access::resource::Node;
use api::status::{Class, Problem};
use api::v1::agent_message::Message as Said;
use api::v1::auth_message::Message;
use api::v1::{AgentMessage, AuthMessage, NodeChange, NodeList, node_change};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Revision;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// One stream and its host.
pub(super) struct Link {
    core: Arc<Core>,
    pace: Pace,
    connected: Connected,
    out: mpsc::Sender<Result<AuthMessage, Status>>,
}

/// Why a stream ended.
enum End {
    /// The host ended it, or its connection broke.
    Gone,
    /// It is told why.
    Refused(Problem),
    /// Another stream of the host is there, or an administrator ended this one.
    Replaced(Option<Rival>),
    /// It does not read, or does not answer.
    Slow(&'static str),
    /// Auth stops.
    Shutdown,
}

/// What a stream follows, beside what its host says.
struct Follows {
    policy: watch::Receiver<Option<Arc<Issued>>>,
    views: watch::Receiver<Revision>,
    routes: Option<Routes>,
}

/// How a stream stands.
struct State {
    /// The newest policy that was sent.
    sent: i64,
    ping: u64,
    answered: bool,
    next_ping: Instant,
    /// Nothing more is read before.
    read_from: Instant,
    /// Where a bot speaks for the host: as what it is in the inventory. Its roles have to allow that all the time.
    registered: Option<Box<Node>>,
}

impl Link {
    pub fn new(
        core: Arc<Core>,
        pace: Pace,
        connected: Connected,
        out: mpsc::Sender<Result<AuthMessage, Status>>,
    ) -> Self {
        Self { core, pace, connected, out }
    }

    /// Serves the stream until it ends.
    pub async fn run<S>(self, incoming: S, shutdown: CancellationToken)
    where
        S: Stream<Item = Result<AgentMessage, Status>> + Unpin,
    {
        let end = match self.serve(incoming, &shutdown).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let host = &self.connected.host;
        match end {
            End::Gone => tracing::debug!(id = %host.id, role = %host.role, "the host has gone"),
            End::Slow(reason) => {
                self.core.metrics.slow_stream();
                tracing::warn!(id = %host.id, role = %host.role, reason, "the host's stream was cut");
            }
            End::Replaced(rival) => {
                let problem = self.replaced(rival);
                // Two that fight say it seldom, not each time.
                match rival.is_none_or(|rival| rival.times.is_power_of_two()) {
                    true => {
                        tracing::warn!(id = %host.id, role = %host.role, %problem, "the host's stream was ended")
                    }
                    false => {
                        tracing::debug!(id = %host.id, role = %host.role, "the host's stream was replaced")
                    }
                }
                let _ = timeout(self.pace.send, self.out.send(Err(problem.into()))).await;
            }
            End::Refused(problem) => {
                tracing::warn!(id = %host.id, role = %host.role, %problem, "the host's stream was ended");
                let _ = timeout(self.pace.send, self.out.send(Err(problem.into()))).await;
            }
            End::Shutdown => {
                let hosts = [SystemRole::Node, SystemRole::Proxy].map(|role| self.core.presence.count(role));
                let hosts = u32::try_from(hosts.iter().sum::<usize>()).unwrap_or(u32::MAX);
                let within = self.pace.away + self.pace.away_each.saturating_mul(hosts);
                let within = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
                let _ = self.out.try_send(Ok(message(Message::GoAwayMs(within))));
            }
        }
    }

    async fn serve<S>(&self, mut incoming: S, shutdown: &CancellationToken) -> Result<Never, End>
    where
        S: Stream<Item = Result<AgentMessage, Status>> + Unpin,
    {
        let mut follows =
            Follows { policy: self.core.policies.watch(), views: self.core.catalog.changes(), routes: None };
        follows.policy.mark_changed();
        self.refuse_locked()?;
        let first = tokio::select! {
            () = shutdown.cancelled() => return Err(End::Shutdown),
            first = timeout(self.pace.first, incoming.next()) => first,
        };
        let first = said(first.map_err(|_| End::Slow("it did not report"))?)?;
        let Some(report) =
            report::read(&self.core.presence, &self.connected, &first).map_err(End::Refused)?
        else {
            return Err(End::Refused(refusal::invalid("the first message must be a report")));
        };
        let host = &self.connected.host;
        let ticket = self.core.presence.begin(host.id, host.role, self.connected.from);
        let now = Instant::now();
        let mut state = State {
            sent: 0,
            ping: 0,
            answered: true,
            next_ping: now + self.pace.ping,
            read_from: now,
            registered: None,
        };
        self.take_report(&ticket, &mut state, report).await?;
        if host.role == SystemRole::Proxy {
            follows.routes = Some(self.send_list().await?);
        }
        self.follow(incoming, follows, state, &ticket, shutdown).await
    }

    async fn follow<S>(
        &self,
        mut incoming: S,
        mut follows: Follows,
        mut state: State,
        ticket: &Ticket,
        shutdown: &CancellationToken,
    ) -> Result<Never, End>
    where
        S: Stream<Item = Result<AgentMessage, Status>> + Unpin,
    {
        let expired = tokio::time::sleep(self.left());
        tokio::pin!(expired);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Err(End::Shutdown),
                () = self.out.closed() => return Err(End::Gone),
                rival = ticket.cut() => return Err(End::Replaced(rival)),
                () = &mut expired => {
                    let problem = Problem::new(
                        Class::Unauthenticated,
                        "certificate_expired",
                        "the certificate of the stream has expired",
                    );
                    return Err(End::Refused(problem.hint("connect with the new one")));
                }
                changed = follows.policy.changed() => {
                    changed.map_err(|_| End::Shutdown)?;
                    let issued = follows.policy.borrow_and_update().clone();
                    if let Some(issued) = issued {
                        state.sent = issued.revision;
                        self.send_policy(&issued).await?;
                    }
                }
                changed = follows.views.changed() => {
                    changed.map_err(|_| End::Shutdown)?;
                    self.refuse_locked()?;
                    if let Some(keeper) = &self.connected.keeper {
                        let still = keeper.may_still(&self.core, state.registered.as_deref());
                        still.await.map_err(End::Refused)?;
                    }
                }
                change = next_route(&mut follows.routes) => match change {
                    Ok(change) => self.send(Message::NodeChange(node_change(change))).await?,
                    // It fell behind: the whole list again costs less than every change.
                    Err(RecvError::Lagged(_)) => follows.routes = Some(self.send_list().await?),
                    Err(RecvError::Closed) => return Err(End::Shutdown),
                },
                () = sleep_until(state.next_ping) => self.ping(&mut state).await?,
                heard = next_said(&mut incoming, state.read_from) => {
                    self.take(ticket, &mut state, heard?).await?;
                }
            }
        }
    }

    async fn take(&self, ticket: &Ticket, state: &mut State, said: Said) -> Result<(), End> {
        match said {
            Said::Pong(number) => {
                state.answered |= number == state.ping;
                Ok(())
            }
            // A host cannot have applied what it was never sent.
            Said::PolicyApplied(revision) => {
                ticket.applied(revision.min(state.sent)).map_err(|_| End::Replaced(ticket.rival()))
            }
            said => {
                state.read_from = Instant::now() + self.pace.report;
                match report::read(&self.core.presence, &self.connected, &said).map_err(End::Refused)? {
                    // It would have to be taken from the inventory first; another stream does that.
                    Some(Report::Unlisted) => Err(End::Refused(refusal::invalid(
                        "only the first message says that a server is unlisted",
                    ))),
                    Some(report) => self.take_report(ticket, state, report).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn take_report(&self, ticket: &Ticket, state: &mut State, report: Report) -> Result<(), End> {
        let taken = match report {
            Report::Node(node) => {
                if let Some(keeper) = &self.connected.keeper {
                    keeper.may_speak(&self.core, Some(&node)).await.map_err(End::Refused)?;
                    state.registered = Some(node.clone());
                }
                let (node, revision) = report::keep(&self.core, *node).await.map_err(End::Refused)?;
                ticket.node(node, revision)
            }
            Report::Proxy(addrs) => ticket.proxy(addrs),
            Report::Unlisted => {
                if let Some(keeper) = &self.connected.keeper {
                    keeper.may_speak(&self.core, None).await.map_err(End::Refused)?;
                }
                ticket.unlisted()
            }
        };
        taken.map_err(|_| End::Replaced(ticket.rival()))
    }

    /// What is told to a stream that another one replaced.
    fn replaced(&self, rival: Option<Rival>) -> Problem {
        let Some(rival) = rival.filter(|rival| rival.times > 1) else {
            let reason =
                "this stream was replaced by a newer one of the same host, or ended by an administrator";
            return Problem::new(Class::Unavailable, "superseded", reason);
        };
        let (id, role) = (self.connected.host.id, self.connected.host.role.as_str().to_ascii_lowercase());
        let place =
            |from: Option<IpAddr>| from.map_or("an unknown address".to_owned(), |from| from.to_string());
        let (here, there) = (place(self.connected.from), place(rival.from));
        let reason = format!(
            "two hosts use the id {id} and take each other's place: one connects from {here}, one from {there}; a data \
             directory was copied"
        );
        Problem::new(Class::Unavailable, "host_cloned", reason).hint(format!(
            "on the copy: stop the service, remove host_uuid and host/ from its data directory, and join it with a \
             token of its own: tctl tokens add --type={role}"
        ))
    }

    async fn ping(&self, state: &mut State) -> Result<(), End> {
        if !state.answered {
            return Err(End::Slow("it did not answer a ping"));
        }
        state.ping += 1;
        state.answered = false;
        state.next_ping = Instant::now() + self.pace.ping;
        self.send(Message::Ping(state.ping)).await
    }

    async fn send_list(&self) -> Result<Routes, End> {
        let mut routes = self.core.presence.routes();
        let nodes = std::mem::take(&mut routes.list).iter().map(|json| json.to_string()).collect();
        self.send(Message::Nodes(NodeList { nodes })).await?;
        Ok(routes)
    }

    /// A member gets the policy, a stock server what it can do with it.
    async fn send_policy(&self, issued: &Issued) -> Result<(), End> {
        match &self.connected.keeper {
            None => self.send(Message::Policy(issued.message.clone())).await,
            Some(keeper) => {
                let state = keeper.state(&self.core, self.connected.host.id, issued.revision).await;
                self.send(Message::SshServer(state.map_err(End::Refused)?)).await
            }
        }
    }

    async fn send(&self, what: Message) -> Result<(), End> {
        match timeout(self.pace.send, self.out.send(Ok(message(what)))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow("it does not read")),
        }
    }

    /// From the view, because a lock must end the stream the moment it is known.
    fn refuse_locked(&self) -> Result<(), End> {
        let view = self.core.catalog.view();
        // A stock server is told that it is locked, and stays to hear that it is not any more.
        let subject = match &self.connected.keeper {
            Some(keeper) => keeper.lock_subject(),
            None => LockSubject { server_id: Some(self.connected.host.id), ..LockSubject::default() },
        };
        let locks = view.locks.values().map(|found| &*found.value);
        match in_force(locks, &subject, self.core.now()) {
            Some(lock) => Err(End::Refused(refusal::denied(&lock.into()))),
            None => Ok(()),
        }
    }

    /// Until the certificate ends.
    fn left(&self) -> Duration {
        let left = self.connected.expires.duration_since(self.core.now());
        // Timers have an end; no host certificate lives that long.
        Duration::try_from(left).unwrap_or_default().min(Duration::from_secs(365 * 24 * 3600))
    }
}

/// There is no such value: a stream is served until something ends it.
enum Never {}

fn message(message: Message) -> AuthMessage {
    AuthMessage { message: Some(message) }
}

fn node_change(change: RouteChange) -> NodeChange {
    let change = match change {
        RouteChange::Upsert(json) => node_change::Change::Upsert(json.to_string()),
        RouteChange::Remove(id) => node_change::Change::Remove(id.to_string()),
    };
    NodeChange { change: Some(change) }
}

fn said(message: Option<Result<AgentMessage, Status>>) -> Result<Said, End> {
    match message {
        Some(Ok(AgentMessage { message: Some(said) })) => Ok(said),
        Some(Ok(AgentMessage { message: None })) => {
            Err(End::Refused(refusal::invalid("a message says nothing that is known here")))
        }
        // What was too large to be read. The host would come again with the same and never know why.
        Some(Err(status)) if status.code() == Code::OutOfRange => Err(End::Refused(refusal::invalid(
            format!("what the host reports is too much: {}", status.message()),
        ))),
        Some(Err(_)) | None => Err(End::Gone),
    }
}

/// Loses nothing when it is dropped while waiting.
async fn next_said<S>(incoming: &mut S, from: Instant) -> Result<Said, End>
where
    S: Stream<Item = Result<AgentMessage, Status>> + Unpin,
{
    sleep_until(from).await;
    said(incoming.next().await)
}

async fn next_route(routes: &mut Option<Routes>) -> Result<RouteChange, RecvError> {
    match routes {
        Some(routes) => routes.changes.recv().await,
        None => std::future::pending().await,
    }
}
