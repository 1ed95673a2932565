//! Which identities a workload may have: `spiffe` of roles. Nothing is allowed unless a rule says so, and one rule has to
//! allow all of it; a refusal of any role comes first.

use super::{Denial, DenialCode, RoleSet};
use crate::RoleName;
use crate::label::Pattern;
use crate::resource::role::SpiffeRule;
use crate::spiffe::{DnsName, Network, SpiffePath};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The path of the SPIFFE ID.
    pub path: SpiffePath,
    /// Names beside it; none in a JWT-SVID.
    pub dns: BTreeSet<DnsName>,
    /// Addresses beside it; none in a JWT-SVID.
    pub addresses: BTreeSet<IpAddr>,
}

/// The permission to be issued SVIDs of one SPIFFE ID. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvidPermit {
    wish: Wish,
    granted_by: RoleName,
}

impl SvidPermit {
    /// The path of the SPIFFE ID.
    pub fn path(&self) -> &SpiffePath {
        &self.wish.path
    }

    /// Names beside it.
    pub fn dns(&self) -> &BTreeSet<DnsName> {
        &self.wish.dns
    }

    /// Addresses beside it.
    pub fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.wish.addresses
    }

    /// The role that grants it.
    pub fn granted_by(&self) -> &RoleName {
        &self.granted_by
    }
}

/// Decides whether a holder of these roles may have SVIDs for a workload.
pub fn check(roles: &RoleSet, wish: Wish) -> Result<SvidPermit, Denial> {
    let refusal = |code| Denial::new(code, reason(&wish));
    if roles.names.is_empty() {
        return Err(Denial::new(DenialCode::NoRoles, "no roles were given"));
    }
    let denying = roles.roles.iter().find(|role| role.deny.spiffe.iter().any(|rule| rule.denies(&wish)));
    if let Some(role) = denying {
        return Err(refusal(DenialCode::SpiffeDenied).because(&role.name, "deny.spiffe"));
    }
    let allowing = roles.roles.iter().find(|role| role.allow.spiffe.iter().any(|rule| rule.allows(&wish)));
    match allowing.map(|role| role.name.clone()) {
        Some(granted_by) => Ok(SvidPermit { wish, granted_by }),
        None => Err(refusal(DenialCode::SpiffeNotAllowed)),
    }
}

fn reason(wish: &Wish) -> String {
    let mut names: Vec<String> = wish.dns.iter().map(|name| format!("DNS:{name}")).collect();
    names.extend(wish.addresses.iter().map(|address| format!("IP:{address}")));
    match names.is_empty() {
        true => format!("the SPIFFE ID with path {} is not allowed", wish.path),
        false => format!("the SPIFFE ID with path {} and {} is not allowed", wish.path, names.join(", ")),
    }
}

/// One rule, parsed.
#[derive(Debug, Clone)]
pub(super) struct CompiledSpiffe {
    path: Option<Pattern>,
    dns: Vec<Pattern>,
    /// The regular expressions among them, with capitals for small letters too.
    in_any_case: Vec<Pattern>,
    networks: Vec<Network>,
    /// Something in it cannot be understood.
    broken: bool,
}

impl CompiledSpiffe {
    pub fn compile(written: &SpiffeRule) -> Self {
        let dns: Vec<_> = written.dns_sans.iter().map(|text| dns_pattern(text)).collect();
        let in_any_case: Vec<_> = written.dns_sans.iter().filter_map(|text| in_any_case(text)).collect();
        let networks: Vec<_> = written.ip_sans.iter().map(|text| text.parse()).collect();
        let path = Pattern::new(&written.path).ok();
        let lacks = |patterns: &[Option<Pattern>]| patterns.iter().any(Option::is_none);
        let broken =
            path.is_none() || lacks(&dns) || lacks(&in_any_case) || networks.iter().any(Result::is_err);
        Self {
            path,
            dns: dns.into_iter().flatten().collect(),
            in_any_case: in_any_case.into_iter().flatten().collect(),
            networks: networks.into_iter().flatten().collect(),
            broken,
        }
    }

    fn fits(&self, path: &SpiffePath) -> bool {
        self.path.as_ref().is_some_and(|pattern| pattern.fits(path.as_str()))
    }

    fn has(&self, name: &DnsName) -> bool {
        self.dns.iter().any(|pattern| pattern.fits(name.as_str()))
    }

    /// Names have no case: nothing that a refusal says in capitals may escape it.
    fn has_in_any_case(&self, name: &DnsName) -> bool {
        self.has(name) || self.in_any_case.iter().any(|pattern| pattern.fits(name.as_str()))
    }

    fn holds(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Path and every name and address.
    fn allows(&self, wish: &Wish) -> bool {
        !self.broken
            && self.fits(&wish.path)
            && wish.dns.iter().all(|name| self.has(name))
            && wish.addresses.iter().all(|address| self.holds(*address))
    }

    /// The path; where the rule lists names or addresses, with any one of them.
    fn denies(&self, wish: &Wish) -> bool {
        let everything = self.dns.is_empty() && self.networks.is_empty();
        self.broken
            || self.fits(&wish.path)
                && (everything
                    || wish.dns.iter().any(|name| self.has_in_any_case(name))
                    || wish.addresses.iter().any(|address| self.holds(*address)))
    }
}

/// Names are compared in lower case; a regular expression is left as it is, whose classes have capitals.
fn dns_pattern(text: &str) -> Option<Pattern> {
    let lower = text.to_ascii_lowercase();
    Pattern::new(if is_expression(text) { text } else { &lower }).ok()
}

/// A regular expression once more; absent for everything else, and without a pattern when it cannot be understood.
fn in_any_case(text: &str) -> Option<Option<Pattern>> {
    let rest = text.strip_prefix('^').filter(|_| is_expression(text))?;
    Some(Pattern::new(&format!("^(?i){rest}")).ok())
}

fn is_expression(text: &str) -> bool {
    text.starts_with('^') && text.ends_with('$')
}
