//! What strangers, thieves and impatient joiners try.

use super::*;
use api::v1::bot_service_client::BotServiceClient;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use auth::turnstile::Turnstile;
use std::time::{Duration, Instant};

/// Many with one token: one wins, and its token is gone; nobody else does, and nothing is left of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j1_one_token_makes_one_instance() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    for _ in 0..4 {
        let token = auth.bot_token("ci").await;
        let racers = (0..12).map(|_| {
            let (channel, joiner) = (auth.stranger(), Joiner::bot(&token));
            tokio::spawn(async move { joiner.join(channel).await.map_err(|problem| problem.code) })
        });
        let results = futures_util::future::join_all(racers.collect::<Vec<_>>()).await;
        let results: Vec<_> = results.into_iter().map(|result| result.expect("ends")).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let codes: BTreeSet<_> = results.into_iter().filter_map(Result::err).collect();
        assert_eq!(codes, ["token_invalid".to_owned()].into());
    }
    assert_eq!(auth.instances("ci").await.len(), 4);
}

/// The same attempt at once and again: one instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j1_retries_of_one_attempt_are_one_use() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let joiner = Joiner::bot(&auth.bot_token("ci").await);
    let racers = (0..8).map(|_| {
        let (channel, joiner) = (auth.stranger(), joiner.clone());
        tokio::spawn(async move { joiner.join(channel).await })
    });
    let results = futures_util::future::join_all(racers.collect::<Vec<_>>()).await;
    let ids: BTreeSet<_> =
        results.into_iter().map(|result| instance(&result.expect("ends").expect("joins"))).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(auth.instances("ci").await.len(), 1);
}

/// An instance that was removed stays so, whoever still has its attempt; also under a new bot of that name.
#[tokio::test]
async fn j1_a_removed_instance_does_not_come_back() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let joiner = Joiner::bot(&auth.bot_token("ci").await);
    let thief = auth.join(&joiner).await.expect("joins");
    let key = layout::instance(&"ci".parse().expect("a name"), instance(&thief).parse().expect("an id"));
    auth.core().catalog.commit(Txn::new().delete(key)).await.expect("commits").expect("no conflict");
    assert_eq!(auth.join(&joiner).await.expect_err("removed").code, "token_invalid");
    assert!(auth.instances("ci").await.is_empty());
    let refused = output(auth.member(&thief), &[], 0).await.expect_err("removed");
    assert_eq!(refused.code, "instance_unknown");
}

#[tokio::test]
async fn j2_nothing_moves_without_possession() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let token = auth.bot_token("ci").await;
    let joiner = Joiner::bot(&token);
    let good = joiner.request(&auth.stranger()).await.expect("a request");
    let other = key();
    let bad = [
        v1::JoinRequest { signature: vec![], ..good.clone() },
        v1::JoinRequest { public_key: other.spki_der(), ..good.clone() },
        v1::JoinRequest { attempt: vec![0; 32], ..good.clone() },
        v1::JoinRequest { challenge: vec![0; 57], ..good.clone() },
        v1::JoinRequest { role: "Node".to_owned(), host: Joiner::node("x").host, ..good.clone() },
    ];
    for request in bad {
        let refused = JoinServiceClient::new(auth.stranger()).join(request).await.expect_err("refused");
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    }
    assert!(auth.core().catalog.view().locks.is_empty(), "nothing is locked");
    assert!(auth.instances("ci").await.is_empty());
    JoinServiceClient::new(auth.stranger()).join(good).await.expect("the token is not spent");
}

#[tokio::test]
async fn j2_a_challenge_ends_after_a_minute() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let joiner = Joiner::bot(&auth.bot_token("ci").await);
    let request = joiner.request(&auth.stranger()).await.expect("a request");
    auth.clock.advance(SignedDuration::from_secs(61));
    let refused = JoinServiceClient::new(auth.stranger()).join(request).await.expect_err("too late");
    assert_eq!(Problem::of(&refused).code, "challenge_expired");
    auth.join(&joiner).await.expect("with a fresh one it goes");
}

