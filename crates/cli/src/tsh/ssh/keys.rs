//! The way out of a session that no longer answers: `~.` at the start of a line.

/// What to do with typed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Pass these on.
    Send(Vec<u8>),
    /// End the session here.
    Leave,
}

/// Where in a line the typing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// At its start.
    LineStart,
    /// Behind a tilde at its start, which is held back until the next key.
    Tilde,
    /// Within it.
    Within,
}

impl Keys {
    /// Takes typed bytes. `~~` at the start of a line is one tilde.
    pub(super) fn typed(&mut self, bytes: &[u8]) -> Typed {
        let mut send = Vec::with_capacity(bytes.len() + 1);
        for &byte in bytes {
            match (*self, byte) {
                (Self::LineStart, b'~') => {
                    *self = Self::Tilde;
                    continue;
                }
                (Self::Tilde, b'.') => return Typed::Leave,
                (Self::Tilde, b'~') => {}
                (Self::Tilde, _) => send.push(b'~'),
                _ => {}
            }
            send.push(byte);
            *self = if matches!(byte, b'\r' | b'\n') { Self::LineStart } else { Self::Within };
        }
        Typed::Send(send)
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, Typed};

    #[test]
    fn a_tilde_and_a_dot_leave_at_the_start_of_a_line_only() {
        for (typed, sent) in [
            (&["a~.b"][..], Some("a~.b")),
            (&["~~."], Some("~.")),
            (&["~", "x"], Some("~x")),
            (&["ls\r", "~", "~\r"], Some("ls\r~\r")),
            (&["~."], None),
            (&["ls\r~", "."], None),
        ] {
            let mut keys = Keys::LineStart;
            let mut all = Some(String::new());
            for part in typed {
                match (keys.typed(part.as_bytes()), &mut all) {
                    (Typed::Send(bytes), Some(all)) => all.push_str(&String::from_utf8(bytes).expect("text")),
                    _ => all = None,
                }
            }
            assert_eq!(all.as_deref(), sent, "{typed:?}");
        }
    }
}
