//! Enrolled hosts: which keys they hold and which names are theirs.

use crate::caller;
use crate::catalog::record::Damaged;
use crate::catalog::{Catalog, layout};
use crate::enrol::host_names::{MOST_HELD, NameRefusal, owned};
use access::{HostId, SystemRole};
use api::status::{Class, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// The names that are its own, each until the last certificate with it has ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<String, Timestamp>,
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

    /// Takes over what an earlier record of the host says of its names, and adds those of its newest certificate.
    pub fn hold(mut self, known: Option<&Host>, now: Timestamp) -> Result<Self, NameRefusal> {
        let mut held = known.map(Host::held_now).unwrap_or_default();
        for name in owned(&self.names) {
            let until = held.entry(name.clone()).or_insert(self.expires);
            *until = self.expires.max(*until);
        }
        held.retain(|_, until| *until > now);
        if held.len() > MOST_HELD {
            return Err(NameRefusal::TooManyHeld(held.len()));
        }
        self.held = held;
        Ok(self)
    }

    /// The names that are its own, of a record from before there was such a list as well.
    pub fn held_now(&self) -> BTreeMap<String, Timestamp> {
        let mut held: BTreeMap<_, _> = owned(&self.names).map(|name| (name.clone(), self.expires)).collect();
        held.extend(self.held.clone());
        held
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
    use crate::enrol::host_names::{MOST_HELD, NameRefusal};
    use access::{HostId, SystemRole};
    use jiff::{SignedDuration, Timestamp};
    use std::collections::BTreeMap;

    fn host(key: &str, previous: Option<&str>) -> Host {
        Host {
            id: HostId("b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c".parse().expect("an id")),
            role: SystemRole::Node,
            key: key.to_owned(),
            previous: previous.map(str::to_owned),
            names: vec![],
            held: BTreeMap::new(),
            expires: Timestamp::UNIX_EPOCH,
            from: None,
            process: String::new(),
            bound_to: None,
        }
    }

    #[test]
    fn names_are_held_until_the_last_certificate_with_them_has_ended() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |hours| now + SignedDuration::from_hours(hours);
        let with = |names: &[&str], hours| Host {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            expires: at(hours),
            ..host("a", None)
        };
        let long = with(&["a", "b", "localhost"], 9).hold(None, now).expect("few");
        assert_eq!(long.held, [("a".to_owned(), at(9)), ("b".to_owned(), at(9))].into());
        let short = with(&["b", "c"], 2).hold(Some(&long), now).expect("few");
        let expected = [("a".to_owned(), at(9)), ("b".to_owned(), at(9)), ("c".to_owned(), at(2))];
        assert_eq!(short.held, expected.into());
        let later = with(&["d"], 12).hold(Some(&short), at(5)).expect("few");
        assert_eq!(later.held.keys().collect::<Vec<_>>(), ["a", "b", "d"]);
        let many: Vec<String> = (0..MOST_HELD).map(|number| format!("n{number}")).collect();
        let full = Host { names: many, ..with(&[], 9) }.hold(None, now).expect("just as many as may be");
        let refused = with(&["one-more"], 9).hold(Some(&full), now).expect_err("too many");
        assert_eq!(refused, NameRefusal::TooManyHeld(MOST_HELD + 1));
        with(&["n1"], 9).hold(Some(&full), now).expect("none is new");
        with(&["one-more"], 12).hold(Some(&full), at(9)).expect("those have ended");
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
