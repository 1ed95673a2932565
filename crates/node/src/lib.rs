//! The SSH server of a host: who comes in by certificate and roles, and what then runs.
//!
//! A node decides by itself, from the signed policy that its agent keeps, so it goes on serving while auth is away. It
//! must not sign anything, must not know an SSH engine (that is `transport`), and must not become a user (that is
//! `exec`).

mod allowance;
mod audit;
mod config;
mod connection;
mod decision;
mod forward;
mod host;
mod labels;
mod launcher;
mod listener;
mod metrics;
mod service;
mod session;
mod shared;

pub use config::{CommandLabel, Config, Displays, Limits, Pam};
pub use exec::Limits as SessionLimits;
pub use exec::environment::modules_may_be_told;
pub use exec::request::is_service as is_pam_service;
pub use exec::service::close_inherited;
pub use host::{Host, NotShown};
pub use launcher::{Launcher, LauncherError, LauncherProcess, LauncherStart};
pub use metrics::Metrics;
pub use service::{LauncherGone, Running, StartError, start};
