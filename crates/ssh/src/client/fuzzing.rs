//! A client before authentication, without a key exchange.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Config, Handshake, Stage};
use crate::role::Role;
use crate::transport::{HostKey, Transport};

impl Handshake {
    /// Begins where the client has asked for everything and waits for the answers; messages travel in plain.
    #[must_use]
    pub fn in_the_clear(config: Arc<Config>) -> Self {
        let host_keys =
            config.host_keys.iter().map(|algorithm| HostKey { algorithm: *algorithm, blob: Vec::new() });
        let transport =
            Transport::in_the_clear(Role::Client, Arc::clone(&config.settings), host_keys.collect());
        let stage = Stage::Asked { service: false };
        Self { transport, config, stage, banners: 0, events: VecDeque::new() }
    }
}