/// Row J4: two copies of one identity. It is seen at the next renewal of either; only that instance is locked.
#[tokio::test]
async fn j4_a_copied_identity_locks_its_instance_alone() {
    let auth = Auth::start().await;
    let original = auth.joined_bot("ci").await;
    let other = auth.join(&Joiner::bot(&auth.bot_token("ci").await)).await.expect("joins");
    let copy = original.clone();
    let renewed = renew(auth.member(&original), &key()).await.expect("the first to renew is served");
    confirm(auth.member(&renewed)).await.expect("confirms");
    let theft = renew(auth.member(&copy), &key()).await.expect_err("the second is told");
    assert_eq!(theft.code, "generation_mismatch");
    assert_eq!(theft.reason, "renewable cert generation mismatch: stored=2, presented=1");
    let lock = format!("lock/bot-instance-{}", instance(&original));
    let step = format!("stop the other copy, then run tctl bots instances unlock ci/{}", instance(&original));
    assert!(theft.hint.contains(&step), "{}", theft.hint);
    for credentials in [&renewed, &copy] {
        let refused = output(auth.member(credentials), &[], 0).await.expect_err("both are locked");
        assert_eq!(refused.code, "locked");
        let told = format!("{}; {}", refused.reason, refused.hint);
        assert!(told.contains(&format!("({lock})")) && told.contains(&step), "{told}");
        assert_eq!(told.matches("tctl ").count(), 1, "one way out: {told}");
        assert!(told.len() < 400, "{} characters: {told}", told.len());
    }
    let refused = renew(auth.member(&renewed), &key()).await.expect_err("both are locked");
    assert_eq!(refused.code, "locked");
    output(auth.member(&other), &[], 0).await.expect("the other instance is not");
    auth.join(&Joiner::bot(&auth.bot_token("ci").await)).await.expect("the bot is not");
    let events = auth.events("cert.generation_mismatch").await;
    assert!(events[0]["addr.remote"].as_str().is_some_and(|addr| addr.starts_with("127.0.0.1:")));
    assert!(events[0]["other_addr"].as_str().is_some_and(|addr| addr.starts_with("127.0.0.1:")));
    assert_eq!(auth.events("lock.created").await.len(), 1);
    // Asking again makes no second lock.
    renew(auth.member(&copy), &key()).await.expect_err("still locked");
    assert_eq!(auth.core().catalog.view().locks.len(), 1);
}

/// A lock of that name that has ended, or that was made beforehand and hits somebody else, is none.
#[tokio::test]
async fn j4_a_lock_that_does_nothing_is_no_lock_on_a_copied_identity() {
    let auth = Auth::start().await;
    let original = auth.joined_bot("ci").await;
    auth.lock(&format!("bot-instance-{}", instance(&original)), json!({"user": "nobody"})).await;
    let renewed = renew(auth.member(&original), &key()).await.expect("the first to renew is served");
    confirm(auth.member(&renewed)).await.expect("confirms");
    renew(auth.member(&original), &key()).await.expect_err("a copy");
    let refused = output(auth.member(&renewed), &[], 0).await.expect_err("both are locked");
    assert_eq!(refused.code, "locked");
}

