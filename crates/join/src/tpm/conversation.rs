//! The joiner's half: what is said to a TPM (part 3), over whatever leads to it.
//!
//! The few commands that are needed, each made and read here. A TPM is believed as far as its answers are well-formed: a
//! wrong one gets its machine no certificate.

use super::certificate;
use super::public::{Algorithm, AttestationKey, EndorsementKey};
use super::wire::{Reader, sized};
use super::{Credential, LONGEST_CERTIFICATE};

/// What leads to a TPM: sends one command and gives the whole answer.
pub type Device = Box<dyn FnMut(&[u8]) -> std::io::Result<Vec<u8>> + Send>;

/// Why a TPM did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It cannot be reached.
    #[error("{doing}: {error}")]
    Device {
        /// What was to be done.
        doing: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// It said no.
    #[error("{doing}: the TPM answered with code 0x{code:03x}{hint}", hint = hint(*code))]
    Refused {
        /// What was to be done.
        doing: &'static str,
        /// `TPM_RC` (part 2, section 6.6).
        code: u32,
    },
    /// Its answer is not one.
    #[error("{doing}: the TPM's answer is malformed")]
    Malformed {
        /// What was to be done.
        doing: &'static str,
    },
}

impl TpmError {
    /// There is no way to it.
    pub fn opening(error: std::io::Error) -> Self {
        Self::Device { doing: "opening the TPM", error }
    }
}

fn hint(code: u32) -> &'static str {
    match code {
        0x0100 => "; it was not started (a simulator needs --flags startup-clear)",
        // Format one: the number of the handle or session stands in bits 8 to 11.
        code if code & 0x0bf == 0x08e || code & 0x0bf == 0x0a2 || code & 0x0bf == 0x085 => {
            "; its endorsement hierarchy needs an authorization, which Postern does not give; remove it with tpm2_changeauth"
        }
        0x0902..=0x0907 => "; it has no room left: does another program use it without the resource manager?",
        0x0921 => "; it is locked out after wrong authorizations; wait, or clear the lockout",
        _ => "",
    }
}

/// What a TPM shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Its endorsement key.
    pub endorsement: EndorsementKey,
    /// That key's certificate, DER; empty where the TPM has none.
    pub certificate: Vec<u8>,
    /// The public area of the attestation key.
    pub attestation: Vec<u8>,
}

impl Keys {
    /// The serial number of the certificate, as rules have it; nobody has verified it.
    pub fn serial(&self) -> Option<String> {
        certificate::serial_of(&self.certificate)
    }
}

/// More than any TPM takes.
const LONGEST_CREDENTIAL: usize = 4096;
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const CREATE_PRIMARY: u32 = 0x131;
const ACTIVATE_CREDENTIAL: u32 = 0x147;
const NV_READ: u32 = 0x14e;
const POLICY_SECRET: u32 = 0x151;
const FLUSH_CONTEXT: u32 = 0x165;
const NV_READ_PUBLIC: u32 = 0x169;
const READ_PUBLIC: u32 = 0x173;
const START_AUTH_SESSION: u32 = 0x176;

const ENDORSEMENT: u32 = 0x4000_000b;
const NULL_HANDLE: u32 = 0x4000_0007;
const PASSWORD: u32 = 0x4000_0009;
const POLICY_SESSION: u8 = 1;
const CONTINUE: u8 = 1;
const NULL: u16 = super::public::NULL;
const SHA_256: u16 = super::public::SHA_256;

/// Where certificates of endorsement keys are (EK Credential Profile, 2.2.1.4).
fn certificate_index(algorithm: Algorithm) -> u32 {
    match algorithm {
        Algorithm::Rsa2048 => 0x01c0_0002,
        Algorithm::EccP256 => 0x01c0_000a,
    }
}

/// Every TPM reads so much at once.
const CHUNK: u16 = 512;
/// `TPM_RC_HANDLE` for the first handle: there is nothing of that number.
const NO_SUCH_HANDLE: u32 = 0x018b;
/// `TPM_RC_YIELDED`, `TESTING` and `RETRY`: the same again.
const AGAIN: [u32; 3] = [0x0908, 0x090a, 0x0922];
const TRIES: u32 = 20;

/// One joiner with a TPM. What was made in it for the joiner goes with this.
pub struct Conversation {
    device: Device,
    /// To be flushed.
    made: Vec<u32>,
    endorsement: u32,
    attestation: u32,
}

impl Conversation {
    /// Makes both keys; of one TPM they are the same each time.
    pub fn begin(device: Device, algorithm: Algorithm) -> Result<(Self, Keys), TpmError> {
        let mut talk = Self { device, made: vec![], endorsement: 0, attestation: 0 };
        let template = EndorsementKey::template(algorithm);
        let doing = "making the endorsement key";
        let (handle, area) = talk.primary(doing, &template)?;
        talk.endorsement = handle;
        let endorsement =
            EndorsementKey::parse(&area, algorithm).map_err(|_| TpmError::Malformed { doing })?;
        let doing = "making the attestation key";
        let (handle, _) = talk.primary(doing, &AttestationKey::template())?;
        talk.attestation = handle;
        // As the TPM has it now, which is what a name is made of.
        let attestation = talk.public_area(handle)?;
        AttestationKey::parse(&attestation).map_err(|_| TpmError::Malformed { doing })?;
        let certificate = talk.certificate(certificate_index(algorithm))?;
        Ok((talk, Keys { endorsement, certificate, attestation }))
    }

