//! Machines that join by their TPM, with real TPMs of software (swtpm) and the authority of their maker.

#[path = "../harness/mod.rs"]
mod harness;

use api::status::{Class, Problem};
use api::v1;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::join_service_client::JoinServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use harness::{Auth, Joiner, generation, instance, renew};
use identity::Credentials;
use jiff::SignedDuration;
use join::tpm::conversation::{Conversation, Keys};
use join::tpm::{Algorithm, Credential};
use serde_json::{Value, json};
use testkit::{SoftTpm, TpmMaker};
use tonic::transport::Channel;
use transport::tpm::Address;

fn talk(tpm: &SoftTpm, algorithm: Algorithm) -> (Conversation, Keys) {
    let device = Address::Unix(tpm.socket()).open().expect("it listens");
    Conversation::begin(device, algorithm).expect("has its keys")
}

fn shown(keys: &Keys) -> v1::TpmKeys {
    v1::TpmKeys {
        endorsement_key: keys.endorsement.spki_der().to_vec(),
        endorsement_certificate: keys.certificate.clone(),
        attestation_key: keys.attestation.clone(),
    }
}

fn asked(request: &v1::JoinRequest, keys: v1::TpmKeys) -> v1::TpmChallengeRequest {
    v1::TpmChallengeRequest {
        token: request.token.clone(),
        role: request.role.clone(),
        public_key: request.public_key.clone(),
        attempt: request.attempt.clone(),
        challenge: request.challenge.clone(),
        keys: Some(keys),
    }
}

async fn credential(channel: &Channel, request: v1::TpmChallengeRequest) -> Result<Credential, Problem> {
    let answer = JoinServiceClient::new(channel.clone()).tpm_challenge(request).await;
    let answer = answer.map_err(|status| Problem::of(&status))?.into_inner();
    Ok(Credential { object: answer.credential, seed: answer.seed })
}

/// What a joiner sends that has this TPM.
async fn request(joiner: &Joiner, tpm: &SoftTpm, algorithm: Algorithm, channel: &Channel) -> v1::JoinRequest {
    let mut request = joiner.request(channel).await.expect("a challenge");
    let (mut talk, keys) = talk(tpm, algorithm);
    let credential = credential(channel, asked(&request, shown(&keys))).await.expect("a credential");
    let secret = talk.activate(&credential, &[7; 32]).expect("opens it");
    request.tpm = Some(v1::Tpm { keys: Some(shown(&keys)), secret });
    request
}

async fn sent(joiner: &Joiner, channel: Channel, request: v1::JoinRequest) -> Result<Credentials, Problem> {
    let answer = JoinServiceClient::new(channel).join(request).await;
    let message = answer.map_err(|status| Problem::of(&status))?.into_inner().credentials;
    let made = api::convert::host_credentials(joiner.key.clone(), None, message.expect("credentials"));
    Ok(made.expect("they fit"))
}

async fn joins(joiner: &Joiner, tpm: &SoftTpm, channel: Channel) -> Result<Credentials, Problem> {
    let request = request(joiner, tpm, Algorithm::Rsa2048, &channel).await;
    sent(joiner, channel, request).await
}

async fn write(auth: &Auth, tpm: &Value) -> Result<(), Problem> {
    let token = json!({"kind": "token", "version": "v2", "metadata": {"name": "rack"}, "spec":
        {"roles": ["Bot"], "bot_name": "ci", "join_method": "tpm", "tpm": tpm}});
    let request = v1::UpsertRequest { json: token.to_string() };
    let answer = ResourceServiceClient::new(auth.admin()).upsert(request).await;
    answer.map(drop).map_err(|status| Problem::of(&status))
}

async fn cluster(tpm: &Value) -> Auth {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    write(&auth, tpm).await.expect("is made");
    auth
}

