//! Identity as an X.509 certificate carries it: a URI SAN for every tool, one private extension for us.
//!
//! Nothing security-relevant stands in a Subject; its common name is for people. Signing is `ca`'s, verifying
//! is [`crate::verify::x509`].

pub mod claims;
pub(crate) mod parsed;

pub use claims::{Claims, EXTENSION_OID};
