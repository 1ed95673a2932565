//! A transport layer that goes on where a handshake would have left off, without keys.

use std::sync::Arc;

use super::exchange::Exchange;
use super::{HostKey, Session, Settings, Transport};
use crate::algorithms::{Cipher, KeyExchange};
use crate::fuzzing::{prepare, prepared};
use crate::negotiation::Negotiated;
use crate::packet::Outgoing;
use crate::role::Role;

impl Transport {
    /// As if the first key exchange was over, but nothing is sealed. The session belongs to the first host key.
    pub(crate) fn in_the_clear(role: Role, settings: Arc<Settings>, host_keys: Vec<HostKey>) -> Self {
        let host_key = host_keys.first().cloned().expect("a host key");
        // What a handshake would have said is neither sent nor seen.
        let tamper = prepared();
        let mut transport = Self::new(role, settings, host_keys);
        prepare(tamper);
        transport.outgoing = Outgoing::new();
        let negotiated = Negotiated {
            key_exchange: KeyExchange::Curve25519,
            host_key: host_key.algorithm,
            client_to_server: Cipher::Aes128Gcm,
            server_to_client: Cipher::Aes128Gcm,
            strict: true,
        };
        transport.identification = Ok(b"SSH-2.0-peer".to_vec());
        transport.exchange = Exchange::Idle;
        transport.session = Some(Session { id: vec![7; 32], negotiated, host_key: host_key.blob });
        transport
    }

    /// As if the peer had said that it answers `ping@openssh.com`.
    pub(crate) fn peer_answers_pings(&mut self) {
        self.extensions.ping = true;
    }

    /// What waits for the end of a key exchange, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }
}
