//! Joining with a key that is bound to a token, over real TLS: the first time, after any time away, and instead of
//! renewing; and what thieves of it meet.

#[path = "../harness/mod.rs"]
mod harness;
mod hosts;
mod rotation;

use access::resource::token::masked;
use api::status::{Class, Problem};
use api::v1;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use harness::{Auth, Joiner, confirm, generation, instance, key, output, renew};
use jiff::SignedDuration;
use serde_json::{Value, json};
use store::Clock as _;
use tonic::transport::Channel;

const TOKEN: &str = "ci-runner";

async fn upsert(channel: Channel, token: &Value) -> Result<Value, Problem> {
    let request = v1::UpsertRequest { json: token.to_string() };
    let answer = ResourceServiceClient::new(channel).upsert(request).await;
    let json = answer.map_err(|status| Problem::of(&status))?.into_inner().json;
    Ok(serde_json::from_str(&json).expect("JSON"))
}

async fn get(auth: &Auth, with_secrets: bool) -> Value {
    let request = v1::GetRequest { kind: "token".to_owned(), name: TOKEN.to_owned(), with_secrets };
    let answer = ResourceServiceClient::new(auth.admin()).get(request).await.expect("is shown");
    serde_json::from_str(&answer.into_inner().json).expect("JSON")
}

fn token(bound: &Value) -> Value {
    json!({"kind": "token", "version": "v2", "metadata": {"name": TOKEN}, "spec":
        {"roles": ["Bot"], "bot_name": "ci", "join_method": "bound_keypair", "bound_keypair": bound}})
}

fn recovery(limit: u32, mode: &str) -> Value {
    json!({"recovery": {"limit": limit, "mode": mode}})
}

fn host_token(role: &str, bound: &Value) -> Value {
    json!({"kind": "token", "version": "v2", "metadata": {"name": TOKEN}, "spec":
        {"roles": [role], "join_method": "bound_keypair", "bound_keypair": bound}})
}

/// A token for a host in this role with these settings, and somebody who knows its secret.
async fn started_for_host(role: &'static str, bound: Value) -> (Auth, Joiner) {
    let auth = Auth::start().await;
    let made = upsert(auth.admin(), &host_token(role, &bound)).await.expect("is made");
    let secret = made["spec"]["bound_keypair"]["onboarding"]["registration_secret"].as_str();
    let joiner = Joiner::bound_host(TOKEN, secret.expect("auth draws a secret"), role, "web-1");
    (auth, joiner)
}

/// A bot `ci`, a token with these settings, and somebody who knows its secret.
async fn started(bound: Value) -> (Auth, Joiner) {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let made = upsert(auth.admin(), &token(&bound)).await.expect("is made");
    let secret = made["spec"]["bound_keypair"]["onboarding"]["registration_secret"].as_str();
    let joiner = Joiner::bound(TOKEN, secret.expect("auth draws a secret"));
    (auth, joiner)
}

#[tokio::test]
async fn the_holder_of_the_key_comes_back_after_any_time_away() {
    let (auth, mut bot) = started(recovery(2, "standard")).await;
    let first = bot.join_and_keep(auth.stranger()).await.expect("joins");
    let identity = first.identity().user().expect("a user");
    assert!(!identity.renewable, "it proves itself each time");
    let out = output(auth.member(&first), &[], 24 * 3600).await.expect("gets an output");
    assert!(out.expires() <= first.expires(), "no output outlives the identity it came from");
    auth.clock.advance(SignedDuration::from_hours(24 * 90));
    let mut later = bot.next();
    let second = later.join_and_keep(auth.stranger()).await.expect("comes back");
    assert_ne!(instance(&second), instance(&first));
    assert_eq!(auth.instances("ci").await.len(), 1, "there is one holder");
    let status = get(&auth, false).await["status"]["bound_keypair"].clone();
    assert_eq!(
        (&status["recovery_count"], &status["bound_bot_instance_id"]),
        (&json!(2), &json!(instance(&second)))
    );
    assert_eq!(status["bound_public_key"], json!(bot.bound.expect("a key").key.public().to_openssh()));
    assert!(status.get("join_state").is_none(), "{status}");
    let refused = later.next().join(auth.stranger()).await.expect_err("came back often enough");
    assert_eq!(refused.code, "recovery_limit_reached");
    // The administrator lets it come back once more; what is known of the holder stays.
    upsert(auth.admin(), &token(&recovery(3, "standard"))).await.expect("is changed");
    later.next().join(auth.stranger()).await.expect("comes back");
    let joins = auth.events("bot.join").await;
    let mut joined = joins.iter().filter(|event| event["success"] == true);
    assert!(joined.all(|event| event["method"] == "bound_keypair" && event["token_name"] == TOKEN));
    let steps: Vec<_> = joins.iter().filter_map(|event| event["attributes"]["step"].as_str()).collect();
    assert_eq!(steps, ["register", "recover", "recover"]);
}

