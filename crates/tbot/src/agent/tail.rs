//! The end of what a program prints, in one short line that may be told: without control characters, and without what looks like a
//! key or a token.

use std::collections::VecDeque;

/// Bytes that are kept.
const KEPT: usize = 512;
/// The longest line.
const LONGEST: usize = 160;
/// Words of so many letters and digits are keys and tokens, not words.
const SECRET: usize = 24;
/// And so are longer ones of what base64 has, slashes among them, that begin like no path.
const BASE64: usize = 32;
/// What is between these is secret, whatever it looks like.
const PEM: [&str; 2] = ["-----BEGIN", "-----END"];
const DASHES: &str = "-----";

/// Keeps the last bytes of a stream.
#[derive(Debug, Default)]
pub struct Tail {
    kept: VecDeque<u8>,
    /// There was more, so the first word may be the rest of one.
    is_cut: bool,
}

impl Tail {
    /// What comes next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.is_cut |= surplus > 0;
        self.kept.drain(..surplus);
    }

    /// The line.
    pub fn line(&self) -> String {
        let bytes: Vec<u8> = self.kept.iter().copied().collect();
        let text = without_pem(&String::from_utf8_lossy(&bytes));
        let words = text.split(|c: char| c.is_control() || c.is_whitespace());
        let words: Vec<String> = words.skip(usize::from(self.is_cut)).map(masked).collect();
        let line =
            words.iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ");
        let surplus = line.chars().count().saturating_sub(LONGEST);
        line.chars().skip(surplus).collect()
    }
}

/// Leaves out keys in PEM, also one of which only the end is kept, or the beginning there.
fn without_pem(text: &str) -> String {
    let [begin, end] = PEM;
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = [begin, end].iter().filter_map(|mark| rest.find(mark)).min() {
        // What comes before an end without a beginning is part of the key.
        if rest[at..].starts_with(begin) {
            shown.push_str(&rest[..at]);
        }
        shown.push_str(" *** ");
        rest = match rest.find(end) {
            Some(at) => rest[at + end.len()..].split_once(DASHES).map_or("", |(_, after)| after),
            None => "",
        };
    }
    shown + rest
}

fn masked(word: &str) -> String {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    if word.len() >= BASE64 && !word.starts_with('/') && word.chars().all(of_base64) {
        return "***".to_owned();
    }
    let mut shown = String::new();
    let mut run = String::new();
    for c in word.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || matches!(c, '+' | '=' | '-' | '_') {
            run.push(c);
            continue;
        }
        shown.push_str(if run.len() >= SECRET { "***" } else { &run });
        run.clear();
        if c != ' ' {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{KEPT, LONGEST, Tail};

    fn line(text: &[u8]) -> String {
        let mut tail = Tail::default();
        text.chunks(7).for_each(|chunk| tail.push(chunk));
        tail.line()
    }

    #[test]
    fn the_end_is_kept_and_no_more() {
        assert_eq!(line(b"one\ntwo\r\n\x1b[31mthree\x00\n"), "one two [31mthree");
        let long = "ab ".repeat(10_000) + "end";
        let told = line(long.as_bytes());
        assert!(told.ends_with("ab end") && told.chars().count() <= LONGEST);
        assert_eq!(line(&[0xff; KEPT]).chars().count(), LONGEST);
        assert_eq!(line(&[b'x'; 2 * KEPT]), "", "the rest of one long word");
        assert_eq!(line(b""), "");
    }

    #[test]
    fn what_looks_like_a_secret_is_not_told() {
        let pem =
            "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\nabc/def+ghi\n";
        assert_eq!(line(pem.as_bytes()), "***");
        let whole = format!("before\n{pem}-----END PRIVATE KEY-----\nit broke\n");
        assert_eq!(line(whole.as_bytes()), "before *** it broke");
        assert_eq!(line(b"abc/def+ghi=\n-----END EC PRIVATE KEY-----\nit broke\n"), "*** it broke");
        assert_eq!(line(b"-----END X-----\nand -----BEGIN Y"), "*** and ***");
        let line_of_pem = b"AbCd/EfGhIj+KlMnOpQr/StUvWxYz0123456789/AbCdEfGhIjKlMnOpQrStUv=";
        assert_eq!(line(line_of_pem), "***");
        assert_eq!(line(b"token=0123456789abcdef0123456789abcdef failed"), "*** failed");
        assert_eq!(
            line(b"cannot open /usr/local/etc/nginx/conf.d/postern.conf"),
            "cannot open /usr/local/etc/nginx/conf.d/postern.conf"
        );
    }
}
