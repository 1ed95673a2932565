use super::*;
use crate::{ChallengeKey, token};
use access::SystemRole;
use access::resource::token::bound_keypair::{Onboarding, Recovery};
use aws_lc_rs::rand::SystemRandom;
use identity::key::SubjectKey;
use jiff::SignedDuration;
use proptest::prelude::*;

const SECRET: &str = "correct-horse-battery";

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("a valid time")
}

fn key() -> SubjectKey {
    SubjectKey::generate(&SystemRandom::new()).expect("a key")
}

fn settings(mode: RecoveryMode, limit: u32) -> BoundKeypair {
    let secret = Some(Secret(SECRET.to_owned()));
    let onboarding = Onboarding { registration_secret: secret, ..Onboarding::default() };
    BoundKeypair { onboarding, recovery: Recovery { limit, mode }, rotate_after: None }
}

/// One holder of a key: what it stores.
#[derive(Clone)]
struct Keeper {
    key: SubjectKey,
    /// Offered with each join.
    next: Option<SubjectKey>,
    state: Vec<u8>,
    attempt: [u8; 32],
    subject: SubjectKey,
}

impl Keeper {
    fn new() -> Self {
        Self { key: key(), next: None, state: vec![], attempt: [1; 32], subject: key() }
    }

    fn fresh(&mut self, attempt: u8) {
        self.attempt = [attempt; 32];
    }

    fn show(&self, secret: &str, change: impl Fn(&mut Vec<u8>)) -> Result<Shown, Refusal> {
        let challenges = ChallengeKey::new(&[1; 32]);
        let challenge = challenges.issue(now(), [0; 16]);
        let (subject, bound) = (self.subject.spki_der(), self.key.spki_der());
        let claim = Claim {
            token: "ci-runner",
            role: SystemRole::Bot,
            attempt: &self.attempt,
            public_key: &subject,
            challenge: challenge.as_bytes(),
        };
        let signature = self.subject.sign(&token::prove(&claim)).expect("signs");
        let proven = token::verify(&claim, &signature, &challenges, now())?;
        let next = self.next.as_ref().map(SubjectKey::spki_der).unwrap_or_default();
        let showing = Showing {
            public_key: &bound,
            join_state: &self.state,
            registration_secret: secret,
            next_public_key: &next,
        };
        let statement = prove(&claim, &showing);
        let mut own = self.key.sign(&statement).expect("signs");
        let mut next = self.next.as_ref().map(|key| key.sign(&statement).expect("signs")).unwrap_or_default();
        match self.next {
            Some(_) => change(&mut next),
            None => change(&mut own),
        }
        verify(&proven, &claim, &showing, Proofs { own: &own, next: &next })
    }

    fn shown(&self) -> Shown {
        self.show("", |_| {}).expect("is shown")
    }
}

fn instance() -> InstanceId {
    "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c".parse().expect("an id")
}

fn joined(status: &Status, holder: &Keeper, random: u8) -> Status {
    joined_as(status, &holder.shown(), Holder::Bot(instance()), now(), &[random; 32])
}

/// Registered, with the answer stored.
fn registered(holder: &mut Keeper) -> Status {
    let status = joined(&Status::default(), holder, 1);
    holder.state = state_of(&status);
    status
}

#[test]
fn the_secret_binds_one_key_and_then_nothing() {
    let settings = settings(RecoveryMode::Standard, 1);
    let (holder, unbound) = (Keeper::new(), Status::default());
    let right = holder.show(SECRET, |_| {}).expect("is shown");
    assert_eq!(admit(&settings, &unbound, &right, now()), Ok(Step::Register));
    for (secret, reason) in [("", Unfit::NoSecret), ("correct-horse-batter", Unfit::WrongSecret)] {
        let wrong = holder.show(secret, |_| {}).expect("is shown");
        assert_eq!(admit(&settings, &unbound, &wrong, now()), Err(reason), "{secret:?}");
    }
    let status = joined(&unbound, &holder, 1);
    let other = Keeper::new().show(SECRET, |_| {}).expect("is shown");
    assert_eq!(admit(&settings, &status, &other, now()), Err(Unfit::OtherKey));
}