#[tokio::test]
async fn it_renews_by_joining_again_and_stays_the_same_instance() {
    let (auth, mut bot) = started(recovery(1, "standard")).await;
    let first = bot.join_and_keep(auth.stranger()).await.expect("joins");
    let refused = renew(auth.member(&first), &key()).await.expect_err("is not renewable");
    assert_eq!(refused.code, "not_renewable");
    let mut next = bot.next();
    let second = next.join_and_keep(auth.member(&first)).await.expect("renews");
    assert_eq!((instance(&second), generation(&second)), (instance(&first), Some(2)));
    let again = next.join_and_keep(auth.member(&first)).await.expect("a lost answer is no theft");
    assert_eq!(generation(&again), Some(2));
    output(auth.member(&first), &[], 0).await.expect("the one before is good until then");
    confirm(auth.member(&again)).await.expect("confirms");
    let stale = output(auth.member(&first), &[], 0).await.expect_err("is over");
    assert_eq!(stale.code, "generation_stale");
    assert_eq!(get(&auth, false).await["status"]["bound_keypair"]["recovery_count"], json!(1));
    let seen = auth.instances("ci").await[0].resource.status.latest_authentications.clone();
    let seen: Vec<_> =
        seen.iter().map(|seen| (seen.join_method.as_str(), seen.join_token.as_str())).collect();
    assert_eq!(seen, [("bound_keypair", TOKEN); 2]);
}

#[tokio::test]
async fn a_lost_answer_costs_nothing_however_long_it_was_lost() {
    let (auth, mut bot) = started(recovery(1, "standard")).await;
    let lost = bot.join(auth.stranger()).await.expect("the answer is lost");
    auth.clock.advance(SignedDuration::from_hours(24 * 90));
    let first = bot.join_and_keep(auth.stranger()).await.expect("the same attempt is a retry");
    assert_eq!(instance(&first), instance(&lost));
    assert_eq!(get(&auth, false).await["status"]["bound_keypair"]["recovery_count"], json!(1));
    // Nothing that a restart forgets.
    let (directory, clock) = auth.stop().await;
    let auth = Auth::start_in(directory, clock, |_| {}).await.expect("starts");
    assert_eq!(get(&auth, false).await["status"]["bound_keypair"]["recovery_count"], json!(1));
}

#[tokio::test]
async fn who_repeats_an_attempt_after_its_answer_was_confirmed_is_not_it() {
    let (auth, mut bot) = started(recovery(1, "standard")).await;
    let thief = bot.clone();
    let first = bot.join_and_keep(auth.stranger()).await.expect("joins");
    thief.join(auth.stranger()).await.expect("until then it is a retry");
    confirm(auth.member(&first)).await.expect("confirms");
    let refused = thief.join(auth.stranger()).await.expect_err("is no retry any more");
    assert_eq!(refused.code, "join_state_missing");
}

#[tokio::test]
async fn a_removed_instance_does_not_come_back_by_its_attempt() {
    let (auth, bot) = started(recovery(1, "standard")).await;
    let first = bot.join(auth.stranger()).await.expect("joins");
    auth.delete(access::resource::Kind::BotInstance, &format!("ci/{}", instance(&first))).await;
    bot.join(auth.stranger()).await.expect_err("was removed");
    assert_eq!(auth.instances("ci").await.len(), 0);
}

