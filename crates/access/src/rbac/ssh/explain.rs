//! Why a decision is what it is, step by step, for administrators.

use super::super::section::{Fit, Section, Side};
use super::{Request, RequiredBy, SshPermit, allowed_logins, check, post_quantum_required};
use crate::rbac::{Denial, RoleSet};
use crate::{Login, RoleName};
use std::collections::BTreeSet;
use std::fmt;

/// A decision with everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What [`check`] says.
    pub decision: Result<SshPermit, Denial>,
    /// The deny parts that say something, then the allow part of every role.
    pub steps: Vec<Step>,
    /// The logins under which the node can be reached.
    pub allowed_logins: BTreeSet<Login>,
    /// Who wants the connection to have a post-quantum key exchange.
    pub post_quantum: Option<RequiredBy>,
}

/// One part of one role held against the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The role.
    pub role: RoleName,
    /// `deny` or `allow`.
    pub side: &'static str,
    /// What was found, such as `node_labels {"env": ["prod"]} do not fit`.
    pub findings: Vec<String>,
    /// Whether this part refuses (deny) or grants (allow).
    pub takes_effect: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match (self.side, self.takes_effect) {
            ("deny", true) => "refuses",
            ("deny", false) => "does not refuse",
            (_, true) => "grants",
            (_, false) => "does not grant",
        };
        write!(f, "role {:?} {}: {effect}", self.role.as_str(), self.side)?;
        match self.findings.is_empty() {
            true => f.write_str(" (says nothing)"),
            false => write!(f, " ({})", self.findings.join("; ")),
        }
    }
}

/// Decides one attempt as [`check`] does, and says why.
pub fn explain(roles: &RoleSet, request: &Request<'_>) -> Explanation {
    let step = |role: &RoleName, section: &Section| {
        let (findings, takes_effect) = held_against(roles, section, request);
        let side = if section.side == Side::Deny { "deny" } else { "allow" };
        Step { role: role.clone(), side, findings, takes_effect }
    };
    let denies = roles.given().map(|role| step(&role.name, &role.deny));
    let denies = denies.filter(|step| !step.findings.is_empty());
    let allows = roles.given().map(|role| step(&role.name, &role.allow));
    Explanation {
        decision: check(roles, request),
        steps: denies.chain(allows).collect(),
        allowed_logins: allowed_logins(roles, request.labels),
        post_quantum: post_quantum_required(roles, request.defaults),
    }
}

fn held_against(roles: &RoleSet, section: &Section, request: &Request<'_>) -> (Vec<String>, bool) {
    let labels = section.labels_fit(request.labels);
    let expression = section.expression_fit(request.labels, &roles.traits);
    let login = section.logins.contains(request.login);
    let mut findings = Vec::new();
    if !section.applies {
        findings.push("namespaces do not include \"default\"".to_owned());
    }
    if let Some(written) = &section.written_labels {
        findings.push(format!("node_labels {written} {}", verb(labels)));
    }
    if let Some(written) = &section.written_expression {
        findings.push(format!("node_labels_expression {written:?} {}", verb(expression)));
    }
    if section.lists_logins() {
        let listed = if login { "list" } else { "do not list" };
        findings.push(format!("logins {:?} {listed} {:?}", section.logins, request.login));
    }
    for (entry, reason) in &section.dropped {
        findings.push(format!("login {entry:?} was dropped: {reason}"));
    }
    let takes_effect = section.applies
        && match section.side {
            Side::Deny => labels == Fit::Fits || expression == Fit::Fits || login,
            Side::Allow => section.reaches(request.labels, &roles.traits) && login,
        };
    (findings, takes_effect)
}

fn verb(fit: Fit) -> &'static str {
    match fit {
        Fit::Fits => "fits",
        Fit::FitsNot | Fit::Unset => "does not fit",
    }
}
