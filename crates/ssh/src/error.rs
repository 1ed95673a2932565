//! How a connection ends.

use std::borrow::Cow;

use crate::message::Disconnect;
use crate::wire::Malformed;

/// Why a connection is over. Whatever there was to say to the peer lies in the output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer ended it; with its words, made fit for a log.
    #[error("the other side closed the connection{}", said(.text))]
    Disconnected {
        /// By RFC 4253, section 11.1.
        code: u32,
        /// May be empty.
        text: String,
    },
    /// The peer broke a rule, and was told which.
    #[error("{0}")]
    Violation(Violation),
    /// The peer does not answer.
    #[error("the other side does not answer")]
    Silent,
    /// This side ended it, with these words.
    #[error("{0}")]
    Ended(String),
}

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// A rule of the protocol that the peer broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Violation {
    pub(crate) code: Disconnect,
    pub(crate) text: Cow<'static, str>,
}

impl Violation {
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Disconnect::ProtocolError, text: text.into() }
    }

    pub(crate) fn exchange(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Disconnect::KeyExchangeFailed, text: text.into() }
    }

    pub(crate) fn coded(code: Disconnect, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<Malformed> for Violation {
    fn from(_: Malformed) -> Self {
        Self::new("a message is malformed")
    }
}

/// Words of a stranger that end up on a terminal or in a log: one line, no control characters, nothing that hides or
/// turns round what is beside it, not endless.
pub(crate) fn plain(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if is_unseen(c) { ' ' } else { c }).take(1024).collect()
}

fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn words_of_strangers_are_one_line_and_what_they_look_like() {
        assert_eq!(plain(b"a\x1b[2J\r\nb\xff\0"), "a [2J  b\u{fffd} ");
        assert_eq!(plain("a\u{202e}b\u{2028}c\u{9b}\u{200b}\u{e0041}".as_bytes()), "a b c   ");
        assert_eq!(plain("gr\u{fc}n \u{4f60}\u{597d}".as_bytes()), "gr\u{fc}n \u{4f60}\u{597d}");
        assert_eq!(plain(&[b'x'; 5000]).len(), 1024);
    }
}
