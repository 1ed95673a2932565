//! The auth service: the certificate authority of a cluster, its policy, its inventory and its audit log.
//!
//! One file per RPC service. Decisions are made by the pure crates (`access`, `join`, `ca`) and by
//! [`enrol::lineage`]; this crate reads what they need, commits what they say, and answers. It must not name rustls,
//! SQL or the SSH engine.

pub mod arm;
pub mod attempts;
pub mod audit;
pub mod bootstrap;
pub mod caller;
pub mod catalog;
pub mod config;
pub mod core;
pub mod enrol;
pub mod issuer;
pub mod issuers;
pub mod kubernetes;
pub mod lifetime;
pub mod metrics;
pub mod own_host;
pub mod pacing;
pub mod policy;
pub mod presence;
pub mod refusal;
pub mod rpc_policy;
pub mod sealing;
pub mod services;
pub mod start;
pub mod streams;
pub mod sts;
pub mod tokens;
pub mod turnstile;
pub mod web;

pub use bootstrap::StartError;
pub use config::{Config, StaticToken};
pub use start::{ADMIN_SOCKET, Running, start};

/// How the store is run.
pub use store::SqliteOptions as StoreOptions;
