//! `ssh_config` for the members of a cluster (fact sheet of machine identities, section 3.4).

use super::words::{self, WordError};
use access::ClusterName;
use std::fmt::Write as _;
use std::path::Path;

/// What the file says. Paths are absolute.
#[derive(Debug, Clone, Copy)]
pub struct SshConfig<'a> {
    /// Who writes it, for the comment: `tbot` or `tsh`.
    pub app: &'a str,
    /// Hosts are called `<name>.<cluster>`.
    pub cluster: &'a ClusterName,
    /// The proxy's host name; it is reached directly, not through itself.
    pub proxy_host: &'a str,
    /// Holds the host authorities.
    pub known_hosts: &'a Path,
    /// The private key.
    pub key: &'a Path,
    /// The certificate.
    pub certificate: &'a Path,
    /// The program that connects, with its arguments; `--user='%r' --host='%h' --port=%p` are added.
    pub proxy_command: &'a [String],
}

impl SshConfig<'_> {
    /// The file with its `Host` blocks.
    pub fn render(&self) -> Result<String, WordError> {
        let (cluster, proxy) = (self.cluster, words::host(self.proxy_host)?);
        let app = words::host(self.app)?;
        let files = self.files()?;
        let connect = self.connect()?;
        Ok(format!(
            "# Access to {cluster} through {proxy}. Written by {app}; changes will be lost.\n\
             Host *.{cluster} {proxy}\n{files}\n\
             Host *.{cluster} !{proxy}\n{connect}\n\
             # End of what {app} wrote.\n"
        ))
    }

    fn files(&self) -> Result<String, WordError> {
        let mut text = String::new();
        for (option, path) in [
            ("UserKnownHostsFile", self.known_hosts),
            ("IdentityFile", self.key),
            ("CertificateFile", self.certificate),
        ] {
            writeln!(text, "    {option} {}", words::path(path)?).expect("writing to a string");
        }
        Ok(text)
    }

    fn connect(&self) -> Result<String, WordError> {
        let words = self.proxy_command.iter().map(|word| words::argument(word));
        let words: Vec<String> = words.collect::<Result<_, _>>()?;
        // A shell reads what ssh makes of this, and ssh lets names through in which a shell finds something: all but the
        // newest versions even substitutions.
        Ok(format!("    Port 3022\n    ProxyCommand {} --user='%r' --host='%h' --port=%p\n", words.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config<'a>(cluster: &'a ClusterName, proxy_host: &'a str, command: &'a [String]) -> SshConfig<'a> {
        SshConfig {
            app: "tbot",
            cluster,
            proxy_host,
            known_hosts: Path::new("/opt/machine-id/known_hosts"),
            key: Path::new("/opt/machine-id/key"),
            certificate: Path::new("/opt/machine-id/key-cert.pub"),
            proxy_command: command,
        }
    }

    #[test]
    fn the_file_has_two_blocks() {
        let cluster = ClusterName::new("example.com").expect("a name");
        let command = ["/usr/bin/tbot".to_owned(), "ssh-proxy-command".to_owned(), "--x=it's 5%".to_owned()];
        let text = config(&cluster, "proxy.example.com", &command).render().expect("plain words");
        let expected = "# Access to example.com through proxy.example.com. Written by tbot; changes will be lost.\n\
            Host *.example.com proxy.example.com\n    UserKnownHostsFile \"/opt/machine-id/known_hosts\"\n    \
            IdentityFile \"/opt/machine-id/key\"\n    CertificateFile \"/opt/machine-id/key-cert.pub\"\n\n\
            Host *.example.com !proxy.example.com\n    Port 3022\n    \
            ProxyCommand /usr/bin/tbot ssh-proxy-command '--x=it'\\''s 5%%' --user='%r' --host='%h' --port=%p\n\n\
            # End of what tbot wrote.\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn words_that_would_break_out_are_refused() {
        let cluster = ClusterName::new("example.com").expect("a name");
        assert!(config(&cluster, "proxy\nProxyCommand x", &[]).render().is_err());
        assert!(config(&cluster, "-oProxyCommand=x", &[]).render().is_err());
        assert!(config(&cluster, "proxy", &["a\nb".to_owned()]).render().is_err());
    }
}
