//! A trust bundle as JSON: keys as OpenSSH lines, certificates as PEM, so that people can read it too.

use super::{Authority, TrustBundle, TrustError};
use crate::pem;
use access::ClusterName;
use access::resource::cert_authority::CaKind;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    cluster: ClusterName,
    host: AuthorityText,
    user: AuthorityText,
    openssh: AuthorityText,
    revision: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityText {
    ssh: Vec<String>,
    tls: Vec<String>,
}

impl Authority {
    /// From OpenSSH key lines and DER certificates, checked.
    pub fn from_parts(
        kind: CaKind,
        ssh: impl IntoIterator<Item = impl AsRef<str>>,
        tls: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Self, TrustError> {
        let read = |line: &str| {
            // A certificate's name would make the SSH crate follow it inwards.
            let plain = !line.contains("-cert-v") && line.len() < 4096;
            let key = plain.then(|| ssh_key::PublicKey::from_openssh(line.trim()).ok()).flatten();
            let mut key = key.ok_or(TrustError::SshKey { kind: kind.as_str() })?;
            key.set_comment("");
            Ok(key)
        };
        let authority = Self {
            ssh: ssh.into_iter().map(|line| read(line.as_ref())).collect::<Result<_, TrustError>>()?,
            tls: tls.into_iter().map(CertificateDer::from).collect(),
        };
        authority.check(kind)?;
        Ok(authority)
    }

    /// The SSH keys as OpenSSH lines without comments.
    pub fn ssh_lines(&self) -> Vec<String> {
        self.ssh.iter().map(plain_line).collect()
    }
}

fn plain_line(key: &ssh_key::PublicKey) -> String {
    let key = ssh_key::PublicKey::from(key.key_data().clone());
    key.to_openssh().expect("a key without a comment always has its line")
}

impl AuthorityText {
    fn of(authority: &Authority) -> Self {
        let tls = authority.tls.iter().map(|der| pem::encode(pem::CERTIFICATE, der).to_string());
        Self { ssh: authority.ssh_lines(), tls: tls.collect() }
    }

    fn read(self, kind: CaKind) -> Result<Authority, TrustError> {
        let wrong =
            |error: pem::PemError| TrustError::Certificate { kind: kind.as_str(), reason: error.to_string() };
        let tls = self.tls.iter().map(|text| Ok(pem::first(pem::CERTIFICATE, text).map_err(wrong)?.to_vec()));
        let tls: Vec<_> = tls.collect::<Result<_, TrustError>>()?;
        Authority::from_parts(kind, &self.ssh, tls)
    }
}

impl Serialize for TrustBundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let TrustBundle { cluster, host, user, openssh, revision } = self;
        let text = Text {
            cluster: cluster.clone(),
            host: AuthorityText::of(host),
            user: AuthorityText::of(user),
            openssh: AuthorityText::of(openssh),
            revision: *revision,
        };
        text.serialize(serializer).map_err(ser::Error::custom)
    }
}

impl<'de> Deserialize<'de> for TrustBundle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text { cluster, host, user, openssh, revision } = Text::deserialize(deserializer)?;
        Ok(Self {
            cluster,
            host: host.read(CaKind::Host).map_err(de::Error::custom)?,
            user: user.read(CaKind::User).map_err(de::Error::custom)?,
            openssh: openssh.read(CaKind::Openssh).map_err(de::Error::custom)?,
            revision,
        })
    }
}
