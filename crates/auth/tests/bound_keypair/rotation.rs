//! A bound key is replaced when the token asks for it.

use super::{get, host_token, recovery, started, started_for_host, token, upsert};
use crate::harness::{Auth, Bound, Joiner, confirm, instance, key};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::Clock as _;

fn rotating(limit: u32, after: Timestamp) -> Value {
    let mut settings = recovery(limit, "standard");
    settings["rotate_after"] = json!(after.to_string());
    settings
}

/// The next thing it asks for, with another key to offer.
fn next(joiner: &Joiner) -> Joiner {
    let bound = joiner.bound.clone().map(|bound| Bound { next: Some(key()), ..bound });
    Joiner { bound, ..joiner.next() }
}

fn line(joiner: &Joiner) -> Value {
    json!(joiner.bound.as_ref().expect("a key").key.public().to_openssh())
}

async fn status(auth: &Auth) -> Value {
    get(auth, false).await["status"]["bound_keypair"].clone()
}

#[tokio::test]
async fn a_renewal_after_the_moment_replaces_the_key() {
    let (auth, mut bot) = started(recovery(9, "standard")).await;
    let first = bot.join_and_keep(auth.stranger()).await.expect("joins");
    confirm(auth.member(&first)).await.expect("confirms");
    let moment = auth.clock.now() + SignedDuration::from_hours(1);
    upsert(auth.admin(), &token(&rotating(9, moment))).await.expect("is changed");
    let mut early = next(&bot);
    let second = early.join_and_keep(auth.member(&first)).await.expect("renews");
    assert_eq!(line(&early), line(&bot), "it is not time yet");
    confirm(auth.member(&second)).await.expect("confirms");
    upsert(auth.admin(), &token(&rotating(9, auth.clock.now()))).await.expect("is changed");
    // The answer is lost, and the same is asked again.
    let mut late = next(&early);
    late.join(auth.member(&second)).await.expect("the answer is lost");
    let before = late.clone();
    let third = late.join_and_keep(auth.member(&second)).await.expect("renews");
    assert_ne!(line(&late), line(&before), "it has another key");
    let known = status(&auth).await;
    assert_eq!((&known["bound_public_key"], &known["next_public_key"]), (&line(&before), &line(&late)));
    confirm(auth.member(&third)).await.expect("confirms");
    let known = status(&auth).await;
    assert_eq!((&known["bound_public_key"], &known["previous_public_key"]), (&line(&late), &line(&before)));
    // Once is enough.
    let mut after = next(&late);
    let fourth = after.join_and_keep(auth.member(&third)).await.expect("renews");
    assert_eq!((line(&after), instance(&fourth)), (line(&late), instance(&first)));
}

#[tokio::test]
async fn the_old_key_is_good_until_the_new_one_was_shown_and_a_copy_after() {
    let (auth, mut node) = started_for_host("Node", recovery(9, "standard")).await;
    node.join_and_keep(auth.stranger()).await.expect("joins");
    auth.clock.advance(SignedDuration::from_mins(10));
    upsert(auth.admin(), &host_token("Node", &rotating(9, auth.clock.now()))).await.expect("is changed");
    // Everything of the answer is lost but what was there before: the same attempt is a retry.
    let mut lost = next(&node);
    lost.join(auth.stranger()).await.expect("the answer is lost");
    let old = node.clone();
    lost.join_and_keep(auth.stranger()).await.expect("comes back");
    assert_ne!(line(&lost), line(&old));
    // Nobody has confirmed; the new key shows itself.
    let mut shown = next(&lost);
    shown.join_and_keep(auth.stranger()).await.expect("comes back by the new key");
    assert_eq!(status(&auth).await["bound_public_key"], line(&lost));
    let copy = old.next().join(auth.stranger()).await.expect_err("somebody has the old key");
    assert_eq!(copy.code, "generation_mismatch");
    assert_eq!(next(&shown).join(auth.stranger()).await.expect_err("locked").code, "locked");
}

#[tokio::test]
async fn nobody_rotates_a_key_that_several_share_nor_to_one_that_was_not_proven() {
    let (auth, mut bot) = started(rotating(9, Timestamp::UNIX_EPOCH)).await;
    let mut shared = rotating(9, Timestamp::UNIX_EPOCH);
    shared["recovery"]["mode"] = json!("insecure");
    let refused = upsert(auth.admin(), &token(&shared)).await.expect_err("is refused");
    assert!(refused.reason.contains("rotate_after"), "{refused}");
    bot.join_and_keep(auth.stranger()).await.expect("joins");
    let channel = auth.stranger();
    let mut request = next(&bot).request(&channel).await.expect("asks");
    let bound = request.bound_keypair.as_mut().expect("a key");
    bound.next_public_key = key().spki_der();
    let answer = v1_join(channel, request).await.expect_err("is refused");
    assert_eq!(answer.code, "proof_invalid");
}

async fn v1_join(
    channel: tonic::transport::Channel,
    request: api::v1::JoinRequest,
) -> Result<(), api::status::Problem> {
    let answer = api::v1::join_service_client::JoinServiceClient::new(channel).join(request).await;
    answer.map(drop).map_err(|status| api::status::Problem::of(&status))
}
