//! The one process of a node that can start sessions, so that the one that parses what strangers send cannot.
//!
//! Two halves meet over one socket:
//!
//! - the **program half** ([`program`], `session-launcher`) holds the SSH host key, the trust and the policy. It signs key
//!   exchanges in which that key was shown, looks at users' proofs itself, decides over them itself ([`decision`]), and only
//!   then runs `session-exec`. It has one thread, parses nothing but [`protocol`], and waits for nobody;
//! - the **library half** ([`client`], [`protocol`], [`post`]) is how the node asks it.
//!
//! This crate must not speak to the network, must not link tokio or `transport`, and must not believe the node: what the
//! node says is either checked here or stands in `docs/src/threat-model.md` as what a node that was taken over can lie about.

pub mod client;
pub mod decision;
pub mod post;
pub mod program;
pub mod protocol;
