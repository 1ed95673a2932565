//! Outputs of a bot: certificates with the roles it may ask for, which can be exchanged for nothing.

use super::{Bearer, Plan, bot, committed};
use crate::caller::Caller;
use crate::catalog::{Reads, RolesOf};
use crate::core::Core;
use crate::enrol::lineage::Mismatch;
use crate::issuer::{self, Certificates};
use crate::lifetime;
use crate::metrics::Issued;
use crate::refusal;
use access::rbac::DenialCode;
use access::rbac::certificate::{self, CertificateOptions};
use access::rbac::impersonate::{self, Requester};
use access::rbac::lock::LockSubject;
use access::resource::Bot;
use access::{Login, RoleName};
use api::status::{Class, Problem};
use api::v1::{Credentials, OutputRequest};
use async_trait::async_trait;
use ca::Extra;
use identity::{BotIdentity, Identity, Permits, Subject, UserIdentity};
use std::sync::Arc;
use std::time::Duration;
use store::{Expect, Txn};

/// The most outputs in one call.
const MOST: usize = 32;

/// One certificate for each request, all or none.
pub async fn issue(
    core: &Core,
    caller: &Caller,
    requests: &[OutputRequest],
) -> Result<Vec<Credentials>, Problem> {
    if requests.is_empty() || requests.len() > MOST {
        return Err(refusal::invalid(format!("1 to {MOST} outputs can be asked for at once")));
    }
    let bearer = Bearer::of(caller)?;
    let issuing = Issuing { core, caller, bearer: &bearer };
    let certificates = committed(core, caller, &Outputs { issuing, requests }).await?;
    core.metrics.issued(Issued::Output, certificates.len() as u64);
    Ok(certificates.iter().map(Certificates::message).collect())
}

struct Outputs<'a> {
    issuing: Issuing<'a>,
    requests: &'a [OutputRequest],
}

#[async_trait]
impl Plan for Outputs<'_> {
    type Made = Vec<Certificates>;

    async fn plan(&self, reads: &mut Reads<'_>) -> Result<(Txn, Vec<Certificates>), Problem> {
        let issuing = &self.issuing;
        let (bot, mut txn) = issuing.begin(reads).await?;
        let mut all = Vec::with_capacity(self.requests.len());
        for request in self.requests {
            let (identity, certificates) = issuing.output(reads, &bot, request).await?;
            txn = txn.event(issuing.core.issued(issuing.caller, &identity, &certificates));
            all.push(certificates);
        }
        Ok((txn, all))
    }
}

/// An instance gets something on the strength of its bot's roles.
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

    async fn output(
        &self,
        reads: &mut Reads<'_>,
        bot: &Bot,
        request: &OutputRequest,
    ) -> Result<(Identity, Certificates), Problem> {
        let core = self.core;
        let key = issuer::public_key(&request.public_key)?;
        let roles = self.unlocked_roles(reads, bot, &request.roles).await?;
        let names = roles.set.names().to_vec();
        let lifetime = lifetime::of_output(request.ttl_seconds, &roles.set);
        let lifetime = self.within_own(lifetime)?;
        core.note_shorter(self.caller, request.ttl_seconds, lifetime);
        let options = certificate::options(&roles.set);
        let logins = logins(&roles, lifetime)?;
        let identity = self.identity(bot, names, logins, &options)?;
        let extra = extra(&options);
        let certificates = core.issuer.issue(&identity, &key, lifetime, &extra, core.now())?;
        Ok((identity, certificates))
    }

    /// An identity that is not renewable has to show its proof again before it ends; what it got must not outlive that.
    pub(super) fn within_own(&self, lifetime: Duration) -> Result<Duration, Problem> {
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

    fn identity(
        &self,
        bot: &Bot,
        roles: Vec<RoleName>,
        logins: Vec<Login>,
        options: &CertificateOptions,
    ) -> Result<Identity, Problem> {
        let user = access::bot::user_of(bot);
        let own = self.bearer.bot;
        let join_token = own.join_token.map(str::to_owned);
        let copy =
            BotIdentity { name: bot.name.clone(), instance: own.instance, generation: None, join_token };
        Ok(Identity {
            cluster: self.core.cluster.clone(),
            subject: Subject::User(Box::new(UserIdentity {
                impersonator: Some(user.name.clone()),
                name: user.name,
                bot: Some(copy),
                roles,
                traits: user.spec.traits,
                logins,
                permits: permits(options),
                renewable: false,
                disallow_reissue: true,
                login_ip: self.caller.ip(),
                pinned_ip: pinned(self.core, self.caller, self.bearer.user.identity.pinned_ip, options)?,
            })),
        })
    }
}

/// The address that a certificate is bound to: that of its source, or the caller's where a role wants it.
pub fn pinned(
    core: &Core,
    caller: &Caller,
    source: Option<std::net::IpAddr>,
    options: &CertificateOptions,
) -> Result<Option<std::net::IpAddr>, Problem> {
    if source.is_some() || !options.pin_source_ip {
        return Ok(source);
    }
    match caller.ip() {
        Some(ip) if !core.presence.is_proxy(ip) => Ok(Some(ip)),
        _ => Err(Problem::new(
            Class::Precondition,
            "address_unknown",
            "a role binds certificates to the caller's address, which auth cannot see on this way",
        )
        .hint("connect to the auth service itself, not through a proxy")),
    }
}

/// The principals. Logins that no certificate may name are left out, like those that are no account names: one odd entry
/// of a role must not cost its bearers the others. Where none is left, the certificate would be for nobody.
pub fn logins(roles: &RolesOf, lifetime: Duration) -> Result<Vec<Login>, Problem> {
    let logins = certificate::logins(&roles.set, lifetime).map_err(|denial| refusal::denied(&denial))?;
    let (plain, odd): (Vec<Login>, Vec<Login>) =
        logins.into_iter().partition(|login| !login.as_str().contains(|c: char| c.is_ascii_uppercase()));
    let user = roles.set.user();
    match (plain.is_empty(), odd.first()) {
        (_, None) => Ok(plain),
        (false, Some(_)) => {
            tracing::warn!(%user, logins = ?odd, "logins with upper-case letters are left out");
            Ok(plain)
        }
        (true, Some(first)) => {
            let reason = format!(
                "the roles of user \"{user}\" allow no login that a certificate may name: \"{first}\" has upper-case letters"
            );
            Err(Problem::new(Class::Denied, DenialCode::NoLogins.as_str(), reason)
                .hint("an administrator writes the login in lower case in allow.logins, or in the traits that fill it"))
        }
    }
}

/// What OpenSSH servers may allow.
pub fn permits(options: &CertificateOptions) -> Permits {
    Permits {
        pty: true,
        port_forwarding: options.port_forwarding,
        agent_forwarding: options.agent_forwarding,
        x11_forwarding: options.x11_forwarding,
    }
}

/// Further extensions.
pub fn extra(options: &CertificateOptions) -> Vec<Extra> {
    let all = options.extensions.iter();
    all.map(|(name, value)| Extra { name: name.clone(), value: value.clone() }).collect()
}
