//! Documents for workloads: X.509-SVIDs and JWT-SVIDs. Who may have which was decided before; a permit says so.

use crate::authorities::drawn;
use crate::decide::{BACKDATE, IssueError, Validity};
use crate::sign::{jwt, x509};
use crate::{Authorities, decide};
use access::SpiffeId;
use access::rbac::spiffe::SvidPermit;
use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::key::PublicKey;
use identity::svid::{JwtKey, verify};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// No SVID lives longer.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The most names and addresses in one X.509-SVID, and audiences of one JWT-SVID.
const MOST: usize = 32;
const LONGEST_AUDIENCE: usize = 512;

/// An X.509-SVID that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct X509Order<'a> {
    /// What it may say.
    pub permit: &'a SvidPermit,
    /// The key that it certifies; whoever asks has the other half or nothing of it.
    pub public_key: &'a PublicKey,
    /// How long it is good for, counted from now.
    pub lifetime: Duration,
}

/// A JWT-SVID that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct JwtOrder<'a> {
    /// Whom it is about.
    pub permit: &'a SvidPermit,
    /// For whom; at least one.
    pub audience: &'a [String],
    /// How long it is good for, counted from now.
    pub lifetime: Duration,
    /// Where its keys are found by those who look for them as OpenID Connect does.
    pub issuer: Option<&'a str>,
}

/// A finished X.509-SVID.
#[derive(Debug, Clone)]
pub struct X509Svid {
    /// Whom it is about.
    pub id: SpiffeId,
    /// The certificate. Peers have the authority's.
    pub certificate: CertificateDer<'static>,
    /// Its serial number.
    pub serial: u64,
    /// Not valid from then on.
    pub valid_before: Timestamp,
}

/// A finished JWT-SVID. It is a secret: whoever shows it is the workload.
#[derive(Clone)]
pub struct JwtSvid {
    /// Whom it is about.
    pub id: SpiffeId,
    /// The token.
    pub token: String,
    /// Its own name, in the token and in the audit log.
    pub jti: Uuid,
    /// Not valid from then on.
    pub valid_before: Timestamp,
}

impl Authorities {
    /// An X.509-SVID.
    pub fn issue_x509_svid(
        &self,
        order: &X509Order<'_>,
        now: Timestamp,
        rng: &dyn SecureRandom,
    ) -> Result<X509Svid, IssueError> {
        let X509Order { permit, public_key, lifetime } = *order;
        if permit.dns().len() + permit.addresses().len() > MOST {
            return Err(IssueError::Workload("more than 32 names and addresses are not signed"));
        }
        self.refuse_own([public_key])?;
        let validity = validity(lifetime, now)?;
        let id = self.workload(permit);
        let keys = self.workload_signer().tls();
        let keys = keys.ok_or(IssueError::Signing("the authority has no key for X.509".into()))?;
        let serial = u64::from_be_bytes(drawn(rng)?) >> 1;
        let contents = x509::SvidContents { id: &id, permit, public_key, validity, serial };
        let certificate = x509::svid(keys, &contents)?;
        let svid = X509Svid { id, certificate, serial, valid_before: validity.before };
        self.look_again_x509(&svid, order, now)?;
        Ok(svid)
    }

    /// A JWT-SVID.
    pub fn issue_jwt_svid(
        &self,
        order: &JwtOrder<'_>,
        now: Timestamp,
        rng: &dyn SecureRandom,
    ) -> Result<JwtSvid, IssueError> {
        let JwtOrder { permit, audience, lifetime, issuer } = *order;
        let fits = |audience: &String| (1..=LONGEST_AUDIENCE).contains(&audience.len());
        if audience.is_empty() || audience.len() > MOST || !audience.iter().all(fits) {
            return Err(IssueError::Workload("a JWT-SVID is for 1 to 32 audiences of at most 512 bytes"));
        }
        let validity = validity(lifetime, now)?;
        let id = self.workload(permit);
        let keys = self.workload_signer().jwt();
        let keys = keys.ok_or(IssueError::Signing("the authority has no key for JWTs".into()))?;
        let jti = uuid::Builder::from_random_bytes(drawn(rng)?).into_uuid();
        let (issued, expires) = (validity.after + BACKDATE, validity.before);
        let mut claims = json!({
            "sub": id.to_string(), "aud": audience, "iat": issued.as_second(), "exp": expires.as_second(), "jti": jti,
        });
        if let Some(issuer) = issuer {
            claims["iss"] = issuer.into();
        }
        let token = jwt::token(keys, &claims)?;
        look_again_jwt(&token, &keys.public, &claims)?;
        Ok(JwtSvid { id, token, jti, valid_before: validity.before })
    }

    fn workload(&self, permit: &SvidPermit) -> SpiffeId {
        SpiffeId { domain: self.cluster().clone(), path: permit.path().clone() }
    }

    /// With the verifier that everybody else uses, against what was ordered.
    fn look_again_x509(
        &self,
        svid: &X509Svid,
        order: &X509Order<'_>,
        now: Timestamp,
    ) -> Result<(), IssueError> {
        let chain = std::slice::from_ref(&svid.certificate);
        let said = verify(chain, &self.workload_trust(0), now)?;
        let dns: BTreeSet<String> = order.permit.dns().iter().map(ToString::to_string).collect();
        let as_ordered = *said.id() == svid.id
            && said.key() == order.public_key
            && *said.dns() == dns
            && said.addresses() == order.permit.addresses()
            && said.serial() == svid.serial
            && said.valid_before() == svid.valid_before;
        match as_ordered {
            true => Ok(()),
            false => Err(IssueError::Check("the X.509-SVID says something else".into())),
        }
    }
}

fn validity(lifetime: Duration, now: Timestamp) -> Result<Validity, IssueError> {
    let wrong = IssueError::Workload("an SVID lives for one second to 24 hours");
    let given = SignedDuration::try_from(lifetime).ok();
    let (Some(given), Ok(now)) = (given, Timestamp::from_second(now.as_second())) else { return Err(wrong) };
    match (now.checked_sub(decide::BACKDATE), now.checked_add(given)) {
        (Ok(after), Ok(before)) if given >= SignedDuration::from_secs(1) && lifetime <= LONGEST_LIFE => {
            Ok(Validity { after, before })
        }
        _ => Err(wrong),
    }
}

fn look_again_jwt(token: &str, key: &JwtKey, claims: &Value) -> Result<(), IssueError> {
    let wrong = || IssueError::Check("the JWT-SVID is not as it was ordered".into());
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| wrong());
    let (signed, signature) = token.rsplit_once('.').ok_or_else(wrong)?;
    let (_, said) = signed.split_once('.').ok_or_else(wrong)?;
    let verified = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.key().point())
        .verify(signed.as_bytes(), &decoded(signature)?);
    let said: Option<Value> = serde_json::from_slice(&decoded(said)?).ok();
    match verified.is_ok() && said.as_ref() == Some(claims) {
        true => Ok(()),
        false => Err(wrong()),
    }
}