    /// Opens a credential: the secret in it. `nonce` is random.
    pub fn activate(&mut self, credential: &Credential, nonce: &[u8; 32]) -> Result<Vec<u8>, TpmError> {
        let doing = "opening the credential";
        if credential.object.len().max(credential.seed.len()) > LONGEST_CREDENTIAL {
            return Err(TpmError::Malformed { doing });
        }
        let session = self.session(nonce)?;
        let doing = "authorizing the endorsement key";
        let nothing = sized(&[]);
        let parameters = [nothing.clone(), nothing.clone(), nothing, 0i32.to_be_bytes().to_vec()].concat();
        self.call(doing, POLICY_SECRET, &[ENDORSEMENT, session], &[PASSWORD], &parameters)?;
        let doing = "opening the credential";
        let parameters = [sized(&credential.object), sized(&credential.seed)].concat();
        let handles = [self.attestation, self.endorsement];
        let answer = self.call(doing, ACTIVATE_CREDENTIAL, &handles, &[PASSWORD, session], &parameters)?;
        let mut answer = parameters_of(&answer).ok_or(TpmError::Malformed { doing })?;
        answer.sized(64).map(<[u8]>::to_vec).ok_or(TpmError::Malformed { doing })
    }

    fn primary(&mut self, doing: &'static str, template: &[u8]) -> Result<(u32, Vec<u8>), TpmError> {
        // No authorization and no data of ours; nothing to be certified.
        let sensitive = sized(&[sized(&[]), sized(&[])].concat());
        let parameters = [sensitive, sized(template), sized(&[]), 0u32.to_be_bytes().to_vec()].concat();
        let answer = self.call(doing, CREATE_PRIMARY, &[ENDORSEMENT], &[PASSWORD], &parameters)?;
        let malformed = TpmError::Malformed { doing };
        let Some((handle, rest)) = answer.split_first_chunk::<4>() else { return Err(malformed) };
        let handle = u32::from_be_bytes(*handle);
        self.made.push(handle);
        let area = parameters_of(rest).and_then(|mut rest| rest.sized(1024)).ok_or(malformed)?;
        Ok((handle, area.to_vec()))
    }

    fn public_area(&mut self, handle: u32) -> Result<Vec<u8>, TpmError> {
        let doing = "reading the attestation key";
        let answer = self.call(doing, READ_PUBLIC, &[handle], &[], &[])?;
        let area = Reader::new(&answer).sized(1024).map(<[u8]>::to_vec);
        area.ok_or(TpmError::Malformed { doing })
    }

    /// Empty where there is none.
    fn certificate(&mut self, index: u32) -> Result<Vec<u8>, TpmError> {
        let doing = "reading the endorsement certificate";
        let answer = match self.call(doing, NV_READ_PUBLIC, &[index], &[], &[]) {
            Err(TpmError::Refused { code: NO_SUCH_HANDLE, .. }) => return Ok(vec![]),
            answer => answer?,
        };
        let malformed = || TpmError::Malformed { doing };
        let area = Reader::new(&answer).sized(512).ok_or_else(malformed)?;
        // The size of the data is the last thing in its public area.
        let size = area.last_chunk::<2>().map(|size| u16::from_be_bytes(*size)).ok_or_else(malformed)?;
        if usize::from(size) > LONGEST_CERTIFICATE {
            return Err(malformed());
        }
        let mut content = Vec::with_capacity(size.into());
        while content.len() < usize::from(size) {
            let offset = content.len() as u16;
            let length = CHUNK.min(size - offset);
            let parameters = [length.to_be_bytes(), offset.to_be_bytes()].concat();
            let answer = self.call(doing, NV_READ, &[index, index], &[PASSWORD], &parameters)?;
            let part = parameters_of(&answer).and_then(|mut answer| answer.sized(length.into()));
            let part = part.filter(|part| !part.is_empty()).ok_or_else(malformed)?;
            content.extend_from_slice(part);
        }
        Ok(unpadded(content))
    }

    fn session(&mut self, nonce: &[u8; 32]) -> Result<u32, TpmError> {
        let doing = "starting a session";
        let kind = [&[POLICY_SESSION][..], &NULL.to_be_bytes(), &SHA_256.to_be_bytes()].concat();
        let parameters = [sized(nonce), sized(&[]), kind].concat();
        let answer = self.call(doing, START_AUTH_SESSION, &[NULL_HANDLE, NULL_HANDLE], &[], &parameters)?;
        let session = Reader::new(&answer).u32().ok_or(TpmError::Malformed { doing })?;
        self.made.push(session);
        Ok(session)
    }

