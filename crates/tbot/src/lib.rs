//! The machine agent: joins once, keeps short-lived credentials fresh, writes them where programs read them.
//!
//! `config` says what to do, `agent` does it, `destination` writes files that change all at once, `proxy_command` is
//! what OpenSSH runs to reach a node. It must not decide about access: the cluster does.

pub mod accounts;
pub mod agent;
pub mod commands;
pub mod config;
pub mod configure;
pub mod console;
pub mod destination;
pub mod health;
pub mod keypair;
pub mod program;
pub mod proxy_command;
pub mod tpm;
