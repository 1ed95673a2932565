//! The proxy service.

use std::time::Duration;

use super::{Check, global::given};
use crate::config::{
    Keypair, PROXY_PORT, ProxyConfig,
    file::{KeypairFiles, ProxyProtocol, ProxyService},
};

/// More often than this would read files for nothing.
const LEAST_RELOAD: Duration = Duration::from_secs(1);

impl Check<'_, '_> {
    pub(super) fn proxy(&mut self, proxy: &ProxyService) -> Option<ProxyConfig> {
        let listen = self.listen("proxy_service.web_listen_addr", &proxy.web_listen_addr, PROXY_PORT);
        let public = self.public("proxy_service.public_addr", &proxy.public_addr, listen);
        let keypairs: Vec<Option<Keypair>> =
            proxy.https_keypairs.iter().enumerate().map(|(nth, pair)| self.keypair(nth, pair)).collect();
        let keypairs_reload = self.keypairs_reload(given(proxy.https_keypairs_reload_interval.as_deref()));
        Some(ProxyConfig {
            listen: listen?,
            public,
            keypairs: keypairs.into_iter().collect::<Option<_>>()?,
            keypairs_reload,
            proxy_protocol: proxy.proxy_protocol == ProxyProtocol::On,
        })
    }

    fn keypair(&mut self, nth: usize, pair: &KeypairFiles) -> Option<Keypair> {
        let path = |key| format!("proxy_service.https_keypairs[{nth}].{key}");
        let key_file = self.absolute(&path("key_file"), &pair.key_file);
        let cert_file = self.absolute(&path("cert_file"), &pair.cert_file);
        Some(Keypair { key_file: key_file?, cert_file: cert_file? })
    }

    fn keypairs_reload(&mut self, interval: Option<&str>) -> Option<Duration> {
        let path = "proxy_service.https_keypairs_reload_interval";
        let interval = self.ttl(path, interval?)?.limit()?;
        let sensible =
            if interval < LEAST_RELOAD { Err("is too short; write at least 1s, or 0") } else { Ok(interval) };
        self.report.take(path, sensible)
    }
}