    /// One command; gives what is behind the header of the answer.
    fn call(
        &mut self,
        doing: &'static str,
        code: u32,
        handles: &[u32],
        sessions: &[u32],
        parameters: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let command = command(code, handles, sessions, parameters);
        for _ in 0..TRIES {
            let answer = (self.device)(&command);
            let answer = answer.map_err(|error| TpmError::Device { doing, error })?;
            let (code, rest) = answered(&answer).ok_or(TpmError::Malformed { doing })?;
            match code {
                0 => return Ok(rest.to_vec()),
                code if AGAIN.contains(&code) => {}
                code => return Err(TpmError::Refused { doing, code }),
            }
        }
        Err(TpmError::Refused { doing, code: AGAIN[2] })
    }
}

impl Drop for Conversation {
    /// The resource manager does it as well; without one there is room for three keys.
    fn drop(&mut self) {
        for handle in std::mem::take(&mut self.made) {
            // The handle is a parameter here (part 3, section 28.4).
            let _ = (self.device)(&command(FLUSH_CONTEXT, &[handle], &[], &[]));
        }
    }
}

fn command(code: u32, handles: &[u32], sessions: &[u32], parameters: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
    if !sessions.is_empty() {
        let mut area = Vec::new();
        for session in sessions {
            // No nonce and no authorization value.
            area.extend([&session.to_be_bytes()[..], &[0, 0, CONTINUE, 0, 0]].concat());
        }
        body.extend((area.len() as u32).to_be_bytes());
        body.extend(area);
    }
    body.extend_from_slice(parameters);
    let tag = if sessions.is_empty() { NO_SESSIONS } else { SESSIONS };
    let size = (body.len() + 10) as u32;
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), &body].concat()
}

/// The code of an answer and what is behind its header, if it is as long as it says.
fn answered(answer: &[u8]) -> Option<(u32, &[u8])> {
    let mut reader = Reader::new(answer);
    let (_tag, size, code) = (reader.u16()?, reader.u32()?, reader.u32()?);
    (usize::try_from(size).ok()? == answer.len()).then(|| (code, &answer[10..]))
}

/// The parameters of an answer to a command with sessions: their length stands before them.
fn parameters_of(rest: &[u8]) -> Option<Reader<'_>> {
    let mut reader = Reader::new(rest);
    let length = usize::try_from(reader.u32()?).ok()?;
    reader.bytes(length).map(Reader::new)
}

/// Without what fills the index up behind a certificate.
fn unpadded(mut content: Vec<u8>) -> Vec<u8> {
    if let [0x30, 0x82, high, low, ..] = content[..] {
        let length = usize::from(u16::from_be_bytes([high, low])) + 4;
        content.truncate(length);
    }
    content
}

#[cfg(test)]
mod tests {
    use super::{Conversation, Device, LONGEST_CREDENTIAL, TpmError, unpadded};
    use crate::tpm::{Algorithm, Credential};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Answers with whatever is given.
    fn noise(mut answers: Vec<Vec<u8>>) -> Device {
        Box::new(move |_| answers.pop().ok_or_else(|| std::io::Error::other("no more")))
    }

    proptest! {
        #[test]
        fn any_answer_is_read(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..6)) {
            let answers = bodies.into_iter().map(|body| {
                let size = (body.len() + 10) as u32;
                [&[0x80, 0x02][..], &size.to_be_bytes(), &[0; 4], &body].concat()
            });
            let _ = Conversation::begin(noise(answers.collect()), Algorithm::Rsa2048);
        }
    }

    /// Lengths of 16 bits stand before both parts: whoever answers in auth's place could make commands of other lengths.
    #[test]
    fn a_credential_that_no_tpm_takes_is_not_shown_to_one() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let device: Device = Box::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Err(std::io::Error::other("it was asked"))
        });
        let mut talk = Conversation { device, made: vec![], endorsement: 1, attestation: 2 };
        let credential = |object, seed| Credential { object: vec![0; object], seed: vec![0; seed] };
        let longest = LONGEST_CREDENTIAL;
        for (object, seed) in [(longest + 1, 1), (1, longest + 1), (0x1_0001, 256), (256, 0x1_0001)] {
            let refused = talk.activate(&credential(object, seed), &[7; 32]).expect_err("too long");
            assert!(matches!(refused, TpmError::Malformed { .. }), "{object} {seed}: {refused}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        let asked_for = talk.activate(&credential(longest, longest), &[7; 32]).expect_err("it only counts");
        assert!(asked_for.to_string().contains("it was asked"), "{asked_for}");
    }

    #[test]
    fn a_tpm_that_says_no_is_told_with_its_code() {
        let no = [&[0x80, 0x01][..], &10u32.to_be_bytes(), &0x100u32.to_be_bytes()].concat();
        let Err(error) = Conversation::begin(noise(vec![no]), Algorithm::EccP256) else {
            panic!("it said no")
        };
        assert!(matches!(error, TpmError::Refused { code: 0x100, .. }));
        assert!(error.to_string().contains("0x100; it was not started"), "{error}");
    }

    #[test]
    fn padding_is_no_part_of_a_certificate() {
        assert_eq!(unpadded(vec![0x30, 0x82, 0, 1, 7, 0xff, 0xff]), [0x30, 0x82, 0, 1, 7]);
        assert_eq!(unpadded(vec![0x30]), [0x30]);
    }
}
