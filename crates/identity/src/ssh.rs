//! Identity as an OpenSSH certificate carries it.
//!
//! [`certificate`] takes a certificate apart, [`claims`] says what its parts mean and writes them. Nothing here
//! verifies a signature for others: that is [`crate::verify::ssh`].

pub mod certificate;
pub mod claims;
pub mod key_blob;
mod line;
pub(crate) mod wire;

pub use certificate::{CertificateType, RawCertificate};
pub use claims::Claims;
pub use line::SshCertificate;
