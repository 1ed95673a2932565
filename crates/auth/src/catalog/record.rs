//! Resources as they are stored: their JSON, and the revision that the store gives them.

use access::resource::Resource;
use api::status::{Class, Problem};
use store::{Entry, Key, Txn};

/// The stored form of a resource. The revision is the store's to give and is left out.
pub fn encode(resource: &Resource) -> String {
    let mut json = resource.to_json();
    if let Some(metadata) = json.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.remove("revision");
    }
    json.to_string()
}

/// The resource in an entry, with its revision.
pub fn decode(entry: &Entry) -> Result<Resource, Damaged> {
    let damaged = |reason: String| Damaged { key: entry.key.clone(), reason };
    let json = serde_json::from_slice(&entry.value).map_err(|error| damaged(error.to_string()))?;
    let mut resource = Resource::from_json(json).map_err(|error| damaged(error.to_string()))?;
    resource.metadata_mut().revision = Some(entry.revision.to_string());
    Ok(resource)
}

/// Writes a resource to its place; it vanishes from the store when it expires.
pub fn put(txn: Txn, key: Key, resource: &Resource) -> Txn {
    match resource.metadata().expires {
        Some(expires) => txn.put_until(key, encode(resource), expires),
        None => txn.put(key, encode(resource)),
    }
}

/// An entry that this program cannot have written. Nothing may be decided without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {key} cannot be read: {reason}")]
pub struct Damaged {
    /// Where it is.
    pub key: Key,
    /// What is wrong.
    pub reason: String,
}

impl From<Damaged> for Problem {
    fn from(damaged: Damaged) -> Self {
        tracing::error!(key = %damaged.key, reason = damaged.reason, "a stored resource cannot be read");
        Problem::new(Class::Internal, "store_damaged", damaged.to_string())
            .hint("restore the store from a backup, or remove the resource with tctl rm")
    }
}
