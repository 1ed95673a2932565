//! What a certificate means: one [`Identity`], its two encodings (SSH, X.509), trust bundles and the one
//! verifier for each kind of certificate.
//!
//! Pure: no I/O, no clock, no signing of certificates (that is `ca`). Time is an argument.

pub mod credentials;
pub mod file;
pub mod key;
pub mod meaning;
mod names;
pub mod openssh;
pub mod pem;
pub mod policy;
mod refusal;
pub mod ssh;
pub mod svid;
pub mod trust;
pub mod verify;
pub mod x509;

pub use credentials::Credentials;
pub use meaning::{BadIdentity, BotIdentity, HostIdentity, Identity, Member, Permits, Subject, UserIdentity};
pub use refusal::Refusal;
pub use trust::{Pin, TrustBundle};
