//! Method `bound_keypair`: the joiner keeps a key that is bound to the token, and signs what it asks for with it.
//!
//! Who holds the key comes back after any time away. With the answer to each such join it gets a join state, and shows
//! it the next time: of two that run on a copied key, the second to come back shows a state that was left behind.
//! A lost answer is no copy: the attempt that made the present state is known, and the same attempt again is a retry.

use crate::token::{joined, prove as claimed};
use crate::{AttemptId, Claim, Proven, Refusal};
use access::InstanceId;
use access::resource::token::BoundKeypair;
use access::resource::token::bound_keypair::{RecoveryMode, Secret, Status};
use aws_lc_rs::signature;
use identity::key::PublicKey;
use jiff::Timestamp;

const STATEMENT: &[u8] = b"postern join bound keypair v1";

/// What the joiner shows beside the claim.
#[derive(Clone, Copy)]
pub struct Showing<'a> {
    /// DER SubjectPublicKeyInfo of the key that it keeps; another than the one to be certified.
    pub public_key: &'a [u8],
    /// What it was given the last time; empty the first time.
    pub join_state: &'a [u8],
    /// A secret; empty once the key is bound.
    pub registration_secret: &'a str,
}

/// The joiner's half: the bytes to sign with the key that it keeps.
pub fn prove(claim: &Claim<'_>, showing: &Showing<'_>) -> Vec<u8> {
    let secret = showing.registration_secret.as_bytes();
    joined(&[STATEMENT, &claimed(claim), showing.public_key, showing.join_state, secret])
}

/// The server's half: whether `proof` is a signature over the claim and what is shown, by the key that is shown. The
/// claim is one whose own proof was good, so its challenge is fresh.
pub fn verify(
    proven: &Proven,
    claim: &Claim<'_>,
    showing: &Showing<'_>,
    proof: &[u8],
) -> Result<Shown, Refusal> {
    let claim = Claim { challenge: proven.challenge().as_bytes(), ..*claim };
    let key = PublicKey::from_spki_der(showing.public_key).map_err(|_| Refusal::ProofInvalid)?;
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, showing.public_key)
        .verify(&prove(&claim, showing), proof)
        .map_err(|_| Refusal::ProofInvalid)?;
    Ok(Shown {
        key: key.to_openssh(),
        state: showing.join_state.to_vec(),
        secret: Secret(showing.registration_secret.to_owned()),
        attempt: proven.attempt(),
    })
}

/// What was shown by somebody who holds the key. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Shown {
    key: String,
    state: Vec<u8>,
    secret: Secret,
    attempt: AttemptId,
}

impl Shown {
    /// The key as one line of OpenSSH.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether this is the holder of the key that is bound, so one who may be told what is wrong.
    pub fn is_holder(&self, status: &Status) -> bool {
        status.bound_public_key.as_deref() == Some(&self.key)
    }
}

/// What a join without a valid certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The key is bound now.
    Register,
    /// The holder comes back.
    Recover,
    /// The same attempt again, whose answer was lost: it counts as one.
    Retry,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Register => "register",
            Self::Recover => "recover",
            Self::Retry => "retry",
        })
    }
}

/// Why the key does not let its holder in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Another key is bound, or is to be.
    #[error("another key is bound to the token")]
    OtherKey,
    /// The time to bind a key is over.
    #[error("no key was bound before must_register_before, {0}")]
    Late(Timestamp),
    /// No secret was shown, and no key is bound yet.
    #[error("no key is bound yet and no registration secret was shown")]
    NoSecret,
    /// Not the secret.
    #[error("the registration secret is wrong")]
    WrongSecret,
    /// The holder has the key and not the state that goes with it.
    #[error("the join state is missing or damaged, although the token gave one")]
    NoState,
    /// The state was left behind: there is another holder of the key. To be locked.
    #[error("the key is in use twice: join state {presented} was shown, {stored} is in force")]
    Copied {
        /// What is in force.
        stored: u64,
        /// What was shown.
        presented: u64,
    },
    /// The state is newer than the record: the store was set back. Nobody is to blame.
    #[error("join state {presented} was shown, but the store knows {stored} only; it was set back")]
    SetBack {
        /// What is in force.
        stored: u64,
        /// What was shown.
        presented: u64,
    },
    /// It came back as often as it may.
    #[error("the holder has joined {limit} times, which is the recovery limit of the token")]
    LimitReached {
        /// The limit.
        limit: u32,
    },
}

