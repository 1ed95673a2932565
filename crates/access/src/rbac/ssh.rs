//! Who may log in where (fact sheet, section 2.4), and how the session behaves (section 2.2).
//!
//! Deny first: a role whose deny labels fit the node refuses it, a role that denies the login refuses it on
//! every node. Then one role must both reach the node and list the login; two roles never add up to that. At last the
//! connection must be one that the roles and the cluster accept.

mod explain;
mod key_exchange;
mod options;

pub use explain::{Explanation, Step, explain};
pub use key_exchange::{KeyExchange, RequiredBy, check_key_exchange, post_quantum_required};
pub(super) use options::forwarding;
pub use options::{SessionDefaults, SessionOptions};

use super::role_set::CompiledRole;
use super::section::Fit;
use super::{Denial, DenialCode, RoleSet};
use crate::{Labels, Login, RoleName};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// One attempt to log in.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The account asked for.
    pub login: &'a str,
    /// The node's labels, static and dynamic.
    pub labels: &'a Labels,
    /// How the connection's keys were agreed on.
    pub key_exchange: KeyExchange<'a>,
    /// What the cluster says where roles say nothing.
    pub defaults: SessionDefaults,
}

/// The permission for one session. Only [`check`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPermit {
    login: Login,
    granted_by: Vec<RoleName>,
    options: SessionOptions,
}

impl SshPermit {
    /// The account.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// The roles that grant it.
    pub fn granted_by(&self) -> &[RoleName] {
        &self.granted_by
    }

    /// How the session behaves.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// When the session must end, given the end of the certificate it was opened with.
    pub fn deadline(&self, certificate_expires: Timestamp) -> Option<Timestamp> {
        self.options.disconnect_expired_cert().then_some(certificate_expires)
    }
}

/// Decides one attempt.
pub fn check(roles: &RoleSet, request: &Request<'_>) -> Result<SshPermit, Denial> {
    refused(roles, request)?;
    let granting: Vec<&CompiledRole> =
        reaching(roles, request.labels).filter(|role| role.allow.logins.contains(request.login)).collect();
    let Some(login) = granting.iter().find_map(|role| role.allow.logins.get(request.login)) else {
        return Err(not_granted(roles, request));
    };
    // After the rest, so that what is said here is said to those only who may log in.
    check_key_exchange(roles, request.key_exchange, request.defaults)?;
    Ok(SshPermit {
        login: login.clone(),
        granted_by: granting.iter().map(|role| role.name.clone()).collect(),
        options: SessionOptions::merge(roles, login, request.defaults),
    })
}

/// Whether any login reaches a node; what listings and name resolution show.
pub fn visible(roles: &RoleSet, labels: &Labels) -> bool {
    !allowed_logins(roles, labels).is_empty()
}

/// The logins under which a node can be reached.
pub fn allowed_logins(roles: &RoleSet, labels: &Labels) -> BTreeSet<Login> {
    if node_refused(roles, labels).is_some() {
        return BTreeSet::new();
    }
    let granted = reaching(roles, labels).flat_map(|role| role.allow.logins.iter());
    granted.filter(|login| login_refused(roles, login.as_str()).is_none()).cloned().collect()
}

fn reaching<'a>(roles: &'a RoleSet, labels: &'a Labels) -> impl Iterator<Item = &'a CompiledRole> {
    roles.roles.iter().filter(|role| role.allow.reaches(labels, &roles.traits))
}

/// What every refusal about a node says to the caller, whether the node is denied or merely not allowed.
const NOT_ALLOWED: &str = "access to node denied. User does not have permissions. Confirm SSH login.";

fn refused(roles: &RoleSet, request: &Request<'_>) -> Result<(), Denial> {
    if roles.roles.is_empty() {
        return Err(Denial::new(DenialCode::NoRoles, NOT_ALLOWED));
    }
    if let Some(denial) = node_refused(roles, request.labels) {
        return Err(denial);
    }
    match login_refused(roles, request.login) {
        Some(denial) => Err(Denial { reason: login_reason(roles, request), ..denial }),
        None => Ok(()),
    }
}

fn node_refused(roles: &RoleSet, labels: &Labels) -> Option<Denial> {
    let denying = roles.roles.iter().filter(|role| role.deny.applies);
    denying.into_iter().find_map(|role| {
        if role.deny.labels_fit(labels) == Fit::Fits {
            let part =
                format!("deny.node_labels {}", role.deny.written_labels.as_deref().unwrap_or_default());
            return Some(Denial::new(DenialCode::NodeDeniedByLabel, NOT_ALLOWED).because(&role.name, part));
        }
        if role.deny.expression_fit(labels, &roles.traits) == Fit::Fits {
            let source = role.deny.written_expression.as_deref().unwrap_or_default();
            let part = format!("deny.node_labels_expression {source:?}");
            return Some(
                Denial::new(DenialCode::NodeDeniedByExpression, NOT_ALLOWED).because(&role.name, part),
            );
        }
        None
    })
}

/// Greedy: a denied login is denied on every node, whatever the labels of the same role say. Where the role cannot tell
/// which logins it denies, it denies them all.
fn login_refused(roles: &RoleSet, login: &str) -> Option<Denial> {
    let mut denying = roles.roles.iter().filter(|role| role.deny.applies);
    let role = denying.find(|role| role.deny.unclear || role.deny.logins.contains(login))?;
    let part = format!("deny.logins {:?}", role.deny.logins);
    Some(Denial::new(DenialCode::LoginDenied, NOT_ALLOWED).because(&role.name, part))
}

fn not_granted(roles: &RoleSet, request: &Request<'_>) -> Denial {
    let Some(nearest) = reaching(roles, request.labels).find(|role| role.allow.lists_logins()) else {
        return Denial::new(DenialCode::NodeNotAllowed, NOT_ALLOWED);
    };
    let part = format!("allow.logins {:?} lists no {:?}", nearest.allow.logins, request.login);
    Denial::new(DenialCode::LoginNotAllowed, login_reason(roles, request)).because(&nearest.name, part)
}

/// Whoever can reach the node under other logins may be told which; to others it is not there.
fn login_reason(roles: &RoleSet, request: &Request<'_>) -> String {
    let allowed: Vec<String> = allowed_logins(roles, request.labels).iter().map(Login::to_string).collect();
    match allowed.is_empty() {
        true => NOT_ALLOWED.to_owned(),
        false => format!(
            "access to node denied: login {:?} is not allowed there; allowed are {}",
            request.login,
            allowed.join(", ")
        ),
    }
}
