//! Access tokens of Azure's managed identities: signed as ID tokens are, for the Resource Manager, and naming the machine.

use super::{Jwks, Unverified, audiences, differs, jws, same, times};
use crate::azure::{Cloud, MachineId, guid};
use access::resource::token::Provider;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Whose an access token is, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedIdentity {
    /// The tenant that it is of.
    pub tenant: String,
    /// Its id there.
    pub principal: String,
    /// The machine that it was given to.
    pub machine: MachineId,
}

/// Whether `token` is of a managed identity of this cloud, for its Resource Manager, and good now. `keys` are those of the
/// cloud, with which it signs for every tenant; which tenants are meant is for the Resource Manager to say.
pub fn verify_managed_identity(
    token: &str,
    keys: &Jwks,
    cloud: &Cloud,
    now: Timestamp,
) -> Result<ManagedIdentity, Unverified> {
    let claims = jws::verified(token, keys)?;
    let tenant = id(&claims, "tid")?;
    same(&claims, "iss", &format!("{}{tenant}/", cloud.issuer))?;
    let wanted = cloud.resource();
    let is_for = |audience: &&str| *audience == wanted || *audience == wanted.trim_end_matches('/');
    if !audiences(&claims).iter().any(is_for) {
        return Err(differs(&claims, "aud", wanted));
    }
    times(&claims, Provider::Azure.table().longest_life, now)?;
    let principal = id(&claims, "oid")?;
    Ok(ManagedIdentity { tenant, principal, machine: machine(&claims)? })
}

fn id(claims: &Map<String, Value>, name: &'static str) -> Result<String, Unverified> {
    let found = claims.get(name).and_then(Value::as_str).and_then(guid);
    found.ok_or_else(|| differs(claims, name, "an id".to_owned()))
}

/// `xms_az_rid` is who asked for the token, where that is not the identity's own resource, which is `xms_mirid`.
fn machine(claims: &Map<String, Value>) -> Result<MachineId, Unverified> {
    let name = if claims.contains_key("xms_az_rid") { "xms_az_rid" } else { "xms_mirid" };
    let found = claims.get(name).and_then(Value::as_str).and_then(MachineId::parse);
    found.ok_or_else(|| differs(claims, name, "the resource id of a virtual machine".to_owned()))
}
