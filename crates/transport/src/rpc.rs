//! gRPC between programs of ours: channels that reconnect, servers that say who calls.
//!
//! Which RPC whom is for is not decided here; the services have a table for that.

mod client;
mod local;
mod open;
mod server;

pub use client::{connect_auth, connect_join, within};
pub use local::{LocalServer, connect_admin};
pub use open::{OpenServer, UnixPeer};
pub use server::{Dismissed, FORWARDED_FOR, Limits, RpcServer};

/// The channel type of generated clients.
pub use tonic::transport::Channel;

/// The largest message of ours; generated clients and servers that expect lists are set to it.
pub const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;
