//! Which of our algorithms each peer speaks, by their names on the wire.

/// An implementation of SSH.
pub struct Peer {
    pub key_exchanges: &'static [&'static str],
    pub ciphers: &'static [&'static str],
}

/// OpenSSH 9.2.
pub const OPENSSH: Peer = Peer {
    key_exchanges: &[
        "sntrup761x25519-sha512@openssh.com",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
    ],
    ciphers: ALL_CIPHERS,
};

pub const ASYNCSSH: Peer = Peer {
    key_exchanges: &["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"],
    ciphers: ALL_CIPHERS,
};

pub const PARAMIKO: Peer = Peer {
    key_exchanges: &["mlkem768x25519-sha256", "curve25519-sha256@libssh.org"],
    ciphers: &["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"],
};

/// PuTTY 0.78.
pub const PUTTY: Peer = Peer {
    key_exchanges: &["sntrup761x25519-sha512@openssh.com", "curve25519-sha256"],
    ciphers: ALL_CIPHERS,
};

pub const RUSSH: Peer = Peer {
    key_exchanges: &["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"],
    ciphers: ALL_CIPHERS,
};

const ALL_CIPHERS: &[&str] =
    &["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"];

/// A key exchange and a cipher to be used together.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub key_exchange: &'static str,
    pub cipher: &'static str,
}

impl Peer {
    /// Every key exchange and every cipher at least once; their combinations have nothing to do with each other.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let (exchanges, ciphers) = (self.key_exchanges, self.ciphers);
        (0..exchanges.len().max(ciphers.len())).map(move |at| Row {
            key_exchange: exchanges[at % exchanges.len()],
            cipher: ciphers[at % ciphers.len()],
        })
    }
}
