//! How a connection's keys must have been agreed on.
//!
//! Whoever records a connection today can read it once a quantum computer breaks the curve it was agreed on with. Where
//! the cluster or any role of the holder wants to be safe from that, logins over such connections are refused.

use super::SessionDefaults;
use crate::RoleName;
use crate::rbac::{Denial, DenialCode, RoleSet};
use std::fmt;

/// The key exchange of the connection that an attempt comes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyExchange<'a> {
    /// One that a quantum computer does not break either.
    PostQuantum,
    /// Any other, by its name.
    Classical(&'a str),
}

/// Who wants a post-quantum key exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequiredBy {
    /// `cluster_auth_preference`
    Cluster,
    /// This role, and perhaps more of them.
    Role(RoleName),
}

impl fmt::Display for RequiredBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster_auth_preference: require_post_quantum"),
            Self::Role(role) => write!(f, "role {:?}: {OPTION}", role.as_str()),
        }
    }
}

const OPTION: &str = "options.require_post_quantum";

/// Whether connections of the holder need a post-quantum key exchange, and who says so. A role that says nothing, or no,
/// takes nothing away from what another one or the cluster demands.
pub fn post_quantum_required(roles: &RoleSet, defaults: SessionDefaults) -> Option<RequiredBy> {
    if defaults.require_post_quantum {
        return Some(RequiredBy::Cluster);
    }
    let mut given = roles.given();
    let strict = given.find(|role| role.options.require_post_quantum == Some(true))?;
    Some(RequiredBy::Role(strict.name.clone()))
}

/// Decides over the connection alone; [`super::check`] asks this too. For those who let somebody in without a login.
pub fn check_key_exchange(
    roles: &RoleSet,
    exchange: KeyExchange<'_>,
    defaults: SessionDefaults,
) -> Result<(), Denial> {
    let KeyExchange::Classical(name) = exchange else {
        return Ok(());
    };
    let (whose, role) = match post_quantum_required(roles, defaults) {
        None => return Ok(()),
        Some(RequiredBy::Cluster) => ("this cluster requires", None),
        Some(RequiredBy::Role(role)) => ("a role of yours requires", Some(role)),
    };
    let reason = format!("{whose} a post-quantum key exchange, and this connection uses {name}");
    let denial = Denial::new(DenialCode::PostQuantumRequired, reason);
    Err(match role {
        Some(role) => denial.because(&role, OPTION),
        None => denial,
    })
}