/// What an administrator does about it: the lock of that instance goes, and no other; the one that is behind brings it back.
#[tokio::test]
async fn j4_the_lock_of_a_copied_identity_is_lifted_alone() {
    let auth = Auth::start().await;
    let original = auth.joined_bot("ci").await;
    let renewed = renew(auth.member(&original), &key()).await.expect("the first to renew is served");
    confirm(auth.member(&renewed)).await.expect("confirms");
    let name = format!("ci/{}", instance(&original));
    let unlock = async |channel, name: &str| {
        let request = v1::UnlockInstanceRequest { name: name.to_owned() };
        let answer = BotServiceClient::new(channel).unlock_instance(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| Problem::of(&status))
    };
    let refused = unlock(auth.admin(), &name).await.expect_err("nothing is locked");
    assert_eq!(refused.code, "lock_not_found");
    renew(auth.member(&original), &key()).await.expect_err("a copy");
    auth.lock("whole-bot", json!({"user": "bot-ci"})).await;
    for wrong in ["ci", "ci/x", "/", ""] {
        assert_eq!(unlock(auth.admin(), wrong).await.expect_err(wrong).class, Class::Invalid);
    }
    let other = name.replace("ci/", "cd/");
    assert_eq!(unlock(auth.admin(), &other).await.expect_err("not of that bot").code, "lock_not_found");
    unlock(auth.member(&renewed), &name).await.expect_err("nobody lifts his own lock");
    let unlocked = unlock(auth.admin(), &name).await.expect("is lifted");
    let (ahead, behind) = (unlocked.ahead.expect("is told"), unlocked.behind.expect("is told"));
    assert_eq!((ahead.generation, behind.generation), (2, 1));
    assert!(ahead.addr.starts_with("127.0.0.1:") && behind.addr.starts_with("127.0.0.1:"));
    assert_ne!(ahead.addr, behind.addr);
    assert_eq!(unlocked.other_locks, ["whole-bot"]);
    let event = &auth.events("lock.deleted").await[0];
    assert_eq!((&event["bot_instance_id"], &event["bot_name"]), (&json!(instance(&original)), &json!("ci")));
    renew(auth.member(&renewed), &key()).await.expect_err("the other lock holds");
    auth.delete(Kind::Lock, "whole-bot").await;
    let next = renew(auth.member(&renewed), &key()).await.expect("the one that is ahead goes on");
    confirm(auth.member(&next)).await.expect("confirms");
    let again = renew(auth.member(&original), &key()).await.expect_err("the one that is behind does not");
    assert_eq!(again.code, "generation_mismatch");
    assert_eq!(auth.core().catalog.view().locks.len(), 1);
}

#[tokio::test]
async fn j4_two_keys_for_one_generation_are_two_holders() {
    let auth = Auth::start().await;
    let original = auth.joined_bot("ci").await;
    renew(auth.member(&original), &key()).await.expect("the first is served");
    let theft = renew(auth.member(&original), &key()).await.expect_err("the second is told");
    assert_eq!(theft.code, "generation_mismatch");
}

/// Row J5: whatever is wrong with a token, the joiner hears the same.
#[tokio::test]
async fn j5_tokens_are_no_oracle() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let (expired, used) = (auth.bot_token("ci").await, auth.bot_token("ci").await);
    let own = auth.join(&Joiner::bot(&used)).await.expect("joins");
    // The trace stays when the use is confirmed and its retry no longer possible.
    renew(auth.member(&own), &key()).await.expect("renews");
    auth.clock.advance(SignedDuration::from_hours(1));
    let (wrong_role, orphan) = (auth.bot_token("ci").await, auth.bot_token("gone").await);
    let removed = auth.bot_token("ci").await;
    let request = v1::DeleteRequest { kind: "token".to_owned(), name: removed.clone() };
    ResourceServiceClient::new(auth.admin()).delete(request).await.expect("goes");
    let joiners = [
        (Joiner::bot("no-such-token-no-such-token-xxxx"), "there is no such token".to_owned()),
        (Joiner::bot(""), "there is no such token".to_owned()),
        (Joiner::bot(&expired), "the token expired at 2".to_owned()),
        (Joiner::bot(&orphan), "the bot \"gone\" of the token does not exist".to_owned()),
        (Joiner::bot(&used), format!("by the bot instance ci/{}", harness::instance(&own))),
        (Joiner::bot(&removed), "the token was removed before it ended".to_owned()),
        (
            Joiner::bot(harness::STATIC_TOKEN),
            "the token is for the roles Node, Proxy, not for Bot".to_owned(),
        ),
        (
            Joiner::host(&wrong_role, "Node", "web-1"),
            "the token is for the roles Bot, not for Node".to_owned(),
        ),
    ];
    for (joiner, why) in joiners {
        let refused = auth.join(&joiner).await.expect_err("refused");
        let expected = Problem::new(Class::Denied, "token_invalid", "the token is not valid");
        let (_, attempt) = refused.hint.rsplit_once(' ').expect("the name of the attempt is its last word");
        let expected = expected.hint(format!(
            "ask for a new one: tctl tokens add, or tctl bots instances add; an administrator sees why with: tctl join \
             explain {attempt}"
        ));
        assert_eq!(refused, expected, "{}", joiner.role);
        let request = v1::ExplainJoinRequest { attempt: attempt.to_owned() };
        let told = ClusterServiceClient::new(auth.admin()).explain_join(request).await.expect("is explained");
        let told = told.into_inner().reason;
        assert!(told.contains(&why), "{why:?} is not in {told:?}");
    }
    let failures = auth.events("bot.join").await;
    assert_eq!(failures.iter().filter(|event| event["code"] == "TJ001E").count(), 7);
    let text = serde_json::to_string(&failures).expect("JSON");
    assert!(!text.contains(&expired) && !text.contains(&orphan), "events hold no token");
}

