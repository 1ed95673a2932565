//! The words and codes of refusals that several services share.

use access::rbac::{Denial, DenialCode};
use access::resource::Kind;
use api::status::{Class, Problem};

/// A decision of RBAC that says no, without the rule: that is for administrators.
pub fn denied(denial: &Denial) -> Problem {
    // The message of a lock may name the command that helps; another one beside it would mislead.
    let says_how = denial.code == DenialCode::Locked && denial.reason.contains("tctl ");
    let hint = if says_how { "" } else { denial.hint() };
    Problem::new(Class::Denied, denial.code.as_str(), denial.reason.clone()).hint(hint)
}

/// A resource that is not there.
pub fn not_found(kind: Kind, name: &str) -> Problem {
    Problem::new(Class::NotFound, "not_found", format!("{kind} {name:?} not found"))
}

/// A resource that is there already.
pub fn exists(kind: Kind, name: &str) -> Problem {
    Problem::new(Class::Exists, "exists", format!("{kind} {name:?} already exists"))
}

/// A request that makes no sense.
pub fn invalid(reason: impl Into<String>) -> Problem {
    Problem::new(Class::Invalid, "invalid", reason)
}

/// A fault of ours; what it was is in the log.
pub fn internal(what: &str, error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "{what}");
    Problem::new(Class::Internal, "internal", format!("{what}; the reason is in the log of the auth service"))
}
