//! What the cluster says unasked: whom to trust, and to whoever looks after an SSH server, who is locked. Each is a stream that
//! is kept up for as long as the agent runs, and connected anew with each new identity.
//!
//! Only the newest word matters, so nothing queues. The agent hears of news of trust after a moment, another one for each
//! agent, so that a fleet does not write and ask at once; news of locks it hears at once.

use super::member::Member;
use super::sshd::Registration;
use api::v1::agent_message::Message as Say;
use api::v1::auth_message::Message as Said;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::inventory_service_client::InventoryServiceClient;
use api::v1::{AgentMessage, SshServerState, TrustRequest};
use identity::TrustBundle;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;
use transport::Backoff;
use transport::backoff::between_zero_and;

/// Within this time every agent has taken news of trust in, and has begun with what follows from it.
pub const SPREAD: Duration = Duration::from_secs(2);
/// Auth pings far more often; a stream that is silent this long leads nowhere.
const SILENCE: Duration = Duration::from_secs(90);
/// After a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The longest that auth can send an agent away.
const LONGEST_AWAY: Duration = Duration::from_secs(60);
/// A host's refusal does not pass by itself; it is asked again seldom.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// The streams of one agent.
pub struct Follow {
    channel: watch::Sender<Option<Channel>>,
    /// Of the identity that the channel shows.
    serial: Option<u64>,
    trust: watch::Receiver<Option<Arc<TrustBundle>>>,
    servers: Vec<Server>,
    news: Arc<Notify>,
    tasks: Vec<JoinHandle<()>>,
}

/// The stream of one SSH server.
struct Server {
    name: String,
    registration: watch::Sender<Registration>,
    state: watch::Receiver<Option<Arc<SshServerState>>>,
    trouble: watch::Receiver<Option<String>>,
    applied: watch::Sender<i64>,
}

/// Something new.
#[derive(Debug)]
pub enum News {
    /// Another bundle.
    Trust(Arc<TrustBundle>),
    /// What the SSH server of this service is to do.
    Server(String, Arc<SshServerState>),
    /// Whether the cluster is heard for the SSH server of this service, and why not.
    Link(String, Option<String>),
}

impl Follow {
    /// Begins; nothing is connected before there is an identity.
    pub fn start(servers: Vec<(String, Registration)>) -> Self {
        let (news, channel) = (Arc::new(Notify::new()), watch::Sender::new(None));
        let (trust, trusted) = watch::channel(None);
        let watching = Watching { channel: channel.subscribe(), trust, news: news.clone() };
        let mut tasks = vec![tokio::spawn(watching.run())];
        let servers = servers.into_iter().map(|(name, registration)| {
            let registration = watch::Sender::new(registration);
            let ((state, heard), (trouble, troubled)) = (watch::channel(None), watch::channel(None));
            let applied = watch::Sender::new(0);
            let speaking = Speaking {
                applied: applied.subscribe(),
                channel: channel.subscribe(),
                registration: registration.subscribe(),
                state,
                trouble,
                news: news.clone(),
            };
            tasks.push(tokio::spawn(speaking.run()));
            Server { name, registration, state: heard, trouble: troubled, applied }
        });
        let servers = servers.collect();
        Self { channel, serial: None, trust: trusted, servers, news, tasks }
    }

    /// The identity that the agent has now.
    pub fn be(&mut self, member: Option<&Member>) {
        let serial = member.map(|member| member.credentials().serial());
        if serial != self.serial {
            self.serial = serial;
            self.channel.send_replace(member.map(Member::channel));
        }
    }

    /// What is said of the SSH server of a service, for which the cluster is heard from then on.
    pub fn register(&self, name: &str, registration: Registration) {
        let server = self.servers.iter().find(|server| server.name == name);
        if let Some(server) = server {
            server.registration.send_if_modified(|known| {
                let changed = *known != registration;
                *known = registration;
                changed
            });
        }
    }

    /// What was heard at this revision is in force at the SSH server of a service.
    pub fn applied(&self, name: &str, revision: i64) {
        if let Some(server) = self.servers.iter().find(|server| server.name == name) {
            server.applied.send_replace(revision);
        }
    }