/// Row J5: a token of a bot that was removed is no token, neither a fresh one nor one that was used already; and a
/// bot made anew under the name has nothing to do with it.
#[tokio::test]
async fn j5_no_token_outlives_its_bot() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let (fresh, used) = (auth.bot_token("ci").await, Joiner::bot(&auth.bot_token("ci").await));
    auth.join(&used).await.expect("joins");
    auth.delete(Kind::Bot, "ci").await;
    for joiner in [Joiner::bot(&fresh), used] {
        let refused = auth.join(&joiner).await.expect_err("the bot is gone");
        assert_eq!(
            (refused.code.as_str(), refused.reason.as_str()),
            ("token_invalid", "the token is not valid")
        );
    }
    let why: Vec<_> =
        auth.events("bot.join").await.into_iter().filter(|event| event["code"] == "TJ001E").collect();
    assert_eq!(why.len(), 2);
    for event in why {
        assert_eq!(event["error"], "the bot \"ci\" of the token does not exist", "the audit log knows");
    }
}

/// Row J6: guesses are paced, and cost the store nothing more once they are.
#[tokio::test]
async fn j6_guesses_are_paced() {
    let auth = Auth::start().await;
    auth.clock.halt();
    let mut guesses = 0;
    loop {
        let refused = auth.join(&Joiner::node("web-1").with_token("guess")).await.expect_err("refused");
        match refused.code.as_str() {
            "token_invalid" => guesses += 1,
            code => break assert_eq!(code, "too_many_failures"),
        }
        assert!(guesses < 100, "nobody stops it");
    }
    let events = auth.events("instance.join").await.len();
    assert!(
        events > 0 && events < guesses,
        "{events} of {guesses}: who proves nothing does not fill the log"
    );
    auth.join(&Joiner::node("web-1")).await.expect_err("it waits with the others of its address");
    assert_eq!(auth.events("instance.join").await.len(), events);
    auth.clock.advance(SignedDuration::from_mins(1));
    auth.join(&Joiner::node("web-1").with_token("guess")).await.expect_err("refused");
    let told = auth.events("instance.join").await;
    let untold = told.iter().filter_map(|event| event["untold_failures"].as_u64()).collect::<Vec<_>>();
    assert_eq!(untold, [(guesses - events) as u64], "but they are counted");
    auth.join(&Joiner::node("web-1")).await.expect("joins");
}

/// Row J6: an attacker who fails from many addresses, through a proxy or not, spends what there is for those like him.
/// Who comes for the first time is not held up, and the guesses end.
#[tokio::test]
async fn j6_guesses_from_everywhere_hold_up_nobody_who_comes_for_the_first_time() {
    const ADDRESSES: usize = 12;
    const EACH: usize = 60;
    let auth = Auth::start().await;
    auth.clock.halt();
    let proxy = auth.join(&Joiner::host(harness::STATIC_TOKEN, "Proxy", "edge-1")).await.expect("joins");
    let channel = auth.member(&proxy);
    let through = async |request: &v1::JoinRequest, from: &str| {
        let mut request = tonic::Request::new(request.clone());
        request.metadata_mut().insert(transport::rpc::FORWARDED_FOR, from.parse().expect("a value"));
        let joined = JoinServiceClient::new(channel.clone()).join(request).await;
        joined.map(drop).map_err(|status| Problem::of(&status))
    };
    let guess = Joiner::node("web-1").with_token("guess").request(&auth.stranger()).await.expect("a request");
    let mut guesses = 0;
    for n in 0..ADDRESSES * EACH {
        let from = format!("192.0.{}.7:4711", n % ADDRESSES);
        match through(&guess, &from).await.expect_err("refused").code.as_str() {
            "token_invalid" => guesses += 1,
            code => assert_eq!(code, "too_many_failures"),
        }
    }
    assert!(guesses < ADDRESSES * EACH, "he is stopped before each of his addresses is");
    let honest = Joiner::node("web-1").request(&auth.stranger()).await.expect("a request");
    let held = through(&honest, "192.0.3.7:4712").await.expect_err("this address has failed");
    assert_eq!(held.code, "too_many_failures");
    through(&honest, "198.51.100.7:4711").await.expect("an address that has not is looked at");
    auth.join(&Joiner::node("web-2")).await.expect("nor does it hold up those who come directly");
}

