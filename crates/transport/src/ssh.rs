//! SSH as a transport: an identity becomes an authenticated connection with channels.
//!
//! [`server`] accepts, [`client`] connects; both speak in the types of this module. The protocol itself is the crate
//! `ssh`, which knows no sockets: here are the tasks, deadlines and locks around it. Whoever uses this module does not
//! need to change when the engine does.
//!
//! Who may do what is not decided here: the server asks its [`server::Authenticator`], the client its
//! [`client::HostVerifier`].

mod channel;
pub mod client;
mod credentials;
mod drive;
mod link;
mod meter;
mod negotiated;
mod relay;
pub mod server;
mod wire;

pub use ::ssh::algorithms::{Cipher, KeyExchange, UnknownAlgorithm};
pub use ::ssh::connection::{ExitSignal, Inbound, WindowSize};
pub use ::ssh::witness;
pub use ::ssh::{ExchangeRecord, Keepalive, Offer as Algorithms, Rekey};
pub use channel::{ChannelClosed, Reader, Writer};
pub use credentials::{CredentialError, HostCredentials, HostSigner, Signing, UserCredentials};
pub use meter::{Ended, MemoryBudget, Traffic};
pub use negotiated::Negotiated;
pub use relay::{Relayed, relay};

use ::ssh::Settings;

/// What the engine is told about how to speak.
fn settings(algorithms: &Algorithms, rekey: Rekey, keepalive: Keepalive) -> Settings {
    Settings { offer: algorithms.clone(), rekey, keepalive, ..Settings::default() }
}
