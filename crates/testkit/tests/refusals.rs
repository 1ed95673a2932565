//! What must not work, through the real programs: each refusal with its reason where the caller may know it.

use testkit::cluster::NodeSettings;
use testkit::{Bot, Cluster, Layout, until};

fn login() -> String {
    let name = testkit::run(testkit::programs::command("/usr/bin/id").arg("-un")).ok();
    name.trim().to_owned()
}

/// A cluster with `my-host` (env: test) and a bot that may log in there, with its files written.
fn cluster_and_bot() -> (Cluster, Bot, String) {
    let cluster = Cluster::start(Layout::Processes);
    let login = login();
    cluster.role("tester", &format!("[{login}]"), "{env: test}");
    let bot = cluster.bot("tester", &["tester"]);
    bot.oneshot().ok();
    let target = format!("{login}@{}", Bot::host("my-host"));
    assert_eq!(bot.ssh(&[&target, "echo in"]).ok().trim(), "in");
    (cluster, bot, target)
}

#[test]
fn a_login_that_no_role_allows() {
    let (_cluster, bot, _) = cluster_and_bot();
    let refusal = bot.ssh(&[&format!("daemon@{}", Bot::host("my-host")), "true"]).refused();
    assert!(
        refusal.contains("login daemon; ") && refusal.contains("(login_not_in_certificate)"),
        "{refusal}"
    );
    let refused = bot.tsh(&["ssh", "daemon@my-host", "true"]);
    assert_eq!(refused.code(), 255, "as with ssh, the command cannot have said it");
    let refusal = refused.refused();
    assert!(refusal.contains("daemon"), "{refusal}");
    assert_eq!(bot.tsh(&["ssh", "daemon@nowhere", "true"]).code(), 255);
}

#[test]
fn unknown_and_forbidden_hosts_look_alike() {
    let (mut cluster, bot, _) = cluster_and_bot();
    cluster.add_node(&NodeSettings { name: "hidden", labels: &[("env", "prod")], more: "" });
    let login = login();
    let said = |host: &str| {
        let outcome = bot.tsh(&["ssh", &format!("{login}@{host}"), "true"]);
        (outcome.code(), outcome.refused().replace(host, "HOST"))
    };
    assert_eq!(said("hidden"), said("nowhere"));
    let openssh = |host: &str| {
        bot.ssh(&[&format!("{login}@{}", Bot::host(host)), "true"]).refused().replace(host, "HOST")
    };
    assert_eq!(openssh("hidden"), openssh("nowhere"));
}

#[test]
fn a_role_that_was_taken_away() {
    let (cluster, bot, target) = cluster_and_bot();
    cluster.role("other", "[nobody]", "{env: other}");
    cluster.tctl(&["bots", "update", "tester", "--set-roles=other"]).ok();
    bot.oneshot().ok();
    bot.ssh(&[&target, "true"]).refused();
}

#[test]
fn a_role_whose_rules_changed_is_refused_at_once() {
    let (cluster, bot, target) = cluster_and_bot();
    cluster.role("tester", "[nobody]", "{env: test}");
    until("the node to apply the new policy", || {
        (!bot.ssh(&[&target, "true"]).status.success()).then_some(())
    });
}

#[test]
fn a_token_is_spent_once() {
    let (cluster, first, _) = cluster_and_bot();
    let config = std::fs::read_to_string(first.config()).expect("written before");
    let token = config.lines().find_map(|line| line.trim().strip_prefix("token: ")).expect("a token");
    let second = Bot::new(cluster.path(), "thief", token, &cluster.endpoint("proxy"), &cluster.pin());
    let refusal = second.oneshot().refused();
    assert!(refusal.contains("token"), "{refusal}");
    assert!(!refusal.contains(token), "the token is a secret: {refusal}");
    assert!(!second.file("key").exists());
}

#[test]
fn a_locked_bot() {
    let (cluster, bot, target) = cluster_and_bot();
    cluster.tctl(&["bots", "lock", "tester"]).ok();
    until("the lock to be in force", || (!bot.ssh(&[&target, "true"]).status.success()).then_some(()));
    let refusal = bot.oneshot().refused();
    assert!(refusal.contains("lock"), "{refusal}");
}