/// A proxy passes strangers on for as long as it is one of the cluster's and not locked.
#[tokio::test]
async fn j6_a_locked_or_removed_proxy_passes_nobody_on() {
    let auth = Auth::start().await;
    let proxies = [
        auth.join(&Joiner::host(harness::STATIC_TOKEN, "Proxy", "edge-1")).await.expect("joins"),
        auth.join(&Joiner::host(harness::STATIC_TOKEN, "Proxy", "edge-2")).await.expect("joins"),
    ];
    let through = async |proxy: &Credentials| {
        let joiner = Joiner::node("web-1");
        let request = joiner.request(&auth.stranger()).await.expect("a request");
        let mut request = tonic::Request::new(request);
        let from = "192.0.2.7:4711".parse().expect("a value");
        request.metadata_mut().insert(transport::rpc::FORWARDED_FOR, from);
        let joined = JoinServiceClient::new(auth.member(proxy)).join(request).await;
        joined.map(drop).map_err(|status| Problem::of(&status).code)
    };
    let id = |proxy: &Credentials| proxy.identity().host().expect("a host").id;
    through(&proxies[0]).await.expect("passed on");
    auth.core()
        .catalog
        .commit(Txn::new().delete(layout::host_name(SystemRole::Node, "web-1").expect("a key")))
        .await
        .expect("commits")
        .expect("no conflict");
    auth.lock("stolen", json!({"server_id": id(&proxies[0]).to_string()})).await;
    assert_eq!(through(&proxies[0]).await.expect_err("locked"), "locked");
    through(&proxies[1]).await.expect("the other one still does");
    let enrolment = Host::key_of(id(&proxies[1]), SystemRole::Proxy);
    auth.core().catalog.commit(Txn::new().delete(enrolment)).await.expect("commits").expect("no conflict");
    assert_eq!(through(&proxies[1]).await.expect_err("removed"), "host_unknown");
    assert!(auth.events("access.denied").await.is_empty(), "strangers caused these");
}

#[tokio::test]
async fn j7_keys_belong_to_one() {
    let auth = Auth::start().await;
    let joiner = Joiner::node("web-1");
    auth.join(&joiner).await.expect("joins");
    let other = Joiner { key: joiner.key.clone(), ..Joiner::node("web-2") };
    assert_eq!(auth.join(&other).await.expect_err("another host's key").code, "key_taken");
    auth.bot("ci").await;
    let bot = Joiner { key: joiner.key.clone(), ..Joiner::bot(&auth.bot_token("ci").await) };
    assert_eq!(auth.join(&bot).await.expect_err("a host's key").code, "key_taken");
    let request = joiner.request(&auth.stranger()).await.expect("a request");
    for public_key in [vec![], vec![0x30; 91], vec![4; 65]] {
        let request = v1::JoinRequest { public_key, ..request.clone() };
        let refused = JoinServiceClient::new(auth.stranger()).join(request).await.expect_err("refused");
        assert_eq!(Problem::of(&refused).code, "key_refused");
    }
}

#[tokio::test]
async fn j8_names_and_ids_of_others_are_refused() {
    let auth = Auth::start().await;
    let first = Joiner::node("web-1");
    auth.join(&first).await.expect("joins");
    let id = first.host.as_ref().expect("a host").host_id.clone();
    for name in ["auth.postern.internal", "example.com", &id, &format!("{id}.example.com")] {
        let refused = auth.join(&Joiner::node(name)).await.expect_err(name);
        assert_eq!(refused.code, "host_name_reserved", "{name}");
    }
    let mut thief = Joiner::node("web-2");
    thief.host.as_mut().expect("a host").host_id = id;
    assert_eq!(auth.join(&thief).await.expect_err("another's id").code, "host_id_taken");
    for name in ["", "a b", "*", "-oProxyCommand=x", "a\nb"] {
        assert_eq!(
            auth.join(&Joiner::node(name)).await.expect_err(name).code,
            "host_name_invalid",
            "{name:?}"
        );
    }
}

