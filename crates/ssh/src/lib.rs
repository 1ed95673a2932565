//! The SSH protocol, version 2 (RFC 4251 to 4254), without input or output: bytes go in, events and bytes come out.
//!
//! There is no socket, no task, no clock and no file here. Whoever drives a connection hands over what arrived and the
//! time that has passed, sends what lies in the output, and answers the events. Both roles are here, modern algorithms
//! only; `docs/src/design/ssh-engine.md` says what is spoken and what is refused.
//!
//! Who may do what is not decided here: a user's proof of possession and a server's host key are events, and nothing
//! goes on before they are answered.

pub mod algorithms;
mod cipher;
mod exchange;
pub mod keys;
#[cfg(test)]
mod timings;
mod wire;
