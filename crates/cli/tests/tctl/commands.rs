//! Bots, tokens, users, locks: what is sent and how the next step is told.

use crate::fake::PIN;
use crate::{Cluster, run};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_new_bot_comes_with_all_its_agent_needs() {
    let cluster = Cluster::start();
    let added =
        json(&cluster.tctl(&["bots", "add", "x", "--roles=a, b,", "--logins=root", "--format=json"]).ok());
    assert_eq!(
        added,
        serde_json::json!({"user_name": "bot-x", "role_name": "bot-x", "token_id": "t0k3n",
            "token_ttl": 3_600_000_000_000u64, "ca_pins": [PIN], "proxy_addrs": ["proxy.example.com:3080"]})
    );
    let request = cluster.fake.requests.lock().expect("not poisoned").pop().expect("a request");
    assert!(request.contains("roles: [\"a\", \"b\"], logins: [\"root\"]"), "{request}");
    let said = cluster.tctl(&["bots", "add", "y", "--ttl=90m"]);
    assert!(said.errors.contains("WARNING: bot \"y\" has no roles"), "{said:?}");
    let text = said.ok();
    for part in [
        "The bot token: t0k3n\nThis token will expire in 90 minutes.\n",
        "version: v2\nproxy_server: proxy.example.com:3080\nonboarding:\n  join_method: token\n  token: t0k3n\n  ca_pins:\n",
        "> tbot start -c tbot.yaml\n",
        &format!("   --token=t0k3n \\\n   --ca-pin={PIN} \\\n   --proxy-server=proxy.example.com:3080 \\\n"),
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let list = cluster.tctl(&["bots", "ls"]).ok();
    assert!(
        list.starts_with("Bot  User   Roles\n---  ----   -----\nx    bot-x  a,b\ny    bot-y\n"),
        "{list}"
    );
    assert!(cluster.tctl(&["bots", "instances", "add", "x"]).ok().contains("--token=s3c0nd"));
    assert_eq!(cluster.tctl(&["bots", "instances", "ls"]).ok(), "No bot instances found\n");
    assert_eq!(cluster.tctl(&["bots", "rm", "x"]).ok(), "Bot \"x\" deleted successfully.\n");
    assert_eq!(cluster.tctl(&["rm", "bot/y"]).ok(), "bot \"y\" has been deleted\n");
    assert_eq!(cluster.tctl(&["bot", "ls"]).ok(), "No bots found\n");
}

#[test]
fn bots_are_updated_and_locked() {
    let cluster = Cluster::start();
    cluster.tctl(&["bots", "add", "x", "--roles=a"]).ok();
    cluster.tctl(&["bots", "update", "x", "--add-roles", "b,c", "--set-logins="]).ok();
    let request = cluster.fake.requests.lock().expect("not poisoned").pop().expect("a request");
    assert!(request.contains("add_roles: [\"b\", \"c\"], set_logins: true, logins: []"), "{request}");
    assert!(request.contains("set_roles: false"), "{request}");
    assert!(cluster.tctl(&["bots", "update", "x"]).ok().contains("No changes requested"));
    let locked = cluster.tctl(&["bots", "lock", "x", "--ttl=1h"]).ok();
    assert!(locked.starts_with("Created a lock with name \"") && locked.ends_with("\".\n"), "{locked}");
    let request = cluster.fake.requests.lock().expect("not poisoned").pop().expect("a request");
    assert!(request.contains("bot-x") && request.contains("expires"), "{request}");
    assert!(cluster.tctl(&["bots", "lock", "stranger"]).refused().contains("bot \"stranger\" not found"));
}

#[test]
fn tokens_come_with_a_configuration() {
    let cluster = Cluster::start();
    let bare = cluster.tctl(&["tokens", "add", "--type=node", "--format=text"]).ok();
    assert!(bare.trim_end().len() == 32 && bare.trim_end().chars().all(|c| c.is_ascii_hexdigit()), "{bare}");
    let added =
        json(&cluster.tctl(&["tokens", "add", "--type=proxy,node", "--value=abc", "--format=json"]).ok());
    assert_eq!((&added["token"], &added["roles"]), (&"abc".into(), &serde_json::json!(["Proxy", "Node"])));
    let text = cluster.tctl(&["tokens", "add", "--type=node", "--value=xyz"]).ok();
    for part in [
        "The invite token: xyz\n",
        "expire in 30 minutes",
        "  auth_token: xyz\n",
        PIN,
        "  proxy_server: proxy.example.com:3080\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let text = cluster.tctl(&["tokens", "add", "--type=proxy"]).ok();
    assert!(
        text.contains("auth_server: AUTH-HOST:3025\n") && text.contains("proxy_service:\n  enabled: true\n"),
        "{text}"
    );
    std::fs::write(cluster.file("data/endpoints.json"), r#"{"auth": "10.1.2.3:3025", "other": 5}"#)
        .expect("written");
    assert!(cluster.tctl(&["tokens", "add", "--type=proxy"]).ok().contains("auth_server: 10.1.2.3:3025\n"));
    assert!(cluster.tctl(&["nodes", "add"]).ok().contains("> postern start -c /etc/postern.yaml"));
    let list = cluster.tctl(&["tokens", "ls"]).ok();
    assert!(
        list.starts_with("Token ")
            && list.contains("\n***")
            && !list.contains("xyz")
            && list.contains("Proxy,Node")
            && list.contains("UTC ("),
        "{list}"
    );
    assert_eq!(cluster.tctl(&["tokens", "rm", "abc"]).ok(), "Token *** has been deleted\n");
    assert!(
        cluster.tctl(&["tokens", "add", "--type=node", "--value=xyz"]).refused().contains("already exists")
    );
    for (arguments, reason) in [
        (["--type=bot", "--ttl=1h"], "tctl bots add"),
        (["--type=auth", "--ttl=1h"], "do not join by token"),
        (["--type=node", "--ttl=never"], "a token needs an end"),
        (["--type=node", "--value=a b"], "other characters"),
    ] {
        let said = cluster.tctl(&[&["tokens", "add"][..], &arguments].concat());
        assert!(said.exit == 2 && said.errors.contains(reason), "{said:?}");
    }
}

#[test]
fn users_are_added_changed_and_removed() {
    let cluster = Cluster::start();
    assert_eq!(cluster.tctl(&["users", "ls"]).ok(), "No users found\n");
    let added = cluster.tctl(&["users", "add", "joe", "--roles=access,editor", "--logins=joe,root"]).ok();
    assert!(
        added.contains("User \"joe\" has been created") && added.contains("tctl auth sign --user=joe"),
        "{added}"
    );
    assert_eq!(cluster.tctl(&["users", "ls"]).ok(), "User  Roles\n----  -----\njoe   access,editor\n");
    cluster.tctl(&["users", "update", "joe", "--set-roles=auditor", "--set-logins="]).ok();
    let user = json(&cluster.tctl(&["get", "user/joe", "--format=json"]).ok());
    assert_eq!(user[0]["spec"], serde_json::json!({"roles": ["auditor"], "traits": {}}));
    assert_eq!(cluster.tctl(&["users", "update", "joe"]).exit, 2);
    assert!(cluster.tctl(&["users", "rm", "joe,ann"]).refused().contains("user \"ann\" not found"));
    assert!(cluster.tctl(&["users", "add", "joe", "--roles=x"]).ok().contains("created"));
}

#[test]
fn a_lock_has_one_target() {
    let cluster = Cluster::start();
    let lock = |arguments: &[&str]| {
        cluster.tctl(&[&["lock", "--format=json"], arguments].concat()).ok();
        let locks = json(&cluster.tctl(&["get", "locks", "--format=json"]).ok());
        let name = locks[0]["metadata"]["name"].as_str().expect("a name").to_owned();
        cluster.tctl(&["rm", &format!("lock/{name}")]).ok();
        locks[0]["spec"].clone()
    };
    let target = |key: &str, value: &str| serde_json::json!({"target": {key: value}, "message": "stop"});
    for (arguments, spec) in [
        (["--user=bot-x", "--message=stop"], target("user", "bot-x")),
        (["--role=r", "--message=stop"], target("role", "r")),
        (["--login=root", "--message=stop"], target("login", "root")),
    ] {
        assert_eq!(lock(&arguments), spec);
    }
    let id = "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c";
    for (option, key) in [
        ("--server-id=", "server_id"),
        ("--node=", "server_id"),
        ("--bot-instance=", "bot_instance_id"),
        ("--bot-instance=x/", "bot_instance_id"),
    ] {
        assert_eq!(lock(&[&format!("{option}{id}"), "--message=stop"]), target(key, id));
    }
    for wrong in [
        &["lock"][..],
        &["lock", "--user=a", "--role=b"],
        &["lock", "--user=a*"],
        &["lock", "--server-id=web-1"],
        &["lock", "--user=a", "--ttl=x"],
    ] {
        assert_eq!(cluster.tctl(wrong).exit, 2, "{wrong:?}");
    }
}

#[test]
fn what_cannot_be_reached_is_named() {
    let cluster = Cluster::start();
    let refusal = run(["tctl", "-c", "/nonexistent.yaml", "status"], "").refused();
    assert!(refusal.starts_with("ERROR: cannot read /nonexistent.yaml: "), "{refusal}");
    let elsewhere = cluster.file("elsewhere.yaml");
    std::fs::write(&elsewhere, format!("postern: {{data_dir: {}}}", cluster.file("nothing").display()))
        .expect("written");
    let elsewhere = elsewhere.to_str().expect("UTF-8");
    let refusal = run(["tctl", "-c", elsewhere, "status"], "").refused();
    assert!(
        refusal.contains("no auth service runs here") && refusal.contains("nothing/admin.sock"),
        "{refusal}"
    );
    for (arguments, reason) in [
        (&["-i", "/x", "status"][..], "an identity needs a cluster"),
        (&["--proxy=p", "status"], "need an identity"),
        (&["-i", "/x", "--proxy=a b", "status"], "is not an address"),
        (&["status", "--format=openssh"], "belong to tctl auth sign"),
        (&["status", "--format=xml"], "xml"),
        (&["elephant"], "elephant"),
        (&[], "Usage"),
    ] {
        let said = run(["tctl"].iter().chain(arguments).copied(), "");
        assert!(said.exit == 2 && said.errors.contains(reason), "{said:?}");
    }
    let refusal = run(["tctl", "-i", "/nonexistent", "--auth-server=127.0.0.1:1", "status"], "").refused();
    assert!(refusal.contains("cannot read the identity /nonexistent"), "{refusal}");
}

#[test]
fn keys_are_not_written_over_other_files() {
    let cluster = Cluster::start();
    let file = cluster.file("identity");
    std::fs::write(&file, "mine").expect("written");
    let sign = |more: &[&str]| {
        let out = file.to_str().expect("UTF-8");
        cluster.tctl(&[&["auth", "sign", "--user=joe", "-o", out], more].concat())
    };
    assert!(sign(&[]).refused().contains("exists already"));
    // The stand-in signs nothing; the point is that nothing was written either.
    assert!(!sign(&["--overwrite"]).refused().contains("exists already"));
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "mine");
    assert_eq!(sign(&["--ttl=never", "--overwrite"]).exit, 2);
}

#[test]
fn small_talk() {
    assert!(run(["tctl", "version"], "").ok().starts_with("Postern "));
    assert!(run(["tctl", "completion", "bash"], "").ok().contains("_tctl"));
    assert!(run(["tctl", "man"], "").ok().contains(".TH tctl"));
    assert!(run(["tctl", "--help"], "").ok().contains("Administers a Postern cluster"));
    let reference = cli::reference::markdown(&cli::tctl::definition());
    for part in ["# `tctl`", "## `tctl bots`", "### `tctl bots add`", "`--ca", "`-c, --config FILE`"] {
        let there = reference.contains(part);
        assert_eq!(there, part != "`--ca", "{part}\n{reference}");
    }
    assert!(!reference.contains("tctl man"));
}
