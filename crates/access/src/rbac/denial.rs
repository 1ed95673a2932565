//! Refusals that explain themselves.

use crate::RoleName;
use std::fmt;

/// A refusal: a code for programs, a reason for the caller, a rule for administrators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denial {
    /// Stable; the same in the client's error, the log and the audit event.
    pub code: DenialCode,
    /// For the caller. Says nothing of nodes that the caller cannot see.
    pub reason: String,
    /// Which rule said no; for administrators, logs and audit only.
    pub rule: Option<RuleRef>,
}

/// A part of a role, such as `role "ops": deny.logins ["root"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRef {
    /// The role.
    pub role: RoleName,
    /// The part of it, with its content.
    pub part: String,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "role {:?}: {}", self.role.as_str(), self.part)
    }
}

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DenialCode {
    /// The caller holds no role.
    NoRoles,
    /// The caller's credentials name a role that does not exist (any more).
    RoleNotFound,
    /// `deny.node_labels` of a role fits the node.
    NodeDeniedByLabel,
    /// `deny.node_labels_expression` of a role holds for the node.
    NodeDeniedByExpression,
    /// A role denies the login everywhere.
    LoginDenied,
    /// No role reaches the node.
    NodeNotAllowed,
    /// A role reaches the node, but not under this login.
    LoginNotAllowed,
    /// The roles list logins, and none is left after filling them in.
    NoLogins,
    /// No role allows certificates of this length.
    TtlNotAllowed,
    /// A lock is in force.
    Locked,
    /// Locks cannot be refreshed, and the mode is strict.
    LocksStale,
    /// A deny rule fits the action.
    ActionDenied,
    /// No allow rule fits the action.
    ActionNotAllowed,
    /// A role denies impersonating what was asked for.
    ImpersonationDenied,
    /// No role allows impersonating what was asked for.
    ImpersonationNotAllowed,
    /// Nothing was asked for.
    NoRolesRequested,
    /// The asking identity may not be exchanged for another one.
    ReissueNotAllowed,
    /// The connection's key exchange is none that a quantum computer leaves standing, and one is required.
    PostQuantumRequired,
    /// A role denies this identity of a workload.
    SpiffeDenied,
    /// No role allows this identity of a workload.
    SpiffeNotAllowed,
}

impl DenialCode {
    /// Every code.
    pub const ALL: [DenialCode; 20] = [
        Self::NoRoles,
        Self::RoleNotFound,
        Self::NodeDeniedByLabel,
        Self::NodeDeniedByExpression,
        Self::LoginDenied,
        Self::NodeNotAllowed,
        Self::LoginNotAllowed,
        Self::NoLogins,
        Self::TtlNotAllowed,
        Self::Locked,
        Self::LocksStale,
        Self::ActionDenied,
        Self::ActionNotAllowed,
        Self::ImpersonationDenied,
        Self::ImpersonationNotAllowed,
        Self::NoRolesRequested,
        Self::ReissueNotAllowed,
        Self::PostQuantumRequired,
        Self::SpiffeDenied,
        Self::SpiffeNotAllowed,
    ];

    /// The word for programs, logs and audit; it never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRoles => "no_roles",
            Self::RoleNotFound => "role_not_found",
            Self::NodeDeniedByLabel => "node_denied_by_label",
            Self::NodeDeniedByExpression => "node_denied_by_expression",
            Self::LoginDenied => "login_denied",
            Self::NodeNotAllowed => "node_not_allowed",
            Self::LoginNotAllowed => "login_not_allowed",
            Self::NoLogins => "no_logins",
            Self::TtlNotAllowed => "ttl_not_allowed",
            Self::Locked => "locked",
            Self::LocksStale => "locks_stale",
            Self::ActionDenied => "action_denied",
            Self::ActionNotAllowed => "action_not_allowed",
            Self::ImpersonationDenied => "impersonation_denied",
            Self::ImpersonationNotAllowed => "impersonation_not_allowed",
            Self::NoRolesRequested => "no_roles_requested",
            Self::ReissueNotAllowed => "reissue_not_allowed",
            Self::PostQuantumRequired => "post_quantum_required",
            Self::SpiffeDenied => "spiffe_denied",
            Self::SpiffeNotAllowed => "spiffe_not_allowed",
        }
    }

    /// What the caller can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoRoles => "ask an administrator for a role",
            Self::RoleNotFound => "sign in again, or ask an administrator to create the role",
            Self::NodeDeniedByLabel
            | Self::NodeDeniedByExpression
            | Self::NodeNotAllowed
            | Self::LoginDenied
            | Self::LoginNotAllowed => {
                "check the login and the name; an administrator sees why with tctl explain ssh"
            }
            Self::NoLogins => {
                "ask an administrator to set the traits that the roles refer to, such as logins"
            }
            Self::TtlNotAllowed => "ask for a shorter time",
            Self::Locked => {
                "an administrator sees it with tctl get locks and removes it with tctl rm lock/NAME"
            }
            Self::LocksStale => "try again when the auth service can be reached",
            Self::ActionDenied | Self::ActionNotAllowed => {
                "ask an administrator for a role with a rule that allows it"
            }
            Self::ImpersonationDenied | Self::ImpersonationNotAllowed => {
                "an administrator adds roles to a bot with tctl bots update NAME --add-roles"
            }
            Self::NoRolesRequested => "name at least one role",
            Self::SpiffeDenied | Self::SpiffeNotAllowed => {
                "an administrator allows it by allow.spiffe of a role of the bot, and lifts deny.spiffe"
            }
            Self::ReissueNotAllowed => "ask with the bot's own identity, not with an output",
            Self::PostQuantumRequired => {
                "use tsh, or OpenSSH 9.0 or later, which offers sntrup761x25519-sha512 and from 9.9 on \
                 mlkem768x25519-sha256, and remove KexAlgorithms lines that leave them out"
            }
        }
    }
}

impl fmt::Display for DenialCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Denial {
    pub(crate) fn new(code: DenialCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), rule: None }
    }

    pub(crate) fn because(self, role: &RoleName, part: impl Into<String>) -> Self {
        Self { rule: Some(RuleRef { role: role.clone(), part: part.into() }), ..self }
    }

    /// What the caller can do about it.
    pub fn hint(&self) -> &'static str {
        self.code.hint()
    }

    /// For strict locking when the view of locks is too old to be relied on.
    pub fn locks_stale() -> Self {
        Self::new(DenialCode::LocksStale, "preventive lock-out due to local lock view becoming unreliable")
    }
}

#[cfg(test)]
mod tests {
    use super::DenialCode;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_words() {
        let words: BTreeSet<&str> = DenialCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), DenialCode::ALL.len());
        for code in DenialCode::ALL {
            assert!(code.as_str().chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{code}");
            assert!(!code.hint().is_empty());
        }
    }
}