#[tokio::test]
async fn who_repeats_an_attempt_after_its_instance_renewed_is_not_it() {
    let (auth, mut bot) = started(recovery(9, "standard")).await;
    let first = bot.join_and_keep(auth.stranger()).await.expect("joins");
    let mut next = bot.next();
    next.join_and_keep(auth.member(&first)).await.expect("renews");
    let thief =
        Joiner { bound: bot.bound.clone().map(|bound| harness::Bound { state: vec![], ..bound }), ..bot };
    assert_eq!(thief.join(auth.stranger()).await.expect_err("is refused").code, "join_state_missing");
}

#[tokio::test]
async fn a_copied_key_is_noticed_when_the_other_one_comes() {
    let (auth, mut bot) = started(recovery(9, "standard")).await;
    bot.join_and_keep(auth.stranger()).await.expect("joins");
    let mut thief = bot.next();
    let stolen = thief.join_and_keep(auth.stranger()).await.expect("has all that the holder had");
    let noticed = bot.next().join(auth.stranger()).await.expect_err("the holder is second");
    assert_eq!(noticed.code, "generation_mismatch");
    // Both are out, however they come, until somebody has looked.
    assert_eq!(thief.next().join(auth.stranger()).await.expect_err("locked").code, "locked");
    assert_eq!(bot.next().join(auth.stranger()).await.expect_err("locked").code, "generation_mismatch");
    assert_eq!(output(auth.member(&stolen), &[], 0).await.expect_err("locked").code, "locked");
    let lock = auth.core().catalog.view().locks.values().next().expect("a lock").value.clone();
    let target = (lock.spec.target.join_token.clone(), lock.spec.target.bot_instance_id.clone());
    assert_eq!(target, (Some(TOKEN.to_owned()), Some(instance(&stolen))));
    assert_eq!(auth.events("cert.generation_mismatch").await.len(), 2);
}

#[tokio::test]
async fn a_copied_identity_is_noticed_at_a_renewal() {
    let (auth, mut bot) = started(recovery(9, "standard")).await;
    let own = bot.join_and_keep(auth.stranger()).await.expect("joins");
    let (thief, victim) = (bot.next(), bot.next());
    thief.join(auth.member(&own)).await.expect("has all that the holder had");
    let noticed = victim.join(auth.member(&own)).await.expect_err("the holder is second");
    assert_eq!(noticed.code, "generation_mismatch");
    for both in [thief.next(), victim.next()] {
        assert_eq!(both.join(auth.stranger()).await.expect_err("locked").code, "locked");
    }
}

async fn explained(auth: &Auth, refused: &Problem) -> v1::ExplainJoinResponse {
    let (_, attempt) = refused.hint.rsplit_once(' ').expect("names the attempt");
    let request = v1::ExplainJoinRequest { attempt: attempt.to_owned() };
    ClusterServiceClient::new(auth.admin()).explain_join(request).await.expect("is explained").into_inner()
}

#[tokio::test]
async fn a_secret_binds_one_key_and_strangers_learn_nothing() {
    let (auth, mut bot) = started(recovery(1, "relaxed")).await;
    let stranger = Joiner::bound(TOKEN, "0123456789abcdef0123456789abcdef");
    let mut heard = vec![stranger.join(auth.stranger()).await.expect_err("a wrong secret")];
    heard.push(
        stranger.clone().with_token("no-such-token").join(auth.stranger()).await.expect_err("no token"),
    );
    let other = auth.bot_token("ci").await;
    heard.push(stranger.clone().with_token(&other).join(auth.stranger()).await.expect_err("another method"));
    bot.join_and_keep(auth.stranger()).await.expect("joins");
    let second = Joiner::bound(TOKEN, &bot.bound.as_ref().expect("a key").secret);
    heard.push(second.join(auth.stranger()).await.expect_err("the secret is used"));
    for heard in &heard {
        assert_eq!((heard.class, heard.code.as_str()), (Class::Denied, "join_refused"), "{heard}");
        let (told, _) = heard.hint.rsplit_once(' ').expect("names the attempt");
        assert_eq!(told, "an administrator sees why with: tctl join explain");
    }
    let told = explained(&auth, &heard[3]).await;
    let keys = [&bot, &second].map(|joiner| joiner.bound.as_ref().expect("a key").key.public().fingerprint());
    assert!(told.reason.starts_with("another key is bound to the token: "), "{told:?}");
    assert!(
        keys.iter().all(|key| told.reason.contains(key)) && told.reason.contains("bound at 2"),
        "{told:?}"
    );
    assert_eq!((told.checks[0].found.as_str(), told.token_name.as_str()), (keys[1].as_str(), TOKEN));
    assert!(told.checks[0].wanted.starts_with(&keys[0]), "{told:?}");
    let told = explained(&auth, &heard[2]).await;
    assert_eq!(told.token_name, masked(&other), "the name of that one is a secret");
    let named = Joiner::bot(TOKEN).join(auth.stranger()).await.expect_err("the name alone is nothing");
    assert_eq!(named.code, "token_invalid");
    assert!(auth.core().catalog.view().locks.is_empty(), "strangers lock nobody");
    bot.next().join(auth.stranger()).await.expect("the holder comes back");
}

