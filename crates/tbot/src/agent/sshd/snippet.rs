//! What is written for sshd (sshd_config(5)). Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How the file begins; what does not begin so was not written here, and is not touched.
pub const MARK: &str = "# Written by tbot";

/// Everything that is in it.
#[derive(Debug)]
pub struct Snippet<'a> {
    /// The service.
    pub service: &'a str,
    /// Where its files are.
    pub directory: &'a Path,
    /// The keys that the server had before. It goes on showing them: clients may know it by those.
    pub host_keys: &'a [PathBuf],
    /// The accounts that may be logged in to; none for all.
    pub accounts: Option<&'a [&'a str]>,
    /// Accounts that may not.
    pub refused: &'a BTreeSet<&'a str>,
}

impl Snippet<'_> {
    /// The text.
    pub fn render(&self) -> String {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let mut text = format!(
            "{MARK} for its service {}; what is changed here is lost. `tbot sshd --undo` takes it away.\n",
            self.service
        );
        for key in self.host_keys {
            let _ = writeln!(text, "HostKey {}", key.display());
        }
        let _ = write!(
            text,
            "HostKey {}\nHostCertificate {}\nTrustedUserCAKeys {}\nRevokedKeys {}\n",
            at(crate::agent::ssh_host::KEY),
            at(crate::agent::ssh_host::CERTIFICATE),
            at(crate::agent::ssh_host::USER_AUTHORITIES),
            at(super::REVOKED),
        );
        let users = match self.accounts {
            // Of a list with one that matches everything and some with `!`, those some are what does not match.
            Some(accounts) => {
                accounts.iter().fold("*".to_owned(), |all, account| format!("{all},!{account}"))
            }
            None if self.refused.is_empty() => return text,
            None => self.refused.iter().copied().collect::<Vec<_>>().join(","),
        };
        let _ = write!(text, "Match User {users}\n    TrustedUserCAKeys none\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Snippet;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    fn rendered(accounts: Option<&[&str]>, refused: &[&str]) -> String {
        let host_keys = [PathBuf::from("/etc/ssh/ssh_host_ed25519_key")];
        let refused: BTreeSet<&str> = refused.iter().copied().collect();
        let directory = Path::new("/var/lib/x");
        let snippet =
            Snippet { service: "sshd", directory, host_keys: &host_keys, accounts, refused: &refused };
        snippet.render()
    }

    #[test]
    fn it_names_the_files_and_keeps_the_keys() {
        let text = rendered(None, &[]);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "HostKey /etc/ssh/ssh_host_ed25519_key",
                "HostKey /var/lib/x/ssh_host",
                "HostCertificate /var/lib/x/ssh_host-cert.pub",
                "TrustedUserCAKeys /var/lib/x/ssh_host-user-ca.pub",
                "RevokedKeys /var/lib/x/revoked-keys",
            ]
        );
        assert!(text.starts_with(super::MARK));
    }

    #[test]
    fn accounts_are_those_that_are_listed_and_not_refused() {
        assert!(
            rendered(None, &["deploy", "root"])
                .ends_with("Match User deploy,root\n    TrustedUserCAKeys none\n")
        );
        assert!(rendered(Some(&["deploy"]), &["root"]).contains("\nMatch User *,!deploy\n"));
        assert!(rendered(Some(&[]), &[]).contains("\nMatch User *\n"), "all of them are refused");
    }
}
