//! The certificate authority: what should be in a certificate (`decide`), signing it (`sign`), looking at the finished
//! thing once more before it leaves (`check`), and keeping the keys (`keys`, `seal`, `rotation`).
//!
//! Linked by auth alone: nothing else in a cluster can sign. No I/O and no clock: time is an argument, and so
//! is the randomness of serials and nonces. Fresh authorities' keys and the nonces of seals are drawn by aws-lc from the
//! system. What is kept is sealed here and stored by auth.

mod authorities;
mod check;
mod decide;
mod keys;
mod rotation;
mod seal;
mod sign;
mod svid;

pub use authorities::{Authorities, Retire, RotateError};
pub use decide::{Extra, HOST_LIFETIME, IssueError, Order};
pub use keys::KeyFault;
pub use rotation::IllegalStep;
pub use seal::{EnvelopeKey, SealError};
pub use svid::{JwtOrder, JwtSvid, X509Order, X509Svid};

use identity::ssh::SshCertificate;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

/// A pair of certificates about one identity: over one subject key, or over a host's two.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The SSH certificate.
    pub ssh: SshCertificate,
    /// The X.509 certificates, leaf first. Without the authority's: peers have that one.
    pub tls_chain: Vec<CertificateDer<'static>>,
    /// In both.
    pub serial: u64,
    /// Not valid before then.
    pub valid_after: Timestamp,
    /// Not valid from then on.
    pub valid_before: Timestamp,
}