#[test]
fn a_key_that_is_given_needs_no_secret_and_its_time_ends() {
    let holder = Keeper::new();
    let end = now() + SignedDuration::from_secs(60);
    let onboarding = Onboarding {
        initial_public_key: Some(format!("{} me@here", holder.key.public().to_openssh())),
        registration_secret: None,
        must_register_before: Some(end),
    };
    let settings = BoundKeypair { onboarding, recovery: Recovery::default(), rotate_after: None };
    let admit = |holder: &Keeper, now| admit(&settings, &Status::default(), &holder.shown(), now);
    assert_eq!(admit(&holder, now()), Ok(Step::Register));
    assert_eq!(admit(&Keeper::new(), now()), Err(Unfit::OtherKey));
    assert_eq!(admit(&holder, end), Err(Unfit::Late(end)));
}

#[test]
fn nothing_but_what_was_signed_is_shown() {
    for next in [None, Some(key())] {
        let holder = Keeper { next, ..Keeper::new() };
        for at in [0, 8, 20] {
            let shown = holder.show(SECRET, |proof| proof[at] ^= 1);
            assert_eq!(shown.expect_err("is refused"), Refusal::ProofInvalid);
        }
        assert!(holder.show(SECRET, |proof| proof.clear()).is_err());
    }
}

#[test]
fn the_holder_comes_back_as_often_as_the_limit_says() {
    let mut holder = Keeper::new();
    let mut status = registered(&mut holder);
    for (attempt, limit, expected) in [
        (2, 1, Err(Unfit::LimitReached { limit: 1 })),
        (2, 3, Ok(Step::Recover)),
        (3, 3, Ok(Step::Recover)),
        (4, 3, Err(Unfit::LimitReached { limit: 3 })),
    ] {
        holder.fresh(attempt);
        let standard = settings(RecoveryMode::Standard, limit);
        assert_eq!(admit(&standard, &status, &holder.shown(), now()), expected, "{attempt} of {limit}");
        if expected.is_ok() {
            status = joined(&status, &holder, attempt);
            holder.state = state_of(&status);
        }
    }
    holder.fresh(9);
    let relaxed = settings(RecoveryMode::Relaxed, 1);
    assert_eq!(admit(&relaxed, &status, &holder.shown(), now()), Ok(Step::Recover));
}

#[test]
fn a_lost_answer_is_a_retry_and_counts_once() {
    let (mut holder, settings) = (Keeper::new(), settings(RecoveryMode::Standard, 1));
    let status = joined(&Status::default(), &holder, 1);
    // The answer was lost: the holder has no state yet.
    assert_eq!(admit(&settings, &status, &holder.shown(), now()), Ok(Step::Retry));
    // Once it has shown that it has the answer, the same attempt is somebody else's.
    let confirmed = Status { unconfirmed_attempt: None, ..status.clone() };
    assert_eq!(admit(&settings, &confirmed, &holder.shown(), now()), Err(Unfit::NoState));
    holder.state = state_of(&status);
    assert_eq!(holds(&settings, &confirmed, &holder.shown()), Ok(()));
}

#[test]
fn copies_and_set_back_stores_are_told_apart() {
    let mut holder = Keeper::new();
    let settings = settings(RecoveryMode::Relaxed, 1);
    let first = registered(&mut holder);
    let mut copy = holder.clone();
    holder.fresh(2);
    let second = joined(&first, &holder, 2);
    copy.fresh(3);
    let copied = Unfit::Copied { stored: 2, presented: 1 };
    assert_eq!(admit(&settings, &second, &copy.shown(), now()), Err(copied));
    assert_eq!(holds(&settings, &second, &copy.shown()), Err(copied));
    // Two that came back from one state: the number is the same, the state is not.
    let other = joined(&first, &copy, 3);
    holder.state = state_of(&second);
    holder.fresh(4);
    let forked = Unfit::Copied { stored: 2, presented: 2 };
    assert_eq!(admit(&settings, &other, &holder.shown(), now()), Err(forked));
    let set_back = Unfit::SetBack { stored: 1, presented: 2 };
    assert_eq!(admit(&settings, &first, &holder.shown(), now()), Err(set_back));
    let insecure = super::tests::settings(RecoveryMode::Insecure, 1);
    assert_eq!(admit(&insecure, &second, &copy.shown(), now()), Ok(Step::Recover));
}

fn rotating(at: Timestamp) -> BoundKeypair {
    BoundKeypair { rotate_after: Some(at), ..settings(RecoveryMode::Relaxed, 1) }
}

