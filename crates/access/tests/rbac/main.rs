//! Decisions, sentence by sentence of the fact sheet, and as properties.

mod api;
mod certificate;
mod impersonate;
mod key_exchange;
mod options;
mod properties;
mod spiffe;
mod ssh;

use access::rbac::RoleSet;
use access::rbac::ssh::{KeyExchange, Request, SessionDefaults};
use access::resource::{Resource, Role};
use access::{Labels, Traits, UserName};
use serde_json::{Value, json};

/// A role of version v7, decoded as an administrator's file is.
pub(crate) fn role(name: &str, spec: Value) -> Role {
    versioned(name, "v7", spec)
}

pub(crate) fn versioned(name: &str, version: &str, spec: Value) -> Role {
    let value = json!({"kind": "role", "version": version, "metadata": {"name": name}, "spec": spec});
    match Resource::from_json(value) {
        Ok(Resource::Role(role)) => *role,
        other => panic!("{name} is no role: {other:?}"),
    }
}

/// A role that allows logins on the servers of one environment.
pub(crate) fn allows(name: &str, logins: &[&str], env: &str) -> Role {
    role(name, json!({"allow": {"logins": logins, "node_labels": {"env": env}}}))
}

pub(crate) fn alice() -> UserName {
    UserName::new("alice").expect("a name")
}

pub(crate) fn set(roles: &[Role]) -> RoleSet {
    with_traits(roles, &[])
}

pub(crate) fn with_traits(roles: &[Role], traits: &[(&str, &[&str])]) -> RoleSet {
    let traits: Traits = traits.iter().map(|(name, values)| (*name, values.to_vec())).collect();
    RoleSet::new(&alice(), roles, &traits)
}

/// A login over a connection that nobody objects to.
pub(crate) fn attempt<'a>(login: &'a str, labels: &'a Labels) -> Request<'a> {
    let (key_exchange, defaults) = (KeyExchange::PostQuantum, SessionDefaults::default());
    Request { login, labels, key_exchange, defaults }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}
