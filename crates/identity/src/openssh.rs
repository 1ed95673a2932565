//! What OpenSSH reads: `known_hosts`, `ssh_config`, lines of authorities.
//!
//! Everything that goes into a line is checked first and refused when it would need escaping that OpenSSH does
//! not have (abuse rows I1, I2): nothing here may end a line, a word or a quotation early.

mod config;
mod revoked;
mod words;

pub use config::SshConfig;
pub use revoked::RevocationList;
pub use words::WordError;

use crate::trust::TrustBundle;
use words::host;

/// `known_hosts`: one line for each SSH host authority (fact sheet of machine identities, section 3.5).
pub fn known_hosts(trust: &TrustBundle, proxy_host: &str) -> Result<String, WordError> {
    let (proxy, cluster) = (host(proxy_host)?, &trust.cluster);
    Ok(lines(&trust.host.ssh_lines(), |key| {
        format!("@cert-authority {proxy},{cluster},*.{cluster} {key} type=host")
    }))
}

/// `tctl auth export --type=user` and `--type=openssh`: for the `authorized_keys` of stock sshd.
pub fn authorized_user_authorities(trust: &TrustBundle, kind: UserAuthority) -> String {
    let (authority, cluster) = (kind.of(trust), &trust.cluster);
    lines(&authority.ssh_lines(), |key| format!("cert-authority {key} clustername={cluster}&type=user"))
}

/// For `TrustedUserCAKeys` of stock sshd: plain key lines.
pub fn trusted_user_authorities(trust: &TrustBundle, kind: UserAuthority) -> String {
    lines(&kind.of(trust).ssh_lines(), str::to_owned)
}

/// `tctl auth export --type=host`: for the `known_hosts` of stock ssh.
pub fn exported_host_authorities(trust: &TrustBundle) -> String {
    let cluster = &trust.cluster;
    lines(&trust.host.ssh_lines(), |key| format!("@cert-authority *.{cluster} {key} type=host"))
}

/// Which authority signs the users that a stock sshd is to accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserAuthority {
    /// Users and bots directly.
    User,
    /// The proxy on their behalf.
    Openssh,
}

impl UserAuthority {
    fn of(self, trust: &TrustBundle) -> &crate::trust::Authority {
        match self {
            Self::User => &trust.user,
            Self::Openssh => &trust.openssh,
        }
    }
}

/// The host authorities as the identity bundle has them.
pub(crate) fn bundle_authorities(trust: &TrustBundle) -> impl Iterator<Item = String> + '_ {
    let cluster = &trust.cluster;
    trust
        .host
        .ssh_lines()
        .into_iter()
        .map(move |key| format!("@cert-authority {cluster},*.{cluster} {key} type=host"))
}

fn lines(keys: &[String], line: impl Fn(&str) -> String) -> String {
    keys.iter().map(|key| line(key) + "\n").collect()
}
