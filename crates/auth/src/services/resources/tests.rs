//! Each kind, each verb, and each refusal, over a real store.

use crate::services::bench::{Bench, person, role, root, user_with};
use api::status::Class;
use serde_json::{Value, json};

fn token(name: &str) -> Value {
    json!({"kind": "token", "version": "v2", "metadata": {"name": name}, "spec": {"roles": ["Node"]}})
}

#[tokio::test]
async fn a_resource_lives_through_all_verbs() {
    let bench = Bench::new().await;
    let made = bench.create(&root(), role("x", json!([]))).await.expect("is made");
    let again = bench.create(&root(), role("x", json!([]))).await.expect_err("is there");
    assert_eq!((again.class, again.reason.as_str()), (Class::Exists, r#"role "x" already exists"#));
    let (changed, created) = bench.upsert(&root(), made.clone()).await.expect("the revision is current");
    assert!(!created);
    assert_ne!(changed["metadata"]["revision"], made["metadata"]["revision"]);
    assert_eq!(bench.look(&root(), "roles", "x").await.expect("is there"), changed);
    bench.delete(&root(), "role", "x").await.expect("goes");
    let gone = bench.look(&root(), "role", "x").await.expect_err("is gone");
    assert_eq!((gone.class, gone.reason.as_str()), (Class::NotFound, r#"role "x" not found"#));
    assert_eq!(bench.delete(&root(), "role", "x").await.expect_err("is gone").class, Class::NotFound);
    let late = bench.upsert(&root(), changed).await.expect_err("was removed meanwhile");
    assert_eq!(late.code, "changed_meanwhile");
    let (_, created) = bench.upsert(&root(), role("x", json!([]))).await.expect("is made");
    assert!(created);
    let events = bench.events().await.concat();
    for code in ["T9000I", "T9001I", "T9002I"] {
        assert!(events.contains(code), "{code}");
    }
}

#[tokio::test]
async fn of_two_who_edit_one_revision_one_loses() {
    let bench = Bench::new().await;
    let made = bench.create(&root(), user_with("alice", &["access"])).await.expect("is made");
    let admin = root();
    let (one, other) = tokio::join!(bench.upsert(&admin, made.clone()), bench.upsert(&admin, made.clone()));
    let lost = match (one, other) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        both => panic!("one has to lose: {both:?}"),
    };
    assert_eq!((lost.class, lost.code.as_str()), (Class::Conflict, "changed_meanwhile"));
    assert!(lost.hint.contains("get it again"), "{lost}");
    let (one, other) = tokio::join!(
        bench.create(&admin, user_with("bob", &["access"])),
        bench.create(&admin, user_with("bob", &["editor"])),
    );
    assert_eq!([one, other].iter().filter(|made| made.is_ok()).count(), 1);
}

#[tokio::test]
async fn roles_allow_what_they_say_and_no_more() {
    let bench = Bench::new().await;
    let auditor = person("ann", &["auditor"]);
    let refused = bench.create(&auditor, role("x", json!([]))).await.expect_err("may not");
    assert_eq!((refused.class, refused.code.as_str()), (Class::Denied, "action_not_allowed"));
    assert_eq!(refused.reason, r#"access denied to perform action "create" on "role""#);
    for refused in [
        bench.delete(&auditor, "role", "access").await.expect_err("may not"),
        bench.look(&auditor, "role", "access").await.expect_err("may not"),
        bench.look(&auditor, "role", "nothing").await.expect_err("learns nothing"),
        bench.list(&auditor, "role", 0, "").await.expect_err("may not"),
        bench.create(&person("nobody", &["gone"]), role("x", json!([]))).await.expect_err("no such role"),
    ] {
        assert!(matches!(refused.class, Class::Denied | Class::Precondition), "{refused}");
    }
    let denials = bench.events().await.into_iter().filter(|event| event.contains("PA003W")).count();
    assert_eq!(denials, 5, "each denial is on record");
    let editor = person("ed", &["editor"]);
    bench.create(&editor, role("x", json!([]))).await.expect("may");
    bench.delete(&editor, "role", "x").await.expect("may");
}

#[tokio::test]
async fn each_listed_item_is_asked_for() {
    let bench = Bench::new().await;
    let own = json!([{"resources": ["role"], "verbs": ["list", "read", "update"],
        "where": r#"equals(resource.metadata.labels["team"], "red")"#}]);
    bench.create(&root(), role("red-team", own)).await.expect("is made");
    for (name, team) in [("r1", "red"), ("b1", "blue"), ("r2", "red")] {
        let mut role = role(name, json!([]));
        role["metadata"]["labels"] = json!({"team": team});
        bench.create(&root(), role).await.expect("is made");
    }
    let red = person("rita", &["red-team"]);
    assert_eq!(bench.list(&red, "role", 0, "").await.expect("some").0, ["r1", "r2"]);
    assert_eq!(bench.look(&red, "role", "b1").await.expect_err("not hers").class, Class::Denied);
    let mut blue = bench.look(&root(), "role", "b1").await.expect("is there");
    blue["metadata"]["labels"] = json!({"team": "red"});
    assert_eq!(bench.upsert(&red, blue).await.expect_err("nobody relabels").class, Class::Denied);
    let (first, next) = bench.list(&root(), "role", 4, "").await.expect("a page");
    let (rest, end) = bench.list(&root(), "role", 4, &next).await.expect("the next page");
    assert_eq!((first.len(), rest.len(), end.as_str()), (4, 3, ""));
    assert_eq!(
        bench.list(&root(), "user", 4, &next).await.expect_err("another listing").class,
        Class::Invalid
    );
}

#[tokio::test]
async fn tokens_are_masked_and_never_in_events() {
    let bench = Bench::new().await;
    let secret = "0123456789abcdef0123456789abcdef";
    bench.create(&root(), token(secret)).await.expect("is made");
    let again = bench.create(&root(), token(secret)).await.expect_err("is there");
    assert!(!again.to_string().contains(secret), "{again}");
    let masked = bench.look(&root(), "token", secret).await.expect("is there");
    assert_eq!(masked["metadata"]["name"], "************************89abcdef");
    let whole = bench.look_at(&root(), "token", secret, true).await.expect("root may");
    assert_eq!(whole["metadata"]["name"], secret);
    let rules = json!([{"resources": ["token"], "verbs": ["list", "readnosecrets"]}]);
    bench.create(&root(), role("lister", rules)).await.expect("is made");
    let lister = person("lee", &["lister"]);
    assert_eq!(
        bench.list(&lister, "token", 0, "").await.expect("may").0,
        ["************************89abcdef"]
    );
    assert_eq!(bench.look_at(&lister, "token", secret, true).await.expect_err("no").class, Class::Denied);
    bench.upsert(&root(), token(secret)).await.expect("is replaced");
    bench.delete(&root(), "token", secret).await.expect("goes");
    let events = bench.events().await.concat();
    assert!(events.contains("TJT00I") && events.contains("PA005I") && events.contains("PA006I"));
    assert!(!events.contains(secret), "{events}");
}

#[tokio::test]
async fn users_hold_roles_that_exist_and_keep_them() {
    let bench = Bench::new().await;
    let missing =
        bench.create(&root(), user_with("alice", &["access", "a", "b"])).await.expect_err("no roles");
    assert_eq!(missing.reason, r#"roles "a", "b" not found"#);
    bench.create(&root(), role("a", json!([]))).await.expect("is made");
    bench.create(&root(), user_with("alice", &["a"])).await.expect("is made");
    let held = bench.delete(&root(), "role", "a").await.expect_err("is held");
    assert_eq!((held.code.as_str(), held.reason.as_str()), ("in_use", r#"role "a" is held by "user alice""#));
    bench.delete(&root(), "user", "alice").await.expect("goes");
    bench.delete(&root(), "role", "a").await.expect("is free now");
    assert_eq!(bench.delete(&root(), "role", "editor").await.expect_err("stays").code, "preset");
    assert_eq!(
        bench.create(&root(), role("Auth", json!([]))).await.expect_err("reserved").class,
        Class::Invalid
    );
}

#[tokio::test]
async fn what_follows_from_a_bot_is_shown_and_cannot_be_touched() {
    let bench = Bench::new().await;
    let ci =
        json!({"kind": "bot", "version": "v1", "metadata": {"name": "ci"}, "spec": {"roles": ["access"]}});
    let made = bench.create(&root(), ci.clone()).await.expect("is made");
    assert_eq!(made["status"], json!({"user_name": "bot-ci", "role_name": "bot-ci"}));
    assert!(bench.list(&root(), "user", 0, "").await.expect("lists").0.contains(&"bot-ci".to_owned()));
    assert!(bench.list(&root(), "role", 0, "").await.expect("lists").0.contains(&"bot-ci".to_owned()));
    let derived = bench.look(&root(), "role", "bot-ci").await.expect("follows");
    assert_eq!(derived["spec"]["allow"]["impersonate"]["roles"], json!(["access"]));
    for refused in [
        bench.upsert(&root(), role("bot-ci", json!([]))).await.map(drop).expect_err("the bot's"),
        bench.create(&root(), user_with("bot-ci", &["access"])).await.map(drop).expect_err("the bot's"),
        bench.delete(&root(), "role", "bot-ci").await.expect_err("the bot's"),
        bench.delete(&root(), "user", "bot-ci").await.expect_err("the bot's"),
    ] {
        assert_eq!(refused.code, "belongs_to_bot");
        assert!(refused.hint.contains("tctl bots update ci"), "{refused}");
    }
    let borrowed = bench.create(&root(), user_with("eve", &["bot-ci"])).await.expect_err("the bot's role");
    assert_eq!(borrowed.class, Class::Invalid);
    assert_eq!(bench.delete(&root(), "role", "access").await.expect_err("preset").code, "preset");
    let mut fake = role("x", json!([]));
    fake["metadata"]["labels"] = json!({"teleport.dev/bot": "x"});
    assert_eq!(bench.create(&root(), fake).await.expect_err("looks like a bot's").class, Class::Invalid);
    bench.delete(&root(), "bot", "ci").await.expect("goes");
    // From before such names were reserved.
    let old = access::resource::Resource::from_json(role("bot-ci", json!([]))).expect("a role");
    let key = crate::catalog::layout::resource(access::resource::Kind::Role, "bot-ci").expect("a key");
    let txn = crate::catalog::record::put(store::Txn::new(), key, &old);
    bench.catalog.commit(txn).await.expect("commits").expect("no conflict");
    let taken = bench.create(&root(), ci).await.expect_err("the role is there");
    assert_eq!(taken.reason, r#"role "bot-ci" already exists"#);
}

/// Whoever held such a name when the bot is made later would be mixed up with it.
#[tokio::test]
async fn names_of_bots_are_reserved_for_them() {
    let bench = Bench::new().await;
    for (resource, kind, name, way) in [
        (role("bot-later", json!([])), "role", "bot-later", "tctl bots add later"),
        (user_with("bot-later", &["access"]), "user", "bot-later", "tctl bots add later"),
        (role("bot-", json!([])), "role", "bot-", "tctl bots add NAME"),
        (user_with("bot--x", &["access"]), "user", "bot--x", "tctl bots add"),
    ] {
        for refused in [
            bench.create(&root(), resource.clone()).await.map(drop).expect_err("reserved"),
            bench.upsert(&root(), resource.clone()).await.map(drop).expect_err("reserved"),
        ] {
            assert_eq!((refused.class, refused.code.as_str()), (Class::Invalid, "name_reserved"), "{name}");
            let words = format!(
                r#"{kind} "{name}" cannot be made: names that begin with bot- are reserved for bots"#
            );
            assert_eq!(refused.reason, words);
            assert!(refused.hint.contains(way), "{refused:?}");
        }
    }
    bench.create(&root(), role("bots", json!([]))).await.expect("is another name");
    bench.create(&root(), user_with("robot-x", &["bots"])).await.expect("is another name");
    let later =
        json!({"kind": "bot", "version": "v1", "metadata": {"name": "later"}, "spec": {"roles": ["bots"]}});
    bench.create(&root(), later).await.expect("its names are free");
}

#[tokio::test]
async fn settings_are_always_there() {
    let bench = Bench::new().await;
    let default = bench.look(&root(), "cap", "").await.expect("defaults");
    assert_eq!(default["metadata"], json!({"name": "cluster-auth-preference"}));
    let wanted = json!({"kind": "cluster_auth_preference", "version": "v2", "metadata": {},
        "spec": {"locking_mode": "strict"}});
    let (_, created) = bench.upsert(&root(), wanted).await.expect("is set");
    assert!(!created, "a setting is changed, never made");
    let listed = bench.list(&root(), "cluster_auth_preference", 0, "").await.expect("one").0;
    assert_eq!(listed, ["cluster-auth-preference"]);
    assert_eq!(bench.look(&root(), "cap", "other").await.expect_err("one only").class, Class::Invalid);
    bench.delete(&root(), "cap", "cluster-auth-preference").await.expect("is reset");
    bench.delete(&root(), "cap", "").await.expect("again, and nothing changes");
    assert_eq!(bench.look(&root(), "cap", "").await.expect("defaults"), default);
    assert!(bench.events().await.concat().contains("TCAUTH001I"));
}

#[tokio::test]
async fn locks_get_names_need_targets_and_act_on_callers() {
    let bench = Bench::new().await;
    let editor = person("ed", &["editor"]);
    let lock = |spec: Value| json!({"kind": "lock", "version": "v2", "spec": spec});
    let made = bench.create(&editor, lock(json!({"target": {"user": "eve"}}))).await.expect("is made");
    let name = made["metadata"]["name"].as_str().expect("a name").to_owned();
    uuid::Uuid::parse_str(&name).expect("a UUID");
    for wrong in [json!({"target": {}}), json!({"target": {"user": "a"}, "expires": "2001-01-01T00:00:00Z"})]
    {
        assert_eq!(bench.create(&editor, lock(wrong)).await.expect_err("wrong").class, Class::Invalid);
    }
    let before = bench.catalog.read(&crate::catalog::layout::lock_epoch()).await.expect("reads");
    bench.create(&editor, lock(json!({"target": {"user": "ed"}}))).await.expect("is made");
    let after = bench.catalog.read(&crate::catalog::layout::lock_epoch()).await.expect("reads");
    assert_ne!(before.map(|entry| entry.revision), after.map(|entry| entry.revision));
    let locked = bench.delete(&editor, "lock", &name).await.expect_err("locked at once");
    assert_eq!(locked.code, "locked");
    bench.delete(&root(), "lock", &name).await.expect("goes");
    let events = bench.events().await.concat();
    assert!(events.contains("TLK00I") && events.contains("TLK01I"));
}

#[tokio::test]
async fn what_others_write_cannot_be_made_here() {
    let bench = Bench::new().await;
    let id = "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c";
    let node = json!({"kind": "node", "version": "v2", "metadata": {"name": id}, "spec": {}});
    let refused = bench.create(&root(), node).await.expect_err("nodes announce themselves");
    assert_eq!(refused.reason, r#"creating resources of type "node" is not supported"#);
    for (json, class) in [
        ("", Class::Invalid),
        ("{}", Class::Invalid),
        (r#"{"kind": "rolez"}"#, Class::Invalid),
        (r#"{"kind": "lock", "version": "v2", "metadata": 7}"#, Class::Invalid),
    ] {
        let value = serde_json::from_str(json).unwrap_or(Value::Null);
        assert_eq!(bench.create(&root(), value).await.expect_err("nonsense").class, class, "{json}");
    }
    assert_eq!(bench.look(&root(), "rolez", "x").await.expect_err("no kind").class, Class::Invalid);
    assert_eq!(bench.look(&root(), "bot_instance", "x").await.expect_err("no id").class, Class::Invalid);
    assert_eq!(bench.delete(&root(), "ca", "host").await.expect_err("stay").code, "not_supported");
    assert_eq!(bench.delete(&root(), "node", id).await.expect_err("none").class, Class::NotFound);
    let mut past = role("x", json!([]));
    past["metadata"]["expires"] = "2001-01-01T00:00:00Z".into();
    assert_eq!(bench.create(&root(), past).await.expect_err("has passed").class, Class::Invalid);
}
