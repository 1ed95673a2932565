//! How a joiner shows that it may join, each method's two halves side by side: `prove` for the joiner, `verify`
//! for auth.
//!
//! Pure: no I/O, no clock, no randomness of its own; all three are arguments. This crate says whether a proof is
//! good, never whether a token exists or has uses left: that is a transaction, and auth's.

pub mod azure;
pub mod bound_keypair;
pub mod challenge;
pub mod iam;
pub mod oidc;
pub mod token;
pub mod tpm;

pub use challenge::{Challenge, ChallengeKey};
pub use token::{Attempt, AttemptId, Claim, ProcessMark, Proven, TokenHash, prove, verify};

/// Why a proof was not accepted. Nothing was looked up, spent or locked when one of these is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a challenge of this service: wrong length, wrong version or a wrong seal.
    #[error("the challenge was not issued by this auth service; ask for a new one")]
    ChallengeForeign,
    /// A minute has passed, or the challenge is from the future.
    #[error("the challenge is no longer valid; ask for a new one")]
    ChallengeExpired,
    /// Not 32 bytes.
    #[error("the attempt must be {len} bytes", len = Attempt::LEN)]
    AttemptMalformed,
    /// The signature is not one by the key over this claim.
    #[error("the proof of possession does not fit the key and the request")]
    ProofInvalid,
}

impl Refusal {
    /// The stable code for clients, logs and audit events.
    pub fn code(self) -> &'static str {
        match self {
            Self::ChallengeForeign => "challenge_foreign",
            Self::ChallengeExpired => "challenge_expired",
            Self::AttemptMalformed => "attempt_malformed",
            Self::ProofInvalid => "proof_invalid",
        }
    }
}