    /// Waits for something new.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// What is new since it was asked last.
    pub fn heard(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        if self.trust.has_changed().unwrap_or(false) {
            news.extend(self.trust.borrow_and_update().clone().map(News::Trust));
        }
        for server in &mut self.servers {
            if server.state.has_changed().unwrap_or(false) {
                let state = server.state.borrow_and_update().clone();
                news.extend(state.map(|state| News::Server(server.name.clone(), state)));
            }
            if server.trouble.has_changed().unwrap_or(false) {
                let trouble = server.trouble.borrow_and_update().clone();
                news.push(News::Link(server.name.clone(), trouble));
            }
        }
        news
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Runs `stream` over each channel, again and again.
async fn keep_up<S>(mut channels: watch::Receiver<Option<Channel>>, mut stream: impl FnMut(Channel) -> S)
where
    S: Future<Output = Ended>,
{
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let Some(channel) = channels.borrow_and_update().clone() else {
            match channels.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        tokio::select! {
            changed = channels.changed() => match changed {
                // A new identity: the stream of the old one ends with it.
                Ok(()) => { backoff.reset(); continue }
                Err(_) => return,
            },
            ended = stream(channel) => {
                if ended.lived {
                    backoff.reset();
                }
                let pause = backoff.next_wait().max(ended.pause);
                tokio::select! {
                    changed = channels.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// How a stream ended.
struct Ended {
    /// Something was heard on it.
    lived: bool,
    /// It is not tried again before.
    pause: Duration,
}

/// Follows the trust bundle.
struct Watching {
    channel: watch::Receiver<Option<Channel>>,
    trust: watch::Sender<Option<Arc<TrustBundle>>>,
    news: Arc<Notify>,
}

impl Watching {
    async fn run(self) {
        let channels = self.channel.clone();
        keep_up(channels, |channel| self.stream(channel)).await;
    }

    async fn stream(&self, channel: Channel) -> Ended {
        let mut lived = false;
        let known = self.trust.borrow().as_ref().map_or(0, |trust| trust.revision);
        let mut client = ClusterServiceClient::new(channel);
        let outcome: Result<(), Status> = async {
            let mut bundles = client.watch_trust(TrustRequest { revision: known }).await?.into_inner();
            while let Some(bundle) = bundles.message().await? {
                lived = true;
                let trust = match api::convert::trust(bundle) {
                    Ok(trust) => trust,
                    Err(error) => {
                        tracing::error!(%error, "the cluster sent a trust bundle that is none; it is not used");
                        continue;
                    }
                };
                tokio::time::sleep(between_zero_and(SPREAD)).await;
                self.trust.send_replace(Some(Arc::new(trust)));
                self.news.notify_one();
            }
            Ok(())
        }
        .await;
        if let Err(status) = outcome {
            tracing::debug!(%status, "news of trust are not followed for the moment");
        }
        Ended { lived, pause: Duration::ZERO }
    }
}

/// Speaks for an SSH server, and hears what it is to do.
struct Speaking {
    channel: watch::Receiver<Option<Channel>>,
    registration: watch::Receiver<Registration>,
    applied: watch::Receiver<i64>,
    state: watch::Sender<Option<Arc<SshServerState>>>,
    trouble: watch::Sender<Option<String>>,
    news: Arc<Notify>,
}

impl Speaking {
    async fn run(self) {
        let channels = self.channel.clone();
        keep_up(channels, |channel| self.stream(channel)).await;
    }

    async fn stream(&self, channel: Channel) -> Ended {
        let mut lived = false;
        let mut pause = Duration::ZERO;
        let mut registration = self.registration.clone();
        // There is no certificate yet, and so nothing that the cluster would hear of.
        let Ok(report) =
            registration.wait_for(|known| known.is_certified()).await.map(|known| known.report())
        else {
            return Ended { lived, pause };
        };
        let ended = self.speak(channel, report, &mut registration, &mut lived, &mut pause).await;
        if let Err(status) = ended {
            let problem = api::status::Problem::of(&status);
            if problem.class == api::status::Class::Denied {
                pause = REFUSED_PAUSE;
            }
            self.tell(Some(problem.to_string()));
        }
        Ended { lived, pause }
    }

    async fn speak(
        &self,
        channel: Channel,
        report: Say,
        registration: &mut watch::Receiver<Registration>,
        lived: &mut bool,
        pause: &mut Duration,
    ) -> Result<(), Status> {
        let (out, outgoing) = mpsc::channel(8);
        let say = async |what: Say| {
            let message = AgentMessage { message: Some(what) };
            out.send(message).await.map_err(|_| Status::unavailable("the stream has ended"))
        };
        say(report).await?;
        let mut client = InventoryServiceClient::new(channel);
        let mut applied = self.applied.clone();
        let mut incoming = client.connect_ssh_server(ReceiverStream::new(outgoing)).await?.into_inner();
        loop {
            let message = tokio::select! {
                message = tokio::time::timeout(SILENCE, incoming.message()) => message,
                changed = registration.changed() => {
                    changed.map_err(|_| Status::cancelled("the agent ends"))?;
                    let report = registration.borrow_and_update().report();
                    // Who is in no inventory has nothing more to say.
                    if let Say::Node(_) = report {
                        say(report).await?;
                    }
                    continue;
                }
                changed = applied.changed() => {
                    changed.map_err(|_| Status::cancelled("the agent ends"))?;
                    let revision = *applied.borrow_and_update();
                    say(Say::PolicyApplied(revision)).await?;
                    continue;
                }
            };
            let message = message.map_err(|_| Status::deadline_exceeded("the stream is silent"))??;
            let Some(message) = message else { return Err(Status::unavailable("the stream has ended")) };
            *lived = true;
            match message.message {
                Some(Said::SshServer(state)) => {
                    self.state.send_replace(Some(Arc::new(state)));
                    self.tell(None);
                    self.news.notify_one();
                }
                Some(Said::Ping(number)) => say(Say::Pong(number)).await?,
                Some(Said::GoAwayMs(within)) => {
                    *pause = between_zero_and(away(within));
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    fn tell(&self, trouble: Option<String>) {
        let changed = self.trouble.send_if_modified(|known| {
            let changed = *known != trouble;
            *known = trouble;
            changed
        });
        if changed {
            self.news.notify_one();
        }
    }
}

/// Within which time an agent that is sent away comes back: meanwhile it hears of no locks.
fn away(milliseconds: u32) -> Duration {
    Duration::from_millis(u64::from(milliseconds)).min(LONGEST_AWAY)
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_AWAY, away};
    use std::time::Duration;

    #[test]
    fn nobody_is_sent_away_for_long() {
        assert_eq!(away(1500), Duration::from_millis(1500));
        assert_eq!(away(u32::MAX), LONGEST_AWAY);
    }
}
