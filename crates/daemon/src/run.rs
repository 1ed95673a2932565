//! A running daemon: logs, locks, signals, health, and the watch over its services.
//!
//! Nothing here knows what a service does; [`supervise`] is given futures and their health.

pub mod board;
pub mod data_dir;
pub mod diag;
pub mod harden;
pub mod logs;
pub mod metrics;
pub mod pid_file;
pub mod ports;
pub mod reload;
pub mod signals;
pub mod starting;
pub mod supervise;
