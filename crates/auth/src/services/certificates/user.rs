//! A certificate for a user, by an administrator.

use super::certificate::{extra, logins, permits, pinned};
use super::{Plan, committed, unexpected_caller};
use crate::caller::{Caller, Who};
use crate::catalog::{Reads, RolesOf};
use crate::core::Core;
use crate::issuer::{self, Certificates};
use crate::lifetime;
use crate::metrics::Issued;
use crate::refusal;
use access::UserName;
use access::rbac::certificate;
use access::rbac::impersonate::{self, Requester};
use access::rbac::lock::LockSubject;
use access::resource::{Kind, User};
use api::status::{Class, Problem};
use api::v1;
use async_trait::async_trait;
use identity::key::PublicKey;
use identity::{Identity, Subject, UserIdentity};
use std::sync::Arc;
use store::Txn;

/// Signs for a user.
pub async fn sign(
    core: &Core,
    caller: &Caller,
    request: &v1::SignUserRequest,
) -> Result<v1::Credentials, Problem> {
    let name = UserName::new(request.user.as_str()).map_err(|error| refusal::invalid(error.to_string()))?;
    let key = issuer::public_key(&request.public_key)?;
    core.spend(&core.budgets.outputs, caller, 1).await?;
    let signing = Signing { core, caller, name: &name, key: &key, ttl_seconds: request.ttl_seconds };
    let certificates = committed(core, caller, &signing).await?;
    core.metrics.issued(Issued::User, 1);
    Ok(certificates.message())
}

struct Signing<'a> {
    core: &'a Core,
    caller: &'a Caller,
    name: &'a UserName,
    key: &'a PublicKey,
    ttl_seconds: u64,
}

#[async_trait]
impl Plan for Signing<'_> {
    type Made = Certificates;

    async fn plan(&self, reads: &mut Reads<'_>) -> Result<(Txn, Certificates), Problem> {
        let Self { core, name, .. } = *self;
        // Whoever may not sign for a user is told nothing of who exists, nor of what they are.
        let found = reads.user(name).await?;
        let user = match (&found, &self.caller.who) {
            (Some(user), _) => user,
            (None, Who::LocalAdmin { .. }) => return Err(refusal::not_found(Kind::User, name.as_str())),
            (None, _) => return Err(self.not_allowed(name)),
        };
        let roles =
            match (reads.roles_of(&user.name, &user.spec.roles, &user.spec.traits).await, &self.caller.who) {
                (Ok(roles), _) => roles,
                (Err(problem), Who::LocalAdmin { .. }) => return Err(problem),
                (Err(problem), _) if problem.class.is_transient() => return Err(problem),
                (Err(_), _) => return Err(self.not_allowed(name)),
            };
        self.allowed(reads, user, &roles).await?;
        if let Some(bot) = access::bot::bot_of(&user.metadata) {
            let reason =
                format!("user \"{name}\" is the bot \"{bot}\", which gets its certificates by joining");
            return Err(Problem::new(Class::Precondition, "user_is_bot", reason)
                .hint(format!("make it a token: tctl bots instances add {bot}")));
        }
        if user.spec.roles.is_empty() {
            let reason = format!("user \"{name}\" has no roles");
            return Err(Problem::new(Class::Precondition, "no_roles", reason)
                .hint(format!("give it some: tctl users update {name} --set-roles")));
        }
        let names = roles.set.names().to_vec();
        let subject = LockSubject { user: Some(&user.name), roles: &names, ..LockSubject::default() };
        reads.refuse_locked(&subject).await?;
        let default = reads.auth_preference().default_session_ttl;
        let lifetime = lifetime::of_user(self.ttl_seconds, default, &roles.set);
        core.note_shorter(self.caller, self.ttl_seconds, lifetime);
        let options = certificate::options(&roles.set);
        let logins = logins(&roles, lifetime)?;
        let identity = Identity {
            cluster: core.cluster.clone(),
            subject: Subject::User(Box::new(UserIdentity {
                name: user.name.clone(),
                bot: None,
                roles: names,
                traits: user.spec.traits.clone(),
                logins,
                permits: permits(&options),
                impersonator: self.impersonator(),
                renewable: false,
                disallow_reissue: false,
                login_ip: self.caller.ip(),
                pinned_ip: pinned(core, self.caller, self.source_pin(), &options)?,
            })),
        };
        let certificates = core.issuer.issue(&identity, self.key, lifetime, &extra(&options), core.now())?;
        Ok((Txn::new().event(core.issued(self.caller, &identity, &certificates)), certificates))
    }
}

impl Signing<'_> {
    /// The local administrator may sign for everybody; others for whom their roles let them impersonate.
    async fn allowed(&self, reads: &mut Reads<'_>, user: &User, roles: &RolesOf) -> Result<(), Problem> {
        let own = match &self.caller.who {
            Who::LocalAdmin { .. } => return Ok(()),
            Who::User(own) => &own.identity,
            Who::Host(_) | Who::Stranger => return Err(unexpected_caller()),
        };
        let held = reads.roles_of(&own.name, &own.roles, &own.traits).await?;
        let requester =
            Requester { disallow_reissue: own.disallow_reissue, impersonated: own.impersonator.is_some() };
        let requested: Vec<&access::resource::Role> = roles.roles.iter().map(Arc::as_ref).collect();
        impersonate::user(&held.set, requester, user, &requested)
            .map_err(|_| self.not_allowed(&user.name))?;
        Ok(())
    }

    fn not_allowed(&self, name: &UserName) -> Problem {
        let reason = format!("{} may not sign for user \"{name}\"", self.caller.name());
        Problem::new(Class::Denied, "impersonation_not_allowed", reason)
            .hint("run it on the auth host, or ask for a role that may impersonate this user")
    }

    fn impersonator(&self) -> Option<UserName> {
        match &self.caller.who {
            Who::User(own) => Some(own.identity.name.clone()),
            _ => None,
        }
    }

    fn source_pin(&self) -> Option<std::net::IpAddr> {
        match &self.caller.who {
            Who::User(own) => own.identity.pinned_ip,
            _ => None,
        }
    }
}
