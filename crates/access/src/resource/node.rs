//! SSH nodes as resources.

use super::Metadata;
use crate::{HostId, Labels};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An SSH server. Version `v2`; its name is its host id.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name is the host id; `labels` are the static ones.
    pub metadata: Metadata,
    /// The host id, checked.
    pub id: HostId,
    /// What it said of itself.
    pub spec: NodeSpec,
}

/// What a node says of itself and auth recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSpec {
    /// The name by which clients call it.
    pub hostname: String,
    /// `host:port` at which the proxy reaches it.
    pub addr: String,
    /// Other `host:port` addresses of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public_addrs: Vec<String>,
    /// Results of its label commands.
    #[serde(skip_serializing_if = "is_empty")]
    pub cmd_labels: Labels,
    /// The version it runs.
    pub version: String,
    /// When auth saw it last, to within minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
}

fn is_empty(labels: &Labels) -> bool {
    labels.0.is_empty()
}

impl Node {
    /// Static and command labels together; a command label wins over a static one of the same key.
    pub fn labels(&self) -> Labels {
        let mut all = self.metadata.labels.clone();
        all.extend(self.spec.cmd_labels.0.clone());
        Labels(all)
    }
}
