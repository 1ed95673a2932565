//! SSH as a transport: an identity becomes an authenticated connection with channels.
//!
//! [`server`] accepts, [`client`] connects; both speak in the types of this module. The engine underneath (russh today)
//! is an implementation detail: none of its types may appear in a public signature here, its callbacks become typed
//! events, and whoever uses this module must not need to change when the engine does.
//!
//! Who may do what is not decided here: the server asks its [`server::Authenticator`], the client its
//! [`client::HostVerifier`].

mod algorithms;
mod channel;
pub mod client;
mod credentials;
mod flow;
mod gate;
mod negotiated;
mod ports;
mod relay;
pub mod server;

pub use algorithms::{Algorithms, Cipher, KeyExchange, UnknownAlgorithm};
pub use channel::{ChannelClosed, ExitSignal, Inbound, Reader, WindowSize, Writer};
pub use credentials::{CredentialError, HostCredentials, UserCredentials};
pub use flow::{Ended, MemoryBudget, Traffic};
pub use negotiated::Negotiated;
pub use relay::{Relayed, relay};

use std::time::Duration;

/// How a silent peer is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// After this long without a byte from the peer it is asked whether it is there.
    pub interval: Duration,
    /// After this many intervals without an answer the connection ends.
    pub count: u32,
}

impl Default for Keepalive {
    /// Five minutes, three times: the cluster's default.
    fn default() -> Self {
        Self { interval: Duration::from_secs(300), count: 3 }
    }
}

/// When fresh keys are agreed on during a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rekey {
    /// After so many bytes in either direction; at most 1 GiB (RFC 4253, section 9).
    pub bytes: u32,
    /// And after so long.
    pub interval: Duration,
}

impl Default for Rekey {
    fn default() -> Self {
        Self { bytes: 1 << 30, interval: Duration::from_secs(3600) }
    }
}

impl Rekey {
    fn limits(self) -> russh::Limits {
        let bytes = self.bytes.clamp(1 << 14, 1 << 30) as usize;
        russh::Limits::new(bytes, bytes, self.interval)
    }
}

/// What both sides call themselves. Without a version: nobody needs it before authentication.
const SOFTWARE: &str = "SSH-2.0-Postern";
/// The window that we grant on each channel.
const WINDOW: u32 = 2 << 20;
/// The largest channel packet that we take.
const MAX_PACKET: u32 = 32 << 10;
