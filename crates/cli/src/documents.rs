//! Resources as files: several YAML documents, or several JSON values, in one text; and back to YAML.

use crate::{Failure, escape};
use access::resource::{Invalid, Resource};
use serde::Serialize;
use serde_json::Value;

/// The largest file of resources that is read.
pub const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A resource and its place in the file, counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Which one it is.
    pub number: usize,
    /// What it says.
    pub resource: Resource,
}

/// Everything that is wrong with a file of resources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistakes {
    /// There is nothing in it.
    #[error("no resources found, empty input?")]
    Empty,
    /// It is neither YAML nor JSON.
    #[error("{0}")]
    Syntax(String),
    /// Some documents are not resources; each mistake is one line.
    #[error("{}", .0.join("\n"))]
    Documents(Vec<String>),
}

/// Reads every resource in `text`, or says everything that is wrong with it.
///
/// JSON lists are taken apart, so that what `get --format=json` prints is read too.
pub fn read(text: &str) -> Result<Vec<Document>, Mistakes> {
    let values = values(text)?;
    if values.is_empty() {
        return Err(Mistakes::Empty);
    }
    let several = values.len() > 1;
    let (mut documents, mut mistakes) = (Vec::new(), Vec::new());
    for (number, value) in (1..).zip(values) {
        let called = name_of(&value, number, several);
        match Resource::from_json(value) {
            Ok(resource) => documents.push(Document { number, resource }),
            Err(Invalid { path, reason }) if path.is_empty() => mistakes.push(format!("{called}: {reason}")),
            Err(invalid) => mistakes.push(format!("{called}: {invalid}")),
        }
    }
    match mistakes.is_empty() {
        true => Ok(documents),
        false => Err(Mistakes::Documents(mistakes)),
    }
}

/// The values in `text`: YAML documents (empty ones are passed over), JSON values one after the other, or lists of
/// either.
fn values(text: &str) -> Result<Vec<Value>, Mistakes> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let json = text.trim_start().starts_with(['{', '[']).then(|| {
        serde_json::Deserializer::from_str(text).into_iter::<Value>().collect::<Result<Vec<_>, _>>()
    });
    let values = match json {
        Some(Ok(values)) => values,
        // A YAML flow mapping begins like JSON.
        _ => serde_saphyr::from_multiple::<Value>(text).map_err(|error| syntax(&error, text))?,
    };
    let flat = values.into_iter().flat_map(|value| match value {
        Value::Array(list) => list,
        other => vec![other],
    });
    Ok(flat.filter(|value| !value.is_null()).collect())
}

fn syntax(error: &serde_saphyr::Error, text: &str) -> Mistakes {
    let said = error.to_string();
    // The parser names the line on which the value before the tab began.
    let from = error.location().map_or(0, |location| location.line().saturating_sub(1));
    let numbered = (1_usize..).zip(text.lines()).skip(usize::try_from(from).unwrap_or_default());
    let indentation = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let mut with_tab =
        numbered.filter(|(_, line)| !line.trim().is_empty() && line[..indentation(line)].contains('\t'));
    match with_tab.next().filter(|_| said.contains("tab")) {
        Some((line, _)) => Mistakes::Syntax(format!(
            "neither YAML nor JSON: line {line} is indented with a tab; indent with spaces only"
        )),
        None => Mistakes::Syntax(format!("neither YAML nor JSON: {said}")),
    }
}

/// What people call the document: its kind and name as far as they can be read.
fn name_of(value: &Value, number: usize, several: bool) -> String {
    let kind = value["kind"].as_str();
    let name = value["metadata"]["name"].as_str();
    let called = match (kind, name) {
        // A token's name may be a secret.
        (Some("token"), _) => Some("token".to_owned()),
        (Some(kind), Some(name)) => Some(format!("{kind} {name:?}")),
        (Some(kind), None) => Some(kind.to_owned()),
        (None, Some(name)) => Some(format!("{name:?}")),
        (None, None) => None,
    };
    match (called, several) {
        (Some(called), true) => format!("document {number} ({called})"),
        (Some(called), false) => called,
        (None, _) => format!("document {number}"),
    }
}

/// One YAML document. Text that a terminal would obey is written in escapes, so the file is safe to look at and
/// still says the same.
pub fn to_yaml(value: &impl Serialize) -> Result<String, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(format!("cannot write YAML: {error}"));
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(value, options).map_err(|error| wrong(&error))?;
    if !text.chars().any(|c| c != '\n' && escape::is_hidden(c)) {
        return Ok(text);
    }
    // JSON is YAML, and knows an escape for everything.
    let json = serde_json::to_string_pretty(value).map_err(|error| wrong(&error))?;
    Ok(escape::yaml(&json) + "\n")
}

/// A resource's JSON in the order in which people write it: kind, version, metadata, spec, the rest.
#[derive(Serialize)]
pub struct Ordered<'a> {
    kind: &'a Value,
    version: &'a Value,
    metadata: &'a Value,
    spec: &'a Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    status: &'a Value,
}

impl<'a> Ordered<'a> {
    /// Of a resource as the server sends it.
    pub fn of(value: &'a Value) -> Self {
        Self {
            kind: &value["kind"],
            version: &value["version"],
            metadata: &value["metadata"],
            spec: &value["spec"],
            status: &value["status"],
        }
    }
}

#[cfg(test)]
mod tests;
