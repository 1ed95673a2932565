//! What a role means where it says nothing (fact sheet, section 2.1).

use super::{CertFormat, Conditions, LabelSelector, Role, RoleOptions, RoleVersion};
use crate::Ttl;

/// The longest certificate of any role that does not say otherwise.
pub const MAX_SESSION_TTL: Ttl = Ttl::from_secs(30 * 3600);

impl Role {
    /// Fills in the defaults of the role's version; doing it again changes nothing.
    pub fn fill_defaults(&mut self) {
        self.spec.options.fill_defaults();
        self.spec.allow.fill_namespaces();
        self.spec.deny.fill_namespaces();
        if self.spec.allow.node_labels.is_none() {
            let everything = self.version == RoleVersion::V3 && !self.spec.allow.logins.is_empty();
            let labels = everything.then(|| LabelSelector::from([("*".into(), vec!["*".into()])]));
            self.spec.allow.node_labels = Some(labels.unwrap_or_default());
        }
    }
}

impl RoleOptions {
    fn fill_defaults(&mut self) {
        // Nobody means an endless certificate by writing 0; no limit of its own is the longest one.
        if self.max_session_ttl.is_none_or(|ttl| ttl.limit().is_none()) {
            self.max_session_ttl = Some(MAX_SESSION_TTL);
        }
        self.forward_agent.get_or_insert(false);
        if self.ssh_port_forwarding.is_none() {
            self.port_forwarding.get_or_insert(true);
        }
        self.ssh_file_copy.get_or_insert(true);
        self.pin_source_ip.get_or_insert(false);
        self.cert_format.get_or_insert(CertFormat::Standard);
    }
}

impl Conditions {
    fn fill_namespaces(&mut self) {
        if self.namespaces.as_ref().is_none_or(Vec::is_empty) {
            self.namespaces = Some(vec!["default".into()]);
        }
    }
}
