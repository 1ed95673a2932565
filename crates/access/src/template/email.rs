//! The local part of a mail address.

/// `alice` of `alice@example.com` or of `Alice <alice@example.com>`; nothing for anything else.
///
/// A subset of RFC 5322: quoted local parts, comments, groups and address literals are refused, because
/// what comes out becomes an account name.
pub fn email_local(address: &str) -> Option<&str> {
    let address = address.trim();
    let bare = match address.strip_suffix('>') {
        Some(named) => {
            let (display, bare) = named.rsplit_once('<')?;
            is_display_name(display.trim()).then_some(bare)?
        }
        None => address,
    };
    let (local, domain) = bare.split_once('@')?;
    (is_dot_atom(local) && is_dot_atom(domain)).then_some(local)
}

fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom_character))
}

fn is_atom_character(c: char) -> bool {
    c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

fn is_display_name(text: &str) -> bool {
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').is_some_and(|inner| !inner.contains(['"', '\\'])),
        None => text.chars().all(|c| is_atom_character(c) || matches!(c, ' ' | '.')),
    }
}

#[cfg(test)]
mod tests {
    use super::email_local;

    #[test]
    fn only_plain_addresses_have_a_local_part() {
        for (address, local) in [
            ("alice@example.com", Some("alice")),
            ("Alice <alice@example.com>", Some("alice")),
            ("Alice B. Cooper <a.b+c@example.com>", Some("a.b+c")),
            (r#""Cooper, Alice" <alice@example.com>"#, Some("alice")),
            ("<alice@example.com>", Some("alice")),
            (" alice@localhost ", Some("alice")),
            ("", None),
            ("alice", None),
            ("@example.com", None),
            ("alice@", None),
            ("alice@a@b", None),
            ("alice@example..com", None),
            (".alice@example.com", None),
            ("alice smith@example.com", None),
            ("alice@example.com, bob@example.com", None),
            (r#""alice root"@example.com"#, None),
            ("Alice alice@example.com>", None),
            ("Cooper, Alice <alice@example.com>", None),
            ("alice@exa\nmple.com", None),
        ] {
            assert_eq!(email_local(address), local, "{address:?}");
        }
    }
}
