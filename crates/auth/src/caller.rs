//! Who calls, in the words of the services.

use crate::audit::{Event, UserKind};
use crate::pacing::Spender;
use access::rbac::lock::LockSubject;
use access::{BotName, HostId, InstanceId, SystemRole};
use api::status::Problem;
use identity::key::PublicKey;
use identity::{HostIdentity, Member, Subject, UserIdentity};
use jiff::Timestamp;
use std::net::{IpAddr, SocketAddr};
use transport::{Peer, PeerIdentity};

/// The other end of a call.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub who: Who,
    /// Where it comes from; absent on the local socket. Behind a proxy this is the proxy's address.
    pub addr: Option<SocketAddr>,
}

/// What is known of a caller.
#[derive(Debug, Clone)]
pub enum Who {
    /// It showed no certificate.
    Stranger,
    /// Root or the service's own user, on this machine.
    LocalAdmin {
        /// Its user id.
        uid: u32,
    },
    /// A person, a bot or a bot's output.
    User(Box<User>),
    /// A host.
    Host(Box<Host>),
}

/// A user whose certificate was verified.
#[derive(Debug, Clone)]
pub struct User {
    /// Who it is.
    pub identity: UserIdentity,
    /// Its key.
    pub key: PublicKey,
    /// When its certificate ends.
    pub expires: Timestamp,
}

/// A host whose certificate was verified.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// What it does.
    pub role: SystemRole,
    /// Its names.
    pub names: Vec<String>,
    /// Its key.
    pub key: PublicKey,
}

/// The own identity of an instance of a bot.
#[derive(Debug, Clone, Copy)]
pub struct OwnBot<'a> {
    /// The bot.
    pub name: &'a BotName,
    /// The copy.
    pub instance: InstanceId,
    /// The generation.
    pub generation: u64,
    /// Whether it renews by this certificate alone, without joining again.
    pub renewable: bool,
    /// The token that it joined with, where that one's name is no secret.
    pub join_token: Option<&'a str>,
}

impl User {
    /// The instance behind it, if this is its own identity and not one of its outputs.
    pub fn own_bot(&self) -> Option<OwnBot<'_>> {
        let UserIdentity { bot, renewable, disallow_reissue, impersonator, .. } = &self.identity;
        let bot = bot.as_ref()?;
        // Outputs are impersonated, may not be reissued, and have no generation.
        let own = !*disallow_reissue && impersonator.is_none();
        let generation = bot.generation.filter(|_| own)?;
        let join_token = bot.join_token.as_deref();
        Some(OwnBot {
            name: &bot.name,
            instance: bot.instance,
            generation,
            renewable: *renewable,
            join_token,
        })
    }
}

impl Caller {
    /// From what transport found out.
    pub fn of(peer: &Peer) -> Self {
        let who = match &peer.identity {
            PeerIdentity::Stranger => Who::Stranger,
            PeerIdentity::LocalAdmin { uid } => Who::LocalAdmin { uid: *uid },
            PeerIdentity::Verified(verified) => match &verified.identity().subject {
                Subject::User(user) => Who::User(Box::new(User {
                    identity: UserIdentity::clone(user),
                    key: verified.key().clone(),
                    expires: verified.valid_before(),
                })),
                Subject::Host(HostIdentity { id, role, names }) => Who::Host(Box::new(Host {
                    id: *id,
                    role: *role,
                    names: names.clone(),
                    key: verified.key().clone(),
                })),
            },
        };
        Self { who, addr: peer.addr }
    }

    /// The caller of a request. Requests that did not come through the server have none, and get nothing.
    pub fn of_request<T>(request: &tonic::Request<T>) -> Result<Self, Problem> {
        request.extensions().get::<Caller>().cloned().ok_or_else(|| {
            crate::refusal::internal("a call came in without its caller", "no Caller in the request")
        })
    }

    /// The address without its port.
    pub fn ip(&self) -> Option<IpAddr> {
        self.addr.map(|addr| addr.ip().to_canonical())
    }

    /// Whom it is counted as; strangers are counted by where they come from.
    pub fn spender(&self) -> Option<Spender> {
        match &self.who {
            Who::Stranger => None,
            Who::LocalAdmin { uid } => Some(Spender::LocalAdmin(*uid)),
            Who::User(user) => Some(Spender::Member(user.identity.member())),
            Who::Host(host) => Some(Spender::Member(Member::Host(host.id))),
        }
    }

    /// What locks may hit.
    pub fn lock_subject(&self) -> LockSubject<'_> {
        match &self.who {
            Who::Stranger | Who::LocalAdmin { .. } => LockSubject::default(),
            Who::User(user) => LockSubject {
                user: Some(&user.identity.name),
                roles: &user.identity.roles,
                bot_instance_id: user.identity.bot.as_ref().map(|bot| bot.instance),
                join_token: user.identity.bot.as_ref().and_then(|bot| bot.join_token.as_deref()),
                ..LockSubject::default()
            },
            Who::Host(host) => LockSubject { server_id: Some(host.id), ..LockSubject::default() },
        }
    }

    /// The name in audit events and messages.
    pub fn name(&self) -> String {
        match &self.who {
            Who::Stranger => "unknown".to_owned(),
            Who::LocalAdmin { uid } => format!("local-admin(uid={uid})"),
            Who::User(user) => user.identity.name.to_string(),
            Who::Host(host) => format!("{}/{}", host.role.as_str().to_ascii_lowercase(), host.id),
        }
    }

    /// Puts the caller's address into an event.
    pub fn locate(&self, event: Event) -> Event {
        match self.addr {
            Some(addr) => event.remote(addr),
            None => event,
        }
    }

    /// Puts the caller into an event.
    pub fn describe(&self, event: Event) -> Event {
        let event = self.locate(event);
        let kind = match &self.who {
            Who::User(user) if user.identity.bot.is_some() => UserKind::Bot,
            Who::User(_) | Who::LocalAdmin { .. } | Who::Stranger => UserKind::Human,
            Who::Host(_) => UserKind::Bot,
        };
        event.user(&self.name(), kind)
    }
}
