//! The SSH protocol, version 2 (RFC 4251 to 4254), without input or output: bytes go in, events and bytes come out.
//!
//! There is no socket, no task, no clock and no file here. Whoever drives a connection hands over what arrived and the
//! time that has passed, sends what lies in the output, and answers the events. Both roles are here, modern algorithms
//! only; `docs/src/design/ssh-engine.md` says what is spoken and what is refused. The one thing that does not come from
//! outside is randomness: it is the cryptographic library's, and no decision depends on it.
//!
//! A connection is [`server::Handshake`] or [`client::Handshake`] first and a [`connection::Connection`] once the client
//! is authenticated; what belongs to the second cannot be reached in the first.
//!
//! Who may do what is not decided here: a user's proof of possession and a server's host key are events, and nothing
//! goes on before they are answered.

#[cfg(test)]
mod abuse;
pub mod algorithms;
mod cipher;
pub mod client;
pub mod connection;
mod error;
mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;
mod identification;
pub mod keys;
mod message;
mod negotiation;
mod packet;
mod role;
#[cfg(test)]
mod rules;
pub mod server;
#[cfg(test)]
mod timings;
mod transport;
mod wire;
pub mod witness;

pub use error::{Error, Violation};
pub use exchange::ExchangeRecord;
pub use message::{Disconnect, OpenFailure};
pub use negotiation::{Negotiated, Offer};
pub use role::Role;
pub use transport::{HostKey, HostKeyShown, Keepalive, Rekey, Settings, ToSign};
pub use wire::Malformed;
