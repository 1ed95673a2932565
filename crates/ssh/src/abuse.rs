//! Attacks on SSH engines, by the vulnerability or the row of the abuse table that they are known by. What they are
//! tried on is one end of this crate, by a peer that keeps no rules.

mod authentication;
pub(crate) mod connection;
pub(crate) mod handshake;
mod memory;
mod phases;
mod time;
