//! What one member can cause, whatever it does: to the audit log, to the places of others, to stock servers.

use crate::harness::{Auth, Joiner, confirm, instance, key, output, outputs, renew};
use access::resource::Kind;
use api::status::Problem;
use api::v1;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::output_request::Kind as Asked;
use api::v1::resource_service_client::ResourceServiceClient;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tonic::Request;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

/// Calls a method of any name, and gives the code of the refusal.
async fn call(channel: &Channel, path: &str) -> String {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    let codec: ProstCodec<v1::PingRequest, v1::PingResponse> = ProstCodec::new();
    let path = path.parse().expect("a path");
    grpc.ready().await.expect("is ready");
    match grpc.unary(Request::new(v1::PingRequest {}), path, codec).await {
        Ok(_) => String::new(),
        Err(status) => Problem::of(&status).code,
    }
}

/// What was refused to this caller, in the log.
async fn told(auth: &Auth) -> Vec<Value> {
    let mut told = auth.events("access.denied").await;
    told.extend(auth.events("cert.denied").await);
    told
}

#[tokio::test]
async fn a_member_that_is_refused_all_the_time_does_not_fill_the_log_locked_or_not() {
    let auth = Auth::start().await;
    auth.clock.halt();
    let own = auth.joined_bot("ci").await;
    let output = output(auth.member(&own), &[], 0).await.expect("an output");
    let long = format!("/{}", "A".repeat(4_000));
    let channel = auth.member(&output);
    for n in 0..300 {
        if n == 100 {
            auth.lock("it", json!({"bot_instance_id": instance(&own)})).await;
        }
        // Its connection may just be ending.
        let code = call(&channel, &long).await;
        assert!(n >= 100 || code == "unknown_method", "{code}");
    }
    let events = told(&auth).await;
    assert_eq!(events.len(), 60, "all that it does is counted as one");
    assert!(events.iter().all(|event| event["method"] == "unknown"));
    assert!(events.iter().all(|event| event.to_string().len() < 1_024), "{:?}", events.first());
    // A word in a while, with how many there were.
    auth.clock.advance(SignedDuration::from_secs(21));
    call(&auth.member(&output), &long).await;
    let events = told(&auth).await;
    assert_eq!(events.len(), 61);
    let untold =
        events.iter().filter_map(|event| event["untold_failures"].as_u64()).next().expect("is counted");
    assert!((100..=240).contains(&untold), "{untold}");
    // It is not hidden what others are refused.
    let other = auth.joined_bot("other").await;
    assert_eq!(call(&auth.member(&other), "/x").await, "unknown_method");
    assert_eq!(told(&auth).await.len(), 62);
}

#[tokio::test]
async fn refusals_of_certificates_and_services_are_paced_alike() {
    let auth = Auth::start().await;
    auth.clock.halt();
    let own = auth.joined_bot("ci").await;
    let channel = auth.member(&own);
    for n in 0..50 {
        let role = format!("none-{n}");
        output(channel.clone(), &[&role], 0).await.expect_err("no such role");
        let request = v1::GetRequest { kind: "role".to_owned(), name: "ops".to_owned(), with_secrets: false };
        let mut client = ResourceServiceClient::new(channel.clone());
        client.get(request).await.expect_err("not allowed");
    }
    assert_eq!(told(&auth).await.len(), 60);
}

/// Of the copy of an identity each renewal is another proof, and the first one has locked it.
#[tokio::test]
async fn a_copy_that_goes_on_trying_does_not_fill_the_log() {
    let auth = Auth::start().await;
    auth.clock.halt();
    let old = auth.joined_bot("ci").await;
    let new = renew(auth.member(&old), &key()).await.expect("renews");
    confirm(auth.member(&new)).await.expect("confirms");
    let channel = auth.member(&old);
    for _ in 0..80 {
        assert_eq!(renew(channel.clone(), &key()).await.expect_err("is a copy").code, "generation_mismatch");
    }
    let told = auth.events("cert.generation_mismatch").await.len();
    assert_eq!(told, 1 + 60, "the one that locked it, and some of the others");
}

