//! What the caller of an RPC may do with resources, by its roles as they are now.

use crate::caller::{Caller, User, Who};
use crate::catalog::{Catalog, Reads};
use crate::refusal;
use access::rbac::lock::LockSubject;
use access::rbac::{RoleSet, Verb, api as rules};
use api::status::{Class, Problem};

/// The power of a caller over resources.
pub(super) enum Rights {
    /// Root on the machine of the auth service may do everything.
    All,
    /// What these roles say.
    Roles(Box<RoleSet>),
}

impl Rights {
    /// Of a caller, who must be a user that no lock hits, or the local administrator.
    pub async fn of(catalog: &Catalog, caller: &Caller) -> Result<Self, Problem> {
        let user = match &caller.who {
            Who::LocalAdmin { .. } => return Ok(Self::All),
            Who::User(user) => user,
            Who::Host(_) | Who::Stranger => {
                let reason = format!("{} has no roles that allow this", caller.name());
                return Err(Problem::new(Class::Denied, "wrong_role", reason)
                    .hint("use the identity of a user or a bot"));
            }
        };
        let mut reads = Reads::new(catalog);
        loop {
            match roles(&mut reads, user).await {
                Ok(roles) => return Ok(Self::Roles(Box::new(roles))),
                Err(problem) if !reads.try_fresh() => return Err(problem),
                Err(_) => {}
            }
        }
    }

    /// Refuses an action on a kind of resource that the roles do not allow.
    pub fn check(&self, verb: Verb, kind: &str) -> Result<(), Problem> {
        match self {
            Self::All => Ok(()),
            Self::Roles(roles) => {
                rules::check(roles, verb, kind, None).map(drop).map_err(|denial| refusal::denied(&denial))
            }
        }
    }
}

async fn roles(reads: &mut Reads<'_>, user: &User) -> Result<RoleSet, Problem> {
    let identity = &user.identity;
    let subject = LockSubject {
        user: Some(&identity.name),
        roles: &identity.roles,
        bot_instance_id: identity.bot.as_ref().map(|bot| bot.instance),
        ..LockSubject::default()
    };
    reads.refuse_locked(&subject).await?;
    Ok(reads.roles_of(&identity.name, &identity.roles, &identity.traits).await?.set)
}
