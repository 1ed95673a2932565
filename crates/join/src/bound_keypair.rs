//! Method `bound_keypair`: the joiner keeps a key that is bound to the token, and signs what it asks for with it.
//!
//! Who holds the key comes back after any time away. With the answer to each such join it gets a join state, and shows
//! it the next time: of two that run on a copied key, the second to come back shows a state that was left behind.
//! A lost answer is no copy: the attempt that made the present state is known, and the same attempt again is a retry.
//!
//! With each join the joiner offers another key, which it has kept already. Where the token asks for one, it is accepted
//! in the same transaction; from then on both keys are good, until the holder has shown that it has the answer.

use crate::token::{joined, prove as claimed};
use crate::{AttemptId, Claim, Proven, Refusal};
use access::resource::token::BoundKeypair;
use access::resource::token::bound_keypair::{RecoveryMode, Secret, Status};
use access::{HostId, InstanceId};
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
    /// DER SubjectPublicKeyInfo of the key that may take the place of the first; empty where none is offered.
    pub next_public_key: &'a [u8],
}

/// The signatures (ECDSA P-256/SHA-256, ASN.1) over what [`prove`] gives.
#[derive(Clone, Copy)]
pub struct Proofs<'a> {
    /// By the key that is kept.
    pub own: &'a [u8],
    /// By the key that is offered; empty where none is.
    pub next: &'a [u8],
}

/// The joiner's half: the bytes to sign with the key that it keeps, and with the one that it offers.
pub fn prove(claim: &Claim<'_>, showing: &Showing<'_>) -> Vec<u8> {
    let secret = showing.registration_secret.as_bytes();
    let (claim, next) = (claimed(claim), showing.next_public_key);
    let mut parts = vec![STATEMENT, &claim, showing.public_key, showing.join_state, secret];
    if !next.is_empty() {
        parts.push(next);
    }
    joined(&parts)
}

/// The server's half: whether `proofs` are signatures over the claim and what is shown, by the keys that are shown. The
/// claim is one whose own proof was good, so its challenge is fresh.
pub fn verify(
    proven: &Proven,
    claim: &Claim<'_>,
    showing: &Showing<'_>,
    proofs: Proofs<'_>,
) -> Result<Shown, Refusal> {
    let claim = Claim { challenge: proven.challenge().as_bytes(), ..*claim };
    let statement = prove(&claim, showing);
    let key = signed(showing.public_key, &statement, proofs.own)?;
    let next = match showing.next_public_key {
        [] => None,
        next => Some(signed(next, &statement, proofs.next)?.to_openssh()),
    };
    Ok(Shown {
        key: key.to_openssh(),
        next,
        state: showing.join_state.to_vec(),
        secret: Secret(showing.registration_secret.to_owned()),
        attempt: proven.attempt(),
    })
}

fn signed(key: &[u8], statement: &[u8], proof: &[u8]) -> Result<PublicKey, Refusal> {
    let parsed = PublicKey::from_spki_der(key).map_err(|_| Refusal::ProofInvalid)?;
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, key)
        .verify(statement, proof)
        .map_err(|_| Refusal::ProofInvalid)?;
    Ok(parsed)
}

/// What was shown by somebody who holds the key. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Shown {
    key: String,
    next: Option<String>,
    state: Vec<u8>,
    secret: Secret,
    attempt: AttemptId,
}

impl Shown {
    /// The key as one line of OpenSSH.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether this is a holder of the key that is bound, that will be or that was, so one who may be told what is wrong.
    pub fn is_known(&self, status: &Status) -> bool {
        self.holds_bound(status) || status.previous_public_key.as_ref() == Some(&self.key)
    }

    fn holds_bound(&self, status: &Status) -> bool {
        [&status.bound_public_key, &status.next_public_key].into_iter().flatten().any(|key| *key == self.key)
    }

