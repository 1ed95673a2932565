//! The cryptography and the clock of every TLS connection of ours.

use std::sync::{Arc, OnceLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// TLS 1.2 is nobody's business here: both ends are ours, or browsers of this decade.
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// With servers that are not ours: some that vouch for joiners have nothing newer than TLS 1.2, of which rustls speaks only
/// the suites with forward secrecy and AEAD.
pub(crate) const FOREIGN_VERSIONS: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// aws-lc; X25519MLKEM768 first, then the classic curves for web clients that have nothing better.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let made = PROVIDER.get_or_init(|| {
        use aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
        Arc::new(CryptoProvider {
            kx_groups: vec![X25519MLKEM768, X25519, SECP256R1],
            ..aws_lc_rs::default_provider()
        })
    });
    Arc::clone(made)
}
