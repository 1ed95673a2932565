//! The alphabets of names inside certificates: what matches exactly one account or host, and nothing that
//! another program could read as a pattern, a list, an option or an escape.

use std::net::IpAddr;

/// The longest DNS name.
const HOST_LENGTH: usize = 253;
const LOGIN_LENGTH: usize = 64;

/// Whether `name` may be an SSH principal of a user: lower case, because two accounts must not differ by
/// case alone where somebody compares without it.
pub(crate) fn is_login(name: &str) -> bool {
    let legal = |c: u8| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.' | b'@' | b'+' | b'$')
    };
    name.len() <= LOGIN_LENGTH && starts_plainly(name) && name.bytes().all(legal)
}

/// Whether `name` may be a name of a host: a lower-case DNS name, or an address in its usual form.
pub(crate) fn is_host(name: &str) -> bool {
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.to_string() == name;
    }
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.');
    name.len() <= HOST_LENGTH
        && starts_plainly(name)
        && !name.ends_with('.')
        && !name.contains("..")
        && name.bytes().all(legal)
}

fn starts_plainly(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_only() {
        for name in ["root", "svc_deploy", "a.b@corp", "machine$", "_apt", "0day"] {
            assert!(is_login(name), "{name}");
        }
        let odd = ["", "*", "a,b", "a\0", "a\n", "root ", "Root", "rооt", "-l", "a b", "ro%ot", "../x"];
        for name in odd {
            assert!(!is_login(name), "{name:?}");
            assert!(!is_host(name), "{name:?}");
        }
        for name in ["web-1", "web_1.example.com", "10.0.0.1", "2001:db8::1", "localhost"] {
            assert!(is_host(name), "{name}");
        }
        for name in ["*.example.com", "a..b", "a.", "2001:0db8::1", "WEB"] {
            assert!(!is_host(name), "{name:?}");
        }
    }
}
