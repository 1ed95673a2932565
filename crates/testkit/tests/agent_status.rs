//! `tbot status` and `tbot wait` say how the agent on this machine is, whether it runs or not.

use testkit::process::Signal;
use testkit::programs::{command, ours};
use testkit::{Bot, Cluster, Outcome, run, until};

fn tbot(bot: &Bot, arguments: &[&str]) -> Outcome {
    run(command(ours("tbot")).arg("-c").arg(bot.config()).args(arguments))
}

fn status(bot: &Bot) -> serde_json::Value {
    let told = tbot(bot, &["status", "--format=json"]).stdout;
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
}

#[test]
fn a_status_is_told_before_during_and_after_a_run() {
    let (_cluster, bot) = Cluster::with_bot();
    let before = tbot(&bot, &["status"]);
    assert_eq!(before.code(), 3, "{before:#?}");
    assert!(
        before.stdout.contains("tbot does not run, and none has left word in the storage"),
        "{before:#?}"
    );
    assert!(before.stdout.contains("output-1: nothing has been written yet"), "{before:#?}");

    let mut agent = bot.start();
    tbot(&bot, &["wait", "--fresh", "--timeout=60s"]).ok();
    let told = status(&bot);
    assert_eq!(
        (&told["running"], &told["ready"], &told["pid"]),
        (&true.into(), &true.into(), &agent.pid().into())
    );
    assert_eq!(
        (&told["instance"]["bot"], &told["instance"]["cluster"]),
        (&"tester".into(), &"test.example.com".into())
    );
    assert!(agent.log().contains("joined bot=\"tester\""), "{}", agent.log());
    let names: Vec<&str> =
        told["services"].as_array().expect("a list").iter().filter_map(|s| s["name"].as_str()).collect();
    assert!(names.starts_with(&["identity", "output-1"]), "{told:#}");
    let text = tbot(&bot, &["status"]).ok();
    assert!(text.contains("output-1") && text.contains("healthy") && text.contains("59 min"), "{text}");
    let yaml = tbot(&bot, &["status", "--format=yaml"]).ok();
    assert!(yaml.contains("running: true"), "{yaml}");

    // A kill leaves the file as it was; the lock says the truth.
    agent.kill();
    let after = tbot(&bot, &["status"]);
    assert_eq!(after.code(), 3);
    assert!(after.stdout.contains("tbot does not run"), "{after:#?}");
    tbot(&bot, &["wait", "--timeout=1s"]).ok();
    let stale = tbot(&bot, &["wait", "--fresh", "--timeout=1s"]);
    assert_eq!(stale.code(), 3, "{stale:#?}");
    assert!(stale.stderr.contains("the credentials were not fresh within 1s: no agent runs"), "{stale:#?}");

    // What the dead one said is not the next one's word.
    let again = bot.start();
    until("the next one to say how it is", || {
        let told = status(&bot);
        let is_its_own = told["pid"] == again.pid();
        assert!(is_its_own || told["pid"].is_null(), "{told:#}");
        is_its_own.then_some(())
    });
    tbot(&bot, &["wait", "--fresh", "--timeout=60s"]).ok();
    drop(again);

    // Nobody is told of credentials that are not there any more.
    std::fs::remove_dir_all(bot.output()).expect("ours");
    let gone = tbot(&bot, &["wait", "--timeout=1s"]);
    assert_eq!(gone.code(), 3, "{gone:#?}");
    assert!(gone.stderr.contains("ERROR: the credentials were not there within 1s: output-1: "), "{gone:#?}");
}

/// Some of its files are gone, and its report cannot be written: neither passes for well.
#[test]
fn what_is_missing_is_seen_and_written_again() {
    let (_cluster, bot) = Cluster::with_bot();
    let agent = bot.start();
    tbot(&bot, &["wait", "--fresh", "--timeout=60s"]).ok();
    // Or it might notice before anybody else does.
    agent.signal(Signal::STOP);
    std::fs::remove_file(bot.file("key")).expect("ours");
    assert_eq!(tbot(&bot, &["status"]).code(), 3);
    let doctor = tbot(&bot, &["doctor"]);
    assert!(doctor.stdout.contains("some of what was written in"), "{doctor:#?}");
    agent.signal(Signal::CONT);
    agent.signal(Signal::USR1);
    until("the file to be there again", || bot.file("key").exists().then_some(()));

    // Where the next report is prepared, nothing can be written.
    let partial = bot.storage().join(".partial-status.json");
    until("no report to be under way", || std::fs::create_dir(&partial).ok());
    agent.signal(Signal::USR1);
    let told = until("the report to be gone", || {
        let told = tbot(&bot, &["status"]);
        told.stdout.contains("its report could not be written").then_some(told)
    });
    assert_eq!(told.code(), 3, "{told:#?}");
    std::fs::remove_dir(&partial).expect("ours");
    agent.signal(Signal::USR1);
    until("a report", || tbot(&bot, &["status"]).status.success().then_some(()));
}

#[test]
fn the_status_file_holds_no_secret() {
    let (_cluster, bot) = Cluster::with_bot();
    bot.oneshot().ok();
    let kept = std::fs::read_to_string(bot.storage().join("status.json")).expect("written");
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let token = config.lines().find_map(|line| line.trim().strip_prefix("token: ")).expect("a token");
    assert!(!kept.contains(token) && !kept.contains("PRIVATE") && !kept.contains("ssh-"), "{kept}");
    let mode = std::fs::metadata(bot.storage().join("status.json")).expect("there").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
}

