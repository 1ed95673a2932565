//! How the services of this process reach auth, and how the host joins.

use std::path::PathBuf;

use super::{Check, global::given};
use crate::config::{
    AUTH_PORT, JoinProof, JoinSecret, PROXY_PORT, Pin, Remote, Server, Upstream,
    address::parse_public,
    file::{EndorsementKey, File, Global, JoinMethod},
};

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Check<'_, '_> {
    pub(super) fn upstream(&mut self, file: &File) -> Option<Upstream> {
        let (auth, proxy, ssh) =
            (file.auth_service.enabled, file.proxy_service.enabled, file.ssh_service.enabled);
        if !auth && !proxy && !ssh {
            let text =
                "no service is enabled; set enabled: yes in auth_service, proxy_service or ssh_service";
            self.report.mistake("", text);
            return None;
        }
        let pins = self.pins(&file.postern);
        let secret = self.secret(&file.postern);
        if auth {
            self.joins_nobody(file);
            return Some(Upstream::ThisProcess);
        }
        let server = self.server(&file.postern, proxy);
        let proof = self.proof(file);
        Some(Upstream::Remote(Remote { server: server?, secret, proof, pins }))
    }

    fn server(&mut self, global: &Global, proxy_enabled: bool) -> Option<Server> {
        let auth_server = given(global.auth_server.as_deref());
        let proxy_server = given(global.proxy_server.as_deref());
        match (auth_server, proxy_server) {
            (Some(_), Some(_)) => {
                self.report.mistake("postern.proxy_server", "stands beside auth_server; keep one of them");
                None
            }
            (Some(text), None) => {
                self.report.take("postern.auth_server", parse_public(text, AUTH_PORT)).map(Server::Auth)
            }
            (None, Some(_)) if proxy_enabled => {
                let text =
                    "a proxy reaches auth directly; give auth_server, or set proxy_service to enabled: no";
                self.report.mistake("postern.proxy_server", text);
                None
            }
            (None, Some(text)) => {
                self.report.take("postern.proxy_server", parse_public(text, PROXY_PORT)).map(Server::Proxy)
            }
            (None, None) => {
                let text = "missing; auth_service does not run here, so say where it is with auth_server or proxy_server";
                self.report.mistake("postern.auth_server", text);
                None
            }
        }
    }

    /// Settings for joining a cluster, in a process that is the cluster.
    fn joins_nobody(&mut self, file: &File) {
        let global = &file.postern;
        let here = "auth_service runs in this process (it does unless its section says enabled: no)";
        for (path, given) in [
            (
                "postern.auth_server",
                given(global.auth_server.as_deref()).filter(|text| !is_this_host(text, file)),
            ),
            ("postern.proxy_server", given(global.proxy_server.as_deref())),
        ] {
            if given.is_some() {
                self.report.mistake(path, format!("{here}; remove this key, or disable auth_service"));
            }
        }
        let secret = given(global.auth_token.as_deref()).map(|_| "postern.auth_token");
        let params = global.join_params.as_ref().map(|_| "postern.join_params");
        let pin = global.ca_pin.with_paths("postern.ca_pin").first().map(|_| "postern.ca_pin");
        for path in [secret, params, pin].into_iter().flatten() {
            self.report
                .mistake(path, format!("{here}, so nothing joins; remove this key, or disable auth_service"));
        }
    }

    fn secret(&mut self, global: &Global) -> Option<JoinSecret> {
        let token = given(global.auth_token.as_deref());
        let Some(params) = &global.join_params else { return token.map(JoinSecret::new) };
        if token.is_some() {
            self.report.mistake("postern.auth_token", "stands beside join_params; keep one of them");
        }
        if params.token_name.is_empty() {
            self.report
                .mistake("postern.join_params.token_name", "is empty; create a token with tctl tokens add");
            return None;
        }
        Some(JoinSecret::new(&params.token_name))
    }

    fn proof(&mut self, file: &File) -> JoinProof {
        let Some(params) = &file.postern.join_params else { return JoinProof::Token };
        if params.bound_keypair.is_some() && params.method != JoinMethod::BoundKeypair {
            let text = "belongs to method bound_keypair; remove it, or set that method";
            self.report.mistake("postern.join_params.bound_keypair", text);
        }
        if params.tpm.is_some() && params.method != JoinMethod::Tpm {
            let text = "belongs to method tpm; remove it, or set that method";
            self.report.mistake("postern.join_params.tpm", text);
        }
        match params.method {
            JoinMethod::Tpm => {
                let tpm = params.tpm.as_ref();
                let device = tpm.and_then(|tpm| given(tpm.device.as_deref()));
                let path = "postern.join_params.tpm.device";
                let device = device.and_then(|text| self.report.take(path, text.parse()));
                let ecc = tpm.is_some_and(|tpm| tpm.endorsement_key == EndorsementKey::Ecc);
                JoinProof::Tpm { device: device.unwrap_or_default(), ecc }
            }
            JoinMethod::Token => JoinProof::Token,
            JoinMethod::Kubernetes => JoinProof::Kubernetes(service_account()),
            JoinMethod::BoundKeypair => {
                if file.proxy_service.enabled && file.ssh_service.enabled {
                    let text = "a key is bound for one service, and here are two; run proxy and node apart, each with a \
                                data_dir and a token of its own";
                    self.report.mistake("postern.join_params.method", text);
                }
                let bound = params.bound_keypair.as_ref();
                let secret = bound.and_then(|bound| given(bound.registration_secret.as_deref()));
                JoinProof::BoundKeypair(secret.map(JoinSecret::new))
            }
        }
    }

    fn pins(&mut self, global: &Global) -> Vec<Pin> {
        let mut pins = Vec::new();
        for (path, text) in global.ca_pin.with_paths("postern.ca_pin") {
            pins.extend(self.report.take(path.as_str(), Pin::parse(text)));
        }
        pins
    }
}

/// Where Kubernetes puts a pod's ID token, or where the environment says.
fn service_account() -> PathBuf {
    let path = std::env::var_os("KUBERNETES_TOKEN_PATH").filter(|path| !path.is_empty());
    path.map_or_else(|| SERVICE_ACCOUNT.into(), PathBuf::from)
}

/// Existing files of a host that runs everything name their own auth service.
fn is_this_host(auth_server: &str, file: &File) -> bool {
    let Ok(server) = parse_public(auth_server, AUTH_PORT) else { return false };
    let loopback = server.host() == "localhost"
        || server.host().parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let public = file.auth_service.public_addr.with_paths("");
    let mut own = public.iter().filter_map(|(_, text)| parse_public(text, AUTH_PORT).ok());
    loopback || own.any(|address| address == server)
}