async fn explained(auth: &Auth, problem: &Problem) -> v1::ExplainJoinResponse {
    let (_, attempt) = problem.hint.rsplit_once(' ').expect("the hint ends with the attempt");
    let request = v1::ExplainJoinRequest { attempt: attempt.to_owned() };
    ClusterServiceClient::new(auth.admin()).explain_join(request).await.expect("is explained").into_inner()
}

fn hash(tpm: &SoftTpm, algorithm: Algorithm) -> String {
    talk(tpm, algorithm).1.endorsement.hash()
}

#[tokio::test]
async fn the_machine_joins_renews_and_no_other_machine_does() {
    let Some(maker) = TpmMaker::new() else { return };
    let (own, other) = (maker.make(), maker.make());
    let hash = hash(&own, Algorithm::Rsa2048);
    let auth = cluster(&json!({"allow": [{"description": "rack 7", "ek_public_hash": hash}]})).await;
    let joiner = Joiner::bot("rack");
    let first = joins(&joiner, &own, auth.stranger()).await.expect("joins");
    let again = joins(&joiner, &own, auth.stranger()).await.expect("a lost answer is a retry");
    assert_eq!(instance(&first), instance(&again));
    assert!(!again.identity().user().expect("a user").renewable, "it shows its TPM each time");
    let refused = renew(auth.member(&again), &harness::key()).await.expect_err("is not renewable");
    assert_eq!(refused.code, "not_renewable");
    let second = joins(&joiner.next(), &own, auth.member(&again)).await.expect("renews");
    assert_eq!((instance(&second), generation(&second)), (instance(&first), Some(2)));
    let wrong = joins(&Joiner::bot("rack"), &other, auth.stranger()).await.expect_err("another machine");
    assert_eq!((wrong.class, wrong.code.as_str()), (Class::Denied, "join_refused"));
    let told = explained(&auth, &wrong).await;
    assert_eq!(told.method, "tpm");
    let check = told.checks.iter().find(|check| check.field == "ek_public_hash").expect("was looked at");
    assert!(!check.fits && check.wanted.contains(&hash), "{check:?}");
    let join = auth.events("bot.join").await.into_iter().find(|event| event["success"] == true);
    let join = join.expect("is told");
    assert_eq!((&join["method"], &join["attributes"]["ek_public_hash"]), (&json!("tpm"), &json!(hash)));
    // A token of another method is none for it, and this one is none for who shows no TPM.
    let token = auth.bot_token("ci").await;
    let foreign = joins(&Joiner::bot(&token), &own, auth.stranger()).await.expect_err("another method");
    assert_eq!(foreign.code, "join_refused");
    let bare = Joiner::bot("rack").join(auth.stranger()).await.expect_err("shows nothing");
    assert_eq!(bare.code, "token_invalid");
}

#[tokio::test]
async fn an_ecc_key_opens_its_credential_as_well() {
    let Some(maker) = TpmMaker::new() else { return };
    let tpm = maker.make();
    let hash = hash(&tpm, Algorithm::EccP256);
    let auth = cluster(&json!({"allow": [{"ek_public_hash": hash}]})).await;
    let (joiner, channel) = (Joiner::bot("rack"), auth.stranger());
    let request = request(&joiner, &tpm, Algorithm::EccP256, &channel).await;
    sent(&joiner, channel, request).await.expect("joins");
    let rsa = joins(&Joiner::bot("rack"), &tpm, auth.stranger()).await.expect_err("the other key of the TPM");
    assert_eq!(rsa.code, "join_refused");
}

