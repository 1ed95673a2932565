//! The public halves of the authorities, as resources.

use crate::core::Core;
use crate::issuer::Issuer;
use access::resource::cert_authority::{CaKeySet, CaKind, CertAuthoritySpec};
use access::resource::{CertAuthority, Metadata};
use identity::pem;
use identity::trust::Authority;

/// Shows the authorities, whoever keeps them.
pub trait Authorities: Send + Sync + 'static {
    /// Their public halves.
    fn resources(&self) -> Vec<CertAuthority>;
}

impl Authorities for Core {
    fn resources(&self) -> Vec<CertAuthority> {
        public_halves(&self.issuer)
    }
}

fn public_halves(issuer: &Issuer) -> Vec<CertAuthority> {
    let trust = issuer.trust();
    let cluster = trust.cluster.to_string();
    let shown = |kind: CaKind| {
        let authority = match kind {
            CaKind::Host => &trust.host,
            CaKind::User => &trust.user,
            CaKind::Openssh => &trust.openssh,
        };
        let (active_keys, additional_trusted_keys) = key_sets(authority);
        let rotation = issuer.rotation(kind);
        CertAuthority {
            metadata: Metadata { name: cluster.clone(), ..Metadata::default() },
            spec: CertAuthoritySpec {
                kind,
                cluster_name: cluster.clone(),
                active_keys,
                additional_trusted_keys,
                rotation,
            },
        }
    };
    CaKind::ALL.into_iter().map(shown).collect()
}

/// The current generation comes first in a trust bundle; what follows is trusted beside it.
fn key_sets(authority: &Authority) -> (CaKeySet, CaKeySet) {
    let lines: Vec<String> = authority.ssh.iter().filter_map(|key| key.to_openssh().ok()).collect();
    let certificates: Vec<String> = authority.tls.iter().map(|der| pem::certificate(der)).collect();
    let split = |all: Vec<String>| {
        let mut all = all.into_iter();
        (all.by_ref().take(1).collect(), all.collect())
    };
    let ((ssh, more_ssh), (tls, more_tls)) = (split(lines), split(certificates));
    (CaKeySet { ssh, tls }, CaKeySet { ssh: more_ssh, tls: more_tls })
}

#[cfg(test)]
mod tests {
    use super::public_halves;
    use crate::issuer::Issuer;
    use access::ClusterName;
    use access::resource::Resource;

    #[test]
    fn every_authority_is_shown_without_its_private_keys() {
        let cluster = ClusterName::new("example").expect("a name");
        let authorities = ca::Authorities::generate(&cluster, jiff::Timestamp::now()).expect("keys");
        let shown = public_halves(&Issuer::new(authorities, 1));
        let counts: Vec<(&str, usize, usize)> = shown
            .iter()
            .map(|ca| (ca.spec.kind.as_str(), ca.spec.active_keys.ssh.len(), ca.spec.active_keys.tls.len()))
            .collect();
        assert_eq!(counts, [("host", 1, 1), ("user", 1, 1), ("openssh", 1, 0)]);
        for authority in shown {
            assert_eq!(authority.spec.additional_trusted_keys, Default::default());
            let shown = Resource::CertAuthority(authority);
            assert!(!shown.to_json().to_string().contains("PRIVATE"));
            assert_eq!(Resource::from_json(shown.to_json()), Ok(shown));
        }
    }
}
