//! TLS between programs of ours: version 1.3 only, post-quantum key exchange preferred, certificates judged by
//! `identity::verify` (or, for the web side of a proxy, by the system's roots).
//!
//! No type of the TLS engine leaves this module.

mod client;
mod credentials;
mod provider;
mod server;
mod stream;
mod trust;
mod verify;
mod web;

pub(crate) use client::{Connecting, dial, first_word_problem, shake_hands};
pub use client::{Expected, connect};
pub use credentials::{CredentialsError, Current, LiveCredentials};
pub(crate) use provider::{FOREIGN_VERSIONS, provider};
pub use server::{AcceptError, Accepted, ClientCertificates, Server, ServerCertificates};
pub use stream::SecureStream;
pub use trust::ServerTrust;
pub use web::{WebCertificateError, WebCertificates, WebKeypair};

/// Names of protocols inside TLS (RFC 7301).
pub mod alpn {
    /// gRPC with auth, relayed blindly by proxies.
    pub const AUTH: &[u8] = b"postern-auth";
    /// gRPC with the join service alone; the server shows its cluster certificate, so that pins work.
    pub const JOIN: &[u8] = b"postern-join";
    /// The SSH transport: `dial.proto`, then SSH.
    pub const SSH: &[u8] = b"postern-ssh";
    /// HTTP/2 with the web certificate.
    pub const H2: &[u8] = b"h2";
    /// HTTP/1.1 with the web certificate.
    pub const HTTP: &[u8] = b"http/1.1";
}

/// How long a handshake may take, from the first byte to the last.
pub const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);
/// How long a client waits for each word of a server in the handshake: longer than the server does, because clients that come by the
/// thousand wait for their turn before it.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// What a server that cannot serve now may send in place of its part of the handshake: a fatal alert
/// `internal_error` (RFC 8446, section 6). Clients of ours know it as [`crate::Problem::Unavailable`].
pub const UNAVAILABLE: &[u8] = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x50];
