//! Enrolled hosts: which keys they hold and which names are theirs.

use crate::caller;
use crate::catalog::record::Damaged;
use crate::catalog::{Catalog, layout};
use access::{HostId, SystemRole};
use api::status::{Class, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use store::{Entry, Key, Txn};

/// The enrolment of one host in one role. It ends with the host's last certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// What it does.
    pub role: SystemRole,
    /// Fingerprint of its newest key.
    pub key: String,
    /// Fingerprint of the key before, which is good as well: the host may not have stored the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The names in its certificate.
    pub names: Vec<String>,
    /// When its newest certificate ends.
    pub expires: Timestamp,
    /// From where it was enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// The mark of the process that it is a service of.
    #[serde(default)]
    pub process: String,
    /// The token to which the key is bound that it comes back with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<String>,
}

/// Why a host's certificate is not renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostMismatch {
    /// The certificate that was shown is older than the one before the newest, or never was this host's.
    #[error("the certificate shown is not the newest one of this host")]
    NotTheNewest,
    /// Each certificate has a key of its own.
    #[error("a renewal needs a fresh key, and this one is in use already")]
    KeyReused,
}

/// A host that was removed does not come back with the certificate that it still has, and neither does a copy of one
/// that has renewed since.
pub async fn refuse_removed(catalog: &Catalog, host: &caller::Host) -> Result<(), Problem> {
    let Some(entry) = catalog.read(&Host::key_of(host.id, host.role)).await? else {
        let reason = format!("host {} is no longer enrolled as a {}", host.id, host.role);
        return Err(Problem::new(Class::Denied, "host_unknown", reason)
            .hint("join again with a new token: tctl tokens add"));
    };
    match Host::read(&entry)?.accepts(&host.key.fingerprint()) {
        true => Ok(()),
        false => {
            let reason = format!("the certificate shown is not the newest one of host {}", host.id);
            Err(Problem::new(Class::Denied, "certificate_stale", reason)
                .hint("another process may use a copy of this host's data directory"))
        }
    }
}

impl Host {
    /// Where it is stored.
    pub fn key_of(id: HostId, role: SystemRole) -> Key {
        layout::host(id, role)
    }

    /// From the store.
    pub fn read(entry: &Entry) -> Result<Self, Damaged> {
        serde_json::from_slice(&entry.value)
            .map_err(|error| Damaged { key: entry.key.clone(), reason: error.to_string() })
    }

    /// Writes it.
    pub fn put(&self, txn: Txn) -> Txn {
        let text = serde_json::to_string(self).expect("a host is names and times");
        txn.put_until(Self::key_of(self.id, self.role), text, self.expires)
    }

    /// Whether a certificate over this key is good: the newest one, or the one before.
    pub fn accepts(&self, key: &str) -> bool {
        key == self.key || Some(key) == self.previous.as_deref()
    }

    /// The record after a renewal to `key` by the bearer of a certificate over `presented`.
    pub fn renewed(&self, presented: &str, key: &str) -> Result<Self, HostMismatch> {
        if !self.accepts(presented) {
            return Err(HostMismatch::NotTheNewest);
        }
        if key == presented {
            return Err(HostMismatch::KeyReused);
        }
        // A bearer of the key before did not store the last answer: what it asks for now replaces that.
        Ok(Self { key: key.to_owned(), previous: Some(presented.to_owned()), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, HostMismatch};
    use access::{HostId, SystemRole};
    use jiff::Timestamp;

    fn host(key: &str, previous: Option<&str>) -> Host {
        Host {
            id: HostId("b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c".parse().expect("an id")),
            role: SystemRole::Node,
            key: key.to_owned(),
            previous: previous.map(str::to_owned),
            names: vec![],
            expires: Timestamp::UNIX_EPOCH,
            from: None,
            process: String::new(),
            bound_to: None,
        }
    }

    #[test]
    fn the_newest_certificate_and_the_one_before_renew() {
        let table = [
            (host("a", None), "a", "b", Ok(host("b", Some("a")))),
            (host("b", Some("a")), "b", "c", Ok(host("c", Some("b")))),
            (host("b", Some("a")), "a", "c", Ok(host("c", Some("a")))),
            (host("b", Some("a")), "a", "b", Ok(host("b", Some("a")))),
            (host("b", Some("a")), "z", "c", Err(HostMismatch::NotTheNewest)),
            (host("c", Some("b")), "a", "d", Err(HostMismatch::NotTheNewest)),
            (host("b", Some("a")), "b", "b", Err(HostMismatch::KeyReused)),
        ];
        for (record, presented, key, expected) in table {
            assert_eq!(record.renewed(presented, key), expected, "{presented} to {key}");
        }
    }
}
