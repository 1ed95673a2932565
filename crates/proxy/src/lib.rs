//! The proxy: one port in front of the cluster.
//!
//! The first bytes of a connection decide who serves it: a raw SSH jump host, the SSH transport, a blind relay to auth,
//! the join service for strangers, or a few web pages. The proxy decides only where a name leads and shows only what
//! the caller's roles can see; whether a login is allowed is the node's decision. It dials registered nodes and auth,
//! nothing else.

mod caller;
mod config;
mod denied;
mod dialer;
mod front;
mod gate;
mod host_key;
mod join_forward;
mod jump;
mod metrics;
mod monitor;
mod nodes;
mod relay_auth;
pub mod routing;
mod service;
mod ssh_bytes;
mod ssh_transport;
mod web;

pub use agent::JoinSource;
pub use config::{Config, StartError};
pub use service::{Running, start};
pub use transport::tls::WebKeypair;
