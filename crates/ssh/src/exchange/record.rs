//! What an exchange hash is made of (RFC 4253, section 8; RFC 5656, section 4).
//!
//! A hash says nothing about what it is a hash of. Whoever holds a host key and does not trust the process that speaks to
//! the network wants to see what it signs: that its own key is the one that was shown to the client. Otherwise it could be
//! made to sign the session of another server, and to believe what a user said to that one.

use std::fmt;

use zeroize::Zeroizing;

use super::{Shared, curve25519};
use crate::algorithms::KeyExchange;
use crate::wire::{Malformed, Reader, Writer as _};

/// In the order in which they are hashed: identifications and `KEXINIT` of client and server, the host key, both halves.
const STRINGS: usize = 7;
const HOST_KEY: usize = 4;

/// All that goes into one exchange hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ExchangeRecord {
    key_exchange: KeyExchange,
    is_first: bool,
    host_key: Vec<u8>,
    /// The strings and the secret, encoded as they are hashed.
    hashed: Zeroizing<Vec<u8>>,
}

impl ExchangeRecord {
    pub(crate) fn new(
        key_exchange: KeyExchange,
        is_first: bool,
        strings: [&[u8]; STRINGS],
        shared: &Shared,
    ) -> Self {
        let length = strings.iter().map(|part| 4 + part.len()).sum::<usize>() + shared.encoded().len();
        // All room at once: a vector that grows would leave the secret behind in freed memory.
        let mut hashed = Zeroizing::new(Vec::with_capacity(length));
        for part in strings {
            hashed.put_string(part);
        }
        hashed.extend_from_slice(shared.encoded());
        Self { key_exchange, is_first, host_key: strings[HOST_KEY].to_vec(), hashed }
    }

    /// From the bytes of [`Self::hashed`]; they must be exactly what the hash of this key exchange is made of.
    pub fn read(key_exchange: KeyExchange, is_first: bool, hashed: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(hashed);
        let mut strings = [&[][..]; STRINGS];
        for part in &mut strings {
            *part = reader.string()?;
        }
        let _secret = reader.string()?;
        reader.end()?;
        let [.., host_key, init, reply] = strings;
        let (quantum_up, quantum_down) =
            (key_exchange.encapsulation_key_length(), key_exchange.ciphertext_length());
        let expected = (quantum_up + curve25519::POINT, quantum_down + curve25519::POINT);
        match (init.len(), reply.len()) == expected {
            true => Ok(Self {
                key_exchange,
                is_first,
                host_key: host_key.to_vec(),
                hashed: Zeroizing::new(hashed.to_vec()),
            }),
            false => Err(Malformed),
        }
    }

    /// By which method. The lengths of both halves say so, too, and they are in the hash.
    #[must_use]
    pub fn key_exchange(&self) -> KeyExchange {
        self.key_exchange
    }

    /// Whether it is the first of its connection; its hash is the session identifier then.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// The key or certificate that was shown, as on the wire.
    #[must_use]
    pub fn host_key(&self) -> &[u8] {
        &self.host_key
    }

    /// What is hashed. The shared secret is in it.
    #[must_use]
    pub fn hashed(&self) -> &[u8] {
        &self.hashed
    }

    /// The exchange hash.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        self.key_exchange.hash().digest(&[&self.hashed]).as_ref().to_vec()
    }
}

impl fmt::Debug for ExchangeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeRecord")
            .field("key_exchange", &self.key_exchange)
            .field("is_first", &self.is_first)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{ExchangeRecord, KeyExchange};
    use crate::exchange::{Started, respond};

    fn record(method: KeyExchange) -> ExchangeRecord {
        let started = Started::new(method).expect("keys");
        let (reply, shared) = respond(method, started.init()).expect("a secret");
        let strings: [&[u8]; 7] =
            [b"SSH-2.0-a", b"SSH-2.0-b", b"\x14 up", b"\x14 down", b"host key", started.init(), &reply];
        ExchangeRecord::new(method, true, strings, &shared)
    }

    #[test]
    fn what_is_hashed_is_read_back() {
        for method in KeyExchange::ALL {
            let record = record(method);
            let again = ExchangeRecord::read(method, true, record.hashed()).expect("whole");
            assert_eq!((again.hash(), again.host_key()), (record.hash(), &b"host key"[..]));
            assert!(!format!("{record:?}").contains("hashed"));
        }
    }

    #[test]
    fn another_method_and_anything_cut_or_longer_is_refused() {
        let record = record(KeyExchange::MlKem768X25519);
        let read = |method, bytes: &[u8]| ExchangeRecord::read(method, true, bytes);
        read(KeyExchange::Curve25519, record.hashed()).expect_err("other halves");
        read(KeyExchange::Sntrup761X25519, record.hashed()).expect_err("other halves");
        for end in 0..record.hashed().len() {
            read(KeyExchange::MlKem768X25519, &record.hashed()[..end]).expect_err("cut");
        }
        let longer = [record.hashed(), &[0]].concat();
        read(KeyExchange::MlKem768X25519, &longer).expect_err("longer");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ExchangeRecord::read(KeyExchange::Curve25519, true, &bytes);
        }
    }
}
