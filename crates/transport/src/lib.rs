//! An identity becomes an authenticated channel: listeners, TLS, gRPC channels, the SSH transport's dial.
//!
//! The only crate that names rustls or the SSH engine; what leaves it of them are plain values. It verifies certificates of
//! the cluster by `identity::verify` and nothing else, web certificates by the system's authorities (webpki), decides
//! nothing about access, and knows no service by name. How a TPM is reached is here as well, for those who join by one.

pub mod backoff;
pub mod dial;
pub mod error;
pub mod health;
pub mod hello;
pub mod https;
pub mod listen;
pub mod peer;
pub mod relay;
pub mod rpc;
pub mod ssh;
pub mod tls;
pub mod tpm;

pub use backoff::Backoff;
pub use error::{ConnectError, Problem};
pub use peer::{PassedOnBy, Peer, PeerIdentity};
pub use tls::{LiveCredentials, ServerTrust};
