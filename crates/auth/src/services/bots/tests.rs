//! Bots from their making to their removal, with each refusal, over a real store.

use crate::caller::{Caller, Who};
use crate::enrol::instance::{Instance, Seen};
use crate::services::bench::{Bench, bot, from, key, person, role, root};
use access::{BotName, InstanceId};
use api::status::{Class, Problem};
use api::v1;
use api::v1::bot_service_server::BotService;
use api::v1::{
    AddInstanceRequest, CreateBotRequest, CreateBotResponse, DeleteBotRequest, HeartbeatRequest, HookResult,
    ReportHooksRequest, UpdateBotRequest,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::Txn;

async fn create(
    bench: &Bench,
    caller: &Caller,
    request: CreateBotRequest,
) -> Result<CreateBotResponse, Problem> {
    let answer = bench.bots.create_bot(from(caller, request)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| Problem::of(&status))
}

fn ci() -> CreateBotRequest {
    let (roles, logins) = (vec!["access".to_owned()], vec!["root".to_owned()]);
    CreateBotRequest { name: "ci".into(), roles, logins, ..CreateBotRequest::default() }
}

async fn update(bench: &Bench, request: UpdateBotRequest) -> Result<Value, Problem> {
    let request = UpdateBotRequest { name: "ci".into(), ..request };
    let answer = bench.bots.update_bot(from(&root(), request)).await;
    let answer = answer.map_err(|status| Problem::of(&status))?;
    Ok(serde_json::from_str(&answer.into_inner().json).expect("JSON"))
}

/// An instance as joining leaves it.
async fn joined(bench: &Bench) -> Caller {
    let (name, id, key) = (BotName::new("ci").expect("a name"), InstanceId(uuid::Uuid::new_v4()), key());
    let expires = Timestamp::now() + SignedDuration::from_hours(1);
    let seen = Seen {
        at: Timestamp::now(),
        method: access::resource::token::JoinMethod::Token,
        token: Some("x"),
        from: String::new(),
    };
    let claim = store::Key::new("/claims/x/y").expect("a key");
    let instance = Instance::joined(&name, id, (&key.fingerprint(), expires), &seen, Some(claim));
    bench.catalog.commit(instance.put(Txn::new())).await.expect("commits").expect("no conflict");
    bot("ci", id, 1, key)
}

async fn report(bench: &Bench, caller: &Caller, json: Value) -> Result<(), Problem> {
    let request = from(caller, HeartbeatRequest { json: json.to_string() });
    bench.bots.heartbeat(request).await.map(drop).map_err(|status| Problem::of(&status))
}

#[tokio::test]
async fn a_bot_comes_with_its_token_or_not_at_all() {
    let bench = Bench::new().await;
    let missing = CreateBotRequest { roles: vec!["a".into(), "b".into()], ..ci() };
    let missing = create(&bench, &root(), missing).await.expect_err("no such roles");
    assert_eq!(missing.reason, r#"roles "a", "b" not found"#);
    assert!(bench.list(&root(), "token", 0, "").await.expect("lists").0.is_empty(), "no token is left over");
    let made = create(&bench, &root(), ci()).await.expect("is made");
    assert_eq!((made.user_name.as_str(), made.role_name.as_str()), ("bot-ci", "bot-ci"));
    assert_eq!((made.token.len(), made.token_ttl_seconds), (32, 3600));
    let token = bench.look_at(&root(), "token", &made.token, true).await.expect("is there");
    assert_eq!(token["spec"], json!({"roles": ["Bot"], "join_method": "token", "bot_name": "ci"}));
    let again = create(&bench, &root(), ci()).await.expect_err("is there");
    assert_eq!((again.class, again.reason.as_str()), (Class::Exists, r#"bot "ci" already exists"#));
    let held = bench.delete(&root(), "role", "access").await.expect_err("preset, and held");
    assert_eq!(held.class, Class::Precondition);
    let events = bench.events().await.concat();
    assert!(events.contains("TB001I") && events.contains("TJT00I"));
    assert!(!events.contains(&made.token), "{events}");
    for (change, why) in [
        (CreateBotRequest { name: "a b".into(), ..ci() }, "name"),
        (CreateBotRequest { name: "c2".into(), roles: vec!["a b".into()], ..ci() }, "role"),
        (CreateBotRequest { name: "c2".into(), logins: vec!["a b".into()], ..ci() }, "login"),
        (CreateBotRequest { name: "c2".into(), token_ttl_seconds: u64::MAX, ..ci() }, "ttl"),
    ] {
        assert_eq!(create(&bench, &root(), change).await.expect_err(why).class, Class::Invalid, "{why}");
    }
}

#[tokio::test]
async fn a_named_token_has_to_fit() {
    let bench = Bench::new().await;
    let token = |name: &str, spec: Value| json!({"kind": "token", "version": "v2", "metadata": {"name": name}, "spec": spec});
    for (name, spec) in [
        ("for-nodes", json!({"roles": ["Node"]})),
        ("for-another", json!({"roles": ["Bot"], "bot_name": "cd"})),
        ("for-ci", json!({"roles": ["Bot"], "bot_name": "ci"})),
    ] {
        bench.create(&root(), token(name, spec)).await.expect("is made");
    }
    let named = |token: &str| CreateBotRequest { token: token.into(), ..ci() };
    for (name, code) in [("none", "not_found"), ("for-nodes", "token_unfit"), ("for-another", "token_unfit")]
    {
        assert_eq!(create(&bench, &root(), named(name)).await.expect_err(name).code, code);
    }
    let made = create(&bench, &root(), named("for-ci")).await.expect("fits");
    assert_eq!((made.token.as_str(), made.token_ttl_seconds), ("for-ci", 0));
}

#[tokio::test]
async fn roles_decide_who_makes_bots() {
    let bench = Bench::new().await;
    let auditor = person("ann", &["auditor"]);
    assert_eq!(create(&bench, &auditor, ci()).await.expect_err("may not").class, Class::Denied);
    let rules = json!([{"resources": ["bot"], "verbs": ["*"]}]);
    bench.create(&root(), role("botter", rules)).await.expect("is made");
    let botter = person("bo", &["botter"]);
    let refused = create(&bench, &botter, ci()).await.expect_err("may not make tokens");
    assert_eq!(refused.reason, r#"access denied to perform action "create" on "token""#);
    create(&bench, &person("ed", &["editor"]), ci()).await.expect("may");
    let request = AddInstanceRequest { name: "ci".into(), token_ttl_seconds: 0 };
    let refused = bench.bots.add_instance(from(&auditor, request)).await.expect_err("may not");
    assert_eq!(Problem::of(&refused).class, Class::Denied);
}

#[tokio::test]
async fn updates_set_and_add() {
    let bench = Bench::new().await;
    assert_eq!(
        update(&bench, UpdateBotRequest { add_roles: vec!["access".into()], ..Default::default() })
            .await
            .expect_err("none")
            .reason,
        r#"bot "ci" not found"#
    );
    create(&bench, &root(), ci()).await.expect("is made");
    let nothing = update(&bench, UpdateBotRequest::default()).await.expect_err("nothing to do");
    assert_eq!(nothing.reason, "no changes requested");
    let add = |roles: &[&str], logins: &[&str]| UpdateBotRequest {
        add_roles: roles.iter().map(ToString::to_string).collect(),
        add_logins: logins.iter().map(ToString::to_string).collect(),
        ..UpdateBotRequest::default()
    };
    let changed = update(&bench, add(&["editor", "access"], &["web"])).await.expect("is changed");
    assert_eq!(changed["spec"]["roles"], json!(["access", "editor"]));
    assert_eq!(changed["spec"]["traits"], json!([{"name": "logins", "values": ["root", "web"]}]));
    let missing = update(&bench, add(&["example-role"], &[])).await.expect_err("no such role");
    assert_eq!(missing.reason, r#"role "example-role" not found"#);
    let set = UpdateBotRequest { set_roles: true, set_logins: true, ..add(&["auditor"], &[]) };
    let changed = update(&bench, set).await.expect("is changed");
    assert_eq!((&changed["spec"]["roles"], &changed["spec"]["traits"]), (&json!(["auditor"]), &json!([])));
    let (one, other) =
        tokio::join!(update(&bench, add(&["access"], &[])), update(&bench, add(&["editor"], &[])));
    one.expect("is made");
    other.expect("is made too, after the first");
    let stored = bench.look(&root(), "bot", "ci").await.expect("is there");
    assert_eq!(stored["spec"]["roles"].as_array().map(Vec::len), Some(3), "{stored}");
}

#[tokio::test]
async fn a_removed_bot_leaves_only_its_locks() {
    let bench = Bench::new().await;
    let made = create(&bench, &root(), ci()).await.expect("is made");
    let request = AddInstanceRequest { name: "ci".into(), token_ttl_seconds: 60 };
    let further = bench.bots.add_instance(from(&root(), request)).await.expect("a token").into_inner();
    assert_eq!((further.token.len(), further.token_ttl_seconds), (32, 60));
    assert_ne!(further.token, made.token);
    for _ in 0..101 {
        joined(&bench).await;
    }
    let instance = joined(&bench).await;
    bench
        .create(
            &root(),
            json!({"kind": "token", "version": "v2", "metadata": {"name": "other"},
        "spec": {"roles": ["Node"]}}),
        )
        .await
        .expect("is made");
    let lock = json!({"kind": "lock", "version": "v2", "metadata": {"name": "l"},
        "spec": {"target": {"user": "bot-ci"}}});
    bench.create(&root(), lock).await.expect("is made");
    let delete = || bench.bots.delete_bot(from(&root(), DeleteBotRequest { name: "ci".into() }));
    let refused = DeleteBotRequest { name: "ci".into() };
    let refused = bench.bots.delete_bot(from(&person("ann", &["auditor"]), refused)).await;
    assert_eq!(Problem::of(&refused.expect_err("may not")).class, Class::Denied);
    delete().await.expect("goes");
    assert!(bench.list(&root(), "bot_instance", 0, "").await.expect("lists").0.is_empty());
    assert_eq!(bench.list(&root(), "token", 0, "").await.expect("lists").0, ["*****"]);
    let locks = bench.list(&root(), "lock", 0, "").await.expect("lists").0;
    assert_eq!(locks, ["l", "removed-bot-ci"]);
    assert_eq!(Problem::of(&delete().await.expect_err("is gone")).class, Class::NotFound);
    bench.delete(&root(), "lock", "l").await.expect("goes");
    assert_eq!(report(&bench, &instance, json!({})).await.expect_err("is gone").code, "locked");
    let request = AddInstanceRequest { name: "ci".into(), token_ttl_seconds: 0 };
    let none = bench.bots.add_instance(from(&root(), request)).await.expect_err("no such bot");
    assert_eq!(Problem::of(&none).class, Class::NotFound);
    bench.delete(&root(), "lock", "removed-bot-ci").await.expect("goes");
    joined(&bench).await;
    create(&bench, &root(), ci()).await.expect("is made again");
    assert!(bench.list(&root(), "bot_instance", 0, "").await.expect("lists").0.is_empty(), "nothing is left");
    let locks = bench.list(&root(), "lock", 0, "").await.expect("lists").0;
    assert_eq!(locks.len(), 1, "what had been left is refused too: {locks:?}");
}

/// Removes the bot `ci`.
async fn removed(bench: &Bench) -> v1::DeleteBotResponse {
    let request = from(&root(), DeleteBotRequest { name: "ci".into() });
    bench.bots.delete_bot(request).await.expect("goes").into_inner()
}

#[tokio::test]
async fn what_a_removed_bot_has_left_is_refused_until_it_has_ended() {
    let bench = Bench::new().await;
    create(&bench, &root(), ci()).await.expect("is made");
    assert_eq!(removed(&bench).await, v1::DeleteBotResponse::default(), "there was nothing to refuse");
    create(&bench, &root(), ci()).await.expect("is made");
    let (one, other) = (joined(&bench).await, joined(&bench).await);
    let before = Timestamp::now();
    let answer = removed(&bench).await;
    let until: Timestamp = answer.locked_until.parse().expect("a time");
    let longest = SignedDuration::from_hours(24);
    assert!(until > before + longest && until < Timestamp::now() + longest + SignedDuration::from_mins(6));
    let mut expected = [&one, &other].map(|caller| match &caller.who {
        Who::User(user) => {
            format!("removed-{}", user.identity.bot.as_ref().expect("a bot").instance)
        }
        other => panic!("no bot: {other:?}"),
    });
    expected.sort();
    assert_eq!(answer.locks, expected);
    let lock = bench.look(&root(), "lock", &expected[0]).await.expect("is there");
    let id = expected[0].strip_prefix("removed-").expect("a name");
    assert_eq!(lock["spec"]["target"], json!({"bot_instance_id": id}));
    assert_eq!(lock["spec"]["message"], format!("the bot instance ci/{id} was removed"));
    assert_eq!(lock["spec"]["expires"], answer.locked_until);
    create(&bench, &root(), ci()).await.expect("the name is free");
}

#[tokio::test]
async fn a_bot_of_many_instances_is_refused_by_its_name() {
    let bench = Bench::new().await;
    create(&bench, &root(), ci()).await.expect("is made");
    for _ in 0..100 {
        joined(&bench).await;
    }
    let answer = removed(&bench).await;
    assert_eq!(answer.locks, ["removed-bot-ci"], "one for all, however many steps it takes");
    assert!(bench.list(&root(), "bot_instance", 0, "").await.expect("lists").0.is_empty());
    let lock = bench.look(&root(), "lock", "removed-bot-ci").await.expect("is there");
    assert_eq!(lock["spec"]["target"], json!({"user": "bot-ci"}));
    let refused = create(&bench, &root(), ci()).await.expect_err("it would be locked");
    assert_eq!(refused.code, "name_locked");
    assert!(refused.reason.contains(&answer.locked_until), "{}", refused.reason);
    assert!(refused.hint.contains("tctl rm lock/removed-bot-ci"), "{}", refused.hint);
    let resource = json!({"kind": "bot", "version": "v1", "metadata": {"name": "ci"}, "spec": {"roles": []}});
    assert_eq!(bench.create(&root(), resource).await.expect_err("the same").code, "name_locked");
    bench.delete(&root(), "lock", "removed-bot-ci").await.expect("goes");
    create(&bench, &root(), ci()).await.expect("is made again");
}

#[tokio::test]
async fn heartbeats_come_from_the_instance_itself() {
    let bench = Bench::new().await;
    create(&bench, &root(), ci()).await.expect("is made");
    let instance = joined(&bench).await;
    for number in 0..12 {
        let services = json!([{"name": "output-1", "status": "degraded", "reason": "auth is away"}]);
        let heartbeat = json!({
            "hostname": format!("h{number}"), "recorded_at": "2001-01-01T00:00:00Z", "services": services
        });
        report(&bench, &instance, heartbeat).await.expect("is taken");
    }
    let names = bench.list(&root(), "bot_instance", 0, "").await.expect("lists").0;
    let shown = bench.look(&root(), "bot_instance", &names[0]).await.expect("is there");
    let (first, latest) = (&shown["status"]["initial_heartbeat"], &shown["status"]["latest_heartbeats"]);
    assert_eq!(first["hostname"], "h0");
    assert!(!first["recorded_at"].as_str().expect("a time").starts_with("2001"), "auth's clock counts");
    let latest = latest.as_array().expect("a list");
    assert_eq!(latest[9]["services"][0]["reason"], "auth is away");
    assert!(latest[..9].iter().all(|old| old.get("services").is_none()), "of old ones nobody wants to know");
    let latest: Vec<&str> = latest.iter().filter_map(|h| h["hostname"].as_str()).collect();
    assert_eq!((latest.len(), latest[9]), (10, "h11"));
    for wrong in [
        json!({"hostname": "x".repeat(300)}),
        json!({"os": "a\u{1b}b"}),
        json!({"more": 1}),
        json!(7),
        json!({"services": [{"reason": "a\nb"}]}),
        json!({"services": [{"name": "x".repeat(300)}]}),
        json!({"services": vec![json!({}); 33]}),
    ] {
        assert_eq!(
            report(&bench, &instance, wrong.clone()).await.expect_err("wrong").class,
            Class::Invalid,
            "{wrong}"
        );
    }
    let id = InstanceId(uuid::Uuid::parse_str(names[0].rsplit('/').next().expect("an id")).expect("a UUID"));
    for stranger in [
        root(),
        person("ann", &["editor"]),
        bot("ci", id, 1, key()),
        bot("ci", InstanceId(uuid::Uuid::new_v4()), 1, key()),
    ] {
        let refused = report(&bench, &stranger, json!({})).await.expect_err("not the instance");
        assert_eq!(refused.code, "not_an_instance");
    }
    bench.delete(&root(), "bot_instance", &names[0]).await.expect("goes");
    assert_eq!(report(&bench, &instance, json!({})).await.expect_err("is removed").code, "locked");
}

#[tokio::test]
async fn results_of_hooks_are_events_within_bounds() {
    let bench = Bench::new().await;
    create(&bench, &root(), ci()).await.expect("is made");
    let caller = joined(&bench).await;
    let tell = async |caller: &Caller, results: Vec<HookResult>| {
        let told = bench.bots.report_hooks(from(caller, ReportHooksRequest { results })).await;
        told.map(drop).map_err(|status| Problem::of(&status).class)
    };
    let good =
        || HookResult { output: "web".into(), action: "exec /bin/true".into(), ..HookResult::default() };
    let bad = HookResult { fault: "ended with 1".into(), tail: "no".into(), nth: 1, ..good() };
    tell(&caller, vec![good(), bad]).await.expect("is taken");
    let events = bench.events().await.concat();
    assert!(
        events.contains("TB004I") && events.contains("TB004E") && events.contains("ended with 1"),
        "{events}"
    );
    let texts = |text: &str| HookResult { tail: text.to_owned(), ..good() };
    for wrong in [vec![], vec![good(); 33], vec![texts("a\nb")], vec![texts(&"x".repeat(257))]] {
        assert_eq!(tell(&caller, wrong).await, Err(Class::Invalid));
    }
    let stale = bot("ci", InstanceId(uuid::Uuid::new_v4()), 1, key());
    assert_eq!(tell(&stale, vec![good()]).await, Err(Class::Denied));
    assert_eq!(tell(&root(), vec![good()]).await, Err(Class::Denied));
    assert_eq!(bench.events().await.concat().matches("bot.hook").count(), 2);
}

/// What an instance tells of itself is counted by the instance: neither another certificate nor a lock that is lifted refills it,
/// and nobody else pays for it.
#[tokio::test]
async fn reports_have_a_budget_that_no_renewal_refills() {
    let bench = Bench::new().await;
    create(&bench, &root(), ci()).await.expect("is made");
    let (spender, other) = (joined(&bench).await, joined(&bench).await);
    let instance = |caller: &Caller| caller.lock_subject().bot_instance_id.expect("an instance");
    let tell = async |caller: &Caller| {
        let result = HookResult { output: "web".into(), action: "exec /a".into(), ..HookResult::default() };
        let results = vec![result; 32];
        let told = bench.bots.report_hooks(from(caller, ReportHooksRequest { results })).await;
        told.map(drop).map_err(|status| Problem::of(&status))
    };
    for _ in 0..75 {
        tell(&spender).await.expect("2,400 in an hour");
    }
    let spent = async |caller: &Caller| {
        let refused = tell(caller).await.expect_err("all is spent");
        assert_eq!((refused.class, refused.code.as_str()), (Class::Exhausted, "too_many_reports"));
        assert!(refused.again_in.is_some_and(|pause| pause.as_secs() < 60), "{refused:?}");
    };
    spent(&spender).await;
    spent(&bot("ci", instance(&spender), 2, key())).await;
    let lock = |caller: &Caller| {
        json!({"kind": "lock", "version": "v2", "metadata": {"name": "l"},
            "spec": {"target": {"bot_instance_id": instance(caller).to_string()}}})
    };
    bench.create(&root(), lock(&spender)).await.expect("is made");
    bench.delete(&root(), "lock", "l").await.expect("goes");
    spent(&spender).await;

    tell(&other).await.expect("what others have is theirs");
    bench.create(&root(), lock(&other)).await.expect("is made");
    assert_eq!(tell(&other).await.expect_err("is locked").code, "locked");
    bench.delete(&root(), "lock", "l").await.expect("goes");
    tell(&other).await.expect("is not any more");
    let name = format!("ci/{}", instance(&other));
    bench.delete(&root(), "bot_instance", &name).await.expect("goes");
    assert_eq!(tell(&other).await.expect_err("is removed").code, "locked");
}
