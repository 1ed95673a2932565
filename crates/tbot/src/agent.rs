//! The agent's life: become a member of the cluster once, stay one, keep the outputs fresh.
//!
//! Everything that must survive a kill is stored before the cluster is asked (`storage`), so that each request can
//! be repeated as it was. Nothing here exits on a failure that may pass.

mod environment;
pub mod error;
pub mod exposed;
mod follow;
pub mod front;
mod heartbeat;
mod hooks;
mod issue;
pub mod joining;
pub mod member;
pub mod notify;
pub mod output;
mod pid_file;
mod platform;
pub mod refresh;
pub mod reload;
pub mod report;
mod run;
pub mod schedule;
pub mod services;
pub mod signals;
pub mod ssh_host;
pub mod sshd;
pub mod storage;
mod tail;
pub mod tpm;
pub mod workload;
pub mod workload_api;

pub use environment::withhold;
pub use error::AgentError;
pub use reload::Source;
pub use run::{oneshot, run};