/// Whoever collects logs in JSON finds the reason for the end among them.
#[test]
fn the_last_error_is_told_in_the_form_of_the_log() {
    let (_cluster, bot) = Cluster::with_bot();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    let wrong = ["--diag-addr=here"].as_slice();
    for (flags, part) in [
        (
            &["--diag-addr", &address][..],
            format!("diag_addr cannot be used: {address}: Address already in use"),
        ),
        (wrong, "--diag-addr: \"here\" is not an address".to_owned()),
    ] {
        let start = |format: &str| tbot(&bot, &[&["start", "--log-format", format], flags].concat());
        let text = start("text");
        assert!(text.stderr.contains(&format!("ERROR: {part}")), "{text:#?}");
        let json = start("json");
        assert_eq!((text.code(), json.code()), (1, 1), "{json:#?}");
        let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        let lines: Vec<_> = json.stderr.lines().map(read).collect();
        let last = lines.last().expect("a line");
        assert_eq!(last["level"], "ERROR");
        assert!(last["fields"]["message"].as_str().expect("text").starts_with(&part), "{last:#}");
    }
}

#[test]
fn a_refusal_at_the_start_is_told_afterwards() {
    let (cluster, bot) = Cluster::with_bot();
    bot.configure("0123456789abcdef0123456789abcdef", &cluster.pin(), "");
    let refused = bot.oneshot().refused();
    let told = tbot(&bot, &["status"]);
    assert_eq!(told.code(), 3);
    let reason = refused.trim().strip_prefix("ERROR: ").expect("an error").to_owned();
    assert!(told.stdout.contains(&format!("identity: {reason}")), "{told:#?}\n{reason}");
}

#[test]
fn storage_in_memory_has_no_status() {
    let (_cluster, bot) = Cluster::with_bot();
    let refused = tbot(&bot, &["status", "--data-dir=memory://"]).refused();
    assert!(refused.contains("ask its diag_addr"), "{refused}");
    let usage = tbot(&bot, &["wait", "--timeout=soon"]);
    assert_eq!(usage.code(), 2, "{usage:#?}");
}

#[test]
fn a_running_agent_takes_a_new_token_from_its_file() {
    let (cluster, bot) = Cluster::with_bot();
    bot.oneshot().ok();
    let file = bot.directory().join("token");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef").expect("written");
    bot.configure(file.to_str().expect("UTF-8"), &cluster.pin(), "renewal_interval: 1s\n");
    let mut agent = bot.start();
    until("a renewal", || agent.log().contains("credentials written").then_some(()));
    let listing = cluster.tctl(&["get", "bot_instances", "--format=json"]).ok();
    let (_, rest) = listing.split_once("\"instance_id\": \"").expect("an instance");
    let id = rest.split('"').next().expect("an id");
    cluster.tctl(&["rm", &format!("bot_instance/tester/{id}")]).ok();
    until("the refusal", || agent.log().contains("does not look like it will pass").then_some(()));
    until("the status to say so", || (status(&bot)["services"][0]["status"] == "degraded").then_some(()));

    let added = cluster.tctl(&["bots", "instances", "add", "tester", "--format=json"]).ok();
    let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
    std::fs::write(&file, added["token_id"].as_str().expect("a token")).expect("written");
    until("the agent to join again", || {
        agent.assert_running();
        (status(&bot)["services"][0]["status"] == "healthy").then_some(())
    });
    assert!(agent.log().contains("joining with the configured token"), "{}", agent.log());
}

#[test]
fn the_cluster_is_told_how_the_agent_is() {
    let (cluster, bot) = Cluster::with_bot();
    let second = bot.directory().join("second");
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let more = format!(
        "- type: identity\n  name: wrong\n  destination: {}\n  roles: [no-such-role]\n",
        second.display()
    );
    std::fs::write(bot.config(), format!("{config}{more}")).expect("written");
    let agent = bot.start();
    let listing = until("the heartbeat", || {
        let listing = cluster.tctl(&["get", "bot_instances", "--format=json"]).ok();
        listing.contains("no-such-role").then_some(listing)
    });
    let hostname = testkit::run(&mut command("/bin/hostname")).ok();
    let (_, rest) = listing.split_once("\"instance_id\": \"").expect("an instance");
    let id = rest.split('"').next().expect("an id");
    let shown = cluster.tctl(&["bots", "instances", "show", &format!("tester/{id}")]).ok();
    for part in
        ["is_startup", "Services:", "output-1", "healthy", "unhealthy", "no-such-role", hostname.trim()]
    {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    let listed = cluster.tctl(&["bots", "instances", "ls"]).ok();
    assert!(listed.contains(hostname.trim()), "{listed}");

    // And that it is well again, though the next heartbeat is half an hour away.
    cluster.role("no-such-role", "[root]", "{env: test}");
    cluster.tctl(&["bots", "update", "tester", "--add-roles=no-such-role"]).ok();
    agent.signal(Signal::USR1);
    until("the cluster to hear of it", || {
        let shown = cluster.tctl(&["bots", "instances", "show", &format!("tester/{id}")]).ok();
        (!shown.contains("unhealthy") && !shown.contains("initializing")).then_some(())
    });
}
