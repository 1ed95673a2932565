//!
//! The only crate that names rustls or the SSH engine; none of their types leave it. It verifies certificates by
//! `identity::verify` and nothing else, decides nothing about access, and knows no service by name.

pub mod backoff;
pub mod dial;
pub mod error;
pub mod health;
pub mod hello;
pub mod listen;
pub mod relay;
pub mod ssh;

pub use backoff::Backoff;
pub use error::{ConnectError, Problem};
