//! The first line of each side (RFC 4253, section 4.2).

use crate::error::Violation;
use crate::role::Role;

/// The longest line, with its end.
const MAX_LINE: usize = 255;
/// The most that a server may say before its line.
const MAX_PREAMBLE: usize = 8 << 10;

/// Looks for the peer's line.
#[derive(Debug, Default)]
pub(crate) struct Search {
    preamble: usize,
}

/// What the search came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// More is needed.
    Nothing,
    /// So many bytes were other words of a server; they are gone.
    Preamble(usize),
    /// The line without its end, and how many bytes of the input it took.
    Line(Vec<u8>, usize),
}

impl Search {
    pub(crate) fn next(&mut self, role: Role, input: &[u8]) -> Result<Found, Violation> {
        let not_ssh = || Violation::new("the other side does not speak SSH 2.0");
        let end = input.iter().position(|byte| *byte == b'\n');
        let line = &input[..end.unwrap_or(input.len())];
        if line.contains(&0) {
            return Err(not_ssh());
        }
        let could_be = line.starts_with(b"SSH-") || b"SSH-".starts_with(line);
        if role == Role::Server && !could_be {
            // Only servers may say something else first.
            return Err(not_ssh());
        }
        let Some(end) = end else {
            let limit = if could_be { MAX_LINE } else { MAX_PREAMBLE - self.preamble };
            return if line.len() > limit { Err(not_ssh()) } else { Ok(Found::Nothing) };
        };
        if !line.starts_with(b"SSH-") {
            if role == Role::Server {
                return Err(not_ssh());
            }
            self.preamble += end + 1;
            return if self.preamble > MAX_PREAMBLE { Err(not_ssh()) } else { Ok(Found::Preamble(end + 1)) };
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let version = line.starts_with(b"SSH-2.0-") || role == Role::Client && line.starts_with(b"SSH-1.99-");
        if !version || end >= MAX_LINE || !line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(not_ssh());
        }
        Ok(Found::Line(line.to_vec(), end + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, MAX_PREAMBLE, Search};
    use crate::role::Role;

    fn search(role: Role, input: &[u8]) -> Option<Found> {
        Search::default().next(role, input).ok()
    }

    /// RFC 4253, section 4.2
    #[test]
    fn rfc4253_4_2_lines() {
        let line = |text: &[u8], taken| Some(Found::Line(text.to_vec(), taken));
        for role in [Role::Server, Role::Client] {
            assert_eq!(search(role, b"SSH-2.0-x\r\nrest"), line(b"SSH-2.0-x", 11));
            assert_eq!(search(role, b"SSH-2.0-x y\nrest"), line(b"SSH-2.0-x y", 12));
            for part in [&b""[..], b"S", b"SSH-", b"SSH-2.0-x", b"SSH-2.0-x\r"] {
                assert_eq!(search(role, part), Some(Found::Nothing));
            }
            for wrong in
                [&b"SSH-1.5-x\r\n"[..], b"SSH-2.0-\0\r\n", b"SSH-2.0-\x1b\r\n", b"SSH-2.1-x\n", b"SSH-\n"]
            {
                assert_eq!(search(role, wrong), None);
            }
            let long = [b"SSH-2.0-".as_slice(), &[b'x'; 248]].concat();
            assert_eq!(search(role, &long), None, "256 bytes and no end");
        }
        assert_eq!(search(Role::Client, b"SSH-1.99-x\r\n"), line(b"SSH-1.99-x", 12));
        assert_eq!(search(Role::Server, b"SSH-1.99-x\r\n"), None);
    }

    /// RFC 4253, section 4.2: other lines come from servers only. GHSA-48108: not without end.
    #[test]
    fn rfc4253_4_2_words_before_the_line_are_bounded() {
        assert_eq!(search(Role::Client, b"hello\r\nSSH-2.0-x\r\n"), Some(Found::Preamble(7)));
        assert_eq!(search(Role::Server, b"hello\r\nSSH-2.0-x\r\n"), None);
        assert_eq!(search(Role::Server, b"G"), None, "before the line has ended");
        let mut search = Search::default();
        let mut said = 0;
        while search.next(Role::Client, b"more and more\n").is_ok() {
            said += 14;
            assert!(said <= MAX_PREAMBLE);
        }
        assert_eq!(Search::default().next(Role::Client, &vec![b'x'; MAX_PREAMBLE + 1]).ok(), None);
    }
}
