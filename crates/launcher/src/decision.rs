//! Who gets in, and what may then run: certificate, locks, roles. Pure; others carry it out. The node asks, too, for what it
//! has to know itself (options, limits, the words of a refusal); only what the launcher decides has force.
//!
//! An [`Admission`] is the only way to a session, and [`decide`] the only way to an admission.

use std::net::IpAddr;

use access::rbac::lock::{self, LockSubject};
use access::rbac::ssh::{self as rules, SessionDefaults, SshPermit};
use access::rbac::{Denial, RoleSet};
use access::resource::Role;
use access::resource::cluster::LockingMode;
use access::{HostId, Labels, Login, UserName};
use exec::{Launch, SessionRequest};
use identity::policy::Policy;
use identity::verify::ssh::{UserContext, VerifiedUser, holder, user as verify};
use identity::{Refusal, UserIdentity};
use jiff::Timestamp;
use ssh::algorithms::KeyExchange;

/// What a decision is made on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Roles, locks, trust.
    pub policy: &'a Policy,
    /// Of this node.
    pub labels: &'a Labels,
    /// This node.
    pub host: HostId,
    /// The time.
    pub now: Timestamp,
    /// Whether locks are as new as strict locking wants them.
    pub locks_fresh: bool,
}

/// An attempt to log in with a certificate whose possession was proved.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The certificate, as on the wire.
    pub blob: &'a [u8],
    /// The account that is wanted.
    pub login: &'a str,
    /// Where it comes from.
    pub peer: IpAddr,
    /// How the connection's keys were agreed on.
    pub key_exchange: KeyExchange,
}

/// Somebody who may come in, and how.
#[derive(Debug, Clone)]
pub struct Admission {
    user: VerifiedUser,
    permit: SshPermit,
    key_exchange: KeyExchange,
}

/// Somebody who may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Stable; the same in the client's error, the log and the audit event.
    pub code: &'static str,
    /// For the client, where it is told at all.
    pub reason: String,
    /// For administrators.
    pub rule: Option<String>,
    /// Who it was, where a certificate of ours says so.
    pub user: Option<UserName>,
    /// Whether a certificate of ours was proven. Everybody else can come with as many certificates as they like.
    pub known: bool,
    /// Whether the client proved to be one of ours and is told why.
    pub told: bool,
}

impl Admission {
    /// Who it is.
    pub fn user(&self) -> &UserIdentity {
        self.user.user()
    }

    /// As whom, and how.
    pub fn permit(&self) -> &SshPermit {
        &self.permit
    }

    /// When the connection must end, if it must.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.permit.deadline(self.user.valid_before())
    }

    /// Whether it still holds: locks and roles as they are now. The certificate is not asked again; its end is a matter
    /// of [`Self::deadline`].
    pub fn again(&self, view: &View<'_>) -> Result<Self, Refused> {
        let permit = permit(self.user.user(), self.permit.login(), self.key_exchange, view)
            .map_err(|denial| Refused::by_rules(&denial, self.user.user()))?;
        Ok(Self { user: self.user.clone(), permit, key_exchange: self.key_exchange })
    }
}

/// What the node's own configuration allows; roles decide within this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Whether SFTP is possible.
    pub file_copy: bool,
    /// Whether ports can be forwarded.
    pub port_forwarding: bool,
}

impl Admission {
    /// Whether something may run for whoever was admitted: under the login of the permit, and of a kind that node, roles and
    /// certificate allow.
    pub fn covers(&self, request: &SessionRequest, allowed: Allowed) -> Result<(), Refused> {
        let (options, permits) = (self.permit.options(), self.user().permits);
        if request.login != self.permit.login().as_str() {
            return Err(self.forbidden("other_login", "the session is for another login than was admitted"));
        }
        if request.pty.is_some() && !permits.pty {
            return Err(self.forbidden("pty_not_allowed", "the certificate allows no terminal"));
        }
        let forwards = allowed.port_forwarding
            && permits.port_forwarding
            && (options.local_forwarding() || options.remote_forwarding());
        let agent = permits.agent_forwarding && options.agent_forwarding();
        let display = permits.x11_forwarding && options.x11_forwarding();
        match request.launch {
            Launch::Sftp if !(allowed.file_copy && options.file_copy()) => {
                Err(self.forbidden("file_copy_not_allowed", "file transfer is not allowed here"))
            }
            Launch::Sockets if !(forwards || agent || display) => {
                Err(self.forbidden("forwarding_not_allowed", "nothing may be forwarded here"))
            }
            Launch::LoginShell | Launch::Command(_) | Launch::Sftp | Launch::Sockets => Ok(()),
        }
    }

