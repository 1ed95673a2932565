//! `KEXINIT`: what each side offers, and what follows from the two (RFC 4253, section 7.1).

use crate::algorithms::{Cipher, KeyAlgorithm, KeyExchange};
use crate::error::Violation;
use crate::message::KEXINIT;
use crate::role::Role;
use crate::wire::{Names, Reader, Writer as _};
use bytes::BufMut as _;

/// What is offered, most preferred first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Key exchange; strict key exchange is always offered with it.
    pub key_exchange: Vec<KeyExchange>,
    /// Ciphers, for both directions.
    pub ciphers: Vec<Cipher>,
}

impl Default for Offer {
    fn default() -> Self {
        Self { key_exchange: KeyExchange::ALL.to_vec(), ciphers: Cipher::ALL.to_vec() }
    }
}

/// What both sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// How the keys came about.
    pub key_exchange: KeyExchange,
    /// With what the server showed who it is.
    pub host_key: KeyAlgorithm,
    /// From the client to the server.
    pub client_to_server: Cipher,
    /// From the server to the client.
    pub server_to_client: Cipher,
    /// Whether nothing could be slipped into or cut off the key exchange (OpenSSH's PROTOCOL, section 1.10).
    pub strict: bool,
}

impl Negotiated {
    /// Whether what is said today stays secret when quantum computers can break elliptic curves.
    #[must_use]
    pub fn is_post_quantum(&self) -> bool {
        self.key_exchange.is_post_quantum()
    }
}

/// What the peer's first `KEXINIT` says besides the algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signals {
    /// It wants `EXT_INFO` (RFC 8308, section 2.1).
    pub(crate) ext_info: bool,
    /// Its guess at the method of key exchange was wrong and the packet that follows is to be thrown away.
    pub(crate) skip_guess: bool,
}

/// Ours; peers insist on some, although every cipher here brings its own and none is ever used.
const MACS: [&str; 2] = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"];
const NO_COMPRESSION: &str = "none";
const COOKIE: usize = 16;

const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";

fn strict(role: Role) -> &'static str {
    match role {
        Role::Client => STRICT_CLIENT,
        Role::Server => STRICT_SERVER,
    }
}

/// A `KEXINIT` of ours. `first` is that of the connection, which alone carries signals.
pub(crate) fn kexinit(role: Role, offer: &Offer, host_keys: &[KeyAlgorithm], first: bool) -> Vec<u8> {
    let mut cookie = [0; COOKIE];
    aws_lc_rs::rand::fill(&mut cookie).expect("the system has randomness");
    let mut exchanges: Vec<&str> =
        offer.key_exchange.iter().flat_map(|exchange| exchange.names()).copied().collect();
    if first {
        if role == Role::Client {
            exchanges.push("ext-info-c");
        }
        exchanges.push(strict(role));
    }
    let ciphers = || offer.ciphers.iter().map(|cipher| cipher.name());
    let mut message = Vec::with_capacity(1024);
    message.put_u8(KEXINIT);
    message.put_slice(&cookie);
    message.put_names(exchanges);
    message.put_names(host_keys.iter().map(|algorithm| algorithm.name()));
    message.put_names(ciphers());
    message.put_names(ciphers());
    message.put_names(MACS);
    message.put_names(MACS);
    message.put_names([NO_COMPRESSION]);
    message.put_names([NO_COMPRESSION]);
    message.put_names([]);
    message.put_names([]);
    message.put_boolean(false);
    message.put_u32(0);
    message
}

/// The parts of a `KEXINIT` that matter.
struct Lists<'a> {
    exchanges: Names<'a>,
    host_keys: Names<'a>,
    client_to_server: Names<'a>,
    server_to_client: Names<'a>,
    compression: [Names<'a>; 2],
    guess_follows: bool,
}

impl<'a> Lists<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(message);
        reader.take(1 + COOKIE)?;
        let exchanges = reader.names()?;
        let host_keys = reader.names()?;
        let client_to_server = reader.names()?;
        let server_to_client = reader.names()?;
        reader.names()?;
        reader.names()?;
        let compression = [reader.names()?, reader.names()?];
        // Languages are tags by RFC 3066, which nobody sends.
        reader.string()?;
        reader.string()?;
        let guess_follows = reader.boolean()?;
        reader.uint32()?;
        reader.end()?;
        Ok(Self { exchanges, host_keys, client_to_server, server_to_client, compression, guess_follows })
    }
}

