//! A key that is bound to a token, whoever its holder is: what is remembered of it, and what is said to whom.

use super::Refused;
use super::admission::Admission;
use super::bot::Joined;
use crate::catalog::layout;
use crate::core::Core;
use crate::issuer::Certificates;
use crate::refusal;
use crate::services::certificates::{Incident, Whose};
use access::resource::Token;
use access::resource::token::bound_keypair::{RecoveryMode, Status};
use access::resource::token::{BoundKeypair, Method};
use api::status::{Class, Problem};
use api::v1::JoinCheck;
use identity::key::PublicKey;
use join::bound_keypair::{self, Shown, Step, Unfit};
use store::{Expect, Key, Revision, Txn};

/// A token with a key, and who shows one.
#[derive(Clone, Copy)]
pub struct Keyed<'a> {
    /// The service.
    pub core: &'a Core,
    /// The joiner.
    pub admission: &'a Admission,
    /// The token.
    pub token: &'a Token,
    /// As it was read.
    pub revision: Revision,
    /// What was shown.
    pub shown: &'a Shown,
}

/// Who holds the key now, and where it was seen last.
pub struct Last<'a> {
    /// Who.
    pub whose: Whose<'a>,
    /// Where.
    pub addr: String,
}

impl Keyed<'_> {
    /// What the token says of keys.
    pub fn settings(&self) -> Result<&BoundKeypair, Refused> {
        match &self.token.spec.method {
            Method::BoundKeypair(settings) => Ok(settings),
            _ => Err(self.admission.refused("the token is of another join method")),
        }
    }

    /// What is remembered of the holder.
    pub fn status(&self) -> Status {
        self.token.status.as_deref().cloned().unwrap_or_default()
    }

    /// Who shows the key is told what is wrong, and two that do are locked; who shows another is a stranger.
    pub async fn unfit(&self, status: &Status, unfit: Unfit, last: Option<Last<'_>>) -> Refused {
        if !self.shown.is_known(status) {
            let refused = self.admission.refused(self.why(status, unfit));
            return refused.with(self.check(status, unfit), vec![]);
        }
        let numbers = match unfit {
            Unfit::Copied { stored, presented } => Some((stored, presented)),
            Unfit::FormerKey => Some((u64::from(status.recovery_count), 0)),
            _ => None,
        };
        if let Some(numbers) = numbers {
            return match last {
                Some(last) => {
                    let judged = (layout::token(self.admission.proven.token()), self.revision);
                    self.twice(last, numbers, unfit.to_string(), judged).await
                }
                None => self.admission.refused(unfit.to_string()),
            };
        }
        let hint = match unfit {
            Unfit::LimitReached { .. } => {
                "raise spec.bound_keypair.recovery.limit of the token, or set recovery.mode: relaxed"
            }
            _ => "bind the key again: remove the token, make it again, and start with an empty storage",
        };
        let problem = Problem::new(Class::Denied, unfit.code(), unfit.to_string()).hint(hint);
        Refused::from(problem).with(self.check(status, unfit), vec![])
    }

    /// As administrators are told it: which key is bound since when, and which was shown.
    fn why(&self, status: &Status, unfit: Unfit) -> String {
        match unfit {
            Unfit::OtherKey => {
                format!("{unfit}: {}; {} was shown", bound(status), fingerprint(self.shown.key()))
            }
            unfit => unfit.to_string(),
        }
    }

    fn check(&self, status: &Status, unfit: Unfit) -> JoinCheck {
        let (wanted, found) = match unfit {
            Unfit::OtherKey => (bound(status), fingerprint(self.shown.key())),
            unfit => ("the holder of the bound key".to_owned(), unfit.to_string()),
        };
        JoinCheck { rule: 0, field: unfit.field().to_owned(), wanted, found, fits: false }
    }

    /// Two are the holder: both are locked, by what it was judged by. The numbers are what is in force and what was shown.
    pub async fn twice(
        &self,
        last: Last<'_>,
        (stored, presented): (u64, u64),
        mismatch: String,
        judged: (Key, Revision),
    ) -> Refused {
        let Self { core, admission, .. } = *self;
        let incident = Incident {
            core,
            caller: &admission.caller,
            whose: last.whose,
            join_token: Some(&admission.token_name),
            other_addr: last.addr,
            presented,
            stored,
            mismatch,
            judged,
        };
        Refused::locked(incident.lock().await)
    }

    /// With what is remembered from now on; in any case nobody joins by a token that was changed meanwhile.
    pub fn remember(&self, txn: Txn, status: Status) -> Txn {
        let key = layout::token(self.admission.proven.token());
        let txn = txn.expect(key, Expect::Revision(self.revision));
        if self.token.status.as_deref() == Some(&status) {
            return txn;
        }
        let token = Token { status: Some(Box::new(status)), ..Token::clone(self.token) };
        self.core.tokens.put(txn, &token)
    }

    /// The holder stays who it is, with other certificates.
    pub fn renewed(
        &self,
        txn: Txn,
        settings: &BoundKeypair,
        mut status: Status,
        certificates: Certificates,
    ) -> (Txn, Joined) {
        let join_state = bound_keypair::state_of(&status);
        // Whoever renews has had the answer to its join.
        status.unconfirmed_attempt = None;
        let key_accepted = self.keep_keys(settings, &mut status);
        (self.remember(txn, status), Joined { certificates, join_state, key_accepted })
    }

    /// What is remembered of a join, completed by what was shown of keys.
    pub fn kept(&self, settings: &BoundKeypair, next: &mut Status, step: Step) -> Kept {
        let key_accepted = self.keep_keys(settings, next);
        let attributes =
            vec![("step", step.to_string()), ("recovery_count", next.recovery_count.to_string())];
        Kept { key_accepted, join_state: bound_keypair::state_of(next), attributes }
    }

    /// Writes down what was shown of keys; true if the one that was offered is accepted.
    fn keep_keys(&self, settings: &BoundKeypair, status: &mut Status) -> bool {
        bound_keypair::keep_keys(settings, status, self.shown, self.core.now())
    }
}

/// What a join changes.
pub struct Kept {
    /// Whether the key that was offered is accepted.
    pub key_accepted: bool,
    /// For the holder.
    pub join_state: Vec<u8>,
    /// For the audit log.
    pub attributes: Vec<(&'static str, String)>,
}

/// Whether this one holds the key; in mode `insecure` there are several.
pub fn is_holder<T: PartialEq>(settings: &BoundKeypair, bound: Option<T>, one: T) -> bool {
    settings.recovery.mode == RecoveryMode::Insecure || bound == Some(one)
}

/// The key that is bound, and since when.
fn bound(status: &Status) -> String {
    let key = status.bound_public_key.as_deref().map_or_else(|| "no key yet".to_owned(), fingerprint);
    match status.key_bound_at {
        Some(at) => format!("{key}, bound at {at}"),
        None => key,
    }
}

/// What people compare; a line of OpenSSH that is none says so itself.
fn fingerprint(line: &str) -> String {
    PublicKey::from_openssh(line).map_or_else(|error| error.to_string(), |key| key.fingerprint())
}

/// What makes a join state unguessable.
pub fn random() -> Result<[u8; 32], Problem> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|error| refusal::internal("a join state could not be made", error))?;
    Ok(random)
}