/// Row J8: an address is owned as a name is, by whoever has it first.
#[tokio::test]
async fn j8_addresses_of_others_are_refused() {
    let auth = Auth::start().await;
    let with = |mut joiner: Joiner, principals: &[&str]| {
        let host = joiner.host.as_mut().expect("a host");
        host.principals = principals.iter().map(|name| (*name).to_owned()).collect();
        joiner
    };
    let owner = with(Joiner::node("web-1"), &["10.0.0.1", "2001:db8::1", "127.0.0.1"]);
    let first = auth.join(&owner).await.expect("joins");
    let other = Joiner::node("web-2");
    let second = auth.join(&other).await.expect("joins");
    for address in ["10.0.0.1", "2001:DB8:0::1"] {
        let details = with(other.clone(), &[address]).host.expect("a host");
        let refused = renew_host(&auth, &second, details).await.expect_err(address);
        assert_eq!(refused.code, "host_name_taken", "{address}");
        let proxy = with(Joiner::host(harness::STATIC_TOKEN, "Proxy", "edge"), &[address]);
        assert_eq!(auth.join(&proxy).await.expect_err(address).code, "host_name_taken", "{address}");
    }
    let details = with(other, &["10.0.0.2", "127.0.0.1"]).host.expect("a host");
    renew_host(&auth, &second, details).await.expect("its own, and that of every machine");
    renew_host(&auth, &first, owner.host.expect("a host")).await.expect("the owner keeps them");
}

/// Row J8: whoever comes from the address of a proxy is not that proxy's machine. Nobody gets its names, and it
/// gets no node's, however it was enrolled.
#[tokio::test]
async fn j8_an_address_proves_no_machine() {
    let auth = Auth::start().await;
    let mut proxy = Joiner::host(harness::STATIC_TOKEN, "Proxy", "edge");
    proxy.host.as_mut().expect("a host").principals = vec!["edge.example.net".to_owned()];
    auth.join(&proxy).await.expect("joins");
    let mut node = Joiner::node("web-1");
    node.host.as_mut().expect("a host").principals = vec!["edge.example.net".to_owned()];
    let refused = auth.join(&node).await.expect_err("comes from the same address");
    assert_eq!(refused.code, "host_name_taken");
    auth.join(&Joiner::node("web-1")).await.expect("with its own name it joins");
    let mut second = Joiner::host(harness::STATIC_TOKEN, "Proxy", "edge-2");
    second.host.as_mut().expect("a host").principals = vec!["web-1".to_owned()];
    assert_eq!(auth.join(&second).await.expect_err("a node's name").code, "host_name_taken");
}

/// Row J10: the instance in the certificate is the one that renews, whatever the request says; the identity of
/// another bot, an output, or a host renews nothing of it.
#[tokio::test]
async fn j10_only_the_own_certificate_renews() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    let output = output(auth.member(&own), &[], 0).await.expect("gets an output");
    let node = auth.join(&Joiner::node("web-1")).await.expect("joins");
    for credentials in [&output, &node] {
        assert_eq!(renew(auth.member(credentials), &key()).await.expect_err("refused").code, "wrong_role");
    }
    assert_eq!(confirm(auth.member(&output)).await.expect_err("refused").code, "wrong_role");
    confirm(auth.member(&node)).await.expect("hosts confirm, too, and this one has nothing to");
    assert_eq!(renew(auth.stranger(), &key()).await.expect_err("refused").code, "no_certificate");
    assert_eq!(generation(&renew(auth.member(&own), &key()).await.expect("renews")), Some(2));
}

