//! A connection without a handshake, and what it holds.

use std::sync::Arc;

use super::{Connection, Limits, MAX_ANSWERS, MAX_EVENTS};
use crate::role::Role;
use crate::transport::{HostKey, Settings, Transport};

/// How much waits in a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauge {
    /// Bytes to be sent.
    pub output: usize,
    /// Bytes that wait for the end of a key exchange.
    pub held: usize,
    /// Events that nobody looked at.
    pub events: usize,
    /// Writers that wait for room.
    pub blocked: usize,
}

impl Connection {
    /// Nothing is taken in while so much waits to be sent, besides what may be written.
    pub const MAX_ANSWERS: usize = MAX_ANSWERS;
    /// Nothing is taken in while so many events wait.
    pub const MAX_EVENTS: usize = MAX_EVENTS;

    /// An authenticated connection whose messages travel in plain until the first key exchange that follows.
    #[must_use]
    pub fn in_the_clear(
        role: Role,
        settings: Arc<Settings>,
        host_keys: Vec<HostKey>,
        limits: Limits,
        peer_answers_pings: bool,
    ) -> Self {
        let announced = host_keys.clone();
        let mut transport = Transport::in_the_clear(role, settings, host_keys);
        transport.authenticated();
        if peer_answers_pings {
            transport.peer_answers_pings();
        }
        let mut connection = Self::new(transport, limits);
        if role == Role::Server {
            connection.announce(&announced);
        }
        connection
    }

    /// How much waits.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        Gauge {
            output: self.transport.output(),
            held: self.transport.held(),
            events: self.events.len(),
            blocked: self.blocked.len(),
        }
    }
}
