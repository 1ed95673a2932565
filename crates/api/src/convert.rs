//! Messages to and from the types that mean something. What comes in is checked here, once.

use crate::v1;
use access::ClusterName;
use access::resource::cert_authority::CaKind;
use access::spiffe::TokenIssuer;
use identity::credentials::{Credentials, CredentialsError};
use identity::key::{KeyError, PublicKey, SubjectKey};
use identity::ssh::SshCertificate;
use identity::svid::{JwtKey, WorkloadTrust};
use identity::trust::{Authority, TrustBundle, TrustError};
use identity::{Refusal, pem};

/// Where a proxy serves what is found of the issuer of JWT-SVIDs.
pub const ISSUER_PATH: &str = "/workload-identity";

/// Why a message does not mean anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field that must be there is not.
    #[error("the answer has no {0}")]
    Missing(&'static str),
    /// The authorities are not ones.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The SSH certificate is not one.
    #[error("the SSH certificate: {0}")]
    SshCertificate(Refusal),
    /// The parts do not belong together.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The SSH certificate is about the key for TLS, and another was asked for.
    #[error(
        "the SSH certificate is not about this host's SSH key; the auth service may be too old to know of one: upgrade it first"
    )]
    SshKey,
    /// The bundle names an authority twice.
    #[error("the trust bundle has the authority {0:?} twice")]
    Twice(&'static str),
    /// A key for JWT-SVIDs is not one.
    #[error("a key for JWT-SVIDs: {0}")]
    JwtKey(KeyError),
    /// A certificate is longer than any of ours.
    #[error("a TLS certificate is longer than {} bytes", pem::MAX_LENGTH)]
    TooLong,
}

/// The bundle in a message; an authority that is not there has no keys.
pub fn trust(message: v1::TrustBundle) -> Result<TrustBundle, ConvertError> {
    let v1::TrustBundle { cluster, authorities, revision } = message;
    let mut bundle = TrustBundle::empty(ClusterName::new(cluster).map_err(TrustError::Cluster)?);
    bundle.revision = revision;
    let mut seen = Vec::new();
    for v1::Authority { kind, ssh_keys, tls_certificates } in authorities {
        let unknown = || TrustError::Kind(kind.chars().take(64).collect());
        let known = CaKind::OF_MEMBERS.into_iter().find(|known| known.as_str() == kind);
        let known = known.ok_or_else(unknown)?;
        if seen.contains(&known) {
            return Err(ConvertError::Twice(known.as_str()));
        }
        let authority = Authority::from_parts(known, ssh_keys, tls_certificates)?;
        *bundle.authority_mut(known).ok_or_else(unknown)? = authority;
        seen.push(known);
    }
    Ok(bundle)
}

/// A message with a bundle.
pub fn trust_message(bundle: &TrustBundle) -> v1::TrustBundle {
    let authority = |kind: CaKind| {
        let authority = bundle.authority(kind);
        v1::Authority {
            kind: kind.as_str().to_owned(),
            ssh_keys: authority.ssh_lines(),
            tls_certificates: authority.tls.iter().map(|der| der.to_vec()).collect(),
        }
    };
    v1::TrustBundle {
        cluster: bundle.cluster.to_string(),
        authorities: CaKind::OF_MEMBERS.into_iter().map(authority).collect(),
        revision: bundle.revision,
    }
}

/// Whom to trust for workloads, in a message.
pub fn workload_trust(message: v1::WorkloadTrust) -> Result<WorkloadTrust, ConvertError> {
    // Who issues JWT-SVIDs is no matter of trust: they are believed by their keys.
    let v1::WorkloadTrust { cluster, x509_authorities, jwt_authorities, revision, jwt_issuer: _ } = message;
    if x509_authorities.iter().any(|der| der.len() > pem::MAX_LENGTH) {
        return Err(ConvertError::TooLong);
    }
    let key = |der: Vec<u8>| PublicKey::from_spki_der(&der).map(JwtKey::new).map_err(ConvertError::JwtKey);
    let trust = WorkloadTrust {
        cluster: ClusterName::new(cluster).map_err(TrustError::Cluster)?,
        x509: x509_authorities.into_iter().map(Into::into).collect(),
        jwt: jwt_authorities.into_iter().map(key).collect::<Result<_, _>>()?,
        revision,
    };
    trust.check()?;
    Ok(trust)
}