/// What follows from our `KEXINIT` and the peer's. `before` is whether an earlier exchange of this connection was
/// strict; nothing for the first.
pub(crate) fn agree(
    role: Role,
    ours: &[u8],
    theirs: &[u8],
    before: Option<bool>,
) -> Result<(Negotiated, Signals), Violation> {
    let (ours, theirs) = (Lists::read(ours)?, Lists::read(theirs)?);
    let peer_strict = match role {
        Role::Client => STRICT_SERVER,
        Role::Server => STRICT_CLIENT,
    };
    let strict = before.unwrap_or_else(|| theirs.exchanges.contains(peer_strict));
    let (client, server) = match role {
        Role::Client => (&ours, &theirs),
        Role::Server => (&theirs, &ours),
    };
    let key_exchange = first("key exchange", client.exchanges, server.exchanges, |name| name.parse().ok())?;
    let host_key = first("host key algorithm", client.host_keys, server.host_keys, |name| {
        KeyAlgorithm::of_name(name.as_bytes())
    })?;
    let cipher = |client, server| first("cipher", client, server, |name| name.parse::<Cipher>().ok());
    let client_to_server = cipher(client.client_to_server, server.client_to_server)?;
    let server_to_client = cipher(client.server_to_client, server.server_to_client)?;
    if theirs.compression.iter().any(|names| !names.contains(NO_COMPRESSION)) {
        return Err(Violation::exchange("the other side insists on compression, which is not spoken here"));
    }
    let guess_right = theirs.exchanges.iter().next() == ours.exchanges.iter().next()
        && theirs.host_keys.iter().next() == ours.host_keys.iter().next();
    let signals = Signals {
        ext_info: role == Role::Server && theirs.exchanges.contains("ext-info-c"),
        skip_guess: theirs.guess_follows && !guess_right,
    };
    Ok((Negotiated { key_exchange, host_key, client_to_server, server_to_client, strict }, signals))
}

impl Negotiated {
    /// Whether keys for this may come into use. Where the exchange is not strict, a packet can be cut off before it
    /// without ChaCha20-Poly1305 noticing (CVE-2023-48795); the counter of GCM does notice. To pass over it in the lists
    /// would not do: the peer takes what the lists say. Whoever only asks for the host key, as ssh-keyscan does, gets it.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        if !self.strict && [self.client_to_server, self.server_to_client].contains(&Cipher::ChaCha20Poly1305)
        {
            return Err(Violation::exchange(
                "chacha20-poly1305@openssh.com is not safe without strict key exchange; \
                 update the client and server, or have the client prefer aes128-gcm@openssh.com",
            ));
        }
        Ok(())
    }
}

/// The first of the client's names that the server has too and that is an algorithm.
fn first<T>(
    what: &str,
    client: Names<'_>,
    server: Names<'_>,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, Violation> {
    let common = client.iter().filter(|name| server.contains(name)).find_map(read);
    common.ok_or_else(|| Violation::exchange(format!("no common {what}")))
}

#[cfg(test)]
mod tests {
    use super::{Negotiated, Offer, Signals, agree, kexinit};
    use crate::algorithms::{Cipher, KeyAlgorithm, KeyExchange};
    use crate::error::Violation;
    use crate::message::KEXINIT;
    use crate::role::Role;
    use crate::wire::Writer as _;
    use bytes::BufMut as _;

    /// A peer's `KEXINIT` with these lists.
    fn peer(exchanges: &str, host_keys: &str, ciphers: &str, compression: &str, guess: bool) -> Vec<u8> {
        let mut message = vec![KEXINIT];
        message.put_bytes(7, 16);
        for list in [exchanges, host_keys, ciphers, ciphers, "", "", compression, compression, "", ""] {
            message.put_string(list.as_bytes());
        }
        message.put_boolean(guess);
        message.put_u32(0);
        message
    }

    fn ours(role: Role) -> Vec<u8> {
        kexinit(role, &Offer::default(), &KeyAlgorithm::ALL, true)
    }

    fn server(theirs: &[u8]) -> Result<(Negotiated, Signals), Violation> {
        agree(Role::Server, &ours(Role::Server), theirs, None)
    }

    const MODERN: &str = "curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com";

