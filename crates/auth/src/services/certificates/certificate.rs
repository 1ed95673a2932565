//! Certificates of an output: with the roles that the bot may ask for, and exchanged for nothing.

use super::issuing::Issuing;
use super::outputs::Decided;
use crate::caller::Caller;
use crate::catalog::{Reads, RolesOf};
use crate::core::Core;
use crate::issuer;
use crate::lifetime;
use crate::metrics::Issued;
use crate::refusal;
use access::rbac::DenialCode;
use access::rbac::certificate::{self, CertificateOptions};
use access::resource::Bot;
use access::{Login, RoleName};
use api::status::{Class, Problem};
use api::v1::CertificateRequest;
use api::v1::output_answer::Answer;
use ca::Extra;
use identity::{BotIdentity, Identity, Permits, Subject, UserIdentity};
use std::time::Duration;

impl Issuing<'_> {
    /// Decides about them, and makes them.
    pub async fn certificate(
        &self,
        reads: &mut Reads<'_>,
        bot: &Bot,
        request: &CertificateRequest,
    ) -> Result<Decided, Problem> {
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
        Ok(Decided {
            event: core.issued(self.caller, &identity, &certificates),
            answer: Answer::Certificate(certificates.message()),
            counted: Issued::Output,
        })
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
