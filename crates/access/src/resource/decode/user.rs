//! Users.

use super::fields::{Fields, Item};
use super::{Invalid, Kind, metadata, version};
use crate::resource::User;
use crate::resource::user::UserSpec;
use crate::{RoleName, Traits, UserName};

pub(super) fn decode(top: &mut Fields) -> Result<User, Invalid> {
    let metadata = metadata::decode(top)?;
    version(top, Kind::User)?;
    let name = UserName::new(metadata.name.as_str())
        .map_err(|error| Invalid::new("metadata.name", error.to_string()))?;
    let mut spec = top.section("spec")?;
    let user = UserSpec { roles: role_names(&mut spec)?, traits: traits(spec.take("traits"))? };
    foreign(&mut spec)?;
    spec.finish()?;
    Ok(User { metadata, name, spec: user })
}

/// `roles`, each name checked.
pub(super) fn role_names(spec: &mut Fields) -> Result<Vec<RoleName>, Invalid> {
    let items = spec.take("roles").map_or(Ok(Vec::new()), Item::list)?;
    items.iter().map(Item::parse).collect()
}

/// A map of lists, or a list of `{name, values}` as bots have it.
pub(super) fn traits(item: Option<Item>) -> Result<Traits, Invalid> {
    let Some(item) = item else {
        return Ok(Traits::default());
    };
    let named: Result<_, Invalid> = match item.value.is_array() {
        true => item.list()?.into_iter().map(named_trait).collect(),
        false => Fields::of(item)?.into_items().map(|(name, item)| Ok((name, values(item)?))).collect(),
    };
    named.map(Traits)
}

fn named_trait(item: Item) -> Result<(String, Vec<String>), Invalid> {
    let mut fields = Fields::of(item)?;
    let name = fields.required("name")?.text()?;
    let values = fields.take("values").map_or(Ok(Vec::new()), values)?;
    fields.finish()?;
    Ok((name, values))
}

fn values(item: Item) -> Result<Vec<String>, Invalid> {
    match item.value.is_null() {
        true => Ok(Vec::new()),
        false => item.one_or_more()?.iter().map(Item::text).collect(),
    }
}

/// What the incumbent prints of a user and what has no meaning here, or would have one that is not kept.
fn foreign(spec: &mut Fields) -> Result<(), Invalid> {
    spec.ignore(&["created_by"]);
    if let Some(item) = spec.take("expires")
        && item.timestamp()?.is_some()
    {
        return Err(item.invalid("write it as metadata.expires"));
    }
    let mut status = spec.section("status")?;
    if status.flag("is_locked")? == Some(true) {
        return Err(status.invalid("a user is locked with tctl lock --user, not here"));
    }
    status.ignore(&[
        "lock_expires",
        "locked_time",
        "locked_message",
        "recovery_attempt_lock_expires",
        "mfa_weakest_device",
        "password_state",
    ]);
    status.finish()?;
    for key in ["oidc_identities", "saml_identities", "github_identities", "local_auth", "trusted_device_ids"]
    {
        if let Some(item) = spec.take(key)
            && !item.is_blank()
        {
            return Err(item
                .invalid("people do not sign in to this cluster by passwords or single sign-on; remove it"));
        }
    }
    Ok(())
}
