//! How a session behaves: the options of all roles together (fact sheet, section 2.2).

use crate::rbac::RoleSet;
use crate::resource::cluster::{AuthPreferenceSpec, LockingMode, NetworkingSpec};
use crate::resource::role::{RoleOptions, Switch};
use crate::{Login, Ttl};
use std::time::Duration;

/// The cluster's part in the options of sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionDefaults {
    /// From `cluster_networking_config`.
    pub client_idle_timeout: Ttl,
    /// From `cluster_auth_preference`.
    pub disconnect_expired_cert: bool,
    /// From `cluster_auth_preference`.
    pub locking_mode: LockingMode,
    /// From `cluster_auth_preference`.
    pub require_post_quantum: bool,
}

impl SessionDefaults {
    /// From the cluster's settings.
    pub fn new(auth: &AuthPreferenceSpec, networking: &NetworkingSpec) -> Self {
        Self {
            client_idle_timeout: networking.client_idle_timeout,
            disconnect_expired_cert: auth.disconnect_expired_cert,
            locking_mode: auth.locking_mode,
            require_post_quantum: auth.require_post_quantum,
        }
    }
}

/// The merged options of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    local_forwarding: bool,
    remote_forwarding: bool,
    agent_forwarding: bool,
    x11_forwarding: bool,
    file_copy: bool,
    idle_timeout: Option<Duration>,
    disconnect_expired_cert: bool,
    max_connections: Option<u32>,
    max_sessions: Option<u32>,
    locking_mode: LockingMode,
}

impl SessionOptions {
    pub(super) fn merge(roles: &RoleSet, login: &Login, defaults: SessionDefaults) -> Self {
        let all: Vec<&RoleOptions> = roles.options().collect();
        let any =
            |flag: fn(&RoleOptions) -> Option<bool>| all.iter().any(|options| flag(options) == Some(true));
        let smallest = |limit: fn(&RoleOptions) -> Option<u32>| {
            all.iter().filter_map(|options| limit(options)).filter(|limit| *limit > 0).min()
        };
        let idle = all
            .iter()
            .filter_map(|options| options.client_idle_timeout)
            .chain([defaults.client_idle_timeout]);
        Self {
            local_forwarding: forwarding(&all, |role| role.ssh_port_forwarding.as_ref()?.local),
            remote_forwarding: forwarding(&all, |role| role.ssh_port_forwarding.as_ref()?.remote),
            agent_forwarding: roles
                .given()
                .any(|role| role.options.forward_agent == Some(true) && role.allow.logins.contains(login)),
            x11_forwarding: any(|role| role.permit_x11_forwarding),
            file_copy: all.iter().all(|role| role.ssh_file_copy.unwrap_or(true)),
            idle_timeout: idle.filter_map(Ttl::limit).min(),
            disconnect_expired_cert: defaults.disconnect_expired_cert
                || any(|role| role.disconnect_expired_cert),
            max_connections: smallest(|role| role.max_connections),
            max_sessions: smallest(|role| role.max_sessions),
            // The strictest of those that say something; the cluster speaks only where none does.
            locking_mode: all.iter().filter_map(|role| role.lock).max().unwrap_or(defaults.locking_mode),
        }
    }

    /// `ssh -L`, `-D`, `-W`.
    pub fn local_forwarding(&self) -> bool {
        self.local_forwarding
    }

    /// `ssh -R`.
    pub fn remote_forwarding(&self) -> bool {
        self.remote_forwarding
    }

    /// `ssh -A`.
    pub fn agent_forwarding(&self) -> bool {
        self.agent_forwarding
    }

    /// `ssh -X`.
    pub fn x11_forwarding(&self) -> bool {
        self.x11_forwarding
    }

    /// SFTP and scp.
    pub fn file_copy(&self) -> bool {
        self.file_copy
    }

    /// How long a session may be silent; no limit if absent.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// Whether the session ends with its certificate.
    pub fn disconnect_expired_cert(&self) -> bool {
        self.disconnect_expired_cert
    }

    /// Connections of one user at once; no limit if absent.
    pub fn max_connections(&self) -> Option<u32> {
        self.max_connections
    }

    /// Session channels of one connection at once; no limit if absent.
    pub fn max_sessions(&self) -> Option<u32> {
        self.max_sessions
    }

    /// What to do when the view of locks is stale.
    pub fn locking_mode(&self) -> LockingMode {
        self.locking_mode
    }
}

/// One direction of port forwarding. An explicit no of any role wins; then an explicit yes, or `port_forwarding`
/// of a role that has it. A role that speaks of directions only says nothing about the one it leaves out.
pub(in crate::rbac) fn forwarding(
    roles: &[&RoleOptions],
    direction: fn(&RoleOptions) -> Option<Switch>,
) -> bool {
    let explicit: Vec<bool> =
        roles.iter().filter_map(|role| direction(role)).map(|switch| switch.enabled).collect();
    let older = roles.iter().any(|role| role.port_forwarding == Some(true));
    !explicit.contains(&false) && (explicit.contains(&true) || older)
}
