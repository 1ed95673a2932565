//! Keys that are the same in every run.

use std::sync::{Arc, LazyLock};

use ssh::algorithms::{KeyAlgorithm, SignatureScheme};
use ssh::connection::Limits;
use ssh::keys::SigningKey;
use ssh::{HostKey, Settings, client, server};

use crate::wire::Message;

pub const PLAIN: KeyAlgorithm = KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: false };
pub const CERTIFICATE: KeyAlgorithm = KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: true };
pub const LOGIN: &str = "alice";

/// The host's key, the user's, and one that is nobody's.
pub static HOST: LazyLock<SigningKey> = LazyLock::new(|| ed25519(1));
pub static USER: LazyLock<SigningKey> = LazyLock::new(|| ed25519(2));
pub static STRANGER: LazyLock<SigningKey> = LazyLock::new(|| ed25519(3));

/// The user's key in what looks like a certificate to the engine, which judges none.
pub static USER_BLOB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let plain = USER.public().blob();
    let name = CERTIFICATE.name().as_bytes();
    // The key of a plain blob, with its length, is what follows its name.
    let certificate = Message(Vec::new()).string(name).string(&[7; 32]).raw(&plain[4 + 11..]);
    let certificate = certificate.number(0).number(1).number(1).string(b"id").string(b"").number(0).number(0);
    let certificate = certificate.number(u32::MAX).number(u32::MAX).string(b"").string(b"").string(b"");
    certificate.string(&plain).string(&plain).0
});

/// Ed25519 in PKCS#8 (RFC 8410, section 7), from a seed of one repeated byte.
pub fn ed25519(seed: u8) -> SigningKey {
    SigningKey::from_pkcs8(&pkcs8(seed)).expect("a key")
}

pub fn pkcs8(seed: u8) -> Vec<u8> {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    [&head[..], &[seed; 32]].concat()
}

pub fn host_key() -> HostKey {
    HostKey { algorithm: PLAIN, blob: HOST.public().blob() }
}

pub fn server_config(settings: Settings, limits: Limits) -> Arc<server::Config> {
    Arc::new(server::Config {
        settings: Arc::new(settings),
        host_keys: vec![host_key()],
        announced: vec![host_key()],
        limits,
    })
}

pub fn client_config(settings: Settings, limits: Limits) -> Arc<client::Config> {
    Arc::new(client::Config {
        settings: Arc::new(settings),
        host_keys: KeyAlgorithm::ALL.to_vec(),
        login: LOGIN.to_owned(),
        algorithm: CERTIFICATE,
        blob: USER_BLOB.clone(),
        limits,
    })
}
