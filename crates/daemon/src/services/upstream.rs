//! How a proxy or a node of this process reaches auth, and how it joins.

use access::{HostPort, SystemRole};
use agent::{Algorithm, JoinSource, Proof};
use identity::trust::Pin;
use std::collections::BTreeMap;
use transport::ServerTrust;
use zeroize::Zeroizing;

use crate::{
    config::{self, JoinProof, Remote, Server, Upstream},
    run::supervise::ServiceError,
};

/// The auth service of this very process: reached without anything in the configuration.
pub(super) struct Local {
    address: HostPort,
    pins: Vec<Pin>,
    tokens: BTreeMap<SystemRole, Zeroizing<String>>,
}

impl Local {
    pub(super) fn of(running: &auth::Running) -> Self {
        let roles = [SystemRole::Proxy, SystemRole::Node].into_iter();
        let tokens = roles.filter_map(|role| Some((role, running.local_token(role)?)));
        let host = match running.addr.ip() {
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            ip => ip.to_string(),
        };
        let address = HostPort::new(&host, running.addr.port()).expect("an IP address is a host");
        Self { address, pins: running.trust().pins(), tokens: tokens.collect() }
    }
}

/// The way to auth for one service.
pub(super) struct Way {
    pub(super) auth: HostPort,
    /// Absent when there is no token; a host that has joined before needs none.
    pub(super) join: Option<JoinSource>,
}

impl Way {
    pub(super) fn find(
        upstream: &Upstream,
        local: Option<&Local>,
        role: SystemRole,
    ) -> Result<Self, ServiceError> {
        match (upstream, local) {
            (Upstream::ThisProcess, Some(local)) => {
                let token = local.tokens.get(&role).cloned();
                let trust = ServerTrust::pins(local.pins.clone());
                Ok(Self {
                    auth: local.address.clone(),
                    join: token.map(|token| JoinSource::token(token, trust)),
                })
            }
            (Upstream::Remote(remote), _) => Self::remote(remote),
            (Upstream::ThisProcess, None) => {
                Err("auth is not a service of this process, and no other is named".into())
            }
        }
    }

    fn remote(remote: &Remote) -> Result<Self, ServiceError> {
        let (Server::Auth(auth) | Server::Proxy(auth)) = &remote.server;
        let pins = pins(&remote.pins)?;
        let trust = if pins.is_empty() { ServerTrust::system() } else { ServerTrust::pins(pins) };
        let token = match &remote.secret {
            None => None,
            // A token file may be gone once the host has joined.
            Some(secret) => match secret.reveal() {
                Ok(token) => Some(Zeroizing::new(token)),
                Err(error) => {
                    tracing::warn!(%error, ?secret, "the join token cannot be read; it is needed only to join");
                    None
                }
            },
        };
        let proof = proof(&remote.proof);
        Ok(Self { auth: auth.clone(), join: token.map(|token| JoinSource { token, trust, proof }) })
    }
}

fn proof(configured: &JoinProof) -> Proof {
    match configured {
        JoinProof::Token => Proof::Token,
        JoinProof::Tpm { device, ecc } => Proof::Tpm {
            device: device.clone(),
            algorithm: if *ecc { Algorithm::EccP256 } else { Algorithm::Rsa2048 },
        },
        JoinProof::Kubernetes(path) => Proof::Kubernetes(path.clone()),
        JoinProof::BoundKeypair(secret) => Proof::BoundKey {
            // Once the key is bound nobody needs it.
            secret: secret.as_ref().and_then(|secret| match secret.reveal() {
                Ok(text) => Some(Zeroizing::new(text)),
                Err(error) => {
                    tracing::info!(%error, ?secret, "the registration secret cannot be read; it is needed only to bind the key");
                    None
                }
            }),
        },
    }
}

fn pins(configured: &[config::Pin]) -> Result<Vec<Pin>, ServiceError> {
    let mut pins = Vec::new();
    for pin in configured {
        match pin {
            config::Pin::Digest(digest) => pins.push(digest.parse()?),
            config::Pin::File(path) => {
                let read = config::read::file(path);
                let text =
                    read.map_err(|error| format!("cannot read the CA pin {}: {error}", path.display()))?;
                for line in text.split_whitespace() {
                    pins.push(
                        line.parse().map_err(|error| format!("the CA pin in {}: {error}", path.display()))?,
                    );
                }
            }
        }
    }
    Ok(pins)
}
