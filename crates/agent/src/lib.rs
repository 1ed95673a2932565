//! What every host of a cluster does beside its service: joins, keeps its credentials fresh, holds one stream to auth,
//! remembers the policy it decides by, and reports what happened.
//!
//! Shared by nodes and proxies. It decides nothing: policy is verified here and applied by the service.

mod audit;
mod bound_key;
mod config;
mod host;
mod inventory;
mod joining;
mod node_memory;
mod policy;
mod rejoining;
mod renewal;
mod ssh_host;
mod state;
mod tpm;

pub use api::v1::{NodeReport, ProxyReport};
pub use audit::{AuditEvent, Auditor};
pub use config::{Config, JoinSource, Proof, Report, StartError};
pub use host::HostAgent;
pub use inventory::{Link, NodeEvent};
pub use join::tpm::Algorithm;
pub use node_memory::NodeMemory;
pub use policy::PolicyView;
pub use ssh_host::{HostCertificate, SshHost};
pub use state::{StateError, host_id};

#[cfg(test)]
mod tests;
