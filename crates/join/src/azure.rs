//! Method `azure`: a machine of Azure shows what Azure signed for it, the *attested document*, and an access token of its
//! managed identity, with which Azure's Resource Manager says where the machine is.
//!
//! The document has a nonce that is made of all that the joiner claims, its key and auth's challenge among it: a document
//! that was made for something else, or for somebody else, has another one. It says which machine of which subscription
//! this is. In which resource group that machine is, and who its managed identities are, says the Resource Manager; the
//! access token is no proof by itself, but it must be the token of an identity of this very machine.
//!
//! The joiner's half is to fetch both, and the certificates that the document's signer needs ([`signer`], [`issuer_url`]).
//! Everything else is the server's. What a stranger sends is read by [`Attested::verify`],
//! [`crate::oidc::verify_managed_identity`] and [`Machine::parse`]: bounded and total.

mod certificates;
mod cloud;
mod der;
mod document;
mod machine;
mod signed_data;

pub use certificates::{authorities, issuer_url};
pub use cloud::Cloud;
pub use document::{Attested, Unattested};
pub use machine::{Machine, MachineId, Mismatch, confirm};

use crate::{Claim, token};
use access::resource::token::Oidc;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signed_data::SignedData;
use zeroize::Zeroizing;

const DOMAIN: &[u8] = b"postern join azure v1";
/// Of the digest, so that its text is what the metadata service takes: 32 characters at most.
const NONCE: usize = 24;
/// No attested document is longer; they have about 3 KiB.
pub const LONGEST_DOCUMENT: usize = 16 * 1024;
/// No certificate of a public authority is longer.
pub const LONGEST_CERTIFICATE: usize = 8 * 1024;
/// As many certificates as lead from the signer to the authorities that are known here.
pub const MOST_CERTIFICATES: usize = 4;

/// What the joiner shows.
#[derive(Clone)]
pub struct Shown {
    /// The attested document: PKCS #7 SignedData, DER.
    pub document: Vec<u8>,
    /// Certificates (DER) that may lead from its signer to an authority. Nobody vouches for them.
    pub certificates: Vec<Vec<u8>>,
    /// Of the machine's managed identity, for the Resource Manager.
    pub access_token: Zeroizing<String>,
    /// That the document must have.
    pub nonce: String,
}

/// What the joiner has its machine attested with: 192 bits of a hash of all that it claims, in 32 characters.
pub fn nonce(claim: &Claim<'_>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(DOMAIN);
    context.update(&token::prove(claim));
    URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..NONCE])
}

/// What a document says that its nonce is; nothing of it has been verified.
pub fn stated_nonce(document: &[u8]) -> Option<String> {
    document::nonce(SignedData::parse(document)?.content)
}

/// The certificate (DER) of a document's signer; nothing of it has been verified.
pub fn signer(document: &[u8]) -> Option<Vec<u8>> {
    SignedData::parse(document)?.signer_certificate().map(<[u8]>::to_vec)
}

/// Whether any rule is about the machine's subscription. Of others Azure need not be asked anything.
pub fn is_named(oidc: &Oidc, attested: &Attested) -> bool {
    let wanted = oidc.allow.iter().filter_map(|rule| rule.get("subscription"));
    wanted.flat_map(|wanted| wanted.all()).any(|wanted| wanted.eq_ignore_ascii_case(attested.subscription()))
}

/// An id as Azure writes them, in lower case: as texts they are the same in any.
pub(crate) fn guid(text: &str) -> Option<String> {
    let plain = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    plain.then(|| text.to_ascii_lowercase())
}