/// A message with whom to trust for workloads, and what JWT-SVIDs say of who issued them.
pub fn workload_trust_message(trust: &WorkloadTrust, issuer: Option<&TokenIssuer>) -> v1::WorkloadTrust {
    let WorkloadTrust { cluster, x509, jwt, revision } = trust;
    v1::WorkloadTrust {
        cluster: cluster.to_string(),
        x509_authorities: x509.iter().map(|der| der.to_vec()).collect(),
        jwt_authorities: jwt.iter().map(|key| key.key().spki_der()).collect(),
        revision: *revision,
        jwt_issuer: issuer.map(ToString::to_string).unwrap_or_default(),
    }
}

/// The credentials in a message, made whole with the key that they were asked for.
pub fn credentials(key: SubjectKey, message: v1::Credentials) -> Result<Credentials, ConvertError> {
    let credentials = of_somebody(key, message)?;
    match credentials.one_key_serves_both() {
        true => Ok(credentials),
        false => Err(CredentialsError::OtherKey { certificate: "SSH" }.into()),
    }
}

/// The same for a host whose SSH certificate was asked for over `ssh_key`, if that is another key.
pub fn host_credentials(
    key: SubjectKey,
    ssh_key: Option<&PublicKey>,
    message: v1::Credentials,
) -> Result<Credentials, ConvertError> {
    let Some(ssh_key) = ssh_key else { return credentials(key, message) };
    let credentials = of_somebody(key, message)?;
    match credentials.ssh_key() == ssh_key {
        true => Ok(credentials),
        false => Err(ConvertError::SshKey),
    }
}

/// What a joiner asks before it can show its TPM with this request.
pub fn tpm_question(request: &v1::JoinRequest, keys: v1::TpmKeys) -> v1::TpmChallengeRequest {
    v1::TpmChallengeRequest {
        token: request.token.clone(),
        role: request.role.clone(),
        public_key: request.public_key.clone(),
        attempt: request.attempt.clone(),
        challenge: request.challenge.clone(),
        keys: Some(keys),
    }
}

fn of_somebody(key: SubjectKey, message: v1::Credentials) -> Result<Credentials, ConvertError> {
    let v1::Credentials { ssh_certificate, tls_certificates, trust: bundle } = message;
    let bundle = trust(bundle.ok_or(ConvertError::Missing("trust bundle"))?)?;
    let ssh = SshCertificate::from_line(&ssh_certificate).map_err(ConvertError::SshCertificate)?;
    if tls_certificates.iter().any(|der| der.len() > pem::MAX_LENGTH) {
        return Err(ConvertError::TooLong);
    }
    let chain = tls_certificates.into_iter().map(Into::into).collect();
    Ok(Credentials::of_host(key, ssh, chain, bundle)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSH_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIq//CSwaKrxy2ARhKBSQqMTunhQG4i7Au41cRO6PCz1";

    fn message() -> v1::TrustBundle {
        v1::TrustBundle {
            cluster: "example.com".to_owned(),
            authorities: vec![v1::Authority {
                kind: "host".to_owned(),
                ssh_keys: vec![SSH_KEY.to_owned()],
                tls_certificates: vec![],
            }],
            revision: 7,
        }
    }

    #[test]
    fn a_bundle_comes_back() {
        let bundle = trust(message()).expect("a bundle");
        assert_eq!(bundle.revision, 7);
        assert_eq!(bundle.host.ssh_lines(), [SSH_KEY]);
        assert_eq!(trust(trust_message(&bundle)), Ok(bundle));
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let with = |change: fn(&mut v1::TrustBundle)| {
            let mut message = message();
            change(&mut message);
            trust(message).expect_err("refused")
        };
        assert!(matches!(with(|m| m.cluster.clear()), ConvertError::Trust(TrustError::Cluster(_))));
        assert!(matches!(
            with(|m| m.authorities[0].kind = "db".into()),
            ConvertError::Trust(TrustError::Kind(_))
        ));
        assert_eq!(with(|m| m.authorities.push(m.authorities[0].clone())), ConvertError::Twice("host"));
        let keys = ["", "ssh-rsa AAAA", "ssh-ed25519-cert-v01@openssh.com AAAA", "\n"];
        for key in keys {
            let mut message = message();
            message.authorities[0].ssh_keys = vec![key.to_owned()];
            assert!(trust(message).is_err(), "{key:?}");
        }
        let mut message = message();
        message.authorities[0].tls_certificates = vec![vec![0x30, 0]];
        assert!(trust(message).is_err());
    }

    #[test]
    fn credentials_need_their_trust() {
        use aws_lc_rs::rand::SystemRandom;
        let key = SubjectKey::generate(&SystemRandom::new()).expect("a key");
        let message = v1::Credentials::default();
        assert_eq!(credentials(key, message).err(), Some(ConvertError::Missing("trust bundle")));
    }
}