#[test]
fn a_removed_bot_is_refused_at_once_and_another_of_its_name_is_not() {
    let (cluster, bot, target) = cluster_and_bot();
    let told = cluster.tctl(&["bots", "rm", "tester"]).ok();
    assert!(told.contains("Its certificates are refused from now on"), "{told}");
    let (_, lock) = told.trim_end().rsplit_once("tctl rm ").expect("says how to undo it");
    until("the lock to be in force", || (!bot.ssh(&[&target, "true"]).status.success()).then_some(()));
    let added = cluster.tctl(&["bots", "add", "tester", "--roles=tester", "--format=json"]).ok();
    let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
    let token = added["token_id"].as_str().expect("a token");
    let again = Bot::new(cluster.path(), "again", token, &cluster.endpoint("proxy"), &cluster.pin());
    again.oneshot().ok();
    assert_eq!(again.ssh(&[&target, "echo in"]).ok().trim(), "in");
    assert!(!bot.ssh(&[&target, "true"]).status.success(), "the old one stays outside");
    cluster.tctl(&["rm", lock]).ok();
    until("the lock to be lifted", || bot.ssh(&[&target, "true"]).status.success().then_some(()));
}

fn lives(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// On each way to a node the user hears why, and the session's processes end, also those that made a session of their own
/// where the host has control groups.
#[test]
fn a_lock_ends_a_live_session_and_its_processes() {
    for way in ["ssh", "ssh -tt", "tsh", "ssh -J"] {
        let (cluster, bot, target) = cluster_and_bot();
        let marker = cluster.path().join("alive");
        let line = format!(
            "(grep -q '^0::.*postern-' /proc/self/cgroup && (setsid sleep 300 & echo $!); echo $$) > {m}.new; \
             mv {m}.new {m}; sleep 300",
            m = marker.display()
        );
        let mut client = match way {
            "ssh" => bot.openssh("ssh", &[&target, &line]),
            "ssh -tt" => bot.openssh("ssh", &["-tt", &target, &line]),
            "tsh" => bot.tsh_command(&["ssh", &format!("{}@my-host", login()), &line]),
            _ => bot.jump(&target, &[&line]),
        };
        let session = std::thread::spawn(move || testkit::run(&mut client));
        until("the session to be open", || marker.exists().then_some(()));
        let pids = std::fs::read_to_string(&marker).expect("written");
        assert!(pids.lines().all(lives), "{way}: {pids}");
        cluster.tctl(&["lock", "--user=bot-tester", "--message=stop the bot"]).ok();
        let ended = session.join().expect("the client ends");
        let words = format!("{}{}", ended.stdout, ended.stderr);
        assert!(words.contains("stop the bot") && !ended.status.success(), "{way}: {words}");
        until("the end of the processes", || (!pids.lines().any(lives)).then_some(()));
    }
}

#[test]
fn another_clusters_credentials() {
    let (cluster, _, _) = cluster_and_bot();
    let (_other, stranger, _) = cluster_and_bot();
    let login = login();
    let outcome = testkit::run(
        testkit::programs::command(testkit::programs::ours("tsh"))
            .arg("-i")
            .arg(stranger.file("identity"))
            .args(["--proxy", &cluster.endpoint("proxy"), "ssh", &format!("{login}@my-host"), "true"]),
    );
    outcome.refused();
}

#[test]
fn an_expired_certificate() {
    let (_cluster, bot, target) = cluster_and_bot();
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    std::fs::write(bot.config(), format!("{config}certificate_ttl: 3s\nrenewal_interval: 1s\n"))
        .expect("written");
    bot.oneshot().ok();
    until("the certificate to expire", || (!bot.ssh(&[&target, "true"]).status.success()).then_some(()));
    let refusal = bot.tsh(&["ssh", &format!("{}@my-host", login()), "true"]).refused();
    assert!(refusal.contains("expired"), "{refusal}");
}

#[test]
fn a_wrong_pin() {
    let (cluster, _, _) = cluster_and_bot();
    let wrong = format!("sha256:{}", "0".repeat(64));
    cluster.tctl(&["bots", "add", "fresh", "--roles=tester", "--format=json"]).ok();
    let bot = Bot::new(
        cluster.path(),
        "fresh",
        "00000000000000000000000000000000",
        &cluster.endpoint("proxy"),
        &wrong,
    );
    let refusal = bot.oneshot().refused();
    assert!(refusal.contains("pin"), "{refusal}");
}

#[test]
fn a_second_start_on_the_same_data_directory() {
    let cluster = Cluster::start(Layout::OneProcess);
    let second = testkit::run(
        testkit::programs::command(testkit::programs::ours("postern"))
            .args(["start", "-c"])
            .arg(cluster.config("all")),
    );
    let refusal = second.refused();
    assert!(refusal.contains("in use") || refusal.contains("already"), "{refusal}");
}
