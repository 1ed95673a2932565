//! Method `token`: the joiner knows the token's name and holds a private key.
//!
//! The signature proves the key and binds token, role, attempt and challenge together, so that nothing of a
//! captured request can be used for another key, another role or another token. It is checked before the token is
//! looked up: a stranger can neither spend a token nor lock anything (reference: scale-security 2.3).

use crate::{Challenge, ChallengeKey, Refusal};
use access::SystemRole;
use aws_lc_rs::{digest, signature};
use std::fmt;

const STATEMENT: &[u8] = b"postern join token v1";
const TOKEN: &[u8] = b"postern token name v1";
const ATTEMPT: &[u8] = b"postern join attempt v1";
const PROCESS: &[u8] = b"postern join process v1";

/// What a joiner claims, and signs.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// The token's name, which is the secret.
    pub token: &'a str,
    /// What the joiner wants to become.
    pub role: SystemRole,
    /// The joiner's choice, kept across its retries.
    pub attempt: &'a [u8],
    /// DER SubjectPublicKeyInfo of the joiner's P-256 key, in the only form that `identity::key` gives out.
    pub public_key: &'a [u8],
    /// As the server sent it.
    pub challenge: &'a [u8],
}

/// The joiner's half: the bytes to sign with ECDSA P-256/SHA-256 (ASN.1 signature).
pub fn prove(claim: &Claim<'_>) -> Vec<u8> {
    let token = TokenHash::of(claim.token);
    let role = claim.role.as_str().as_bytes();
    joined(&[STATEMENT, token.as_bytes(), role, claim.attempt, claim.public_key, claim.challenge])
}

/// The server's half: whether `proof` is a signature over the claim by the key in it, and fresh.
pub fn verify(
    claim: &Claim<'_>,
    proof: &[u8],
    key: &ChallengeKey,
    now: jiff::Timestamp,
) -> Result<Proven, Refusal> {
    let attempt = Attempt::new(claim.attempt)?;
    let challenge = key.check(claim.challenge, now)?;
    let claim = Claim { challenge: challenge.as_bytes(), ..*claim };
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, claim.public_key)
        .verify(&prove(&claim), proof)
        .map_err(|_| Refusal::ProofInvalid)?;
    Ok(Proven {
        token: TokenHash::of(claim.token),
        role: claim.role,
        attempt: AttemptId::of(claim.public_key, attempt),
        process: ProcessMark::of(attempt),
        challenge,
    })
}

/// A claim whose proof was good. Only [`verify`] makes one, so that no token can be spent without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    token: TokenHash,
    role: SystemRole,
    attempt: AttemptId,
    process: ProcessMark,
    challenge: Challenge,
}

impl Proven {
    /// The token, as it is stored.
    pub fn token(&self) -> TokenHash {
        self.token
    }

    /// The role that was signed for.
    pub fn role(&self) -> SystemRole {
        self.role
    }

    /// The attempt: the same for each retry of one joiner, another for every other joiner.
    pub fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// Who else made attempts with these bytes: the other services of one process.
    pub fn process(&self) -> ProcessMark {
        self.process
    }

    /// The challenge that was answered.
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }
}

/// 32 random bytes that a joiner draws and keeps at least until it has joined; the services of one process share theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt([u8; Attempt::LEN]);

impl Attempt {
    /// Its length in bytes.
    pub const LEN: usize = 32;

    /// From the bytes of a request.
    pub fn new(bytes: &[u8]) -> Result<Self, Refusal> {
        bytes.try_into().map(Self).map_err(|_| Refusal::AttemptMalformed)
    }
}

/// Names an attempt: its bytes together with the key, so that nobody else can name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId([u8; 32]);

impl AttemptId {
    /// Enough of it for people to tell attempts apart.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..8])
    }

    /// The attempt of the holder of `public_key`.
    pub fn of(public_key: &[u8], attempt: Attempt) -> Self {
        Self(hash(&[ATTEMPT, public_key, &attempt.0]))
    }
}

/// What is stored of an attempt's bytes, which one process draws for all its services and tells nobody but auth: who
/// shows the same bytes for another service is the same process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessMark([u8; 32]);

impl ProcessMark {
    /// The mark of an attempt's bytes.
    pub fn of(attempt: Attempt) -> Self {
        Self(hash(&[PROCESS, &attempt.0]))
    }
}

/// What is stored in place of a token's name, and compared by: who reads the store learns no token.
///
/// A plain hash, not a slow one: a token that the cluster draws is 128 random bits. One that an administrator made up is
/// as hard to guess as they made it; guesses over the network are paced.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's name.
    pub fn of(token: &str) -> Self {
        Self(hash(&[TOKEN, token.as_bytes()]))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Takes the same time whatever the difference.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_slice(), other.0.as_slice()).into()
    }
}

impl Eq for TokenHash {}