#[tokio::test]
async fn l3_the_locked_get_nothing() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    let token = auth.bot_token("ci").await;
    let node = auth.join(&Joiner::node("web-1")).await.expect("joins");
    let host_id = node.identity().host().expect("a host").id.to_string();
    let targets = [
        json!({"user": "bot-ci"}),
        json!({"role": "bot-ci"}),
        json!({"bot_instance_id": instance(&own)}),
        json!({"role": "ops"}),
    ];
    for target in targets {
        auth.lock("l", target.clone()).await;
        let refused = sign_output(auth.member(&own), &[]).await.expect_err("locked");
        assert_eq!(refused.code, "locked", "{target}");
        if target.get("user").is_some() {
            let refused = auth.join(&Joiner::bot(&token)).await.expect_err("locked");
            assert_eq!(refused.code, "locked", "{target}");
        }
        if target != json!({"role": "ops"}) {
            assert_eq!(
                renew(auth.member(&own), &key()).await.expect_err("locked").code,
                "locked",
                "{target}"
            );
        }
        auth.delete(Kind::Lock, "l").await;
    }
    auth.lock("l", json!({"server_id": host_id})).await;
    let request = v1::RenewHostRequest { public_key: key().spki_der(), host: Joiner::node("web-1").host };
    let refused = CertificateServiceClient::new(auth.member(&node)).renew_host(request).await;
    assert_eq!(Problem::of(&refused.expect_err("locked")).code, "locked");
    auth.delete(Kind::Lock, "l").await;
    sign_output(auth.member(&own), &[]).await.expect("free again");
    auth.join(&Joiner::bot(&token)).await.expect("the token was not spent");
}

/// Row C8: no role beyond the bot's, none that does not exist, and no chain from an output.
#[tokio::test]
async fn c8_no_role_beyond_the_bots() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    auth.role("more", "root").await;
    auth.put(json!({"kind": "role", "version": "v7", "metadata": {"name": "only-denies"},
        "spec": {"deny": {"logins": ["root"]}}}))
        .await;
    for (roles, code) in [
        (&["more"][..], "impersonation_not_allowed"),
        (&["ops", "more"], "impersonation_not_allowed"),
        (&["only-denies"], "impersonation_not_allowed"),
        (&["bot-ci"], "impersonation_not_allowed"),
        (&["editor"], "impersonation_not_allowed"),
        (&["no-such-role"], "role_not_found"),
        (&["default-implicit-role"], "role_not_found"),
    ] {
        assert_eq!(sign_output(auth.member(&own), roles).await.expect_err("refused").code, code, "{roles:?}");
    }
    let output = output(auth.member(&own), &["ops"], 0).await.expect("gets an output");
    assert_eq!(sign_output(auth.member(&output), &["ops"]).await.expect_err("refused").code, "wrong_role");
}

/// Row C3: a login that no certificate may name is left out, and costs nobody the others.
#[tokio::test]
async fn c3_odd_logins_are_left_out() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    let ops = |logins: serde_json::Value| {
        json!({"kind": "role", "version": "v7", "metadata": {"name": "ops"},
            "spec": {"allow": {"logins": logins, "node_labels": {"*": "*"}}}})
    };
    auth.put(json!({"kind": "user", "version": "v2", "metadata": {"name": "alice"},
        "spec": {"roles": ["ops"], "traits": {"logins": ["Bob", "a b", "*", "-l", "carol"]}}}))
        .await;
    auth.put(ops(json!(["root", "Administrator", "{{internal.logins}}", &"x".repeat(40)]))).await;
    let logins = |credentials: &Credentials| {
        let logins = &credentials.identity().user().expect("a user").logins;
        logins.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(logins(&output(auth.member(&own), &["ops"], 0).await.expect("gets one")), ["root"]);
    assert_eq!(logins(&sign(auth.admin(), "alice", 0).await.expect("is signed")), ["carol", "root"]);
    auth.put(ops(json!(["Administrator"]))).await;
    for refused in [
        sign_output(auth.member(&own), &["ops"]).await.expect_err("would be for nobody"),
        sign(auth.admin(), "alice", 0).await.map(drop).expect_err("would be for nobody"),
    ] {
        assert_eq!((refused.class, refused.code.as_str()), (Class::Denied, "no_logins"));
        assert!(
            refused.reason.contains("\"Administrator\"") && refused.hint.contains("lower case"),
            "{refused:?}"
        );
    }
}

