//! The seam between the TLS engine and `identity::verify`: it asks, `identity` answers.
//!
//! The engine itself checks the handshake's signature, which is the proof of possession.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use access::SystemRole;
use identity::Refusal;
use identity::trust::{AUTH_SERVER_NAME, Pin};
use identity::verify::x509::{self, ClientContext, ServerContext, VerifiedIdentity};
use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::provider::provider;
use super::{Expected, LiveCredentials, ServerTrust};
use crate::error::Problem;

/// A problem with the server's certificate, on its way through the engine's error type.
#[derive(Debug)]
pub(super) struct Judgement(pub(super) Problem);

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Judgement {}

/// A refusal of a client's certificate, on its way through the engine's error type.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Refusal);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refused {}

/// Judges servers by a [`ServerTrust`].
#[derive(Debug)]
pub(super) struct ServerVerifier {
    trust: ServerTrust,
    expected: Expected,
    /// As in the address.
    host: String,
}

impl ServerVerifier {
    pub(super) fn new(trust: ServerTrust, expected: Expected, host: &str) -> Self {
        Self { trust, expected, host: host.to_owned() }
    }

    fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Problem> {
        let time = timestamp(now);
        let mut problem = Problem::Untrusted {
            code: "no_trust",
            reason: "there is nothing to trust it by: no CA pin, no credentials".to_owned(),
        };
        if self.trust.system {
            match web(chain, name, ocsp, now) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    problem = Problem::Untrusted { code: "untrusted_web", reason: in_words(&error) }
                }
            }
        }
        if !self.trust.pins.is_empty() {
            match self.ours(time, |context| x509::server_by_pin(chain, &self.trust.pins, context)) {
                Ok(()) => return Ok(()),
                Err(Refusal::PinMismatch) => problem = self.wrong_pin(chain),
                Err(refusal) => problem = in_problem(refusal, time),
            }
        }
        if let Some(bundle) = &self.trust.cluster {
            match self.ours(time, |context| x509::server(chain, bundle, context)) {
                Ok(()) => return Ok(()),
                // A pin that was asked for by hand says more than the bundle's silence about a foreign cluster.
                Err(_) if matches!(problem, Problem::WrongPin { .. }) => {}
                Err(refusal) => problem = in_problem(refusal, time),
            }
        }
        Err(problem)
    }

    /// Whether `verify` accepts the chain for a role and a name that are wanted here.
    fn ours(
        &self,
        now: Timestamp,
        verify: impl Fn(&ServerContext<'_>) -> Result<VerifiedIdentity, Refusal>,
    ) -> Result<(), Refusal> {
        let auth = ServerContext { now, name: AUTH_SERVER_NAME, role: Some(SystemRole::Auth) };
        let proxy = ServerContext { now, name: &self.host, role: Some(SystemRole::Proxy) };
        match self.expected {
            Expected::Auth => verify(&auth),
            Expected::Proxy => verify(&proxy),
            Expected::AuthOrProxy => match verify(&auth) {
                Err(Refusal::WrongRole { .. } | Refusal::WrongHost { .. }) => verify(&proxy),
                verdict => verdict,
            },
        }
        .map(|verified| {
            if let Some(witness) = &self.trust.witness {
                let _ = witness.set(verified.identity().cluster.clone());
            }
        })
    }

    fn wrong_pin(&self, chain: &[CertificateDer<'_>]) -> Problem {
        let shown = chain.last().and_then(|certificate| Pin::of(certificate).ok());
        Problem::WrongPin {
            presented: shown.map_or_else(|| "unreadable".to_owned(), |pin| pin.to_string()),
            expected: self.trust.pins.iter().map(Pin::to_string).collect(),
        }
    }
}

fn in_problem(refusal: Refusal, now: Timestamp) -> Problem {
    match refusal {
        Refusal::NotYetValid(from) => Problem::NotValidYet { from, now },
        Refusal::Expired(at) => Problem::Expired { at, now },
        refusal => Problem::Untrusted { code: refusal.code(), reason: refusal.to_string() },
    }
}

fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no authority that this system trusts signed its certificate".to_owned()
        }
        error => error.to_string(),
    }
}

/// By the system's roots; they are read once, when first needed.
fn web(chain: &[CertificateDer<'_>], name: &ServerName<'_>, ocsp: &[u8], now: UnixTime) -> Result<(), Error> {
    static SYSTEM: OnceLock<Option<Arc<WebPkiServerVerifier>>> = OnceLock::new();
    let verifier = SYSTEM.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()
    });
    let Some(verifier) = verifier else {
        return Err(Error::General("this system has no trusted authorities (ca-certificates)".to_owned()));
    };
    let (leaf, rest) = chain.split_first().ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    verifier.verify_server_cert(leaf, rest, name, ocsp, now).map(drop)
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = whole(leaf, rest);
        let judged = self.judge(&chain, name, ocsp, now);
        judged.map(|()| ServerCertVerified::assertion()).map_err(|problem| other(Judgement(problem)))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12_signature()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Judges the client of one connection by the trust in force, and keeps the verdict.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) credentials: LiveCredentials,
    pub(super) required: bool,
    pub(super) peer: Option<IpAddr>,
    pub(super) verdict: Arc<OnceLock<Result<VerifiedIdentity, Refusal>>>,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(current) = self.credentials.current() else {
            return Err(Error::General("the service has no credentials yet".to_owned()));
        };
        let context = ClientContext { trust: current.trust(), now: timestamp(now), peer: self.peer };
        match x509::client(&whole(leaf, rest), &context) {
            Ok(identity) => {
                let _ = self.verdict.set(Ok(identity));
                Ok(ClientCertVerified::assertion())
            }
            Err(refusal) => {
                let _ = self.verdict.set(Err(refusal.clone()));
                Err(alert(refusal, now))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12_signature()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The error whose alert tells the client most. Only a few alerts have a meaning of their own.
fn alert(refusal: Refusal, now: UnixTime) -> Error {
    let seconds = |at: Timestamp| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0)))
    };
    Error::InvalidCertificate(match refusal {
        Refusal::Expired(at) => CertificateError::ExpiredContext { time: now, not_after: seconds(at) },
        Refusal::NotYetValid(from) => {
            CertificateError::NotValidYetContext { time: now, not_before: seconds(from) }
        }
        Refusal::UntrustedCa { .. } | Refusal::WrongCluster { .. } => CertificateError::UnknownIssuer,
        refusal => CertificateError::Other(OtherError(Arc::new(Refused(refusal)))),
    })
}

fn other(judgement: Judgement) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(judgement))))
}

fn whole<'a>(leaf: &CertificateDer<'a>, rest: &[CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    std::iter::once(leaf).chain(rest).cloned().collect()
}

fn tls12_signature() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken".to_owned()))
}

fn tls13_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &provider().signature_verification_algorithms;
    rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
}

fn timestamp(now: UnixTime) -> Timestamp {
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|now| Timestamp::from_second(now).ok())
        .unwrap_or(Timestamp::MAX)
}
