//! The part that all kinds share.

use super::fields::{Fields, Item};
use super::{Invalid, Kind};
use crate::resource::Metadata;
use std::collections::BTreeMap;

/// Reads `metadata`; the name is checked by the kind.
pub(super) fn decode(top: &mut Fields) -> Result<Metadata, Invalid> {
    let mut fields = top.section("metadata")?;
    let name = fields.text("name")?;
    if name.is_empty() {
        return Err(Invalid::new("metadata.name", "name is required"));
    }
    rest(fields, name)
}

/// Reads `metadata` of a kind of which there is one, under a fixed name that may be left out.
pub(super) fn decode_single(top: &mut Fields, kind: Kind, fixed: &str) -> Result<Metadata, Invalid> {
    let mut fields = top.section("metadata")?;
    let name = fields.text("name")?;
    match name.is_empty() || name == fixed {
        true => rest(fields, fixed.to_owned()),
        false => Err(Invalid::new("metadata.name", format!("there is one {kind} only, called {fixed}"))),
    }
}

fn rest(mut fields: Fields, name: String) -> Result<Metadata, Invalid> {
    let metadata = Metadata {
        name,
        description: fields.text("description")?,
        labels: fields.take("labels").map_or(Ok(BTreeMap::new()), labels)?,
        expires: fields.timestamp("expires")?,
        revision: fields.take("revision").map(|item| revision(&item)).transpose()?,
        namespace: None,
        id: None,
    };
    if let Some(namespace) = fields.take("namespace")
        && !matches!(namespace.text()?.as_str(), "" | "default")
    {
        return Err(namespace.invalid("there is one namespace only, called default"));
    }
    fields.ignore(&["id"]);
    fields.finish()?;
    Ok(metadata)
}

fn revision(item: &Item) -> Result<String, Invalid> {
    let revision = item.text()?;
    match revision.len() <= 128 && revision.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(revision),
        false => Err(item.invalid("this is no revision; remove it, or take it from tctl get")),
    }
}

/// Labels that a resource carries.
pub(super) fn labels(item: Item) -> Result<BTreeMap<String, String>, Invalid> {
    Fields::of(item)?.into_items().map(|(key, value)| label(key, &value)).collect()
}

fn label(key: String, value: &Item) -> Result<(String, String), Invalid> {
    const MAX_KEY: usize = 255;
    let legal = |c: char| c.is_ascii_alphanumeric() || "/._:*-".contains(c);
    if key.is_empty() || key.len() > MAX_KEY || !key.chars().all(legal) {
        return Err(value.invalid(format!(
            "invalid label key: {:?}; letters, digits and /._:*- are allowed",
            super::fields::shortened(&key)
        )));
    }
    let text = value.text()?;
    match text.contains(['\n', '\t']) {
        true => Err(value.invalid("a label's value is one line without tabs")),
        false => Ok((key, text)),
    }
}
