//! From JSON to resources, strictly: an unknown field, a wrong version or a name outside its alphabet is a
//! mistake, and every mistake has its place.
//!
//! One file per kind; [`fields`] reads the parts, [`bounds`] limits the whole before anything looks at it.

mod bot;
mod bounds;
mod cert_authority;
mod cluster;
mod conditions;
mod fields;
mod foreign;
mod lock;
mod metadata;
mod node;
mod options;
mod role;
mod token;
mod user;

use super::{Invalid, Kind, Resource};
pub(super) use fields::nearest;
use fields::{Fields, Item};
use serde_json::Value;

impl Resource {
    /// Decodes any resource.
    pub fn from_json(value: Value) -> Result<Resource, Invalid> {
        if value.is_null() {
            return Err(Invalid::new("", "empty input"));
        }
        bounds::check(&value)?;
        let mut top = Fields::of(Item::whole(value))?;
        let kind = kind(&mut top)?;
        let resource = match kind {
            Kind::Role => Resource::Role(Box::new(role::decode(&mut top)?)),
            Kind::User => Resource::User(user::decode(&mut top)?),
            Kind::Bot => Resource::Bot(bot::decode(&mut top)?),
            Kind::BotInstance => Resource::BotInstance(bot::decode_instance(&mut top)?),
            Kind::Token => Resource::Token(token::decode(&mut top)?),
            Kind::Node => Resource::Node(node::decode(&mut top)?),
            Kind::CertAuthority => Resource::CertAuthority(cert_authority::decode(&mut top)?),
            Kind::Lock => Resource::Lock(lock::decode(&mut top)?),
            Kind::ClusterAuthPreference => Resource::AuthPreference(cluster::auth_preference(&mut top)?),
            Kind::ClusterNetworkingConfig => Resource::NetworkingConfig(cluster::networking(&mut top)?),
            Kind::SessionRecordingConfig => Resource::RecordingConfig(cluster::recording(&mut top)?),
        };
        sub_kind(&mut top)?;
        top.finish()?;
        Ok(resource)
    }
}

fn kind(top: &mut Fields) -> Result<Kind, Invalid> {
    let item = top.required("kind")?;
    let written = item.text()?;
    match Kind::all().find(|kind| kind.as_str() == written) {
        Some(kind) => Ok(kind),
        None => Err(item.invalid(super::kind::UnknownKind(fields::shortened(&written)).to_string())),
    }
}

/// The incumbent prints `sub_kind`; only the empty one exists here.
fn sub_kind(top: &mut Fields) -> Result<(), Invalid> {
    match top.take("sub_kind") {
        Some(item) if !item.text()?.is_empty() => Err(item.invalid("there are no sub-kinds here; remove it")),
        _ => Ok(()),
    }
}

/// Reads `version` for a kind that has one only.
fn version(top: &mut Fields, kind: Kind) -> Result<(), Invalid> {
    let expected = kind.version();
    let written = top.take("version").map(|item| item.text()).transpose()?.unwrap_or_default();
    match written == expected {
        true => Ok(()),
        false => Err(Invalid::new(
            "version",
            format!(
                "{} version {:?} is not supported; write version: {expected}",
                kind,
                fields::shortened(&written)
            ),
        )),
    }
}
