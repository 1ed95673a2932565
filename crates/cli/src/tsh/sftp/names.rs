//! Which names of a server may become names of files here.
//!
//! A server that lists a directory chooses the names in it. Only a plain name of one file is taken: nothing that
//! leaves the directory, names nothing, or acts on the terminal that shows it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// `name` as a file's, or nothing when it must not be used.
pub fn plain(name: &[u8]) -> Option<&OsStr> {
    let harmless = match std::str::from_utf8(name) {
        Ok(text) => !text.chars().any(crate::escape::is_hidden),
        Err(_) => !name.iter().any(u8::is_ascii_control),
    };
    let names_a_file = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && name.len() <= 255;
    (harmless && names_a_file).then(|| OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_of_one_file_only() {
        for name in ["a", "a b", "...", "-rf", "~", "日本", "a\\b"] {
            assert!(plain(name.as_bytes()).is_some(), "{name:?}");
        }
        assert!(plain(b"caf\xe9").is_some());
        for name in
            ["", ".", "..", "/", "a/b", "../x", "/etc/passwd", "a\0", "a\nb", "\x1b]52;c;x\x07", "a\u{202e}b"]
        {
            assert!(plain(name.as_bytes()).is_none(), "{name:?}");
        }
        assert!(plain(&[b'a'; 256]).is_none());
        assert!(plain(b"\xff\x1b").is_none());
    }
}
