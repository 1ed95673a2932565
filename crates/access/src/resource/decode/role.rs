//! Roles: the frame; [`super::options`] and [`super::conditions`] read the parts.

use super::fields::{Fields, Item};
use super::{Invalid, conditions, metadata, options};
use crate::RoleName;
use crate::resource::Role;
use crate::resource::role::{RoleSpec, RoleVersion};

/// Names that stand for hosts and services, or for roles that nobody creates.
const RESERVED: [&str; 22] = [
    "Auth",
    "Proxy",
    "Node",
    "Bot",
    "User",
    "Admin",
    "Web",
    "Signup",
    "Nop",
    "RemoteProxy",
    "Provision",
    "Trusted_cluster",
    "Kube",
    "App",
    "Db",
    "WindowsDesktop",
    "Discovery",
    "Okta",
    "Instance",
    "MDM",
    "LocalProxy",
    "default-implicit-role",
];

pub(super) fn decode(top: &mut Fields) -> Result<Role, Invalid> {
    let metadata = metadata::decode(top)?;
    let version = version(top)?;
    let name = RoleName::new(metadata.name.as_str())
        .map_err(|error| Invalid::new("metadata.name", error.to_string()))?;
    if RESERVED.contains(&name.as_str()) {
        return Err(Invalid::new("metadata.name", format!("reserved role: {name}")));
    }
    let mut spec = top.section("spec")?;
    let decoded = RoleSpec {
        options: options::decode(spec.section("options")?)?,
        allow: conditions::allow(spec.section("allow")?)?,
        deny: conditions::deny(spec.section("deny")?)?,
    };
    spec.finish()?;
    let mut role = Role { metadata, name, version, spec: decoded };
    role.fill_defaults();
    Ok(role)
}

fn version(top: &mut Fields) -> Result<RoleVersion, Invalid> {
    let written = top.take("version").as_ref().map(Item::text).transpose()?.unwrap_or_default();
    RoleVersion::ALL.into_iter().find(|version| version.as_str() == written).ok_or_else(|| {
        let written = super::fields::shortened(&written);
        Invalid::new("version", format!("role version {written:?} is not supported; write one of v3 to v7"))
    })
}
