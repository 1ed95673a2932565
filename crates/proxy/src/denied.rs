//! The proxy's refusals: one form for every protocol.

use access::rbac::Denial;
use api::v1;

/// A no, with its stable code, the reason and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) code: &'static str,
    pub(crate) reason: String,
    pub(crate) hint: &'static str,
}

/// Every code there is; metrics have these labels and no others.
pub(crate) const CODES: [&str; 15] = [
    "host_unknown",
    "host_ambiguous",
    "nodes_unknown",
    "node_unreachable",
    "node_not_ssh",
    "node_other_host",
    "certificate_expired",
    "not_a_user",
    "bad_request",
    "locked",
    "locks_stale",
    "role_not_found",
    "no_roles",
    "post_quantum_required",
    "stopping",
];

impl Denied {
    pub(crate) fn new(code: &'static str, reason: impl Into<String>, hint: &'static str) -> Self {
        Self { code, reason: reason.into(), hint }
    }

    /// For names that are unknown and for names that are hidden: there is no other text for either.
    pub(crate) fn host_unknown(host: &str) -> Self {
        let reason = format!("host {:?} is not known, or not to you", shown(host));
        Self::new("host_unknown", reason, "check the name; tsh ls lists the hosts that you may reach")
    }

    pub(crate) fn host_ambiguous(host: &str) -> Self {
        let reason = format!("ambiguous host: several nodes that you may reach are called {:?}", shown(host));
        Self::new("host_ambiguous", reason, "use the host's id, which tsh ls prints")
    }

    /// For the time before the first list of nodes, when nothing can be said of any name.
    pub(crate) fn nodes_unknown() -> Self {
        let reason = "the proxy has not heard from auth yet; until it has, it knows no host";
        Self::new(
            "nodes_unknown",
            reason,
            "try again later; its administrator should check that it reaches auth",
        )
    }

    /// On one line, for protocols that have no fields.
    pub(crate) fn line(&self) -> String {
        format!("{} ({}); {}", self.reason, self.code, self.hint)
    }
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        let hint = denial.hint();
        Self { code: denial.code.as_str(), reason: denial.reason, hint }
    }
}

impl From<Denied> for v1::Denied {
    fn from(denied: Denied) -> Self {
        let Denied { code, reason, hint } = denied;
        Self { code: code.to_owned(), reason, hint: hint.to_owned() }
    }
}

/// What a caller wrote, short enough to be repeated.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}
