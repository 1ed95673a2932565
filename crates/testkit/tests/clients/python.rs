//! Python's libraries, each with what it reads by itself of the bot's files: asyncssh the whole `ssh_config` and the host
//! authority; paramiko and Fabric all but the authority, for they know no host certificates and are given the host's key.

use std::path::Path;

use serde_json::{Value, json};
use testkit::programs::{command, theirs};
use testkit::{Bot, run};

use super::story::Story;

fn python(story: &Story, script: &str, task: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let interpreter = theirs("fab").expect("looked for before").with_file_name("python3");
    let said = run(command(interpreter).env("HOME", story.cluster.path()).arg(script).arg(task.to_string()));
    let (stdout, shown) = (said.stdout.clone(), format!("{said:#?}"));
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

fn task(story: &Story) -> Value {
    json!({
        "host": Bot::host("my-host"),
        "login": story.login,
        "ssh_config": story.bot.file("ssh_config"),
        "known_hosts": story.bot.file("known_hosts"),
        "directory": story.path("there"),
    })
}

/// Everything that the scripts do, as they tell it.
fn all() -> Value {
    json!({"command": ["out\n", "err\n", 7], "sftp": "carried", "forward": "through"})
}

/// `known_hosts` with the node's own key, as an administrator gets it on the node's network.
fn know_by_key(story: &Story) -> String {
    let (address, port) = {
        let endpoint = story.cluster.endpoint("node");
        let (address, port) = endpoint.rsplit_once(':').expect("host:port");
        (address.to_owned(), port.to_owned())
    };
    let scanned =
        run(command("/usr/bin/ssh-keyscan").args(["-t", "ecdsa,ed25519", "-p", &port, &address])).ok();
    let key: Vec<&str> = scanned.lines().next().expect("a key").split(' ').skip(1).collect();
    let known = story.path("known_by_key");
    let host = Bot::host("my-host");
    std::fs::write(&known, format!("{host} {key}\n[{host}]:3022 {key}\n", key = key.join(" ")))
        .expect("written");
    known.display().to_string()
}

/// A `known_hosts` like the bot's, with somebody else's authority in it.
fn other_authority(story: &Story) -> String {
    let other = story.path("other");
    run(command("/usr/bin/ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other)).ok();
    let public = std::fs::read_to_string(other.with_extension("pub")).expect("written");
    let known = story.path("known_other");
    std::fs::write(&known, format!("@cert-authority *.{} {public}", testkit::cluster::CLUSTER))
        .expect("written");
    known.display().to_string()
}

#[test]
fn asyncssh_reads_the_configuration_and_checks_the_authority() {
    let Some(_) = theirs("fab") else { return };
    let story = Story::start();
    std::fs::create_dir(story.path("there")).expect("made");
    let mut task = task(&story);
    assert_eq!(python(&story, "asyncssh_client.py", &task), all());
    task["known_hosts"] = json!(other_authority(&story));
    assert_eq!(python(&story, "asyncssh_client.py", &task), json!({"refused": "HostKeyNotVerifiable"}));
    task["known_hosts"] = json!(story.bot.file("known_hosts"));
    task["login"] = json!("daemon");
    assert_eq!(python(&story, "asyncssh_client.py", &task), json!({"refused": "PermissionDenied"}));
}

#[test]
fn paramiko_and_fabric_need_the_key_of_the_host() {
    let Some(_) = theirs("fab") else { return };
    let story = Story::start();
    std::fs::create_dir(story.path("there")).expect("made");
    for script in ["paramiko_client.py", "fabric_client.py"] {
        let mut task = task(&story);
        // The authority's line is nothing to them; without a key of the host they do not go on.
        assert_eq!(python(&story, script, &task), json!({"refused": "InvalidHostKey"}), "{script}");
        std::fs::write(story.path("known_nobody"), "").expect("written");
        task["known_hosts"] = json!(story.path("known_nobody"));
        assert_eq!(python(&story, script, &task), json!({"refused": "SSHException"}), "{script}");
        task["known_hosts"] = json!(know_by_key(&story));
        assert_eq!(python(&story, script, &task), all(), "{script}");
        task["login"] = json!("daemon");
        // The node says why and hangs up, which is no answer to an attempt for some of their versions.
        let refused = python(&story, script, &task)["refused"].clone();
        assert!(
            ["SSHException", "AuthenticationException"].map(Value::from).contains(&refused),
            "{script}: {refused}"
        );
    }
}
