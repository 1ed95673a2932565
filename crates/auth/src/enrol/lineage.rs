//! The generations of one instance of a bot, and who is told apart by them: the instance that lost a reply from the
//! one that is a copy.
//!
//! A renewal is prepared here, stored by the instance, then confirmed. Until it is confirmed the previous generation
//! stays good, and asking again with the same key is a retry. Two keys for one generation, or a generation that was
//! left behind, mean that two are running on one identity.
//!
//! Pure: the record goes in, the next record or the reason against it comes out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Counts from 1.
    pub number: u64,
    /// Fingerprint of its key.
    pub key: String,
    /// When its certificate ends.
    pub expires: Timestamp,
}

/// The generations that are accepted now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    confirmed: Generation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<Generation>,
}

/// What a certificate says of its bearer.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The generation.
    pub number: u64,
    /// Fingerprint of the key that it is over, possession of which is proven.
    pub key: &'a str,
}

/// What to do with a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// Store this lineage; its pending generation is the new one.
    Prepare(Lineage),
    /// The reply was lost: issue again for this generation; nothing to store but its new end.
    Repeat(Lineage),
}

/// Why a renewal is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Two are running on one identity. The instance is to be locked.
    #[error("renewable cert generation mismatch: stored={stored}, presented={presented}")]
    Copied {
        /// What the record has.
        stored: u64,
        /// What the caller has.
        presented: u64,
    },
    /// The certificate is newer than the record: the store was set back. Nobody is to blame.
    #[error(
        "the certificate is of generation {presented}, but the store knows {stored} only; it was set back"
    )]
    SetBack {
        /// What the record has.
        stored: u64,
        /// What the caller has.
        presented: u64,
    },
    /// Each generation has a key of its own.
    #[error("a renewal needs a fresh key, and this one is in use already")]
    KeyReused,
}

impl Lineage {
    /// After a join.
    pub fn first(key: &str, expires: Timestamp) -> Self {
        Self { confirmed: Generation { number: 1, key: key.to_owned(), expires }, pending: None }
    }

    /// The newest generation there is.
    pub fn newest(&self) -> &Generation {
        self.pending.as_ref().unwrap_or(&self.confirmed)
    }

    /// The generation that is stored by the instance for sure.
    pub fn confirmed(&self) -> &Generation {
        &self.confirmed
    }

    /// Whether nothing was ever renewed.
    pub fn is_first(&self) -> bool {
        self.confirmed.number == 1 && self.pending.is_none()
    }

    /// Whether a certificate is of a generation that is good now.
    pub fn accepts(&self, presented: Presented<'_>) -> bool {
        self.known(presented).is_some()
    }

    /// Decides a renewal to `key` by the bearer of a certificate.
    pub fn renew(
        &self,
        presented: Presented<'_>,
        key: &str,
        expires: Timestamp,
    ) -> Result<Renewal, Mismatch> {
        let stored = self.newest().number;
        if presented.number > stored {
            return Err(Mismatch::SetBack { stored, presented: presented.number });
        }
        let copied = Mismatch::Copied { stored, presented: presented.number };
        let known = self.known(presented).ok_or(copied)?;
        if key == presented.key || key == self.confirmed.key {
            return Err(Mismatch::KeyReused);
        }
        let next = Generation { number: known.number + 1, key: key.to_owned(), expires };
        match &self.pending {
            // The bearer holds the pending generation, so it is stored: that is its confirmation.
            Some(pending) if pending == known => {
                Ok(Renewal::Prepare(Self { confirmed: known.clone(), pending: Some(next) }))
            }
            Some(pending) if pending.key == key => {
                Ok(Renewal::Repeat(Self { confirmed: self.confirmed.clone(), pending: Some(next) }))
            }
            Some(_) => Err(copied),
            None => Ok(Renewal::Prepare(Self { confirmed: self.confirmed.clone(), pending: Some(next) })),
        }
    }

    /// The bearer of this certificate has stored it: the lineage to store, or nothing when that was known.
    pub fn confirm(&self, presented: Presented<'_>) -> Result<Option<Self>, Mismatch> {
        let stored = self.newest().number;
        let known = self.known(presented).ok_or(Mismatch::Copied { stored, presented: presented.number })?;
        match &self.pending {
            Some(pending) if pending == known => Ok(Some(Self { confirmed: known.clone(), pending: None })),
            _ => Ok(None),
        }
    }

    fn known(&self, presented: Presented<'_>) -> Option<&Generation> {
        [Some(&self.confirmed), self.pending.as_ref()]
            .into_iter()
            .flatten()
            .find(|known| known.number == presented.number && known.key == presented.key)
    }
}

#[cfg(test)]
mod tests {
    use super::{Lineage, Mismatch, Presented, Renewal};
    use jiff::Timestamp;
    use proptest::prelude::*;

    const END: Timestamp = Timestamp::UNIX_EPOCH;

