//! What the tests stand on: the real programs as real processes, and OpenSSH as the user who knows nothing of us.
//!
//! Nothing here is linked into a product. Processes are waited for by condition and deadline, never by sleeping for
//! a guess; everything listens on loopback, on ports the system chose.

pub mod azure;
pub mod bot;
pub mod cluster;
pub mod descriptors;
pub mod inetd;
pub mod issuer;
pub mod kill_point;
pub mod kubernetes;
pub mod metadata;
pub mod namespace;
pub mod process;
pub mod programs;
pub mod source;
pub mod sshd;
pub mod stock;
pub mod sts;
pub mod systemd;
pub mod tpm;
pub mod wait;
pub mod workload;

pub use azure::AzureSigners;
pub use bot::Bot;
pub use cluster::{Cluster, Layout};
pub use inetd::Inetd;
pub use issuer::Issuer;
pub use kill_point::KillPoint;
pub use kubernetes::Kubernetes;
pub use metadata::Metadata;
pub use process::{Outcome, Process, run};
pub use sshd::Sshd;
pub use stock::Stock;
pub use sts::Sts;
pub use systemd::Systemd;
pub use tpm::{SoftTpm, TpmMaker};
pub use wait::until;