#[tokio::test]
async fn a_lock_ends_the_connection_and_what_lasts_on_it() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    let channel = auth.member(&own);
    let mut client = ClusterServiceClient::new(channel.clone());
    let watched = client.watch_trust(v1::TrustRequest { revision: 0 }).await.expect("follows");
    let mut watched = watched.into_inner();
    watched.message().await.expect("stands").expect("a bundle");
    auth.lock("it", json!({"bot_instance_id": instance(&own)})).await;
    let ended = loop {
        match watched.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it is told why"),
            Err(status) => break Problem::of(&status).code,
        }
    };
    assert_eq!(ended, "locked");
    assert_eq!(output(channel.clone(), &[], 0).await.expect_err("locked").code, "locked");
    // A lock may be lifted, and then it is as before.
    auth.delete(Kind::Lock, "it").await;
    output(auth.member(&own), &[], 0).await.expect("gets an output");
}

#[tokio::test]
async fn one_member_follows_the_trust_so_often_and_no_more() {
    let auth = Auth::start().await;
    let (own, other) = (auth.joined_bot("ci").await, auth.joined_bot("other").await);
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..4 {
        // Over all its connections.
        let mut client = ClusterServiceClient::new(auth.member(&own));
        for _ in 0..8 {
            match client.watch_trust(v1::TrustRequest { revision: 0 }).await {
                Ok(stream) => held.push(stream.into_inner()),
                Err(status) => {
                    assert_eq!(Problem::of(&status).code, "too_many_streams");
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((held.len(), refused), (16, 16));
    let mut client = ClusterServiceClient::new(auth.member(&other));
    client.watch_trust(v1::TrustRequest { revision: 0 }).await.expect("it is nobody else's");
}

/// A stolen identity gets so many certificates and no more; it still shows itself at the next renewal.
#[tokio::test]
async fn an_instance_has_so_many_certificates_in_an_hour() {
    let auth = Auth::start().await;
    auth.clock.halt();
    let own = auth.joined_bot("ci").await;
    let channel = auth.member(&own);
    let key = key();
    let certificate =
        Asked::Certificate(v1::CertificateRequest { public_key: key.spki_der(), ..Default::default() });
    let svid = Asked::JwtSvid(v1::JwtSvidRequest { path: "/svc".to_owned(), ..Default::default() });
    let ask = async |certificates: usize| {
        let mut wanted = vec![certificate.clone(); certificates];
        wanted.push(svid.clone());
        let mut answers = outputs(channel.clone(), wanted).await.expect("is answered").0;
        let svid = answers.pop().expect("one more").expect_err("no role allows it");
        assert_eq!(svid.code, "spiffe_not_allowed", "it is counted apart");
        answers.into_iter().map(|answer| answer.map(drop)).collect::<Result<Vec<()>, Problem>>()
    };
    // Those of this hour but for the last ones were had already.
    let who = auth::pacing::Spender::Member(own.identity().subject.member());
    auth.core().budgets.outputs.spend(&who, 1_180, auth.core().now()).expect("there is enough");
    ask(10).await.expect("fits");
    let refused = ask(32).await.expect_err("does not fit");
    assert_eq!(refused.code, "too_many_certificates");
    assert!(refused.reason.contains("bot-ci") && refused.hint.contains("lock it"), "{refused}");
    assert_eq!(refused.again_in.map(|pause| pause.as_secs()), Some(66), "22 at 3 seconds each");
    let denied = auth.events("cert.denied").await;
    assert_eq!(denied.len(), 1);
    assert_eq!(
        (&denied[0]["reason"], &denied[0]["user"]),
        (&json!("too_many_certificates"), &json!("bot-ci"))
    );
    // Its own renewals are counted apart, and so are other instances.
    let renewed = renew(channel.clone(), &crate::harness::key()).await.expect("renews");
    confirm(auth.member(&renewed)).await.expect("confirms");
    let again = auth.join(&Joiner::bot(&auth.bot_token("ci").await)).await.expect("joins");
    output(auth.member(&again), &[], 0).await.expect("another copy has its own");
    assert_eq!(
        renew(channel.clone(), &crate::harness::key()).await.expect_err("a copy").code,
        "generation_mismatch"
    );
}