    fn by(number: u64, key: &str) -> Presented<'_> {
        Presented { number, key }
    }

    fn renewed(lineage: &Lineage, presented: Presented<'_>, key: &str) -> Lineage {
        match lineage.renew(presented, key, END) {
            Ok(Renewal::Prepare(next)) => next,
            other => panic!("not prepared: {other:?}"),
        }
    }

    #[test]
    fn a_renewal_is_prepared_then_confirmed() {
        let first = Lineage::first("a", END);
        assert!(first.is_first());
        let pending = renewed(&first, by(1, "a"), "b");
        assert!(pending.accepts(by(1, "a")) && pending.accepts(by(2, "b")));
        let confirmed = pending.confirm(by(2, "b")).expect("known").expect("changes");
        assert!(!confirmed.accepts(by(1, "a")) && confirmed.accepts(by(2, "b")));
        assert_eq!(confirmed.confirm(by(2, "b")), Ok(None), "confirming twice changes nothing");
    }

    #[test]
    fn a_lost_reply_is_no_theft() {
        let pending = renewed(&Lineage::first("a", END), by(1, "a"), "b");
        let Ok(Renewal::Repeat(again)) = pending.renew(by(1, "a"), "b", END) else { panic!("not a retry") };
        assert_eq!(again, pending);
        // A lost confirmation neither: the next renewal comes with the pending generation.
        let next = renewed(&pending, by(2, "b"), "c");
        assert_eq!((next.confirmed().number, next.newest().number), (2, 3));
        assert_eq!(pending.confirm(by(1, "a")), Ok(None), "the old one confirms nothing");
    }

    #[test]
    fn copies_are_told_apart() {
        let pending = renewed(&Lineage::first("a", END), by(1, "a"), "b");
        let confirmed = pending.confirm(by(2, "b")).expect("known").expect("changes");
        let table = [
            (&pending, by(1, "a"), "other"),
            (&confirmed, by(1, "a"), "b2"),
            (&confirmed, by(2, "forged"), "c"),
            (&pending, by(2, "forged"), "c"),
        ];
        for (lineage, presented, key) in table {
            let stored = lineage.newest().number;
            let expected = Mismatch::Copied { stored, presented: presented.number };
            assert_eq!(lineage.renew(presented, key, END), Err(expected), "{presented:?}");
        }
    }

    #[test]
    fn a_store_that_was_set_back_blames_nobody() {
        let first = Lineage::first("a", END);
        let set_back = Mismatch::SetBack { stored: 1, presented: 7 };
        assert_eq!(first.renew(by(7, "z"), "y", END), Err(set_back));
    }

    #[test]
    fn each_generation_has_its_own_key() {
        let first = Lineage::first("a", END);
        assert_eq!(first.renew(by(1, "a"), "a", END), Err(Mismatch::KeyReused));
        let pending = renewed(&first, by(1, "a"), "b");
        assert_eq!(pending.renew(by(2, "b"), "b", END), Err(Mismatch::KeyReused));
        assert_eq!(pending.renew(by(2, "b"), "a", END), Err(Mismatch::KeyReused));
    }

    /// What may go wrong for one honest instance: a lost request, a lost reply, a crash before or after storing.
    #[derive(Debug, Clone, Copy)]
    enum Fault {
        None,
        RequestLost,
        ReplyLost,
        ConfirmLost,
        ConfirmReplyLost,
    }

    proptest! {
        /// An instance that stores its key before asking, and the reply before confirming, is never taken for a
        /// copy; one that was copied always is, at the latest at the second renewal after the copy.
        #[test]
        fn the_honest_are_never_locked_and_copies_always(
            faults in prop::collection::vec(
                prop_oneof![
                    Just(Fault::None), Just(Fault::RequestLost), Just(Fault::ReplyLost),
                    Just(Fault::ConfirmLost), Just(Fault::ConfirmReplyLost),
                ],
                1..40,
            ),
            copy_at in 0usize..40,
        ) {
            let mut server = Lineage::first("k1", END);
            let mut client = (1u64, "k1".to_owned(), None::<String>);
            let mut copy = None;
            for (step, fault) in faults.iter().enumerate() {
                if step == copy_at {
                    copy = Some(client.clone());
                }
                let key = client.2.get_or_insert_with(|| format!("k{step}-fresh")).clone();
                if matches!(fault, Fault::RequestLost) { continue }
                let renewal = server.renew(by(client.0, &client.1), &key, END);
                let (Renewal::Prepare(next) | Renewal::Repeat(next)) = renewal.expect("the honest are served");
                server = next;
                if matches!(fault, Fault::ReplyLost) { continue }
                client = (server.newest().number, key, None);
                if matches!(fault, Fault::ConfirmLost) { continue }
                if let Some(next) = server.confirm(by(client.0, &client.1)).expect("the honest are served") {
                    server = next;
                }
            }
            let Some(mut copy) = copy else { return Ok(()) };
            let mut told = false;
            for round in 0..2 {
                for (name, who) in [("copy", &mut copy), ("original", &mut client)] {
                    let key = who.2.take().unwrap_or_else(|| format!("{name}-{round}"));
                    match server.renew(by(who.0, &who.1), &key, END) {
                        Ok(Renewal::Prepare(next) | Renewal::Repeat(next)) => {
                            server = next;
                            *who = (server.newest().number, key, None);
                        }
                        Err(Mismatch::Copied { .. }) => told = true,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            prop_assert!(told);
        }
    }
}
