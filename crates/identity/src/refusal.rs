//! Why a certificate is refused. Every verifier answers with one of these; its code is the same in the
//! client's error, the log and the audit event.

use access::Login;
use std::net::IpAddr;

/// A reason. The code is stable, the words are not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than any certificate of ours.
    #[error("the certificate is {length} bytes long; at most {limit} are read")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The most that is read.
        limit: usize,
    },
    /// Not a certificate, or one with a broken part.
    #[error("the certificate is malformed: {0}")]
    Malformed(&'static str),
    /// A key or signature algorithm outside the list.
    #[error("the algorithm {0:?} is not accepted")]
    AlgorithmNotAllowed(String),
    /// The signer is itself a certificate; authorities are plain keys.
    #[error("the certificate was signed by a certificate; an authority is a plain key")]
    SignerIsCertificate,
    /// Signed by a key that is no authority for this kind of certificate.
    #[error(
        "the certificate was signed by {signer}, which is not a trusted {authority} authority of this cluster"
    )]
    UntrustedCa {
        /// Which authority was wanted.
        authority: &'static str,
        /// Fingerprint or name of the signer.
        signer: String,
    },
    /// The authority did not sign this.
    #[error("the signature on the certificate is wrong")]
    BadSignature,
    /// A host where a user was wanted, or the reverse.
    #[error("the certificate is for a {got}, not for a {expected}")]
    WrongCertType {
        /// What was wanted.
        expected: &'static str,
        /// What it is.
        got: &'static str,
    },
    /// From the future.
    #[error("the certificate is not valid before {0}; check both clocks")]
    NotYetValid(jiff::Timestamp),
    /// Over.
    #[error("the certificate expired at {0}; get a new one")]
    Expired(jiff::Timestamp),
    /// Ends before it begins, lives for ever or longer than any certificate of ours.
    #[error("the certificate's validity is not one that this cluster issues")]
    BadValidity,
    /// An empty list of principals is nobody.
    #[error("the certificate names no principal")]
    NoPrincipals,
    /// A principal with characters that none of ours has.
    #[error("the principal {0:?} is not a plain name")]
    BadPrincipal(String),
    /// Not for this account.
    #[error(
        "the certificate is not for the login {0}; take one that it names (ssh-keygen -L -f shows them), or have it \
         added to allow.logins of a role and get a new certificate"
    )]
    LoginNotInCertificate(Login),
    /// Not for this host.
    #[error(
        "the host certificate is for {got}, not for {expected}; either another host answers there, or this one was \
         renamed (nodename, public_addr) and not restarted since"
    )]
    WrongHost {
        /// The names wanted.
        expected: String,
        /// The names it has.
        got: String,
    },
    /// A critical option or extension that this verifier does not enforce.
    #[error("the certificate has the critical option {0:?}, which is not known here")]
    UnknownCriticalOption(String),
    /// `source-address` is not a plain list of networks.
    #[error("the certificate's source-address is malformed")]
    BadSourceAddress,
    /// Used from elsewhere.
    #[error("the certificate may not be used from {}", peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string()))]
    WrongSourceAddress {
        /// Where it was used.
        peer: Option<IpAddr>,
    },
    /// Says that it is of another cluster.
    #[error("the certificate is of the cluster {got:?}, not of {expected:?}")]
    WrongCluster {
        /// The cluster whose authorities are trusted.
        expected: String,
        /// What the certificate says.
        got: String,
    },
    /// The identity inside cannot be read, or contradicts itself.
    #[error("the certificate's identity cannot be read: {0}")]
    BadIdentity(String),
    /// Not a key that anybody should have: too short, malformed, or an authority's own.
    #[error("the certificate's key is refused: {0}")]
    BadKey(&'static str),
    /// A host, but not one that does what was wanted.
    #[error("the certificate is of a host with the role {got}, not {expected}")]
    WrongRole {
        /// What was wanted.
        expected: &'static str,
        /// What it has.
        got: &'static str,
    },
    /// No certificate in the chain belongs to a pinned authority.
    #[error("no authority in the server's chain matches the pin; compare it with `tctl status`")]
    PinMismatch,
}

impl Refusal {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::AlgorithmNotAllowed(_) => "algorithm_not_allowed",
            Self::SignerIsCertificate => "signer_is_certificate",
            Self::UntrustedCa { .. } => "untrusted_ca",
            Self::BadSignature => "bad_signature",
            Self::WrongCertType { .. } => "wrong_cert_type",
            Self::NotYetValid(_) => "not_yet_valid",
            Self::Expired(_) => "expired",
            Self::BadValidity => "bad_validity",
            Self::NoPrincipals => "no_principals",
            Self::BadPrincipal(_) => "bad_principal",
            Self::LoginNotInCertificate(_) => "login_not_in_certificate",
            Self::WrongHost { .. } => "wrong_host",
            Self::UnknownCriticalOption(_) => "unknown_critical_option",
            Self::BadSourceAddress => "bad_source_address",
            Self::WrongSourceAddress { .. } => "wrong_source_address",
            Self::WrongCluster { .. } => "wrong_cluster",
            Self::BadIdentity(_) => "bad_identity",
            Self::BadKey(_) => "bad_key",
            Self::WrongRole { .. } => "wrong_role",
            Self::PinMismatch => "pin_mismatch",
        }
    }
}
