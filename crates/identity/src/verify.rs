//! The one verifier for each kind of certificate: user and host, SSH and X.509.
//!
//! What a verifier accepts comes back as a value that nothing else can make. No verifier reads a clock or a
//! lock: time is an argument, and locks are asked where a decision is made.

pub mod source_address;
pub mod ssh;
pub(crate) mod validity;
pub mod x509;

pub use validity::MAX_LIFETIME;
