//! Looks whether every port can be had, before a service makes anything that stays.
//!
//! A cluster is made once and keeps its name: it must not be made by a start that then fails over a port. The ports are
//! given back at once; that somebody else takes one in between is left to the service that binds it.

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
};

use transport::listen::BindError;

use crate::config::Config;

/// The ports that cannot be had, each with its key.
#[derive(Debug)]
pub struct Occupied(Vec<(&'static str, BindError)>);

/// Whether all that `config` listens on can be had at the same time.
///
/// # Errors
/// All that cannot.
pub fn are_free(config: &Config) -> Result<(), Occupied> {
    // Held until all are looked at, because two of ours may exclude each other.
    let (mut held, mut occupied) = (Vec::new(), Vec::new());
    for (key, addr) in listened(config) {
        match TcpListener::bind(addr) {
            Ok(listener) => held.push(listener),
            Err(reason) => occupied.push((key, BindError { addr, reason })),
        }
    }
    if occupied.is_empty() { Ok(()) } else { Err(Occupied(occupied)) }
}

fn listened(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let services = &config.services;
    [
        ("postern.diag_addr", config.diag_addr),
        ("auth_service.listen_addr", services.auth.as_ref().map(|auth| auth.listen)),
        ("proxy_service.web_listen_addr", services.proxy.as_ref().map(|proxy| proxy.listen)),
        ("ssh_service.listen_addr", services.node.as_ref().map(|node| node.listen)),
    ]
    .into_iter()
    .filter_map(|(key, addr)| Some((key, addr?)))
}

impl fmt::Display for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (key, error)) in self.0.iter().enumerate() {
            let separator = if nth > 0 { "\n" } else { "" };
            write!(f, "{separator}{key}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Occupied {}
