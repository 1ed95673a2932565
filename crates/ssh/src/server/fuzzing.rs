//! A server before authentication, without a key exchange.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Config, Handshake, Stage};
use crate::role::Role;
use crate::transport::Transport;

impl Handshake {
    /// Begins where the first key exchange would be over; messages travel in plain.
    #[must_use]
    pub fn in_the_clear(config: Arc<Config>) -> Self {
        let transport =
            Transport::in_the_clear(Role::Server, Arc::clone(&config.settings), config.host_keys.clone());
        let stage = Stage::Service;
        Self { transport, config, stage, failures: 0, questions: 0, events: VecDeque::new() }
    }
}