macro_rules! hexadecimal {
    ($($type:ident),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
hexadecimal!(AttemptId, ProcessMark, TokenHash);

/// Each part after its length, so that no two lists of parts give the same bytes.
pub(crate) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, &joined(parts));
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    use jiff::{SignedDuration, Timestamp};

    const ATTEMPT_BYTES: [u8; 32] = [9; 32];

    struct Joiner {
        pair: EcdsaKeyPair,
        spki: Vec<u8>,
    }

    impl Joiner {
        fn new() -> Self {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("generates");
            let spki = pair.public_key().as_der().expect("encodes").as_ref().to_vec();
            Self { pair, spki }
        }

        fn claim<'a>(&'a self, challenge: &'a Challenge) -> Claim<'a> {
            Claim {
                token: "0123456789abcdef0123456789abcdef",
                role: SystemRole::Node,
                attempt: &ATTEMPT_BYTES,
                public_key: &self.spki,
                challenge: challenge.as_bytes(),
            }
        }

        fn sign(&self, claim: &Claim<'_>) -> Vec<u8> {
            self.pair.sign(&SystemRandom::new(), &prove(claim)).expect("signs").as_ref().to_vec()
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a valid time")
    }

    #[test]
    fn a_proof_names_token_role_and_attempt() {
        let key = ChallengeKey::new(&[1; 32]);
        let challenge = key.issue(now(), [0; 16]);
        let joiner = Joiner::new();
        let claim = joiner.claim(&challenge);
        let proof = joiner.sign(&claim);
        let proven = verify(&claim, &proof, &key, now()).expect("is accepted");
        assert_eq!(proven.token(), TokenHash::of(claim.token));
        assert_eq!(proven.role(), SystemRole::Node);
        // A retry, with another challenge and another signature, is the same attempt.
        let later = key.issue(now() + SignedDuration::from_secs(300), [1; 16]);
        let again = joiner.claim(&later);
        let retried = verify(&again, &joiner.sign(&again), &key, now() + SignedDuration::from_secs(300));
        assert_eq!(retried.expect("is accepted").attempt(), proven.attempt());
        // The same attempt bytes of another joiner are another attempt.
        let other = Joiner::new();
        let theirs = other.claim(&challenge);
        let proven_theirs = verify(&theirs, &other.sign(&theirs), &key, now()).expect("is accepted");
        assert_ne!(proven_theirs.attempt(), proven.attempt());
    }

    #[test]
    fn a_proof_fits_nothing_but_what_was_signed() {
        let key = ChallengeKey::new(&[1; 32]);
        let (challenge, other_challenge) = (key.issue(now(), [0; 16]), key.issue(now(), [1; 16]));
        let (joiner, other) = (Joiner::new(), Joiner::new());
        let claim = joiner.claim(&challenge);
        let proof = joiner.sign(&claim);
        let changed = [
            Claim { token: "0123456789abcdef0123456789abcdee", ..claim },
            Claim { role: SystemRole::Proxy, ..claim },
            Claim { attempt: &[8; 32], ..claim },
            Claim { public_key: &other.spki, ..claim },
            Claim { challenge: other_challenge.as_bytes(), ..claim },
        ];
        for claim in changed {
            assert_eq!(verify(&claim, &proof, &key, now()), Err(Refusal::ProofInvalid));
        }
        for proof in [&b""[..], &proof[1..], &other.sign(&claim)] {
            assert_eq!(verify(&claim, proof, &key, now()), Err(Refusal::ProofInvalid));
        }
    }

    #[test]
    fn malformed_and_stale_claims_are_refused_with_their_reason() {
        let key = ChallengeKey::new(&[1; 32]);
        let challenge = key.issue(now(), [0; 16]);
        let joiner = Joiner::new();
        let claim = joiner.claim(&challenge);
        let proof = joiner.sign(&claim);
        let table = [
            (Claim { attempt: &[9; 31], ..claim }, now(), Refusal::AttemptMalformed),
            (Claim { attempt: &[], ..claim }, now(), Refusal::AttemptMalformed),
            (Claim { challenge: &[], ..claim }, now(), Refusal::ChallengeForeign),
            (claim, now() + SignedDuration::from_secs(60), Refusal::ChallengeExpired),
            (Claim { public_key: &[], ..claim }, now(), Refusal::ProofInvalid),
            (Claim { public_key: &[0x30; 91], ..claim }, now(), Refusal::ProofInvalid),
        ];
        for (claim, now, reason) in table {
            assert_eq!(verify(&claim, &proof, &key, now), Err(reason), "{}", reason.code());
        }
    }

    #[test]
    fn parts_cannot_slide_into_each_other() {
        assert_ne!(joined(&[b"ab", b"c"]), joined(&[b"a", b"bc"]));
        assert_ne!(joined(&[b"ab"]), joined(&[b"ab", b""]));
    }
}
