//! What Azure's Resource Manager says of a machine, and whether that is the machine that was attested.

use super::{Attested, Cloud, guid};
use crate::oidc::{Claims, ManagedIdentity};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Of its interface; in every cloud.
const VERSION: &str = "2023-03-01";
/// Managed identities of one machine.
const MOST_IDENTITIES: usize = 1024;

/// The name of a machine: `/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/N`. Compared without
/// regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineId {
    /// In lower case.
    pub subscription: String,
    /// As it is written.
    pub resource_group: String,
    /// As it is written.
    pub name: String,
}

impl MachineId {
    /// Only of machines, not of scale sets or anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.strip_prefix('/')?.split('/').take(9).collect();
        let [subscriptions, subscription, groups, group, providers, provider, kind, name] = parts[..] else {
            return None;
        };
        let fixed = [
            (subscriptions, "subscriptions"),
            (groups, "resourceGroups"),
            (providers, "providers"),
            (provider, "Microsoft.Compute"),
            (kind, "virtualMachines"),
        ];
        let is_machine = fixed.iter().all(|(part, wanted)| part.eq_ignore_ascii_case(wanted));
        let found = Self {
            subscription: guid(subscription)?,
            resource_group: name_part(group)?,
            name: name_part(name)?,
        };
        is_machine.then_some(found)
    }

    /// Where the Resource Manager of this cloud tells of it.
    pub fn url(&self, cloud: &Cloud) -> String {
        format!("https://{}{self}?api-version={VERSION}", cloud.management)
    }

    fn is(&self, other: &Self) -> bool {
        self.subscription == other.subscription
            && self.resource_group.eq_ignore_ascii_case(&other.resource_group)
            && self.name.eq_ignore_ascii_case(&other.name)
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subscription, resource_group, name } = self;
        write!(
            f,
            "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.Compute/virtualMachines/{name}"
        )
    }
}

/// As Azure has names, apart from letters that are not ASCII; one that could go elsewhere in an address is none.
fn name_part(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.()".contains(&byte);
    let fits = (1..=90).contains(&text.len()) && text.bytes().all(plain) && !text.ends_with('.');
    fits.then(|| text.to_owned())
}

/// A machine as the Resource Manager tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    id: MachineId,
    machine: String,
    /// The tenant of its own identity, where it has one.
    tenant: Option<String>,
    principals: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    properties: Properties,
    identity: Option<Identity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    vm_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    principal_id: Option<String>,
    tenant_id: Option<String>,
    user_assigned_identities: Option<BTreeMap<String, Assigned>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assigned {
    principal_id: Option<String>,
}

impl Machine {
    /// From the answer of the Resource Manager.
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let Answer { id, properties, identity } = serde_json::from_slice(answer).ok()?;
        let identity = identity.unwrap_or(Identity {
            principal_id: None,
            tenant_id: None,
            user_assigned_identities: None,
        });
        let assigned = identity.user_assigned_identities.unwrap_or_default();
        let assigned = assigned.into_values().filter_map(|assigned| assigned.principal_id);
        let principals = identity.principal_id.into_iter().chain(assigned);
        Some(Self {
            id: MachineId::parse(&id)?,
            machine: guid(&properties.vm_id)?,
            tenant: identity.tenant_id.as_deref().and_then(guid),
            principals: principals.take(MOST_IDENTITIES).filter_map(|id| guid(&id)).collect(),
        })
    }
}

/// Why this is not the machine that was attested. The words are for administrators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {found}, expected {wanted}")]
pub struct Mismatch {
    /// What differs.
    pub field: &'static str,
    /// What there is.
    pub found: String,
    /// What there should be.
    pub wanted: String,
}

/// Whether attested document, access token and Resource Manager are about one machine; then, what the rules are about.
pub fn confirm(
    attested: &Attested,
    identity: &ManagedIdentity,
    machine: &Machine,
) -> Result<Claims, Mismatch> {
    let differs = |field, found: &dyn fmt::Display, wanted: &dyn fmt::Display| {
        Err(Mismatch { field, found: found.to_string(), wanted: wanted.to_string() })
    };
    if !machine.id.is(&identity.machine) {
        return differs("resource id", &machine.id, &identity.machine);
    }
    if machine.id.subscription != attested.subscription() {
        return differs("subscription", &machine.id.subscription, &attested.subscription());
    }
    if machine.machine != attested.machine() {
        return differs("vmId", &machine.machine, &attested.machine());
    }
    if !machine.principals.contains(&identity.principal) {
        return differs("oid", &identity.principal, &"one of the machine's managed identities");
    }
    if let Some(tenant) = &machine.tenant
        && *tenant != identity.tenant
    {
        return differs("tid", &identity.tenant, tenant);
    }
    let claims = [
        ("subscription", attested.subscription()),
        ("resource_group", &machine.id.resource_group),
        ("vm_name", &machine.id.name),
        ("vm_id", &machine.machine),
    ];
    let claims = claims.map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())));
    Ok(Claims::of(Map::from_iter(claims)))
}