    fn refuse_others(&self, status: &Status) -> Result<(), Unfit> {
        match (self.holds_bound(status), self.is_known(status)) {
            (true, _) => Ok(()),
            (false, true) => Err(Unfit::FormerKey),
            (false, false) => Err(Unfit::OtherKey),
        }
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
    /// The key was replaced, and the holder knows it: there is a copy from before. To be locked.
    #[error("the key is in use twice: it was replaced by another, and somebody still has it")]
    FormerKey,
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
            Self::Copied { .. } | Self::FormerKey => "join_state_mismatch",
            Self::SetBack { .. } => "join_state_unknown",
            Self::LimitReached { .. } => "recovery_limit_reached",
        }
    }

    /// The field of the token that says no.
    pub fn field(self) -> &'static str {
        match self {
            Self::OtherKey | Self::FormerKey => "status.bound_keypair.bound_public_key",
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
    shown.refuse_others(status)?;
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
    shown.refuse_others(status)?;
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

/// Who holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// An instance of the token's bot.
    Bot(InstanceId),
    /// A service of a host.
    Host(HostId),
}

impl Holder {
    /// Whether the record is about this one.
    pub fn is_in(self, status: &Status) -> bool {
        match self {
            Self::Bot(id) => status.bound_bot_instance_id == Some(id),
            Self::Host(id) => status.bound_host_id == Some(id),
        }
    }
}

/// The record after a join without a valid certificate, with a fresh join state.
pub fn joined_as(
    status: &Status,
    shown: &Shown,
    holder: Holder,
    now: Timestamp,
    random: &[u8; RANDOM],
) -> Status {
    let (bound_bot_instance_id, bound_host_id) = match holder {
        Holder::Bot(id) => (Some(id), None),
        Holder::Host(id) => (None, Some(id)),
    };
    let is_first = status.bound_public_key.is_none();
    let recovery_count = status.recovery_count.saturating_add(1);
    let state = [&u64::from(recovery_count).to_be_bytes()[..], random].concat();
    Status {
        bound_public_key: status.bound_public_key.clone().or_else(|| Some(shown.key.clone())),
        key_bound_at: if is_first { Some(now) } else { status.key_bound_at },
        next_public_key: status.next_public_key.clone(),
        previous_public_key: status.previous_public_key.clone(),
        bound_bot_instance_id,
        bound_host_id,
        recovery_count,
        last_recovered_at: Some(now),
        unconfirmed_attempt: Some(shown.attempt.to_string()),
        join_state: Some(Secret(hex::encode(state))),
    }
}

/// Writes down what the holder, who was let in, shows of its keys; true if it has to keep the one that it offers.
pub fn keep_keys(settings: &BoundKeypair, status: &mut Status, shown: &Shown, now: Timestamp) -> bool {
    if status.next_public_key.as_ref() == Some(&shown.key) {
        replace_key(status, now);
    }
    let Some(offered) = &shown.next else { return false };
    if status.next_public_key.as_ref() != Some(offered) {
        let known = [&status.bound_public_key, &status.previous_public_key];
        if !is_due(settings, status, now) || known.into_iter().flatten().any(|key| key == offered) {
            return false;
        }
        // One that was offered before and never shown: its answer was lost, and with it that key.
        status.next_public_key = Some(offered.clone());
    }
    true
}

/// The holder has kept the key that it offered: it takes the place of the one before.
pub fn replace_key(status: &mut Status, now: Timestamp) {
    if let Some(next) = status.next_public_key.take() {
        status.previous_public_key = status.bound_public_key.replace(next);
        status.key_bound_at = Some(now);
    }
}

/// Whether the bound key is older than the token wants it to be.
fn is_due(settings: &BoundKeypair, status: &Status, now: Timestamp) -> bool {
    settings.rotate_after.is_some_and(|at| at <= now && status.key_bound_at.is_none_or(|bound| bound < at))
}

/// The join state in force, for the holder.
pub fn state_of(status: &Status) -> Vec<u8> {
    status.join_state.as_ref().and_then(|state| hex::decode(&state.0).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
