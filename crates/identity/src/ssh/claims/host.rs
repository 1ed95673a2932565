//! Hosts: key id is the host's id; two extensions say what it does and for whom.

use super::{Claims, bad, extension};
use crate::ssh::certificate::{CertificateType, RawCertificate};
use crate::{HostIdentity, Identity, Refusal, Subject};
use access::{ClusterName, HostId, SystemRole};
use std::collections::BTreeMap;

const ROLE: &str = "x-teleport-role";
const AUTHORITY: &str = "x-teleport-authority";

pub(super) const EXTENSIONS: &[&str] = &[ROLE, AUTHORITY];

pub(super) fn encode(cluster: &ClusterName, host: &HostIdentity) -> Claims {
    let HostIdentity { id, role, names } = host;
    let mut principals: Vec<String> = host.own_names(cluster).into();
    principals.extend(names.iter().cloned());
    Claims {
        kind: CertificateType::Host,
        key_id: id.to_string(),
        principals,
        critical_options: BTreeMap::new(),
        extensions: BTreeMap::from([
            (ROLE.to_owned(), role.as_str().to_owned()),
            (AUTHORITY.to_owned(), cluster.to_string()),
        ]),
    }
}

pub(super) fn decode(raw: &RawCertificate<'_>) -> Result<Identity, Refusal> {
    let cluster = extension(raw, AUTHORITY)?.ok_or_else(|| bad("it names no cluster"))?;
    let cluster = ClusterName::new(cluster).map_err(bad)?;
    let role = extension(raw, ROLE)?.ok_or_else(|| bad("it names no role"))?;
    let role = SystemRole::ALL.into_iter().find(|known| known.as_str() == role);
    let role = role.ok_or_else(|| bad("its role is not known"))?;
    let id: HostId = raw.key_id.parse().map_err(|_| bad("its key id is not a host id"))?;
    let mut host = HostIdentity { id, role, names: Vec::new() };
    let own = host.own_names(&cluster);
    let names = raw.principals.strip_prefix(&[own[0].as_str(), own[1].as_str()][..]);
    let names = names.ok_or_else(|| bad("its principals do not begin with its id"))?;
    host.names = names.iter().map(|name| (*name).to_owned()).collect();
    Ok(Identity { cluster, subject: Subject::Host(host) })
}