    /// Whether there is still time for something new. The end of the certificate ends a connection only where roles say so,
    /// and what is open may go on to start sessions then.
    pub fn in_time(&self, now: Timestamp) -> Result<(), Refused> {
        match self.deadline() {
            Some(end) if end <= now => {
                let reason = format!("the client certificate expired at {end}; connect again");
                Err(self.forbidden("certificate_expired", &reason))
            }
            _ => Ok(()),
        }
    }

    fn forbidden(&self, code: &'static str, reason: &str) -> Refused {
        let user = Some(self.user().name.clone());
        Refused { code, reason: reason.to_owned(), rule: None, user, known: true, told: true }
    }
}

impl Refused {
    fn by_verifier(refusal: &Refusal, user: Option<UserName>) -> Self {
        // Past this point the certificate is ours, and its holder may know what is wrong with it. The end of one does
        // not count: clients keep old certificates beside new ones, and the next one offered may be good.
        let told = matches!(refusal, Refusal::LoginNotInCertificate(_) | Refusal::WrongSourceAddress { .. });
        let known = told || user.is_some();
        Self { code: refusal.code(), reason: refusal.to_string(), rule: None, user, known, told }
    }

    fn by_rules(denial: &Denial, user: &UserIdentity) -> Self {
        Self {
            code: denial.code.as_str(),
            reason: format!("{}; {}", denial.reason, denial.hint()),
            rule: denial.rule.as_ref().map(ToString::to_string),
            user: Some(user.name.clone()),
            known: true,
            told: true,
        }
    }

    /// As it appears to the client.
    pub fn words(&self) -> String {
        format!("{} ({})", self.reason, self.code)
    }
}

/// Decides over one attempt.
pub fn decide(attempt: Attempt<'_>, view: &View<'_>) -> Result<Admission, Refused> {
    let Attempt { blob, login, peer, key_exchange } = attempt;
    let wanted = Login::new(login).map_err(|error| Refused {
        code: "bad_login",
        reason: error.to_string(),
        rule: None,
        user: None,
        known: false,
        told: false,
    })?;
    let context =
        UserContext { trust: &view.policy.trust, now: view.now, peer: Some(peer), login: Some(&wanted) };
    let user = verify(blob, &context)
        .map_err(|refusal| Refused::by_verifier(&refusal, holder(blob, context.trust)))?;
    let permit = permit(user.user(), &wanted, key_exchange, view)
        .map_err(|denial| Refused::by_rules(&denial, user.user()))?;
    Ok(Admission { user, permit, key_exchange })
}

fn permit(
    user: &UserIdentity,
    login: &Login,
    key_exchange: KeyExchange,
    view: &View<'_>,
) -> Result<SshPermit, Denial> {
    let Policy { roles, locks, auth_preference, networking, .. } = view.policy;
    let subject = LockSubject {
        user: Some(&user.name),
        roles: &user.roles,
        login: Some(login),
        server_id: Some(view.host),
        bot_instance_id: user.bot.as_ref().map(|bot| bot.instance),
        join_token: user.bot.as_ref().and_then(|bot| bot.join_token.as_deref()),
    };
    if let Some(lock) = lock::in_force(locks, &subject, view.now) {
        return Err(lock.into());
    }
    let find = |name: &_| roles.iter().find(|role: &&Role| role.name == *name);
    let roles = RoleSet::resolve(&user.name, &user.roles, &user.traits, find)?;
    let defaults = SessionDefaults::new(auth_preference, networking);
    let key_exchange = match key_exchange.is_post_quantum() {
        true => rules::KeyExchange::PostQuantum,
        false => rules::KeyExchange::Classical(key_exchange.name()),
    };
    let request = rules::Request { login: login.as_str(), labels: view.labels, key_exchange, defaults };
    let permit = rules::check(&roles, &request)?;
    if permit.options().locking_mode() == LockingMode::Strict && !view.locks_fresh {
        return Err(Denial::locks_stale());
    }
    Ok(permit)
}
