//! What the roles of an identity put into its certificates (fact sheet, sections 2.2 and 3.1).

use super::ssh;
use super::{Denial, DenialCode, RoleSet};
use crate::resource::role::RoleOptions;
use crate::template::Template;
use crate::{Login, Ttl};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a certificate carries beside names and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateOptions {
    /// `permit-agent-forwarding`
    pub agent_forwarding: bool,
    /// `permit-port-forwarding`; the node knows the directions.
    pub port_forwarding: bool,
    /// `permit-X11-forwarding`
    pub x11_forwarding: bool,
    /// Usable from the address it was issued to only.
    pub pin_source_ip: bool,
    /// Further extensions, name to value.
    pub extensions: BTreeMap<String, String>,
}

/// Lowers a requested life to what every role allows.
pub fn max_ttl(roles: &RoleSet, requested: Duration) -> Duration {
    let limits = roles.options().filter_map(|options| options.max_session_ttl?.limit());
    limits.fold(requested, Duration::min)
}

/// The principals of a certificate of this life.
///
/// Only roles that allow the life count. Denied logins stay in: the node refuses them. An empty set means that
/// the roles list no logins at all, by design; then the certificate must name nobody.
pub fn logins(roles: &RoleSet, ttl: Duration) -> Result<BTreeSet<Login>, Denial> {
    let long_enough =
        |options: &RoleOptions| options.max_session_ttl.and_then(Ttl::limit).is_none_or(|limit| limit >= ttl);
    let fitting: Vec<_> = roles.given().filter(|role| long_enough(&role.options)).collect();
    if fitting.is_empty() && roles.given().next().is_some() {
        return Err(Denial::new(
            DenialCode::TtlNotAllowed,
            format!("this user cannot request a certificate for {}", Ttl(ttl)),
        ));
    }
    let logins: BTreeSet<Login> = fitting.iter().flat_map(|role| role.allow.logins.iter().cloned()).collect();
    match logins.is_empty() && roles.given().any(|role| role.allow.lists_logins()) {
        true => Err(Denial::new(
            DenialCode::NoLogins,
            "this user cannot create SSH sessions, has no allowed logins",
        )),
        false => Ok(logins),
    }
}

/// The options of all roles together.
pub fn options(roles: &RoleSet) -> CertificateOptions {
    let all: Vec<&RoleOptions> = roles.options().collect();
    let any = |flag: fn(&RoleOptions) -> Option<bool>| all.iter().any(|options| flag(options) == Some(true));
    let local = ssh::forwarding(&all, |role| role.ssh_port_forwarding.as_ref()?.local);
    let remote = ssh::forwarding(&all, |role| role.ssh_port_forwarding.as_ref()?.remote);
    CertificateOptions {
        agent_forwarding: any(|role| role.forward_agent),
        port_forwarding: local || remote,
        x11_forwarding: any(|role| role.permit_x11_forwarding),
        pin_source_ip: any(|role| role.pin_source_ip),
        extensions: extensions(roles),
    }
}

/// All roles' extensions. Each value takes the first value of its template and is left out where there is none;
/// of two roles that set the same extension, the one whose name sorts first wins.
fn extensions(roles: &RoleSet) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for extension in roles.options().flat_map(|options| &options.cert_extensions) {
        let values = Template::new(&extension.value).ok().and_then(|value| value.fill(&roles.traits).ok());
        if let Some(value) = values.and_then(|values| values.into_iter().next()) {
            all.entry(extension.name.clone()).or_insert(value);
        }
    }
    all
}
