//! `tbot doctor` finds what is wrong, says how to mend it, and changes nothing.

use std::os::unix::fs::PermissionsExt;
use testkit::programs::{command, ours};
use testkit::{Bot, Cluster, Outcome, run, until};

const SPENT: &str = "0123456789abcdef0123456789abcdef";

fn doctor(bot: &Bot, more: &[&str]) -> Outcome {
    run(command(ours("tbot")).args(["doctor", "-c"]).arg(bot.config()).args(more))
}

/// Exit code 1, and these words on standard output, each with a fix.
fn wrong(bot: &Bot, parts: &[&str]) {
    let outcome = doctor(bot, &[]);
    assert_eq!(outcome.code(), 1, "{outcome:#?}");
    for part in parts {
        assert!(outcome.stdout.contains(part), "{part:?} is not in {outcome:#?}");
    }
    let wrong = outcome.stdout.lines().filter(|line| line.starts_with("wrong")).count();
    assert!(outcome.stdout.matches(" fix: ").count() >= wrong, "{outcome:#?}");
}

#[test]
fn nothing_is_wrong_before_during_and_after_a_run() {
    let (_cluster, bot) = Cluster::with_bot();
    let before = doctor(&bot, &[]).ok();
    assert!(before.contains("none yet: the agent has to join"), "{before}");
    assert!(!bot.storage().exists() && !bot.output().exists(), "it changes nothing");
    let mut agent = bot.start();
    run(command(ours("tbot")).args(["wait", "--fresh", "-c"]).arg(bot.config())).ok();
    let during = doctor(&bot, &[]).ok();
    for part in [
        "of cluster test.example.com",
        "answers, and is who it should be",
        "s from the server's",
        "it runs, pid",
        "it is this cluster's",
    ] {
        assert!(during.contains(part), "{part:?} is not in:\n{during}");
    }
    assert!(agent.stop().success());
    let after = doctor(&bot, &["--format=json"]).ok();
    let after: serde_json::Value = serde_json::from_str(&after).expect("JSON");
    assert_eq!(after["wrong"], 0, "{after:#}");
    let warnings: Vec<_> =
        after["findings"].as_array().expect("a list").iter().filter(|f| f["result"] == "warning").collect();
    assert_eq!(warnings.len(), 1, "it does not run: {warnings:#?}");
    assert!(!after.to_string().contains("PRIVATE"));
}

#[test]
fn a_server_that_is_not_there_or_another_is_told_apart() {
    let (cluster, bot) = Cluster::with_bot();
    let good = std::fs::read_to_string(bot.config()).expect("written before");
    let proxy = cluster.endpoint("proxy");
    let server =
        |address: &str| std::fs::write(bot.config(), good.replace(&proxy, address)).expect("written");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let closed = listener.local_addr().expect("bound").to_string();
    drop(listener);
    server(&closed);
    wrong(&bot, &["wrong    server: asking the server: cannot connect to", "fix: nothing listens there"]);
    server("no-such-host.invalid:3080");
    wrong(&bot, &["fix: check the name and this machine's resolver"]);
    // Auth lets bots join as well, and leads to no node.
    server(&cluster.endpoint("auth"));
    wrong(&bot, &["is an auth service, and is configured as proxy_server", "fix: set auth_server to it"]);
    let refused = bot.oneshot().refused();
    assert!(refused.contains("is an auth service"), "{refused}");
    std::fs::write(bot.config(), good.replace(&cluster.pin(), &format!("sha256:{}", "a".repeat(64))))
        .expect("written");
    wrong(&bot, &["wrong    server: ", "compare with 'CA pin' in the output of tctl status"]);

    // Who has joined believes the cluster; the pin is for the next time.
    std::fs::write(bot.config(), &good).expect("written");
    bot.oneshot().ok();
    std::fs::write(bot.config(), good.replace(&cluster.pin(), &format!("sha256:{}", "a".repeat(64))))
        .expect("written");
    let joined = doctor(&bot, &[]).ok();
    assert!(joined.contains("warning  pin: no pin of onboarding.ca_pins is this cluster's"), "{joined}");
}

