//! The auth service.

use access::{
    ClusterName, NodeName,
    resource::cluster::{AuthPreferenceSpec, LockingMode, NetworkingSpec, RoutingStrategy},
    spiffe::TokenIssuer,
};

use super::{Check, global::given};
use crate::config::{
    AUTH_PORT, AuthConfig, StaticToken,
    file::{self, AuthService, File},
};

impl Check<'_, '_> {
    pub(super) fn auth(&mut self, file: &File, node_name: Option<&NodeName>) -> Option<AuthConfig> {
        let auth = &file.auth_service;
        let cluster_name = self.cluster_name(auth, node_name);
        let listen = self.listen("auth_service.listen_addr", &auth.listen_addr, AUTH_PORT);
        let public = self.public("auth_service.public_addr", &auth.public_addr, listen);
        let storage = match given(file.postern.storage.path.as_deref()) {
            Some(path) => self.absolute("postern.storage.path", path),
            None => Some(std::path::Path::new(&file.postern.data_dir).join("backend")),
        };
        let static_tokens = self.static_tokens(&auth.tokens);
        let issuer = given(auth.workload_identity_issuer.as_deref()).map(str::parse::<TokenIssuer>);
        let workload_issuer =
            issuer.and_then(|issuer| self.report.take("auth_service.workload_identity_issuer", issuer));
        let preference = self.preference(auth);
        let networking = self.networking(auth);
        Some(AuthConfig {
            cluster_name: cluster_name?,
            listen: listen?,
            public,
            storage: storage?,
            static_tokens,
            workload_issuer,
            preference,
            networking,
        })
    }

    fn cluster_name(&mut self, auth: &AuthService, node_name: Option<&NodeName>) -> Option<ClusterName> {
        let path = "auth_service.cluster_name";
        match given(auth.cluster_name.as_deref()) {
            Some(name) => self.report.take(path, ClusterName::new(name)),
            None => {
                let name = ClusterName::new(node_name?.as_str().to_ascii_lowercase());
                let name =
                    name.map_err(|error| format!("missing, and the node name does not serve: {error}"));
                self.report.take(path, name)
            }
        }
    }

    fn static_tokens(&mut self, texts: &[String]) -> Vec<StaticToken> {
        let mut tokens = Vec::new();
        for (nth, text) in texts.iter().enumerate() {
            tokens.extend(
                self.report.take(format!("auth_service.tokens[{nth}]").as_str(), StaticToken::parse(text)),
            );
        }
        if !tokens.is_empty() {
            self.warnings.push("auth_service.tokens never expire; prefer tctl tokens add".to_owned());
        }
        tokens
    }

    /// `None` when the file says nothing of it.
    fn preference(&mut self, auth: &AuthService) -> Option<AuthPreferenceSpec> {
        let mut spec = AuthPreferenceSpec::default();
        let AuthService { authentication, disconnect_expired_cert, message_of_the_day, .. } = auth;
        if let Some(text) = &authentication.default_session_ttl {
            let path = "auth_service.authentication.default_session_ttl";
            let limited = self.ttl(path, text).map(|ttl| match ttl.limit() {
                Some(_) => Ok(ttl),
                None => Err("certificates must expire; write a duration like 12h"),
            });
            spec.default_session_ttl = self.report.take(path, limited?).unwrap_or(spec.default_session_ttl);
        }
        if let Some(mode) = authentication.locking_mode {
            spec.locking_mode = match mode {
                file::LockingMode::BestEffort => LockingMode::BestEffort,
                file::LockingMode::Strict => LockingMode::Strict,
            };
        }
        spec.require_post_quantum = authentication.require_post_quantum.unwrap_or(spec.require_post_quantum);
        spec.disconnect_expired_cert = disconnect_expired_cert.unwrap_or(spec.disconnect_expired_cert);
        spec.message_of_the_day = message_of_the_day.clone().unwrap_or_default();
        let any_given = authentication.default_session_ttl.is_some()
            || authentication.locking_mode.is_some()
            || authentication.require_post_quantum.is_some()
            || disconnect_expired_cert.is_some()
            || message_of_the_day.is_some();
        any_given.then_some(spec)
    }

    /// `None` when the file says nothing of it.
    fn networking(&mut self, auth: &AuthService) -> Option<NetworkingSpec> {
        let mut spec = NetworkingSpec::default();
        let mut any_given = false;
        for (path, text, setting) in [
            ("auth_service.client_idle_timeout", &auth.client_idle_timeout, &mut spec.client_idle_timeout),
            ("auth_service.keep_alive_interval", &auth.keep_alive_interval, &mut spec.keep_alive_interval),
            ("auth_service.ssh_dial_timeout", &auth.ssh_dial_timeout, &mut spec.ssh_dial_timeout),
        ] {
            if let Some(text) = text {
                any_given = true;
                *setting = self.ttl(path, text).unwrap_or(*setting);
            }
        }
        if let Some(strategy) = auth.routing_strategy {
            any_given = true;
            spec.routing_strategy = match strategy {
                file::RoutingStrategy::UnambiguousMatch => RoutingStrategy::UnambiguousMatch,
                file::RoutingStrategy::MostRecent => RoutingStrategy::MostRecent,
            };
        }
        any_given |= auth.keep_alive_count_max.is_some()
            || auth.case_insensitive_routing.is_some()
            || auth.client_idle_timeout_message.is_some();
        if auth.keep_alive_count_max == Some(0) {
            self.report.mistake(
                "auth_service.keep_alive_count_max",
                "0 would end every connection; write at least 1",
            );
        }
        spec.keep_alive_count_max = auth.keep_alive_count_max.unwrap_or(spec.keep_alive_count_max);
        spec.case_insensitive_routing =
            auth.case_insensitive_routing.unwrap_or(spec.case_insensitive_routing);
        spec.client_idle_timeout_message = auth.client_idle_timeout_message.clone().unwrap_or_default();
        any_given.then_some(spec)
    }
}
