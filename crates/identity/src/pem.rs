//! PEM armour (RFC 7468): DER to text and back, bounded, without copies of secrets left behind.
//!
//! Knows nothing of what is inside a block.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Label of a PKCS#8 private key.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Label of a private key of an elliptic curve as SEC 1 has it (RFC 5915).
pub const EC_PRIVATE_KEY: &str = "EC PRIVATE KEY";
/// Label of an X.509 certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// The longest input that is read.
pub const MAX_LENGTH: usize = 1024 * 1024;

const LINE: usize = 64;

/// One block: its label and the bytes inside.
pub struct Block {
    /// What stands between `BEGIN ` and the dashes.
    pub label: String,
    /// Decoded; wiped when dropped because it may be a key.
    pub der: Zeroizing<Vec<u8>>,
}

/// Why text is not PEM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// More text than [`MAX_LENGTH`].
    #[error("{length} bytes of PEM; at most {MAX_LENGTH} are read")]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// A block that begins and does not end, or ends under another label.
    #[error("the PEM block {label:?} has no matching END line; the file is cut off or was edited")]
    Unterminated {
        /// Its label.
        label: String,
    },
    /// Not base64.
    #[error("the PEM block {label:?} is not base64")]
    Base64 {
        /// Its label.
        label: String,
    },
    /// No block with the wanted label.
    #[error("no PEM block {label:?} found")]
    Missing {
        /// The wanted label.
        label: &'static str,
    },
}

/// Armours `der` under `label`.
pub fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text =
        Zeroizing::new(String::with_capacity(body.len() + body.len() / LINE + 2 * label.len() + 40));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// A certificate in PEM.
pub fn certificate(der: &[u8]) -> String {
    encode(CERTIFICATE, der).to_string()
}

/// Every block in `text`, in order; lines outside of blocks are passed over.
pub fn blocks(text: &str) -> Result<Vec<Block>, PemError> {
    if text.len() > MAX_LENGTH {
        return Err(PemError::TooLong { length: text.len() });
    }
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(label) = begin_label(line) {
            found.push(block(label, &mut lines)?);
        }
    }
    Ok(found)
}

/// The first block under `label`.
pub fn first(label: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let block = blocks(text)?.into_iter().find(|block| block.label == label);
    block.map(|block| block.der).ok_or(PemError::Missing { label })
}

/// The label of a `BEGIN` line.
pub(crate) fn begin_label(line: &str) -> Option<&str> {
    line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

/// Reads up to and including the `END` line of a block that has begun.
pub(crate) fn block<'a>(label: &str, lines: &mut impl Iterator<Item = &'a str>) -> Result<Block, PemError> {
    let mut body = Zeroizing::new(String::with_capacity(4096));
    for line in lines {
        let line = line.trim();
        if let Some(end) = line.strip_prefix("-----END ").and_then(|rest| rest.strip_suffix("-----")) {
            return match end == label {
                true => decode(label, &body),
                false => Err(PemError::Unterminated { label: label.to_owned() }),
            };
        }
        body.push_str(line);
    }
    Err(PemError::Unterminated { label: label.to_owned() })
}

fn decode(label: &str, body: &str) -> Result<Block, PemError> {
    match STANDARD.decode(body) {
        Ok(der) => Ok(Block { label: label.to_owned(), der: Zeroizing::new(der) }),
        Err(_) => Err(PemError::Base64 { label: label.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_armoured_comes_back() {
        for length in [0, 1, 47, 48, 49, 500] {
            let der = vec![7u8; length];
            let text = format!("note\n{}tail", encode(CERTIFICATE, &der).as_str());
            assert_eq!(first(CERTIFICATE, &text).expect("a block").as_slice(), der);
        }
    }

    #[test]
    fn broken_armour_is_refused() {
        let unterminated = "-----BEGIN X-----\nAAAA\n";
        let other_end = "-----BEGIN X-----\nAAAA\n-----END Y-----\n";
        let not_base64 = "-----BEGIN X-----\nA*AA\n-----END X-----\n";
        assert_eq!(blocks(unterminated).err(), Some(PemError::Unterminated { label: "X".into() }));
        assert_eq!(blocks(other_end).err(), Some(PemError::Unterminated { label: "X".into() }));
        assert_eq!(blocks(not_base64).err(), Some(PemError::Base64 { label: "X".into() }));
        assert_eq!(first(CERTIFICATE, "").err(), Some(PemError::Missing { label: CERTIFICATE }));
        assert!(blocks(&"x".repeat(MAX_LENGTH + 1)).is_err());
    }
}