#[tokio::test]
async fn a_certificate_counts_by_who_issued_it() {
    let (Some(maker), Some(foreign)) = (TpmMaker::new(), TpmMaker::new()) else { return };
    let (own, other) = (maker.make(), foreign.make());
    let keys = |tpm: &SoftTpm| talk(tpm, Algorithm::Rsa2048).1;
    let serial = keys(&own).serial().expect("has a certificate");
    let by_serial = |authority: String| json!({"ekcert_allowed_cas": [authority], "allow": [{"ek_certificate_serial": serial}]});
    let auth = cluster(&by_serial(maker.authority())).await;
    joins(&Joiner::bot("rack"), &own, auth.stranger()).await.expect("joins");
    // The other maker numbers its certificates as well.
    assert_eq!(keys(&other).serial(), Some(serial.clone()));
    let refused = joins(&Joiner::bot("rack"), &other, auth.stranger()).await.expect_err("a foreign maker");
    assert_eq!(refused.code, "join_refused");
    let told = explained(&auth, &refused).await;
    assert!(told.reason.contains("issued by none of ekcert_allowed_cas"), "{}", told.reason);
    // With the certificate of an allowed TPM, which is about another key, it does not get further.
    let channel = auth.stranger();
    let joiner = Joiner::bot("rack");
    let mut request = joiner.request(&channel).await.expect("a challenge");
    let (mut conversation, own_keys) = talk(&other, Algorithm::Rsa2048);
    let borrowed = v1::TpmKeys { endorsement_certificate: keys(&own).certificate, ..shown(&own_keys) };
    let credential = credential(&channel, asked(&request, borrowed.clone())).await.expect("a credential");
    let secret = conversation.activate(&credential, &[7; 32]).expect("opens it");
    // One joiner at a time: there is no resource manager.
    drop(conversation);
    request.tpm = Some(v1::Tpm { keys: Some(borrowed), secret });
    let refused = sent(&joiner, channel, request).await.expect_err("is about another key");
    assert!(explained(&auth, &refused).await.reason.contains("about another key"));
    // The hash alone is not enough either where a certificate is asked for.
    let hash = hash(&other, Algorithm::Rsa2048);
    write(&auth, &json!({"ekcert_allowed_cas": [maker.authority()], "allow": [{"ek_public_hash": hash}]}))
        .await
        .expect("is changed");
    joins(&Joiner::bot("rack"), &other, auth.stranger()).await.expect_err("a foreign maker");
    write(&auth, &by_serial(foreign.authority())).await.expect("is changed");
    joins(&Joiner::bot("rack"), &other, auth.stranger()).await.expect("of this maker");
    // A serial number that nobody verifies is refused when it is written.
    let unverified = write(&auth, &json!({"allow": [{"ek_certificate_serial": serial}]})).await;
    assert!(unverified.expect_err("is refused").reason.contains("ekcert_allowed_cas"));
    let no_authority = json!({"ekcert_allowed_cas": ["not PEM"], "allow": [{"ek_public_hash": hash}]});
    assert!(write(&auth, &no_authority).await.expect_err("is refused").reason.contains("in PEM"));
}

#[tokio::test]
async fn what_one_attempt_was_given_is_nothing_to_another() {
    let Some(maker) = TpmMaker::new() else { return };
    let tpm = maker.make();
    let auth = cluster(&json!({"allow": [{"ek_public_hash": hash(&tpm, Algorithm::Rsa2048)}]})).await;
    let (joiner, channel) = (Joiner::bot("rack"), auth.stranger());
    let captured = request(&joiner, &tpm, Algorithm::Rsa2048, &channel).await;
    // Another key, another attempt: each with a good signature of its own, and the captured secret.
    for thief in [joiner.next(), Joiner { attempt: harness::random_attempt(), ..joiner.clone() }] {
        let mut forged = thief.request(&channel).await.expect("a challenge");
        forged.tpm.clone_from(&captured.tpm);
        let refused = sent(&thief, channel.clone(), forged).await.expect_err("is another attempt");
        assert_eq!(refused.code, "proof_invalid");
    }
    // The same attempt, for another challenge.
    let mut later = joiner.request(&channel).await.expect("a challenge");
    later.tpm.clone_from(&captured.tpm);
    let refused = sent(&joiner, channel.clone(), later).await.expect_err("is another challenge");
    assert_eq!(refused.code, "proof_invalid");
    for change in [
        |tpm: &mut v1::Tpm| tpm.secret.clear(),
        |tpm: &mut v1::Tpm| tpm.secret[31] ^= 1,
        |tpm: &mut v1::Tpm| tpm.keys = None,
        |tpm: &mut v1::Tpm| tpm.keys.as_mut().expect("keys").endorsement_certificate.clear(),
    ] {
        let mut changed = captured.clone();
        change(changed.tpm.as_mut().expect("was captured"));
        let refused = sent(&joiner, channel.clone(), changed).await.expect_err("was changed");
        assert_eq!(refused.code, "proof_invalid");
    }
    // Repeated whole it is a retry, within the minute of its challenge; its certificates are its key's.
    sent(&joiner, channel.clone(), captured.clone()).await.expect("joins");
    auth.clock.advance(SignedDuration::from_mins(2));
    let refused = sent(&joiner, channel, captured).await.expect_err("is old");
    assert_eq!(refused.code, "challenge_expired");
    assert_eq!(auth.instances("ci").await.len(), 1);
}

