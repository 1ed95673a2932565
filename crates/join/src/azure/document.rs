//! The attested document: which machine this is, signed by Azure.

use super::certificates::{cloud, leads_to_authority};
use super::signed_data::SignedData;
use super::{Cloud, guid};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use webpki::EndEntityCert;

/// By how much the clocks of Azure and cluster may differ.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
const TIME: &str = "%m/%d/%y %H:%M:%S %z";

/// Why a document says nothing. The words are for administrators; the joiner hears a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unattested {
    /// Not one document and nothing else, or too long.
    #[error("it is no PKCS #7 SignedData with one signer, the signer's certificate and the content")]
    Malformed,
    /// Nobody, or somebody who is no metadata service of Azure.
    #[error("its signer is no metadata service of Azure, such as metadata.azure.com; it is called {0}")]
    OtherSigner(String),
    /// Not issued by anybody who is known.
    #[error(
        "the certificate of its signer leads to no authority of Azure and to none of attestation_cas: {0}"
    )]
    ForeignIssuer(String),
    /// Not by the key of that certificate, or by an algorithm that is not accepted.
    #[error("its signature is not by the key of its signer")]
    Signature,
    /// Signed, and not of the form that is known.
    #[error("what was signed is no attested document: {0}")]
    Content(&'static str),
    /// Made for another attempt, or by another joiner.
    #[error("its nonce is not the one of this attempt")]
    Nonce,
    /// Over, or not begun.
    #[error("it is good from {from} to {until}")]
    Validity {
        /// When it was made.
        from: Timestamp,
        /// When it ends.
        until: Timestamp,
    },
}

/// A machine that Azure vouches for. Only [`Self::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    cloud: &'static Cloud,
    subscription: String,
    machine: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    nonce: String,
    subscription_id: String,
    vm_id: String,
    time_stamp: Times,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    created_on: String,
    expires_on: String,
}

impl Attested {
    /// Whether Azure signed `document`, for this nonce and this time. `certificates` (DER) may lead from the signer to one of
    /// Azure's authorities or of `authorities` (DER).
    pub fn verify(
        document: &[u8],
        certificates: &[Vec<u8>],
        authorities: &[Vec<u8>],
        nonce: &str,
        now: Timestamp,
    ) -> Result<Self, Unattested> {
        let signed = SignedData::parse(document).ok_or(Unattested::Malformed)?;
        let certificate = CertificateDer::from(signed.signer_certificate().ok_or(Unattested::Malformed)?);
        let signer = EndEntityCert::try_from(&certificate).map_err(|_| Unattested::Malformed)?;
        let cloud = cloud(&signer).ok_or_else(|| {
            let names: Vec<&str> = signer.valid_dns_names().take(8).collect();
            Unattested::OtherSigner(format!("{names:?}").chars().take(256).collect())
        })?;
        let others: Vec<&[u8]> =
            certificates.iter().map(Vec::as_slice).chain(signed.certificates.iter().copied()).collect();
        leads_to_authority(&signer, &others, authorities, now)
            .map_err(|error| Unattested::ForeignIssuer(error.to_string()))?;
        if !signed.is_signed_by(&signer) {
            return Err(Unattested::Signature);
        }
        let document: Document =
            serde_json::from_slice(signed.content).map_err(|_| Unattested::Content("a field is missing"))?;
        if document.nonce != nonce {
            return Err(Unattested::Nonce);
        }
        good_at(&document.time_stamp, now)?;
        let id = |text: &str| guid(text).ok_or(Unattested::Content("an id is none"));
        Ok(Self { cloud, subscription: id(&document.subscription_id)?, machine: id(&document.vm_id)? })
    }

    /// The cloud that the machine is in.
    pub fn cloud(&self) -> &'static Cloud {
        self.cloud
    }

    /// The subscription that it belongs to, in lower case.
    pub fn subscription(&self) -> &str {
        &self.subscription
    }

    /// The machine's own id, in lower case.
    pub fn machine(&self) -> &str {
        &self.machine
    }
}

/// What the content of a document says.
pub(super) fn nonce(content: &[u8]) -> Option<String> {
    serde_json::from_slice::<Document>(content).ok().map(|document| document.nonce)
}

fn good_at(times: &Times, now: Timestamp) -> Result<(), Unattested> {
    let time = |text: &str| Timestamp::strptime(TIME, text);
    let wrong = |_| Unattested::Content("a time is none");
    let from = time(&times.created_on).map_err(wrong)?;
    let until = time(&times.expires_on).map_err(wrong)?;
    let is_good = from <= now + LEEWAY && now - LEEWAY < until;
    if is_good { Ok(()) } else { Err(Unattested::Validity { from, until }) }
}
