//! Which algorithms there are, by the names that are used on the wire. Modern ones only: there is no way to configure
//! an old one.

use std::fmt;
use std::str::FromStr;

/// A key exchange method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyExchange {
    /// ML-KEM-768 with X25519 (draft-ietf-sshm-mlkem-hybrid-kex): post-quantum.
    MlKem768X25519,
    /// Streamlined NTRU Prime with X25519 (draft-ietf-sshm-ntruprime-ssh): post-quantum; OpenSSH 8.5 and later.
    Sntrup761X25519,
    /// X25519 alone (RFC 8731).
    Curve25519,
}

/// A cipher; each authenticates by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-128 in GCM (RFC 5647 as OpenSSH has it: no separate negotiation of a MAC).
    Aes128Gcm,
    /// AES-256 in GCM.
    Aes256Gcm,
    /// ChaCha20 with Poly1305 (OpenSSH's PROTOCOL.chacha20poly1305).
    ChaCha20Poly1305,
}

/// How a signature is made. The type of a key says which are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// `ssh-ed25519` (RFC 8709)
    Ed25519,
    /// `ecdsa-sha2-nistp256` (RFC 5656)
    EcdsaP256,
    /// `rsa-sha2-512` (RFC 8332)
    RsaSha512,
    /// `rsa-sha2-256` (RFC 8332)
    RsaSha256,
}

/// A public key algorithm as it is negotiated: a way to sign, by a plain key or by one in an OpenSSH certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyAlgorithm {
    /// How it signs.
    pub scheme: SignatureScheme,
    /// Whether the key comes in a certificate (PROTOCOL.certkeys).
    pub certificate: bool,
}

/// A name that is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?} is not supported; supported are {supported}")]
pub struct UnknownAlgorithm {
    kind: &'static str,
    name: String,
    supported: String,
}

impl KeyExchange {
    /// All of them, most preferred first.
    pub const ALL: [Self; 3] = [Self::MlKem768X25519, Self::Sntrup761X25519, Self::Curve25519];

    /// Its names on the wire, the standard one first.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::MlKem768X25519 => &["mlkem768x25519-sha256"],
            Self::Sntrup761X25519 => &["sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"],
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
            Self::MlKem768X25519 | Self::Sntrup761X25519 => true,
            Self::Curve25519 => false,
        }
    }
}

impl Cipher {
    /// All of them. AES first: it is several times as fast where the processor helps, which is nearly everywhere.
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

impl SignatureScheme {
    /// The name in a signature, which is also that of the algorithm with a plain key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::RsaSha512 => "rsa-sha2-512",
            Self::RsaSha256 => "rsa-sha2-256",
        }
    }

    /// The name in the public key itself, which for RSA does not say how it signs (RFC 8332, section 3).
    #[must_use]
    pub fn key_name(self, certificate: bool) -> &'static str {
        match (self, certificate) {
            (Self::Ed25519, false) => "ssh-ed25519",
            (Self::Ed25519, true) => "ssh-ed25519-cert-v01@openssh.com",
            (Self::EcdsaP256, false) => "ecdsa-sha2-nistp256",
            (Self::EcdsaP256, true) => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            (Self::RsaSha512 | Self::RsaSha256, false) => "ssh-rsa",
            (Self::RsaSha512 | Self::RsaSha256, true) => "ssh-rsa-cert-v01@openssh.com",
        }
    }
}

impl KeyAlgorithm {
    /// All of them, certificates first, in the order in which we prefer them.
    pub const ALL: [Self; 8] = [
        Self { scheme: SignatureScheme::Ed25519, certificate: true },
        Self { scheme: SignatureScheme::EcdsaP256, certificate: true },
        Self { scheme: SignatureScheme::RsaSha512, certificate: true },
        Self { scheme: SignatureScheme::RsaSha256, certificate: true },
        Self { scheme: SignatureScheme::Ed25519, certificate: false },
        Self { scheme: SignatureScheme::EcdsaP256, certificate: false },
        Self { scheme: SignatureScheme::RsaSha512, certificate: false },
        Self { scheme: SignatureScheme::RsaSha256, certificate: false },
    ];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.scheme, self.certificate) {
            (SignatureScheme::RsaSha512, true) => "rsa-sha2-512-cert-v01@openssh.com",
            (SignatureScheme::RsaSha256, true) => "rsa-sha2-256-cert-v01@openssh.com",
            (scheme, true) => scheme.key_name(true),
            (scheme, false) => scheme.name(),
        }
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().as_bytes() == name)
    }
}

impl FromStr for KeyExchange {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|exchange| exchange.names().contains(&name)).ok_or_else(|| {
            let supported = Self::ALL.map(Self::name).join(", ");
            UnknownAlgorithm { kind: "key exchange", name: name.to_owned(), supported }
        })
    }
}

impl FromStr for Cipher {
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

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Cipher, KeyAlgorithm, KeyExchange};

    #[test]
    fn names_are_read_back() {
        for exchange in KeyExchange::ALL {
            for name in exchange.names() {
                assert_eq!(name.parse(), Ok(exchange));
            }
        }
        for cipher in Cipher::ALL {
            assert_eq!(cipher.name().parse(), Ok(cipher));
        }
        for algorithm in KeyAlgorithm::ALL {
            assert_eq!(KeyAlgorithm::of_name(algorithm.name().as_bytes()), Some(algorithm));
        }
    }

    /// RFC 9142 and what it does not name: nothing with SHA-1, CBC, DSA or finite fields can be asked for.
    #[test]
    fn rfc9142_old_algorithms_are_refused_by_name() {
        for name in ["aes128-ctr", "aes256-cbc", "3des-cbc", "none", ""] {
            let error = name.parse::<Cipher>().expect_err("refused").to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        for name in
            ["diffie-hellman-group14-sha256", "diffie-hellman-group1-sha1", "ecdh-sha2-nistp256", "none"]
        {
            assert!(name.parse::<KeyExchange>().is_err(), "{name}");
        }
        for name in ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com", "none", ""] {
            assert_eq!(KeyAlgorithm::of_name(name.as_bytes()), None, "{name}");
        }
    }
}