impl Unfit {
    /// The stable code for the holder, logs and audit events.
    pub fn code(self) -> &'static str {
        match self {
            Self::OtherKey | Self::Late(_) | Self::NoSecret | Self::WrongSecret => "join_refused",
            Self::NoState => "join_state_missing",
            Self::Copied { .. } => "join_state_mismatch",
            Self::SetBack { .. } => "join_state_unknown",
            Self::LimitReached { .. } => "recovery_limit_reached",
        }
    }

    /// The field of the token that says no.
    pub fn field(self) -> &'static str {
        match self {
            Self::OtherKey => "status.bound_keypair.bound_public_key",
            Self::Late(_) => "spec.bound_keypair.onboarding.must_register_before",
            Self::NoSecret | Self::WrongSecret => "spec.bound_keypair.onboarding.registration_secret",
            Self::NoState | Self::Copied { .. } | Self::SetBack { .. } => "spec.bound_keypair.recovery.mode",
            Self::LimitReached { .. } => "spec.bound_keypair.recovery.limit",
        }
    }
}

/// Decides a join without a valid certificate.
pub fn admit(settings: &BoundKeypair, status: &Status, shown: &Shown, now: Timestamp) -> Result<Step, Unfit> {
    if status.bound_public_key.is_none() {
        return register(settings, shown, now).map(|()| Step::Register);
    }
    if !shown.is_holder(status) {
        return Err(Unfit::OtherKey);
    }
    if status.unconfirmed_attempt.as_deref() == Some(&shown.attempt.to_string()) {
        return Ok(Step::Retry);
    }
    holds(settings, status, shown)?;
    let limit = settings.recovery.limit;
    match settings.recovery.mode {
        RecoveryMode::Standard if status.recovery_count >= limit => Err(Unfit::LimitReached { limit }),
        _ => Ok(Step::Recover),
    }
}

/// Decides whether the bearer of a valid certificate still is the one holder of the key.
pub fn holds(settings: &BoundKeypair, status: &Status, shown: &Shown) -> Result<(), Unfit> {
    if !shown.is_holder(status) {
        return Err(Unfit::OtherKey);
    }
    if settings.recovery.mode == RecoveryMode::Insecure {
        return Ok(());
    }
    let stored = u64::from(status.recovery_count);
    let presented = sequence(&shown.state).ok_or(Unfit::NoState)?;
    let current = status.join_state.as_ref().and_then(|state| hex::decode(&state.0).ok());
    let same = current.is_some_and(|current| {
        bool::from(subtle::ConstantTimeEq::ct_eq(current.as_slice(), shown.state.as_slice()))
    });
    match same {
        true => Ok(()),
        false if presented > stored => Err(Unfit::SetBack { stored, presented }),
        false => Err(Unfit::Copied { stored, presented }),
    }
}

fn register(settings: &BoundKeypair, shown: &Shown, now: Timestamp) -> Result<(), Unfit> {
    let onboarding = &settings.onboarding;
    if let Some(end) = onboarding.must_register_before.filter(|end| *end <= now) {
        return Err(Unfit::Late(end));
    }
    if let Some(key) = &onboarding.initial_public_key {
        let key = PublicKey::from_openssh(key).map(|key| key.to_openssh());
        return if key.is_ok_and(|key| key == shown.key) { Ok(()) } else { Err(Unfit::OtherKey) };
    }
    let secret = onboarding.registration_secret.as_ref().ok_or(Unfit::WrongSecret)?;
    if shown.secret.0.is_empty() {
        return Err(Unfit::NoSecret);
    }
    let same = subtle::ConstantTimeEq::ct_eq(secret.0.as_bytes(), shown.secret.0.as_bytes());
    if bool::from(same) { Ok(()) } else { Err(Unfit::WrongSecret) }
}

/// The length of a join state: its number, then what makes it unguessable.
pub const STATE: usize = 8 + RANDOM;
const RANDOM: usize = 32;

fn sequence(state: &[u8]) -> Option<u64> {
    let (number, random) = state.split_first_chunk::<8>()?;
    (random.len() == RANDOM).then(|| u64::from_be_bytes(*number))
}

/// The record after a join without a valid certificate, with a fresh join state.
pub fn joined_as(
    status: &Status,
    shown: &Shown,
    instance: InstanceId,
    now: Timestamp,
    random: &[u8; RANDOM],
) -> Status {
    let recovery_count = status.recovery_count.saturating_add(1);
    let state = [&u64::from(recovery_count).to_be_bytes()[..], random].concat();
    Status {
        bound_public_key: Some(shown.key.clone()),
        bound_bot_instance_id: Some(instance),
        recovery_count,
        last_recovered_at: Some(now),
        unconfirmed_attempt: Some(shown.attempt.to_string()),
        join_state: Some(Secret(hex::encode(state))),
    }
}

/// The join state in force, for the holder.
pub fn state_of(status: &Status) -> Vec<u8> {
    status.join_state.as_ref().and_then(|state| hex::decode(&state.0).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
