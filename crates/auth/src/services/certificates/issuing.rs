//! A bot instance that gets something, and the roles by which it may.

use super::{Bearer, bot};
use crate::caller::Caller;
use crate::catalog::{Reads, RolesOf};
use crate::core::Core;
use crate::enrol::lineage::Mismatch;
use crate::refusal;
use access::RoleName;
use access::rbac::impersonate::{self, Requester};
use access::rbac::lock::LockSubject;
use access::resource::Bot;
use api::status::{Class, Problem};
use std::sync::Arc;
use std::time::Duration;
use store::{Expect, Txn};

/// An instance gets something on the strength of its bot's roles.
#[derive(Clone, Copy)]
pub struct Issuing<'a> {
    /// The service.
    pub core: &'a Core,
    /// The instance.
    pub caller: &'a Caller,
    /// What its certificate says.
    pub bearer: &'a Bearer<'a>,
}

impl Issuing<'_> {
    /// The bot, and the beginning of a transaction: an instance that is removed or renewed meanwhile gets nothing on the
    /// strength of what it was.
    pub async fn begin(&self, reads: &mut Reads<'_>) -> Result<(Arc<Bot>, Txn), Problem> {
        let (instance, revision) = self.bearer.instance(self.core).await?;
        if !instance.lineage.accepts(self.bearer.presented()) {
            let stored = instance.lineage.newest().number;
            return Err(bot::stale(Mismatch::Copied { stored, presented: self.bearer.bot.generation }));
        }
        let bot = self.bot(reads).await?;
        Ok((bot, Txn::new().expect(instance.key(), Expect::Revision(revision))))
    }

    /// The bot.
    pub async fn bot(&self, reads: &mut Reads<'_>) -> Result<Arc<Bot>, Problem> {
        bot::bot_of(reads, self.bearer).await
    }

    /// An identity that is not renewable has to show its proof again before it ends; what it got must not outlive that.
    pub fn within_own(&self, lifetime: Duration) -> Result<Duration, Problem> {
        if self.bearer.bot.renewable {
            return Ok(lifetime);
        }
        let left = self.bearer.user.expires.duration_since(self.core.now()).as_secs();
        match u64::try_from(left) {
            Ok(left) if left > 0 => Ok(lifetime.min(Duration::from_secs(left))),
            _ => {
                Err(Problem::new(Class::Denied, "certificate_expired", "the bot's own certificate has ended")
                    .hint("join again"))
            }
        }
    }

    /// The roles asked for, none of which is locked.
    pub async fn unlocked_roles(
        &self,
        reads: &mut Reads<'_>,
        bot: &Bot,
        requested: &[String],
    ) -> Result<RolesOf, Problem> {
        let roles = self.roles(reads, bot, requested).await?;
        reads.refuse_locked(&LockSubject { roles: roles.set.names(), ..LockSubject::default() }).await?;
        Ok(roles)
    }

    /// The roles asked for, or all of the bot's, if the bot's own role lets it have them.
    pub async fn roles(
        &self,
        reads: &mut Reads<'_>,
        bot: &Bot,
        requested: &[String],
    ) -> Result<RolesOf, Problem> {
        let user = access::bot::user_of(bot);
        let held = reads.roles_of(&user.name, &user.spec.roles, &user.spec.traits).await?;
        let names: Vec<RoleName> = match requested {
            [] => impersonate::requestable(&held.set).into_iter().collect(),
            some => some
                .iter()
                .map(|name| RoleName::new(name.as_str()).map_err(|error| refusal::invalid(error.to_string())))
                .collect::<Result<_, _>>()?,
        };
        if names.len() > 100 {
            return Err(refusal::invalid("more than 100 roles cannot be asked for at once"));
        }
        let roles = reads.roles_of(&user.name, &names, &user.spec.traits).await?;
        let own = &self.bearer.user.identity;
        let requester =
            Requester { disallow_reissue: own.disallow_reissue, impersonated: own.impersonator.is_some() };
        let requested: Vec<&access::resource::Role> = roles.roles.iter().map(Arc::as_ref).collect();
        impersonate::roles(&held.set, requester, &requested).map_err(|denial| refusal::denied(&denial))?;
        Ok(roles)
    }
}
