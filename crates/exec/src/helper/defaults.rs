//! The host's defaults for an environment: search path and language. Files that are missing, unreadable or odd leave
//! the built-in values.

use std::fs::File;
use std::io::Read;

const LOGIN_DEFS: &str = "/etc/login.defs";
/// Where hosts keep their language, newer place first.
const LOCALE_FILES: [&str; 2] = ["/etc/locale.conf", "/etc/default/locale"];
const USER_PATH: &str = "/bin:/usr/bin:/usr/local/bin:/sbin";
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where the host names none: UTF-8 in which every C library speaks. A language that is not installed would make programs
/// complain at every login.
const LANGUAGE: &str = "C.UTF-8";
/// More of a file than this is not read.
const MAX_FILE: u64 = 64 * 1024;

/// The search path: `ENV_SUPATH` of `login.defs(5)` for root, `ENV_PATH` for others.
pub(super) fn path(root: bool) -> String {
    let (key, default) = if root { ("ENV_SUPATH", ROOT_PATH) } else { ("ENV_PATH", USER_PATH) };
    path_from(&read(LOGIN_DEFS), key).unwrap_or_else(|| default.to_owned())
}

/// The host's `LANG`.
pub(super) fn language() -> String {
    LOCALE_FILES.iter().find_map(|file| language_from(&read(file))).unwrap_or_else(|| LANGUAGE.to_owned())
}

fn path_from(login_defs: &str, key: &str) -> Option<String> {
    let line = login_defs.lines().rev().find_map(|line| {
        let rest = line.trim_start().strip_prefix(key)?;
        rest.starts_with(char::is_whitespace).then(|| rest.trim())
    })?;
    let value = line.strip_prefix("PATH=").unwrap_or(line);
    let plain = !value.is_empty() && !value.contains(|c: char| c.is_control() || c.is_whitespace());
    plain.then(|| value.to_owned())
}

fn language_from(locale: &str) -> Option<String> {
    let value =
        locale.lines().rev().find_map(|line| line.trim().strip_prefix("LANG="))?.trim_matches(['"', '\'']);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'@');
    (!value.is_empty() && value.bytes().all(plain)).then(|| value.to_owned())
}

fn read(path: &str) -> String {
    let mut text = String::new();
    // What was read before an error is cut short and so not to be trusted.
    match File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text)) {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_from_login_defs_in_both_spellings() {
        let file = "# ENV_PATH /no\nENV_SUPATH\tPATH=/su:/bin\nENV_PATH   /usr/bin:/bin  \nENV_PATHX /no\n";
        assert_eq!(path_from(file, "ENV_PATH").as_deref(), Some("/usr/bin:/bin"));
        assert_eq!(path_from(file, "ENV_SUPATH").as_deref(), Some("/su:/bin"));
        for odd in ["", "ENV_PATH", "ENV_PATH PATH=", "ENV_PATH /a b", "#ENV_PATH /a"] {
            assert_eq!(path_from(odd, "ENV_PATH"), None, "{odd:?}");
        }
    }

    #[test]
    fn the_language_is_a_plain_locale_name() {
        assert_eq!(language_from("LC_ALL=x\nLANG=\"de_DE.UTF-8\"\n").as_deref(), Some("de_DE.UTF-8"));
        for odd in ["", "LANG=", "LANG=$(id)", "#LANG=C", "LANG=../x/y"] {
            assert_eq!(language_from(odd), None, "{odd:?}");
        }
    }
}
