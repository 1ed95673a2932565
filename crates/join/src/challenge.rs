//! Challenges that the server need not remember: the time and a nonce under a MAC.
//!
//! They bound how old a captured proof can be. They are not one-time: replaying a proof within its minute is the
//! retry that joining must survive, and gives certificates only to the holder of the proven key.

use crate::Refusal;
use aws_lc_rs::hmac;
use std::time::Duration;

/// How long a challenge is good.
pub const VALIDITY: Duration = Duration::from_secs(60);

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"postern join challenge v1";
/// No challenge begins like it: the two never sign the same.
const SECRET: &[u8] = b"postern join secret v1";
const NONCE: usize = 16;
/// Version, milliseconds since 1970, nonce.
const SEALED: usize = 1 + 8 + NONCE;
const MAC: usize = 32;

/// A challenge as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; Challenge::LEN]);

impl Challenge {
    /// Its length in bytes.
    pub const LEN: usize = SEALED + MAC;

    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What makes challenges and knows them again. Lives as long as the process; after a restart joiners ask anew.
pub struct ChallengeKey(hmac::Key);

impl ChallengeKey {
    /// From 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A challenge good from `now` on.
    pub fn issue(&self, now: jiff::Timestamp, nonce: [u8; NONCE]) -> Challenge {
        let mut bytes = [0; Challenge::LEN];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&now.as_millisecond().to_be_bytes());
        bytes[9..SEALED].copy_from_slice(&nonce);
        let mac = self.mac(&bytes[..SEALED]);
        bytes[SEALED..].copy_from_slice(mac.as_ref());
        Challenge(bytes)
    }

    /// Whether `bytes` is a challenge of this key and still good. The comparison takes the same time whatever the
    /// difference.
    pub fn check(&self, bytes: &[u8], now: jiff::Timestamp) -> Result<Challenge, Refusal> {
        let bytes: [u8; Challenge::LEN] = bytes.try_into().map_err(|_| Refusal::ChallengeForeign)?;
        let (sealed, mac) = bytes.split_at(SEALED);
        let same = subtle::ConstantTimeEq::ct_eq(self.mac(sealed).as_ref(), mac);
        if !bool::from(same) || bytes[0] != VERSION {
            return Err(Refusal::ChallengeForeign);
        }
        let mut issued = [0; 8];
        issued.copy_from_slice(&bytes[1..9]);
        let age = i128::from(now.as_millisecond()) - i128::from(i64::from_be_bytes(issued));
        match (0..VALIDITY.as_millis() as i128).contains(&age) {
            true => Ok(Challenge(bytes)),
            false => Err(Refusal::ChallengeExpired),
        }
    }

    /// What nobody else knows of a statement: the same each time, and another for every other statement.
    pub(crate) fn secret(&self, statement: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(SECRET);
        context.update(statement);
        let mut secret = [0; 32];
        secret.copy_from_slice(context.sign().as_ref());
        secret
    }

    fn mac(&self, sealed: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(DOMAIN);
        context.update(sealed);
        context.sign()
    }
}

impl std::fmt::Debug for ChallengeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChallengeKey")
    }
}

#[cfg(test)]
mod tests {
    use super::{Challenge, ChallengeKey};
    use crate::Refusal;
    use jiff::{SignedDuration, Timestamp};

    fn start() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a valid time")
    }

    #[test]
    fn is_good_for_a_minute_and_not_before_it_was_issued() {
        let key = ChallengeKey::new(&[1; 32]);
        let challenge = key.issue(start(), [7; 16]);
        for (seconds, expected) in [
            (-1, Err(Refusal::ChallengeExpired)),
            (0, Ok(challenge)),
            (59, Ok(challenge)),
            (60, Err(Refusal::ChallengeExpired)),
            (86_400, Err(Refusal::ChallengeExpired)),
        ] {
            let now = start() + SignedDuration::from_secs(seconds);
            assert_eq!(key.check(challenge.as_bytes(), now), expected, "after {seconds} s");
        }
    }

    #[test]
    fn is_known_again_by_its_own_key_only_and_only_whole() {
        let key = ChallengeKey::new(&[1; 32]);
        let challenge = key.issue(start(), [7; 16]);
        let other = ChallengeKey::new(&[2; 32]);
        assert_eq!(other.check(challenge.as_bytes(), start()), Err(Refusal::ChallengeForeign));
        for length in [0, 1, Challenge::LEN - 1] {
            let cut = &challenge.as_bytes()[..length];
            assert_eq!(key.check(cut, start()), Err(Refusal::ChallengeForeign), "{length} bytes");
        }
        for position in 0..Challenge::LEN {
            let mut forged = challenge.as_bytes().to_vec();
            forged[position] ^= 1;
            assert_eq!(key.check(&forged, start()), Err(Refusal::ChallengeForeign), "byte {position}");
        }
    }
}
