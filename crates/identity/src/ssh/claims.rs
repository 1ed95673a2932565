//! Identity to and from the parts of an SSH certificate: key id, principals, critical options, extensions
//! (fact sheet of server access, sections 3.1 and 3.2). The names are the incumbent's, so that what reads its
//! certificates reads ours.

mod host;
mod user;

use super::certificate::{CertificateType, RawCertificate, option_value};
use crate::{Identity, Refusal, Subject};
use std::collections::BTreeMap;
use std::net::IpAddr;
use uuid::Uuid;

/// The critical option that binds a certificate to networks.
pub const SOURCE_ADDRESS: &str = "source-address";

/// The parts that carry an identity; the rest of a certificate is time, serial and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// User or host.
    pub kind: CertificateType,
    /// A user's name, a host's id.
    pub key_id: String,
    /// Never empty.
    pub principals: Vec<String>,
    /// Only `source-address`.
    pub critical_options: BTreeMap<String, String>,
    /// Flags have an empty value.
    pub extensions: BTreeMap<String, String>,
}

impl Claims {
    /// Writes an identity. `nobody` completes the principal that stands for no account at all.
    pub fn of(identity: &Identity, nobody: Uuid) -> Self {
        let Identity { cluster, subject } = identity;
        match subject {
            Subject::User(user) => user::encode(cluster, user, nobody),
            Subject::Host(host) => host::encode(cluster, host),
        }
    }

    /// Reads the identity of a certificate, without asking who signed it.
    ///
    /// `peer` is the address it is used from, already compared with `source-address` by whoever calls; a
    /// certificate bound to a whole network is taken as bound to it.
    pub(crate) fn read(raw: &RawCertificate<'_>, peer: Option<IpAddr>) -> Result<Identity, Refusal> {
        let identity = match raw.kind {
            CertificateType::User => user::decode(raw, peer)?,
            CertificateType::Host => host::decode(raw)?,
        };
        identity.check().map_err(|reason| Refusal::BadIdentity(reason.to_string()))?;
        Ok(identity)
    }
}

/// Whether an extension's name is taken, so that a role's own extension may not use it.
pub fn is_reserved_extension(name: &str) -> bool {
    user::EXTENSIONS.contains(&name) || host::EXTENSIONS.contains(&name)
}

/// Finds an extension's text.
fn extension<'a>(raw: &RawCertificate<'a>, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let found = raw.extensions.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| option_value(value, name)).transpose()
}

fn bad(what: impl ToString) -> Refusal {
    Refusal::BadIdentity(what.to_string())
}