#[test]
fn files_and_tokens_are_looked_at_with_their_rights() {
    let (cluster, bot) = Cluster::with_bot();
    let token = bot.directory().join("token");
    std::fs::set_permissions(bot.config(), PermissionsExt::from_mode(0o644)).expect("ours");
    let told = doctor(&bot, &[]).ok();
    let fix = format!("fix: chmod 600 {}, or put the secret in a file", bot.config().display());
    assert!(told.contains("warning  configuration: ") && told.contains(&fix), "{told}");
    let started = bot.oneshot();
    assert!(started.stderr.contains("everybody can read it; chmod 600"), "{started:#?}");
    started.ok();
    std::fs::remove_dir_all(bot.storage()).expect("ours");
    std::fs::remove_dir_all(bot.output()).expect("ours");
    bot.configure(token.to_str().expect("UTF-8"), &cluster.pin(), "");
    wrong(&bot, &["wrong    token: cannot read", "fix: put the token there"]);
    std::fs::write(&token, "\n").expect("written");
    wrong(&bot, &["token is empty", "tctl bots instances add"]);
    std::fs::write(&token, "secret-token").expect("written");
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).expect("ours");
    let told = doctor(&bot, &[]).ok();
    assert!(told.contains("others can read it") && told.contains("fix: chmod 600"), "{told}");
    assert!(!told.contains("secret-token"));

    std::fs::create_dir(bot.output()).expect("created");
    std::fs::set_permissions(bot.output(), PermissionsExt::from_mode(0o777)).expect("ours");
    wrong(&bot, &["wrong    output output-1: ", "fix: run `chmod go-w"]);
    std::fs::set_permissions(bot.output(), PermissionsExt::from_mode(0o700)).expect("ours");
    std::fs::write(bot.file("key"), "precious").expect("written");
    wrong(&bot, &["exists and was not written by tbot", "fix: move it away"]);
    std::fs::remove_file(bot.file("key")).expect("ours");
    std::fs::write(bot.storage(), "").expect("written");
    wrong(&bot, &["wrong    storage: ", "exists and is not a directory"]);
    assert_eq!(std::fs::read(bot.storage()).expect("as before"), b"");
}

#[test]
fn an_identity_that_ended_and_an_agent_that_complains_are_found() {
    let (cluster, bot) = Cluster::with_bot();
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    std::fs::write(bot.config(), format!("{config}certificate_ttl: 2s\n")).expect("written");
    bot.oneshot().ok();
    until("the end of the identity", || (doctor(&bot, &[]).code() == 1).then_some(()));
    wrong(&bot, &["wrong    identity: the stored identity expired at", "tctl bots instances add <bot>"]);
    // The same is what the agent says, and what it says is found.
    let refused = bot.oneshot().refused();
    assert!(refused.contains("get a new token with `tctl bots instances add tester`"), "{refused}");
    wrong(&bot, &["wrong    last run, identity: the identity in "]);

    bot.configure(SPENT, &cluster.pin(), "certificate_tll: 1h\nfips: true\n");
    wrong(&bot, &["configuration: ", "did you mean \"certificate_ttl\"?", "there is no FIPS build"]);
}

#[test]
fn a_disk_without_room_is_found() {
    if !testkit::programs::root() {
        return;
    }
    let (_cluster, bot) = Cluster::with_bot();
    std::fs::create_dir(bot.output()).expect("created");
    let mut mount = command("/bin/mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"]).arg(bot.output());
    if !run(&mut mount).status.success() {
        eprintln!("SKIPPED: this root may not mount");
        return;
    }
    wrong(&bot, &["has no room: 64 KiB are free", "fix: free some space"]);
    run(command("/bin/umount").arg(bot.output())).ok();
}
