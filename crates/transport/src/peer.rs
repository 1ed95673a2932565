//! Who is at the other end of a connection that a service accepted.

use std::net::SocketAddr;

use identity::verify::x509::VerifiedIdentity;

/// The other end, as far as the connection itself proves it. Handlers find it in the request's extensions.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What it proved.
    pub identity: PeerIdentity,
    /// Where it connects from; absent on a Unix socket. Of members that come through a proxy's blind relay this is the
    /// proxy's address, of strangers whose calls a proxy passes on it is their own.
    pub addr: Option<SocketAddr>,
}

/// The proxy that passed a stranger's call on: a verified host. Handlers find it in the request's extensions beside
/// the stranger's [`Peer`]. It lends the call none of its rights, and the call ends where the proxy's own would.
#[derive(Debug, Clone)]
pub struct PassedOnBy(pub Peer);

/// What a peer proved.
#[derive(Debug, Clone)]
pub enum PeerIdentity {
    /// Nothing: it showed no certificate.
    Stranger,
    /// A certificate of the cluster, and the key to it.
    Verified(VerifiedIdentity),
    /// That it runs on this machine, as root or as the service's own user.
    LocalAdmin {
        /// Its user id.
        uid: u32,
    },
}