#[tokio::test]
async fn no_other_tpm_opens_a_credential_and_no_loose_key_is_given_one() {
    let Some(maker) = TpmMaker::new() else { return };
    let (own, other) = (maker.make(), maker.make());
    let auth = cluster(&json!({"allow": [{"ek_public_hash": hash(&own, Algorithm::Rsa2048)}]})).await;
    let channel = auth.stranger();
    let request = Joiner::bot("rack").request(&channel).await.expect("a challenge");
    let (_, keys) = talk(&own, Algorithm::Rsa2048);
    let made = credential(&channel, asked(&request, shown(&keys))).await.expect("a credential");
    talk(&other, Algorithm::Rsa2048).0.activate(&made, &[7; 32]).expect_err("is not for it");
    // Nor the same TPM, where another attestation key was named.
    let mut other_key = shown(&keys);
    *other_key.attestation_key.last_mut().expect("not empty") ^= 1;
    let made_for_it = credential(&channel, asked(&request, other_key)).await.expect("a credential");
    talk(&own, Algorithm::Rsa2048).0.activate(&made_for_it, &[7; 32]).expect_err("does not hold it");
    talk(&own, Algorithm::Rsa2048).0.activate(&made, &[7; 32]).expect("is for it");
    // Neither restricted nor fixed: a key that could have been made anywhere.
    for bit in [1, 5, 16, 18] {
        let mut loose = shown(&keys);
        let attributes = u32::from_be_bytes(loose.attestation_key[4..8].try_into().expect("four bytes"));
        loose.attestation_key[4..8].copy_from_slice(&(attributes ^ (1 << bit)).to_be_bytes());
        let refused = credential(&channel, asked(&request, loose)).await.expect_err("is refused");
        assert_eq!(refused.class, Class::Invalid, "{refused}");
    }
    let stale = v1::TpmChallengeRequest { challenge: vec![], ..asked(&request, shown(&keys)) };
    assert_eq!(credential(&channel, stale).await.expect_err("is refused").code, "challenge_foreign");
}

#[tokio::test]
async fn a_node_joins_by_the_tpm_of_its_machine() {
    let Some(maker) = TpmMaker::new() else { return };
    let (own, other) = (maker.make(), maker.make());
    let auth = Auth::start().await;
    let token = json!({"kind": "token", "version": "v2", "metadata": {"name": "rack"}, "spec":
        {"roles": ["Node", "Proxy"], "join_method": "tpm",
         "tpm": {"allow": [{"ek_public_hash": hash(&own, Algorithm::Rsa2048)}]}}});
    let request = v1::UpsertRequest { json: token.to_string() };
    ResourceServiceClient::new(auth.admin()).upsert(request).await.expect("is made");
    let node = Joiner::host("rack", "Node", "web-1");
    joins(&node, &other, auth.stranger()).await.expect_err("another machine");
    joins(&node, &own, auth.stranger()).await.expect("joins");
    let event = auth.events("instance.join").await.into_iter().find(|event| event["token_name"] == "rack");
    assert_eq!(event.expect("is told")["method"], "tpm");
}