#[tokio::test]
async fn a_key_may_be_given_beforehand_and_has_its_time() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let mut bot = Joiner::bound(TOKEN, "");
    let line = bot.bound.as_ref().expect("a key").key.public().to_openssh();
    let end = auth.clock.now() + SignedDuration::from_hours(1);
    let given = |key: &str| {
        token(&json!({"onboarding": {"initial_public_key": key, "must_register_before": end.to_string()}}))
    };
    let refused = upsert(auth.admin(), &given("ssh-ed25519 AAAA")).await.expect_err("no such key");
    assert!(refused.reason.contains("initial_public_key"), "{refused}");
    let made = upsert(auth.admin(), &given(&line)).await.expect("is made");
    assert!(made.pointer("/spec/bound_keypair/onboarding/registration_secret").is_none(), "none is needed");
    let other = Joiner::bound(TOKEN, "").join(auth.stranger()).await.expect_err("another key");
    assert_eq!(other.code, "join_refused");
    auth.clock.advance(SignedDuration::from_hours(2));
    assert_eq!(bot.join(auth.stranger()).await.expect_err("too late").code, "join_refused");
    auth.clock.advance(-SignedDuration::from_hours(2));
    bot.join_and_keep(auth.stranger()).await.expect("joins");
    assert_eq!(auth.events("bot.join").await.iter().filter(|event| event["success"] == true).count(), 1);
}

#[tokio::test]
async fn what_an_administrator_writes_is_completed_and_what_auth_knows_stays() {
    let (auth, mut bot) = started(Value::Null).await;
    let masked = get(&auth, false).await;
    let shown = &masked["spec"]["bound_keypair"]["onboarding"]["registration_secret"];
    assert_eq!((shown, &masked["metadata"]["name"]), (&json!("********"), &json!(TOKEN)));
    let secret = bot.bound.as_ref().expect("a key").secret.clone();
    let whole = get(&auth, true).await;
    assert_eq!(whole["spec"]["bound_keypair"]["onboarding"]["registration_secret"], json!(secret));
    upsert(auth.admin(), &token(&Value::Null)).await.expect("the same file again");
    assert_eq!(get(&auth, true).await["spec"], whole["spec"], "the secret stays");
    bot.join_and_keep(auth.stranger()).await.expect("joins");
    let mut forged = token(&recovery(5, "standard"));
    forged["status"] = json!({"bound_keypair": {"recovery_count": 0, "bound_public_key": "x"}});
    upsert(auth.admin(), &forged).await.expect("is written");
    let status = get(&auth, true).await["status"]["bound_keypair"].clone();
    assert_eq!(status["recovery_count"], json!(1), "nobody writes what auth knows");
    auth.lock("l", json!({"join_token": TOKEN})).await;
    assert_eq!(bot.next().join(auth.stranger()).await.expect_err("locked").code, "locked");
}

/// The certificate of another instance of the bot is no certificate of the holder.
#[tokio::test]
async fn an_instance_from_elsewhere_does_not_renew_by_the_key() {
    let (auth, mut bot) = started(recovery(2, "standard")).await;
    let elsewhere = auth.joined_bot("ci").await;
    let first = bot.join_and_keep(auth.member(&elsewhere)).await.expect("binds its key");
    assert_ne!(instance(&first), instance(&elsewhere));
    let second = bot.next().join(auth.member(&elsewhere)).await.expect("comes back");
    assert!(![instance(&first), instance(&elsewhere)].contains(&instance(&second)));
    assert_eq!(get(&auth, false).await["status"]["bound_keypair"]["recovery_count"], json!(2));
}
