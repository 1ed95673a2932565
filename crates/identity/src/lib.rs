//! What a certificate means: one [`Identity`], its two encodings (SSH, X.509), trust bundles and the one
//! verifier for each kind of certificate.
//!
//! Pure: no I/O, no clock, no signing of certificates (that is `ca`). Time is an argument.

pub mod meaning;

pub use meaning::{HostIdentity, Identity, Permits, Subject, UserIdentity};