#[test]
fn a_key_is_replaced_once_after_the_moment_and_not_before() {
    let mut holder = Keeper::new();
    let mut status = registered(&mut holder);
    let moment = now() + SignedDuration::from_hours(1);
    holder.next = Some(key());
    assert!(!keep_keys(&rotating(moment), &mut status, &holder.shown(), now()), "not yet");
    assert!(
        !keep_keys(&settings(RecoveryMode::Relaxed, 1), &mut status, &holder.shown(), moment),
        "not asked for"
    );
    assert!(keep_keys(&rotating(moment), &mut status, &holder.shown(), moment));
    // Until the holder has shown that it has the answer, both are good.
    let mut kept = Keeper { key: holder.next.clone().expect("a key"), next: Some(key()), ..holder.clone() };
    assert_eq!(holds(&rotating(moment), &status, &holder.shown()), Ok(()));
    assert_eq!(holds(&rotating(moment), &status, &kept.shown()), Ok(()));
    assert!(!keep_keys(&rotating(moment), &mut status, &kept.shown(), moment), "once is enough");
    assert_eq!(holds(&rotating(moment), &status, &kept.shown()), Ok(()));
    assert_eq!(holds(&rotating(moment), &status, &holder.shown()), Err(Unfit::FormerKey), "a copy");
    assert_eq!(holds(&rotating(moment), &status, &Keeper::new().shown()), Err(Unfit::OtherKey), "a stranger");
    // The key from before does not come back as a new one.
    kept.next = Some(holder.key);
    let later = moment + SignedDuration::from_hours(1);
    assert!(!keep_keys(&rotating(later), &mut status, &kept.shown(), later));
}

/// What may go wrong with one honest holder.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    RequestLost,
    ReplyLost,
}

proptest! {
    /// A holder that stores a key before it offers it always has one that is accepted, whatever is lost.
    #[test]
    fn the_honest_are_never_without_a_good_key(
        faults in proptest::collection::vec(
            prop_oneof![Just(Fault::None), Just(Fault::RequestLost), Just(Fault::ReplyLost)], 1..20),
    ) {
        let mut holder = Keeper::new();
        let mut status = registered(&mut holder);
        let mut at = now();
        for fault in faults {
            at += SignedDuration::from_hours(1);
            holder.next.get_or_insert_with(key);
            if matches!(fault, Fault::RequestLost) { continue }
            prop_assert_eq!(holds(&rotating(at), &status, &holder.shown()), Ok(()));
            let accepted = keep_keys(&rotating(at), &mut status, &holder.shown(), at);
            if matches!(fault, Fault::ReplyLost) { continue }
            let offered = holder.next.take().expect("was offered");
            if accepted { holder.key = offered }
        }
        holder.next = None;
        prop_assert_eq!(holds(&rotating(at), &status, &holder.shown()), Ok(()));
    }

    #[test]
    fn no_state_panics(state in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut holder = Keeper::new();
        let status = registered(&mut holder);
        holder.fresh(2);
        let differs = state != holder.state;
        holder.state = state;
        let verdict = admit(&settings(RecoveryMode::Standard, 9), &status, &holder.shown(), now());
        prop_assert_eq!(verdict.is_err(), differs);
    }

    /// A holder that stores its attempt before it asks is never taken for a copy and never counted twice.
    #[test]
    fn the_honest_are_counted_once_for_each_join(
        faults in proptest::collection::vec(
            prop_oneof![Just(Fault::None), Just(Fault::RequestLost), Just(Fault::ReplyLost)], 1..20),
    ) {
        let settings = settings(RecoveryMode::Standard, 1000);
        let (mut holder, mut status, mut joins) = (Keeper::new(), Status::default(), 0u8);
        for fault in faults {
            if matches!(fault, Fault::RequestLost) { continue }
            let shown = holder.show(SECRET, |_| {}).expect("is shown");
            match admit(&settings, &status, &shown, now()).expect("the honest are served") {
                Step::Retry => {}
                Step::Register | Step::Recover => status = joined(&status, &holder, joins),
            }
            if matches!(fault, Fault::ReplyLost) { continue }
            holder.state = state_of(&status);
            joins += 1;
            holder.fresh(joins + 1);
            prop_assert_eq!(status.recovery_count, u32::from(joins));
        }
    }
}
