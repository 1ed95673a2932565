//! `[login@]host:path`, or a file here.

use crate::Failure;
use crate::tsh::target::Target;
use std::path::PathBuf;

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On this machine.
    Here(PathBuf),
    /// On a host; a path that is not absolute is below the login's home.
    There(Target, String),
}

impl Place {
    /// Reads a place as scp does: a colon before any slash makes it remote; `./a:b` is a file here.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let Some((host, path)) = remote(text) else {
            return match text.is_empty() {
                true => Err(Failure::usage("a path is empty").hint("write . for this directory")),
                false => Ok(Self::Here(text.into())),
            };
        };
        let path = match path.strip_prefix('~') {
            None if path.is_empty() => ".",
            None => path,
            Some("" | "/") => ".",
            Some(below) => below.strip_prefix('/').ok_or_else(|| {
                Failure::usage(format!("{path:?}: homes of other users are not looked up"))
                    .hint("give the whole path, or ./~name for a file of that name")
            })?,
        };
        Ok(Self::There(Target::parse(host)?, path.to_owned()))
    }
}

fn remote(text: &str) -> Option<(&str, &str)> {
    // login@[v6]:path
    if let Some(open) = text.find('[')
        && (open == 0 || text[..open].ends_with('@'))
        && let Some(close) = text.find("]:")
    {
        return Some((&text[..=close], &text[close + 2..]));
    }
    let colon = text.find(':')?;
    let slash = text.find('/').unwrap_or(text.len());
    (colon > 0 && colon < slash).then(|| (&text[..colon], &text[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn places() {
        for (text, login, host, path) in [
            ("h:", None, "h", "."),
            ("h:~", None, "h", "."),
            ("h:~/x", None, "h", "x"),
            ("h:/etc/hosts", None, "h", "/etc/hosts"),
            ("root@h:a:b", Some("root"), "h", "a:b"),
            ("a@b@h:x", Some("a@b"), "h", "x"),
            ("[::1]:x", None, "::1", "x"),
            ("root@[::1]:/x", Some("root"), "::1", "/x"),
            ("h:./~x", None, "h", "./~x"),
            ("h:-x", None, "h", "-x"),
        ] {
            let Ok(Place::There(target, there)) = Place::parse(text) else { panic!("{text}") };
            let login_read = target.login.as_ref().map(|login| login.as_str());
            assert_eq!((login_read, target.host.as_str(), there.as_str()), (login, host, path), "{text}");
        }
        for text in ["a", "./a:b", "/tmp/a:b", "dir/a:b", ":a", "..", "-x", "@"] {
            assert_eq!(Place::parse(text).expect(text), Place::Here(text.into()));
        }
    }

    #[test]
    fn hosts_and_logins_that_are_no_names() {
        for text in ["-oProxyCommand=x:a", "-l@h:a", "h\x1b:a", "ro ot@h:a", "", "h:~other/x", "a b:c"] {
            assert!(Place::parse(text).is_err(), "{text:?}");
        }
    }
}
