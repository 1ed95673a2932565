//! What the caller of an RPC may do with resources, by its roles as they are now.

use crate::caller::{Caller, User, Who};
use crate::catalog::{Catalog, Reads};
use crate::refusal;
use access::rbac::lock::LockSubject;
use access::rbac::{Denial, RoleSet, Verb, api as rules};
use access::resource::Metadata;
use api::status::{Class, Problem};

/// The power of a caller over resources.
pub(super) enum Rights {
    /// Root on the machine of the auth service may do everything.
    All,
    /// What these roles say.
    Roles(Box<RoleSet>),
}

/// Permission to see a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// With what is secret in it.
    Whole,
    /// Without that.
    Masked,
}

impl Rights {
    /// Of a caller, who must be a user that no lock hits, or the local administrator.
    pub async fn of(catalog: &Catalog, caller: &Caller) -> Result<Self, Problem> {
        let mut reads = Reads::new(catalog);
        loop {
            match Self::by(&mut reads, caller).await {
                Err(_) if reads.try_fresh() => {}
                decided => return decided,
            }
        }
    }

    /// The same as part of a decision: what is committed with these reads holds only while the rights do.
    pub async fn by(reads: &mut Reads<'_>, caller: &Caller) -> Result<Self, Problem> {
        match &caller.who {
            Who::LocalAdmin { .. } => Ok(Self::All),
            Who::User(user) => Ok(Self::Roles(Box::new(roles(reads, user).await?))),
            Who::Host(_) | Who::Stranger => {
                let reason = format!("{} has no roles that allow this", caller.name());
                Err(Problem::new(Class::Denied, "wrong_role", reason)
                    .hint("use the identity of a user or a bot"))
            }
        }
    }

    /// Refuses an action on a kind of resource that the roles do not allow for every one of them.
    pub fn check(&self, verb: Verb, kind: &str) -> Result<(), Problem> {
        self.may(verb, kind, None)
    }

    /// Refuses an action on one resource that the roles do not allow.
    pub fn may(&self, verb: Verb, kind: &str, resource: Option<&Metadata>) -> Result<(), Problem> {
        match self {
            Self::All => Ok(()),
            Self::Roles(roles) => {
                let permit = rules::check(roles, verb, kind, resource.map(Into::into));
                permit.map(drop).map_err(|denial: Denial| refusal::denied(&denial))
            }
        }
    }

    /// How much of one resource the roles allow to be seen.
    pub fn sight(&self, kind: &str, resource: &Metadata) -> Result<Sight, Problem> {
        match self {
            Self::All => Ok(Sight::Whole),
            Self::Roles(roles) => match rules::read(roles, kind, Some(resource.into())) {
                Ok(permit) if permit.with_secrets() => Ok(Sight::Whole),
                Ok(_) => Ok(Sight::Masked),
                Err(denial) => Err(refusal::denied(&denial)),
            },
        }
    }
}

/// A bot that is gone has no rights left, and neither have its outputs.
async fn roles(reads: &mut Reads<'_>, user: &User) -> Result<RoleSet, Problem> {
    let identity = &user.identity;
    let subject = LockSubject {
        user: Some(&identity.name),
        roles: &identity.roles,
        bot_instance_id: identity.bot.as_ref().map(|bot| bot.instance),
        ..LockSubject::default()
    };
    reads.refuse_locked(&subject).await?;
    if let Some(bot) = &identity.bot
        && reads.bot(&bot.name).await?.is_none()
    {
        let reason = format!("the bot {:?} does not exist any more", bot.name.as_str());
        return Err(Problem::new(Class::Denied, "bot_not_found", reason));
    }
    Ok(reads.roles_of(&identity.name, &identity.roles, &identity.traits).await?.set)
}
