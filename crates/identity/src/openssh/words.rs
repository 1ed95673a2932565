//! Words that may stand in OpenSSH's files.

use std::path::Path;

/// A word that would be read as something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} {word:?} cannot stand in OpenSSH's files; use one without {reason}")]
pub struct WordError {
    what: &'static str,
    word: String,
    reason: &'static str,
}

fn refuse(what: &'static str, word: &str, reason: &'static str) -> WordError {
    WordError { what, word: word.chars().take(256).collect(), reason }
}

/// A host name or address, as a pattern that matches itself only.
pub(super) fn host(name: &str) -> Result<&str, WordError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let plain = !name.is_empty()
        && name.len() <= 253
        && name.chars().all(legal)
        && !name.starts_with(['-', '.', ':'])
        || name.parse::<std::net::IpAddr>().is_ok();
    match plain {
        true => Ok(name),
        false => Err(refuse("host name", name, "anything but letters, digits and -_.:")),
    }
}

/// An absolute path inside double quotes. `ssh` expands `%` and `~` and `${}` there, so `%` is doubled and the
/// others are refused.
pub(super) fn path(path: &Path) -> Result<String, WordError> {
    let shown = path.to_string_lossy();
    let text = path.to_str().ok_or_else(|| refuse("path", &shown, "bytes that are not UTF-8"))?;
    if !path.is_absolute() {
        return Err(refuse("path", text, "a relative beginning"));
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\' | '$' | '~')) {
        return Err(refuse("path", text, "quotes, backslashes, $, ~ and control characters"));
    }
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

/// One argument of a `ProxyCommand`, which passes through ssh's own expansion of `%` and then a shell: single
/// quotes protect it from the shell, doubling protects `%`.
pub(super) fn argument(word: &str) -> Result<String, WordError> {
    if word.is_empty() || word.chars().any(char::is_control) {
        return Err(refuse("argument", word, "control characters, and not empty"));
    }
    let legal = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '=' | '@' | '+' | ',')
    };
    match word.chars().all(legal) {
        true => Ok(word.to_owned()),
        false => Ok(format!("'{}'", word.replace('%', "%%").replace('\'', r"'\''"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_are_plain() {
        for name in ["proxy.example.com", "10.0.0.1", "::1", "2001:db8::1", "Proxy_1"] {
            assert!(host(name).is_ok(), "{name}");
        }
        for name in
            ["", "-oProxyCommand=x", "a b", "a\nb", "*", "!a", "a,b", "a#b", "\"", "%h", "$(x)", "`x`"]
        {
            assert!(host(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        assert_eq!(path(Path::new("/opt/machine id/100%")).expect("a path"), "\"/opt/machine id/100%%\"");
        for wrong in ["key", "/a\"b", "/a\nb", "/a\\b", "/${HOME}/x", "/~"] {
            assert!(path(Path::new(wrong)).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_shell_reads_an_argument_as_it_was(word in "[ -~]{1,24}") {
            let quoted = argument(&word).expect("no control characters").replace("%%", "%");
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {quoted}"))
                .output()
                .expect("a shell");
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout).into_owned(), word);
        }
    }
}