    /// RFC 4253, section 7.1: the first of the client's that the server has.
    #[test]
    fn rfc4253_7_1_the_clients_order_decides() {
        let theirs = peer(
            "ecdh-sha2-nistp256,curve25519-sha256,mlkem768x25519-sha256",
            "ssh-rsa,ssh-ed25519,ssh-ed25519-cert-v01@openssh.com",
            "aes256-ctr,aes256-gcm@openssh.com,aes128-gcm@openssh.com",
            "zlib@openssh.com,none",
            false,
        );
        let (negotiated, _) = server(&theirs).expect("something in common");
        assert_eq!(negotiated.key_exchange, KeyExchange::Curve25519);
        assert_eq!(negotiated.host_key.name(), "ssh-ed25519");
        assert_eq!(negotiated.client_to_server, Cipher::Aes256Gcm);
        let (negotiated, _) = agree(Role::Client, &ours(Role::Client), &theirs, None).expect("in common");
        assert_eq!(negotiated.key_exchange, KeyExchange::MlKem768X25519, "now the order is ours");
        assert_eq!(negotiated.host_key.name(), "ssh-ed25519-cert-v01@openssh.com");
    }

    #[test]
    fn rfc4253_7_1_nothing_in_common_says_what() {
        let gcm = "aes128-gcm@openssh.com";
        let cases = [
            (peer("diffie-hellman-group14-sha1", "ssh-ed25519", gcm, "none", false), "key exchange"),
            (peer(MODERN, "ssh-dss", gcm, "none", false), "host key"),
            (peer(MODERN, "ssh-ed25519", "aes128-cbc", "none", false), "cipher"),
            (peer(MODERN, "ssh-ed25519", gcm, "zlib", false), "compression"),
            (peer("", "", "", "", false), "key exchange"),
            // Signals are not algorithms.
            (peer("kex-strict-s-v00@openssh.com", "ssh-ed25519", gcm, "none", false), "key exchange"),
        ];
        for (theirs, what) in cases {
            let error = server(&theirs).expect_err("refused").to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    /// RFC 4253, section 7: the guess is right only if the first of both lists are the same.
    #[test]
    fn rfc4253_7_a_wrong_guess_is_skipped() {
        let host = "ssh-ed25519-cert-v01@openssh.com";
        for (exchange, host, guess, skip) in [
            ("mlkem768x25519-sha256", host, true, false),
            ("curve25519-sha256", host, true, true),
            ("mlkem768x25519-sha256", "ssh-ed25519", true, true),
            ("curve25519-sha256", host, false, false),
        ] {
            let theirs = peer(exchange, host, "aes128-gcm@openssh.com", "none", guess);
            let (_, signals) = server(&theirs).expect("in common");
            assert_eq!(signals.skip_guess, skip, "{exchange} {host} {guess}");
        }
    }

    /// CVE-2023-48795 (Terrapin): without strict key exchange ChaCha20-Poly1305 is not agreed on.
    #[test]
    fn cve_2023_48795_ciphers_of_peers_that_are_not_strict() {
        let all = "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com";
        let (negotiated, _) = server(&peer(MODERN, "ssh-ed25519", all, "none", false)).expect("strict");
        assert_eq!((negotiated.strict, negotiated.client_to_server), (true, Cipher::ChaCha20Poly1305));
        // RFC 4253, section 7.1: the peer takes the first, so to pass over it would be to speak another cipher than it does.
        let lax = |exchanges, ciphers| server(&peer(exchanges, "ssh-ed25519", ciphers, "none", false));
        for ciphers in [all, "chacha20-poly1305@openssh.com"] {
            let (negotiated, _) = lax("curve25519-sha256", ciphers).expect("what the lists say");
            let error = negotiated.check().expect_err("refused").to_string();
            assert!(error.contains("not safe without strict key exchange"), "{error}");
        }
        let other_order = "aes256-gcm@openssh.com,chacha20-poly1305@openssh.com";
        let (negotiated, _) = lax("curve25519-sha256", other_order).expect("not strict");
        assert_eq!((negotiated.strict, negotiated.client_to_server), (false, Cipher::Aes256Gcm));
        negotiated.check().expect("its counter notices");
        // The server's own signal, sent back by a client, is not the client's.
        let (reflected, _) =
            lax("curve25519-sha256,kex-strict-s-v00@openssh.com", other_order).expect("not strict");
        assert!(!reflected.strict);
    }

    #[test]
    fn what_is_cut_off_is_malformed() {
        let whole = peer(MODERN, "ssh-ed25519", "aes128-gcm@openssh.com", "none", false);
        for length in 0..whole.len() {
            assert!(server(&whole[..length]).is_err(), "{length}");
        }
        assert!(server(&[whole, vec![0]].concat()).is_err());
    }
}
