//! `USERAUTH_REQUEST` as a client sends it (RFC 4252, section 5).

use super::TriedMethod;
use crate::algorithms::KeyAlgorithm;
use crate::error::Violation;
use crate::keys::PublicKey;
use crate::message::Disconnect;
use crate::wire::Reader;

pub(super) struct Request<'a> {
    pub(super) login: &'a str,
    pub(super) method: Method<'a>,
}

pub(super) enum Method<'a> {
    PublicKey(PublicKeyRequest<'a>),
    /// One that is not spoken here.
    Refused(TriedMethod),
}

/// `publickey` (RFC 4252, section 7) and `publickey-hostbound-v00@openssh.com` (OpenSSH's PROTOCOL, section 3.1).
pub(super) struct PublicKeyRequest<'a> {
    pub(super) algorithm: &'a [u8],
    pub(super) blob: &'a [u8],
    /// What the client says that the server showed.
    pub(super) host_key: Option<&'a [u8]>,
    /// Without one it is a question.
    pub(super) signature: Option<&'a [u8]>,
    /// How many bytes of the message are the signature's, which are not signed.
    pub(super) signature_length: usize,
}

impl<'a> Request<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(&message[1..]);
        let login = reader.text()?;
        let service = reader.string()?;
        if service != b"ssh-connection" {
            let text = "the only service after authentication is ssh-connection";
            return Err(Violation::coded(Disconnect::ServiceNotAvailable, text));
        }
        let method = match reader.string()? {
            b"publickey" => Method::PublicKey(PublicKeyRequest::read(reader, false)?),
            b"publickey-hostbound-v00@openssh.com" => {
                Method::PublicKey(PublicKeyRequest::read(reader, true)?)
            }
            b"none" => Method::Refused(TriedMethod::None),
            b"password" | b"keyboard-interactive" => Method::Refused(TriedMethod::Password),
            _ => Method::Refused(TriedMethod::Other),
        };
        Ok(Self { login, method })
    }
}

impl<'a> PublicKeyRequest<'a> {
    fn read(mut reader: Reader<'a>, bound: bool) -> Result<Self, Violation> {
        let signed = reader.boolean()?;
        let (algorithm, blob) = (reader.string()?, reader.string()?);
        let host_key = if bound { Some(reader.string()?) } else { None };
        let signature_length = reader.rest().len();
        let signature = if signed { Some(reader.string()?) } else { None };
        reader.end()?;
        Ok(Self { algorithm, blob, host_key, signature, signature_length })
    }

    /// Whether it is a certificate of a kind that can be judged.
    pub(super) fn usable(&self) -> Result<KeyAlgorithm, TriedMethod> {
        let algorithm = KeyAlgorithm::of_name(self.algorithm).ok_or(TriedMethod::UnusableKey)?;
        if !algorithm.certificate {
            return Err(TriedMethod::PlainKey);
        }
        PublicKey::of(algorithm, self.blob).map_err(|_| TriedMethod::UnusableKey)?;
        Ok(algorithm)
    }
}
