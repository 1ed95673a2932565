//! The public halves of the authorities, as resources.

use crate::core::Core;
use crate::issuer::Issuer;
use access::resource::cert_authority::{CaKeySet, CaKind, CertAuthoritySpec};
use access::resource::{CertAuthority, Metadata};
use identity::pem;
use identity::svid::{JwtKey, WorkloadTrust};
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
    let workloads = issuer.workload_trust();
    let shown = |kind: CaKind| {
        let (active_keys, additional_trusted_keys) = match kind {
            CaKind::Spiffe => workload_key_sets(workloads),
            CaKind::Host | CaKind::User | CaKind::Openssh => key_sets(trust.authority(kind)),
        };
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
    let ((ssh, more_ssh), (tls, more_tls)) = (split(lines), split(certificates));
    let set = |ssh, tls| CaKeySet { ssh, tls, jwt: vec![] };
    (set(ssh, tls), set(more_ssh, more_tls))
}

fn workload_key_sets(trust: &WorkloadTrust) -> (CaKeySet, CaKeySet) {
    let certificates: Vec<String> = trust.x509.iter().map(|der| pem::certificate(der)).collect();
    let public = |key: &JwtKey| pem::encode("PUBLIC KEY", &key.key().spki_der()).to_string();
    let ((tls, more_tls), (jwt, more_jwt)) =
        (split(certificates), split(trust.jwt.iter().map(public).collect()));
    let set = |tls, jwt| CaKeySet { ssh: vec![], tls, jwt };
    (set(tls, jwt), set(more_tls, more_jwt))
}

fn split(all: Vec<String>) -> (Vec<String>, Vec<String>) {
    let mut all = all.into_iter();
    (all.by_ref().take(1).collect(), all.collect())
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
        let counts: Vec<(&str, [usize; 3])> = shown
            .iter()
            .map(|ca| {
                let keys = &ca.spec.active_keys;
                (ca.spec.kind.as_str(), [keys.ssh.len(), keys.tls.len(), keys.jwt.len()])
            })
            .collect();
        let expected =
            [("host", [1, 1, 0]), ("user", [1, 1, 0]), ("openssh", [1, 0, 0]), ("spiffe", [0, 1, 1])];
        assert_eq!(counts, expected);
        for authority in shown {
            assert_eq!(authority.spec.additional_trusted_keys, Default::default());
            let shown = Resource::CertAuthority(authority);
            assert!(!shown.to_json().to_string().contains("PRIVATE"));
            assert_eq!(Resource::from_json(shown.to_json()), Ok(shown));
        }
    }
}