/// Row C9: what is issued ends before any limit, whatever is asked for.
#[tokio::test]
async fn c9_nothing_gets_wider_by_being_exchanged() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    auth.put(json!({"kind": "role", "version": "v7", "metadata": {"name": "ops"},
        "spec": {"options": {"max_session_ttl": "30m"},
            "allow": {"logins": ["root", "ubuntu"], "node_labels": {"*": "*"}}}}))
        .await;
    let out = output(auth.member(&own), &["ops"], u64::MAX).await.expect("gets an output");
    assert!(out.expires() <= Timestamp::now() + SignedDuration::from_mins(30));
    auth.put(
        json!({"kind": "user", "version": "v2", "metadata": {"name": "alice"}, "spec": {"roles": ["ops"]}}),
    )
    .await;
    for ttl_seconds in [0, u64::MAX] {
        let signed = sign(auth.admin(), "alice", ttl_seconds).await.expect("is signed");
        assert!(signed.expires() <= Timestamp::now() + SignedDuration::from_mins(30));
    }
    auth.put(json!({"kind": "role", "version": "v7", "metadata": {"name": "ops"},
        "spec": {"options": {"pin_source_ip": true}, "allow": {"logins": ["root"], "node_labels": {"*": "*"}}}}))
        .await;
    let out = output(auth.member(&own), &["ops"], 0).await.expect("gets an output");
    let pinned = out.identity().user().and_then(|user| user.pinned_ip);
    assert_eq!(pinned, "127.0.0.1".parse().ok());
}

/// With as many joins or renewals under way as are worked on at once, others are told when to come back, and nothing is held against
/// them. Strangers put off strangers alone.
#[tokio::test]
async fn whoever_comes_while_auth_is_busy_is_told_when_to_come_back() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    let joiner = Joiner::bot(&auth.bot_token("ci").await);
    let node = auth.join(&Joiner::node("web-1")).await.expect("joins");
    let fill = |turnstile: &Turnstile| {
        let now = Instant::now();
        std::iter::from_fn(|| turnstile.enter(None, now).ok()).collect::<Vec<_>>()
    };
    let is_put_off = |problem: Problem| {
        assert_eq!((problem.class, problem.code.as_str()), (Class::Exhausted, "busy"));
        let pause = problem.again_in.expect("says when");
        assert!(pause >= Duration::from_millis(500) && pause <= Duration::from_secs(50), "{pause:?}");
    };
    let (joins, next) = (fill(&auth.core().joins), key());
    is_put_off(auth.join(&joiner).await.expect_err("too many"));
    let renewed = renew(auth.member(&own), &next).await.expect("members do not wait for strangers");
    let renewals = fill(&auth.core().renewals);
    confirm(auth.member(&renewed)).await.expect("what was begun is ended");
    for _ in 0..100 {
        is_put_off(renew(auth.member(&renewed), &key()).await.expect_err("too many"));
        is_put_off(output(auth.member(&renewed), &[], 0).await.expect_err("too many"));
    }
    let signing = [
        CertificateServiceClient::new(auth.admin()).sign_user(v1::SignUserRequest::default()).await.map(drop),
        CertificateServiceClient::new(auth.member(&node))
            .renew_host(v1::RenewHostRequest::default())
            .await
            .map(drop),
    ];
    signing.into_iter().for_each(|signed| is_put_off(Problem::of(&signed.expect_err("too many"))));
    drop((joins, renewals));
    auth.join(&joiner).await.expect("now");
    output(auth.member(&renewed), &[], 0).await.expect("now");
    renew(auth.member(&renewed), &key()).await.expect("now");
    assert!(auth.core().catalog.view().locks.is_empty());
    assert_eq!(auth.events("cert.denied").await.len() + auth.events("access.denied").await.len(), 0);
}

/// Whoever was wrong too often hears when it may be so again.
#[tokio::test]
async fn strangers_that_fail_too_often_are_told_when_to_come_back() {
    let auth = Auth::start().await;
    auth.clock.halt();
    let mut refused = vec![];
    for _ in 0..70 {
        refused.push(auth.join(&Joiner::bot("no such token")).await.expect_err("refused"));
    }
    let told = refused.iter().find(|problem| problem.code == "too_many_failures").expect("in the end");
    assert_eq!(told.again_in, Some(Duration::from_secs(2)));
}
