//! Who gets in: certificate, locks, roles. Pure; the rest of the crate carries it out.
//!
//! An [`Admission`] is the only way to a session, and [`decide`] the only way to an admission.

use std::net::IpAddr;

use access::rbac::lock::{self, LockSubject};
use access::rbac::ssh::{self, KeyExchange, SessionDefaults, SshPermit};
use access::rbac::{Denial, RoleSet};
use access::resource::Role;
use access::resource::cluster::LockingMode;
use access::{HostId, Labels, Login, UserName};
use identity::policy::Policy;
use identity::verify::ssh::{UserContext, VerifiedUser, holder, user as verify};
use identity::{Refusal, UserIdentity};
use jiff::Timestamp;
use transport::ssh::Negotiated;

/// What a decision is made on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) labels: &'a Labels,
    pub(crate) host: HostId,
    pub(crate) now: Timestamp,
    /// Whether locks are as new as strict locking wants them.
    pub(crate) locks_fresh: bool,
}

/// An attempt to log in with a certificate whose possession was proved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    /// The certificate, as on the wire.
    pub(crate) blob: &'a [u8],
    pub(crate) login: &'a str,
    pub(crate) peer: IpAddr,
    /// What protects the connection.
    pub(crate) negotiated: Negotiated,
}

/// Somebody who may come in, and how.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    user: VerifiedUser,
    permit: SshPermit,
    negotiated: Negotiated,
}

/// Somebody who may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Stable; the same in the client's error, the log and the audit event.
    pub(crate) code: &'static str,
    /// For the client, where it is told at all.
    pub(crate) reason: String,
    /// For administrators.
    pub(crate) rule: Option<String>,
    /// Who it was, where a certificate of ours says so.
    pub(crate) user: Option<UserName>,
    /// Whether a certificate of ours was proven. Everybody else can come with as many certificates as they like.
    pub(crate) known: bool,
    /// Whether the client proved to be one of ours and is told why.
    pub(crate) told: bool,
}

impl Admission {
    pub(crate) fn user(&self) -> &UserIdentity {
        self.user.user()
    }

    pub(crate) fn permit(&self) -> &SshPermit {
        &self.permit
    }

    /// What protects the connection.
    pub(crate) fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    /// When the connection must end, if it must.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.permit.deadline(self.user.valid_before())
    }

    /// Whether it still holds: locks and roles as they are now. The certificate is not asked again; its end is a matter
    /// of [`Self::deadline`].
    pub(crate) fn again(&self, view: &View<'_>) -> Result<Self, Refused> {
        let permit = permit(self.user.user(), self.permit.login(), self.negotiated, view)
            .map_err(|denial| Refused::by_rules(&denial, self.user.user()))?;
        Ok(Self { user: self.user.clone(), permit, negotiated: self.negotiated })
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
    pub(crate) fn words(&self) -> String {
        format!("{} ({})", self.reason, self.code)
    }
}

/// Decides over one attempt.
pub(crate) fn decide(attempt: Attempt<'_>, view: &View<'_>) -> Result<Admission, Refused> {
    let Attempt { blob, login, peer, negotiated } = attempt;
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
    let permit = permit(user.user(), &wanted, negotiated, view)
        .map_err(|denial| Refused::by_rules(&denial, user.user()))?;
    Ok(Admission { user, permit, negotiated })
}

fn permit(
    user: &UserIdentity,
    login: &Login,
    negotiated: Negotiated,
    view: &View<'_>,
) -> Result<SshPermit, Denial> {
    let Policy { roles, locks, auth_preference, networking, .. } = view.policy;
    let subject = LockSubject {
        user: Some(&user.name),
        roles: &user.roles,
        login: Some(login),
        server_id: Some(view.host),
        bot_instance_id: user.bot.as_ref().map(|bot| bot.instance),
    };
    if let Some(lock) = lock::in_force(locks, &subject, view.now) {
        return Err(lock.into());
    }
    let find = |name: &_| roles.iter().find(|role: &&Role| role.name == *name);
    let roles = RoleSet::resolve(&user.name, &user.roles, &user.traits, find)?;
    let defaults = SessionDefaults::new(auth_preference, networking);
    let key_exchange = match negotiated.is_post_quantum() {
        true => KeyExchange::PostQuantum,
        false => KeyExchange::Classical(negotiated.key_exchange.name()),
    };
    let request = ssh::Request { login: login.as_str(), labels: view.labels, key_exchange, defaults };
    let permit = ssh::check(&roles, &request)?;
    if permit.options().locking_mode() == LockingMode::Strict && !view.locks_fresh {
        return Err(Denial::locks_stale());
    }
    Ok(permit)
}
