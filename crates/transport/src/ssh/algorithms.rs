//! Which algorithms are offered. Modern ones only: authenticated ciphers, key exchange over Curve25519 with or without
//! ML-KEM; never compression, never SHA-1.

use std::borrow::Cow;
use std::fmt;

use russh::keys::ssh_key::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

/// What is offered, most preferred first. The client's order decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    /// Key exchange; strict key exchange is always offered with it.
    pub key_exchange: Vec<KeyExchange>,
    /// Ciphers, each of which authenticates by itself.
    pub ciphers: Vec<Cipher>,
}

/// A key exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyExchange {
    /// `mlkem768x25519-sha256`: post-quantum.
    MlKem768X25519,
    /// `curve25519-sha256`, by both of its names.
    Curve25519,
}

/// A cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// `aes128-gcm@openssh.com`
    Aes128Gcm,
    /// `aes256-gcm@openssh.com`
    Aes256Gcm,
    /// `chacha20-poly1305@openssh.com`
    ChaCha20Poly1305,
}

/// A name that is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?} is not supported; supported are {supported}")]
pub struct UnknownAlgorithm {
    kind: &'static str,
    name: String,
    supported: String,
}

impl Default for Algorithms {
    /// AES-GCM first: it is twice as fast where the processor helps, which is nearly everywhere.
    fn default() -> Self {
        Self { key_exchange: KeyExchange::ALL.to_vec(), ciphers: Cipher::ALL.to_vec() }
    }
}

impl KeyExchange {
    /// All of them, most preferred first.
    pub const ALL: [Self; 2] = [Self::MlKem768X25519, Self::Curve25519];

    /// Its names on the wire, the standard one first.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::MlKem768X25519 => &["mlkem768x25519-sha256"],
            Self::Curve25519 => &["curve25519-sha256", "curve25519-sha256@libssh.org"],
        }
    }

    /// Its standard name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// Whether what is said today stays secret when quantum computers can break elliptic curves.
    #[must_use]
    pub fn is_post_quantum(self) -> bool {
        match self {
            Self::MlKem768X25519 => true,
            Self::Curve25519 => false,
        }
    }
}

impl Cipher {
    /// All of them, most preferred first.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes128-gcm@openssh.com",
            Self::Aes256Gcm => "aes256-gcm@openssh.com",
            Self::ChaCha20Poly1305 => "chacha20-poly1305@openssh.com",
        }
    }
}

impl std::str::FromStr for KeyExchange {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|exchange| exchange.names().contains(&name)).ok_or_else(|| {
            let supported = Self::ALL.map(Self::name).join(", ");
            UnknownAlgorithm { kind: "key exchange", name: name.to_owned(), supported }
        })
    }
}

impl std::str::FromStr for Cipher {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|cipher| cipher.name() == name).ok_or_else(|| {
            let supported = Self::ALL.map(Self::name).join(", ");
            UnknownAlgorithm { kind: "cipher", name: name.to_owned(), supported }
        })
    }
}

impl fmt::Display for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Key types for host keys and, as `server-sig-algs`, for user keys. SHA-1 (`ssh-rsa`) is not among them.
pub(super) const KEY_TYPES: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

impl Algorithms {
    /// What the engine offers. `host_certificates` is for the client alone: which types of host certificates it takes.
    pub(super) fn preferred(&self, host_certificates: &'static [Algorithm]) -> Preferred {
        let mut exchanges: Vec<kex::Name> = Vec::new();
        for exchange in &self.key_exchange {
            match exchange {
                KeyExchange::MlKem768X25519 => exchanges.push(kex::MLKEM768X25519_SHA256),
                KeyExchange::Curve25519 => exchanges.extend([kex::CURVE25519, kex::CURVE25519_PRE_RFC_8731]),
            }
        }
        exchanges.extend([
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_SUPPORT_AS_SERVER,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
        ]);
        let ciphers = self.ciphers.iter().map(|cipher| match cipher {
            Cipher::Aes128Gcm => cipher::AES_128_GCM,
            Cipher::Aes256Gcm => cipher::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => cipher::CHACHA20_POLY1305,
        });
        Preferred {
            kex: Cow::Owned(exchanges),
            key: Cow::Borrowed(KEY_TYPES),
            host_key_certificates: Cow::Borrowed(host_certificates),
            cipher: Cow::Owned(ciphers.collect()),
            // Named in the protocol's greeting, never used: every cipher above brings its own.
            mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM]),
            compression: Cow::Borrowed(&[compression::NONE]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithms, Cipher, KeyExchange};
    use russh::{compression, kex};

    /// Terrapin cuts a prefix off where the exchange is not strict and the cipher does not authenticate by itself.
    #[test]
    fn key_exchange_is_strict_and_ciphers_authenticate() {
        let offered = Algorithms::default().preferred(&[]);
        for strict in
            [kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER]
        {
            assert!(offered.kex.contains(&strict), "{strict:?}");
        }
        for cipher in offered.cipher.iter() {
            let name = cipher.as_ref();
            assert!(name.contains("-gcm@") || name.contains("-poly1305@"), "{name}");
        }
        assert_eq!(offered.compression.as_ref(), [compression::NONE]);
    }

    #[test]
    fn names_are_read_back_and_are_those_of_the_engine() {
        for exchange in KeyExchange::ALL {
            assert!(exchange.names().iter().all(|name| name.parse() == Ok(exchange)));
            assert!(exchange.names().iter().all(|name| kex::Name::try_from(*name).is_ok()));
        }
        for cipher in Cipher::ALL {
            assert_eq!(cipher.name().parse(), Ok(cipher));
            assert!(russh::cipher::Name::try_from(cipher.name()).is_ok());
        }
    }

    #[test]
    fn old_algorithms_are_refused_by_name() {
        for name in ["aes128-ctr", "aes256-cbc", "3des-cbc", "none", ""] {
            let error = name.parse::<Cipher>().expect_err("refused").to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        for name in ["diffie-hellman-group14-sha256", "ecdh-sha2-nistp256", "none"] {
            assert!(name.parse::<KeyExchange>().is_err(), "{name}");
        }
    }
}
