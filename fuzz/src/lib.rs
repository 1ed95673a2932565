//! What the fuzz targets share: how bytes become a script, who plays the peer, and what must hold whatever happens.
//!
//! A target in `targets/` is an entry point and nothing else. `docs/src/design/fuzzing.md` says how they are run.

pub mod actions;
pub mod certificate;
pub mod conversation;
pub mod input;
pub mod keys;
pub mod ledger;
pub mod lone;
pub mod messages;
pub mod requests;
pub mod sftp;
pub mod tampering;
pub mod vouchers;
pub mod wire;
pub mod witness;

use std::alloc::System;

use cap::Cap;

/// Counts what is allocated; limits nothing.
#[global_allocator]
pub static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);
