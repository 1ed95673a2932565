//! What people and programs get to read.

use crate::Cluster;
use crate::fake::PIN;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn status_has_the_shape_of_the_guide() {
    let cluster = Cluster::start();
    assert_eq!(
        cluster.tctl(&["status"]).ok(),
        format!(
            "Cluster     test.example.com\nVersion     0.1.0\nhost CA     never updated\nuser CA     never updated\n\
             openssh CA  never updated\nCA pin      {PIN}\nHealth      well\\x1b]52;c;ZXZpbA==\\x07\\u{{202e}}\n"
        )
    );
    for arguments in [["--format=json", "status"], ["status", "--format=json"]] {
        let status = json(&cluster.tctl(&arguments).ok());
        assert_eq!(status["ca_pins"][0], PIN);
        assert_eq!(status["cluster"], "test.example.com");
        assert_eq!(status["proxy_addrs"][0], "proxy.example.com:3080");
        assert_eq!(status["nodes_online"], 1);
        assert_eq!(status["authorities"][0]["type"], "host");
        assert_eq!(status["health"], "well\u{1b}]52;c;ZXZpbA==\u{7}\u{202e}");
    }
    assert!(cluster.tctl(&["status", "--format", "yaml"]).ok().contains(PIN));
}

#[test]
fn nodes_are_listed_with_their_labels() {
    let cluster = Cluster::start();
    let text = cluster.tctl(&["nodes", "ls"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
        "Host UUID Public Address Labels Version Status"
    );
    assert!(lines[2].starts_with("db    22222222-") && lines[2].ends_with("offline"), "{text}");
    assert!(lines[3].contains("env=prod,os=\\x1b]52;"), "{text}");
    let nodes = json(&cluster.tctl(&["nodes", "ls", "env=prod", "--format=json"]).ok());
    assert_eq!(
        (nodes.as_array().expect("a list").len(), &nodes[0]["spec"]["hostname"]),
        (1, &Value::from("web"))
    );
}

#[test]
fn what_is_locked_says_by_which_lock() {
    let cluster = Cluster::start();
    let (one, other) = ("31111111-1111-4111-8111-111111111111", "32222222-2222-4222-8222-222222222222");
    for (bot, id, token) in [("ci", one, "ci-key"), ("cd", other, "****")] {
        cluster.fake.put(serde_json::json!({
            "kind": "bot_instance", "version": "v1", "metadata": {"name": format!("{bot}/{id}")},
            "spec": {"bot_name": bot, "instance_id": id},
            "status": {"latest_authentications": [{"join_method": "token", "join_token": token, "generation": 1}]}
        }));
    }
    let locked = |command: &[&str], thing: &str| {
        let text = cluster.tctl(command).ok();
        let line = text.lines().find(|line| line.contains(thing)).expect("a line of it");
        line.split_whitespace().last().expect("words").to_owned()
    };
    let instances = ["bots", "instances", "ls"];
    assert_eq!(
        (locked(&instances, one), locked(&["nodes", "ls"], "22222222-")),
        ("1".into(), "offline".into())
    );
    for target in
        [format!("--bot-instance={one}"), "--user=bot-ci".to_owned(), "--join-token=ci-key".to_owned()]
    {
        let made = json(&cluster.tctl(&["lock", &target, "--format=json"]).ok());
        let lock = format!("lock/{}", made["name"].as_str().expect("a name"));
        assert_eq!(
            (locked(&instances, one), locked(&instances, other)),
            (lock.clone(), "1".into()),
            "{target}"
        );
        let shown = cluster.tctl(&["bots", "instances", "show", &format!("ci/{one}")]).ok();
        assert!(shown.contains(&format!("{lock}; why: tctl get {lock}")), "{shown}");
        // Programs see it too.
        let shown =
            json(&cluster.tctl(&["bots", "instances", "show", &format!("ci/{one}"), "--format=json"]).ok());
        assert_eq!(shown["status"]["locked_by"], lock.as_str(), "{shown:#}");
        let listed = json(&cluster.tctl(&["bots", "instances", "ls", "--format=json"]).ok());
        let by = |id: &str| {
            let listed = listed.as_array().expect("a list").iter();
            let found = listed.into_iter().find(|found| found["spec"]["instance_id"] == id).expect("listed");
            found["status"]["locked_by"].clone()
        };
        assert_eq!((by(one), by(other)), (lock.as_str().into(), serde_json::Value::Null));
        cluster.tctl(&["rm", &lock]).ok();
    }
    let node = "22222222-2222-4222-8222-222222222222";
    let made = json(&cluster.tctl(&["lock", &format!("--server-id={node}"), "--format=json"]).ok());
    let text = cluster.tctl(&["nodes", "ls"]).ok();
    let line = format!("locked (lock/{})", made["name"].as_str().expect("a name"));
    assert!(text.lines().any(|text| text.starts_with("db") && text.ends_with(&line)), "{text}");
    let listed = json(&cluster.tctl(&["nodes", "ls", "--format=json"]).ok());
    let by: Vec<_> =
        listed.as_array().expect("a list").iter().map(|node| &node["status"]["locked_by"]).collect();
    assert!(by.contains(&&format!("lock/{}", made["name"].as_str().expect("a name")).into()), "{listed:#}");
}

#[test]
fn a_refused_join_is_explained_field_by_field() {
    let cluster = Cluster::start();
    let told = cluster.tctl(&["join", "explain", "0123456789abcdef"]).ok();
    for part in
        ["REFUSED (join_refused): of attempt 0123456789abcdef", "from 192.0.2.1:9", "repository", "NO"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let whole = json(&cluster.tctl(&["join", "explain", "0123456789abcdef", "--format=json"]).ok());
    assert_eq!(whole["checks"][1]["fits"], false);
}

#[test]
fn explain_answers_with_its_exit_code() {
    let cluster = Cluster::start();
    let ask =
        |login: &str| cluster.tctl(&["explain", "ssh", "--as", "bot/x", "--login", login, "--node", "web"]);
    let yes = ask("root").ok();
    assert!(yes.starts_with(
        "ALLOWED (allowed): of the roles\nrule: role \"access\": allow.logins\n  1. labels match\n"
    ));
    let no = ask("nobody");
    assert_eq!((no.exit, no.errors.as_str()), (3, ""));
    assert!(no.output.starts_with("DENIED (login_not_allowed): "), "{no:?}");
}

#[test]
fn events_are_rows_or_json() {
    let cluster = Cluster::start();
    let text = cluster
        .tctl(&["events", "ls", "--type=session.start", "--from=2026-01-01T00:00:00Z", "--limit=5"])
        .ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[2].starts_with("2026-03-01T10:00:01Z  T1    session.start  \\x1b]52;"), "{text}");
    assert!(lines[3].contains("session.end") && lines[3].ends_with("name=x"), "{text}");
    let request = cluster.fake.requests.lock().expect("not poisoned").pop().expect("a request");
    assert!(request.contains("from: \"2026-01-01T00:00:00Z\"") && request.contains("limit: 5"), "{request}");
    let events = json(&cluster.tctl(&["events", "ls", "--format=json"]).ok());
    assert_eq!(events[0]["sequence"], 1);
    let tail = cluster.tctl(&["events", "tail", "--format=json"]);
    assert_eq!(
        tail.output.lines().map(|line| json(line)["sequence"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    assert!(tail.refused().contains("ended the stream"));
}

#[test]
fn a_broken_audit_log_is_a_failure() {
    let cluster = Cluster::start();
    assert_eq!(cluster.tctl(&["events", "verify"]).ok(), "The audit log is whole: 2 events, head abcd.\n");
    cluster.tctl_with(&["create"], "kind: role\nversion: v7\nmetadata:\n  name: broken\n").ok();
    let broken = cluster.tctl(&["events", "verify", "--format=json"]);
    assert_eq!(json(&broken.output)["first_broken"], 2);
    assert!(broken.refused().contains("event 2 of the audit log does not fit"));
}

#[test]
fn authorities_are_exported_for_openssh() {
    let cluster = Cluster::start();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIq//CSwaKrxy2ARhKBSQqMTunhQG4i7Au41cRO6PCz1";
    for (kind, expected) in [
        ("user", format!("cert-authority {key} clustername=test.example.com&type=user\n")),
        ("host", format!("@cert-authority *.test.example.com {key} type=host\n")),
        ("openssh", format!("cert-authority {key} clustername=test.example.com&type=user\n")),
    ] {
        assert_eq!(cluster.tctl(&["auth", "export", "--type", kind]).ok(), expected);
    }
    assert!(cluster.tctl(&["auth", "export", "--type=tls-host"]).refused().contains("no keys of that form"));
}
