//! What happens when things die: nothing durable is lost, nobody is locked out by our own crash, and whoever may come in
//! still comes in.

use std::time::Duration;
use testkit::{Bot, Cluster, Layout, until};

fn login() -> String {
    testkit::run(testkit::programs::command("/usr/bin/id").arg("-un")).ok().trim().to_owned()
}

fn with_bot(layout: Layout) -> (Cluster, Bot, String) {
    let cluster = Cluster::start(layout);
    let login = login();
    cluster.role("tester", &format!("[{login}]"), "{env: test}");
    let bot = cluster.bot("tester", &["tester"]);
    let target = format!("{login}@{}", Bot::host("my-host"));
    (cluster, bot, target)
}

#[test]
fn a_valid_certificate_works_while_auth_is_away() {
    let (mut cluster, bot, target) = with_bot(Layout::Processes);
    bot.oneshot().ok();
    bot.ssh(&[&target, "true"]).ok();
    cluster.process("auth").kill();
    assert_eq!(bot.ssh(&[&target, "echo still here"]).ok().trim(), "still here");
    let refusal = bot.oneshot().refused();
    assert!(refusal.contains("refused") || refusal.contains("auth"), "it says what is away: {refusal}");
}

#[test]
fn a_proxy_that_is_restarted_while_auth_is_away_finds_the_nodes() {
    let (mut cluster, bot, target) = with_bot(Layout::Processes);
    cluster.keep_proxy_port("proxy");
    bot.oneshot().ok();
    bot.ssh(&[&target, "true"]).ok();
    let list = cluster.path().join("proxy/host/proxy/nodes.json");
    until("the node to be remembered", || {
        std::fs::read_to_string(&list).ok()?.contains("my-host").then_some(())
    });
    cluster.process("auth").kill();
    for _ in 0..2 {
        cluster.process("proxy").kill();
        cluster.restart_unready("proxy", "proxy");
        assert_eq!(bot.ssh(&[&target, "echo still here"]).ok().trim(), "still here");
        let unknown = bot.ssh(&[&target.replace("my-host", "no-host"), "true"]).refused();
        assert!(unknown.contains("host_unknown"), "{unknown}");
    }
    // Without the list it says what it lacks, not that the host does not exist; a damaged one is no more than none.
    std::fs::write(&list, b"{torn").expect("ours");
    cluster.process("proxy").kill();
    cluster.restart_unready("proxy", "proxy");
    let refusal = bot.ssh(&[&target, "true"]).refused();
    assert!(refusal.contains("the proxy has not heard from auth yet"), "{refusal}");
    assert!(cluster.process("proxy").log().contains("nodes.json"), "and the log names the file");
}

#[test]
fn a_node_that_is_told_to_stop_says_so_and_leaves_nothing_running() {
    let (mut cluster, bot, target) = with_bot(Layout::Processes);
    let config = cluster.config("my-host");
    let text = std::fs::read_to_string(&config).expect("written before");
    let text = text.replace("  diag_addr:", "  drain_timeout: 1s\n  diag_addr:");
    std::fs::write(&config, text).expect("written");
    cluster.process("my-host").stop();
    cluster.restart("my-host");
    bot.oneshot().ok();
    until("the node to be reached again", || bot.ssh(&[&target, "true"]).status.success().then_some(()));
    let mark = cluster.path().join("pid");
    let stubborn = format!("trap '' HUP TERM; echo $$ > {}; while :; do sleep 1; done", mark.display());
    let mut ssh = bot.openssh("ssh", &[&target, &stubborn]);
    let session = std::thread::spawn(move || testkit::run(&mut ssh));
    let pid =
        until("the session", || std::fs::read_to_string(&mark).ok().filter(|text| text.ends_with('\n')));
    assert!(cluster.process("my-host").stop().success());
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "no process outlives its node");
    let told = session.join().expect("joins").refused();
    assert!(told.contains("this node is stopping"), "{told}");
    let events = cluster.tctl(&["events", "ls", "--type=session.end", "--format=json"]).ok();
    assert!(events.contains("this node is stopping"), "{events}");
}

#[test]
fn the_daemon_opens_as_many_files_as_it_may_and_sessions_have_the_limits_it_was_started_with() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let (files, cores) = (getrlimit(Resource::Nofile), getrlimit(Resource::Core));
    setrlimit(Resource::Nofile, Rlimit { current: Some(500), ..files }).expect("lowered");
    setrlimit(Resource::Core, Rlimit { current: cores.maximum, ..cores }).expect("raised");
    let (mut cluster, bot, target) = with_bot(Layout::OneProcess);
    let shown = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cluster.process("all").pid()));
    let limits = limits.expect("it runs");
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let words: Vec<&str> = open_files.split_whitespace().collect();
    assert_eq!(words[3], shown(files.maximum), "{open_files}");
    bot.oneshot().ok();
    let said = bot.ssh(&[&target, "ulimit -Sn; grep 'Max core' /proc/self/limits"]).ok();
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("500"));
    let core: Vec<&str> = lines.next().expect("a line").split_whitespace().collect();
    assert_eq!(core[4], shown(cores.maximum), "{said}");
}

#[test]
fn every_process_may_be_killed_and_comes_back_as_it_was() {
    let (mut cluster, bot, target) = with_bot(Layout::OneProcess);
    cluster.keep_proxy_port("all");
    bot.oneshot().ok();
    for _ in 0..3 {
        cluster.process("all").kill();
        cluster.restart("all");
        let roles = cluster.tctl(&["get", "role/tester", "--format=json"]).ok();
        assert!(roles.contains("tester"));
        cluster.tctl(&["events", "verify"]).ok();
        assert_eq!(bot.ssh(&[&target, "echo back"]).ok().trim(), "back");
    }
    bot.oneshot().ok();
}

#[test]
fn an_agent_that_is_killed_at_any_moment_is_never_locked_out() {
    let (cluster, bot, target) = with_bot(Layout::OneProcess);
    // From before the join to after the writing: a start takes a few tens of milliseconds.
    for delay in (0..120).step_by(3) {
        let mut child = bot
            .oneshot_command()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    }
    bot.oneshot().ok();
    assert_eq!(bot.ssh(&[&target, "echo in"]).ok().trim(), "in");
    let instances = cluster.tctl(&["get", "bot_instances", "--format=json"]).ok();
    assert_eq!(instances.matches("\"instance_id\"").count(), 1, "one token, one instance: {instances}");
    let locks = cluster.tctl(&["get", "locks", "--format=json"]).ok();
    assert!(!locks.contains("bot_instance_id"), "no lock: {locks}");
}

#[test]
fn the_auth_service_may_be_killed_while_bots_join_and_renew() {
    let (mut cluster, bot, target) = with_bot(Layout::OneProcess);
    // Restarted on the same port, as an operator's service manager would.
    cluster.keep_proxy_port("all");
    for round in 0..6 {
        let mut joining = bot
            .oneshot_command()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(round * 12));
        cluster.process("all").kill();
        joining.wait().expect("our own child");
        cluster.restart("all");
    }
    bot.oneshot().ok();
    until("the node to be known to the proxy again", || {
        bot.ssh(&[&target, "true"]).status.success().then_some(())
    });
    let locks = cluster.tctl(&["get", "locks", "--format=json"]).ok();
    assert!(!locks.contains("bot_instance_id"), "no lock: {locks}");
    cluster.tctl(&["events", "verify"]).ok();
}

#[test]
fn a_copied_storage_is_noticed_and_locks_that_instance_only() {
    let (cluster, bot, _) = with_bot(Layout::OneProcess);
    bot.oneshot().ok();
    let thief = cluster.bot("other", &["tester"]);
    std::fs::create_dir_all(thief.storage()).expect("created");
    let mut copy = testkit::programs::command("/bin/cp");
    testkit::run(copy.arg("-a").arg(format!("{}/.", bot.storage().display())).arg(thief.storage())).ok();
    // The copy carries on under the configuration of the original.
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let config = config.replace(&bot.storage().display().to_string(), &thief.storage().display().to_string());
    let config = config.replace(&bot.output().display().to_string(), &thief.output().display().to_string());
    std::fs::write(thief.config(), config).expect("written");
    thief.oneshot().ok();
    let refusal = bot.oneshot().refused();
    assert!(refusal.contains("generation mismatch") || refusal.contains("lock"), "{refusal}");
    let locks = cluster.tctl(&["get", "locks", "--format=json"]).ok();
    assert!(locks.contains("bot_instance_id") && !locks.contains("\"user\": \"bot-tester\""), "{locks}");
    thief.oneshot().refused();
}

#[test]
fn a_hot_reader_never_pairs_an_old_key_with_a_new_certificate() {
    let (_cluster, bot, _) = with_bot(Layout::OneProcess);
    bot.oneshot().ok();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (bot, done) = (&bot, &done);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut pairs = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) || pairs < 5 {
                // As OpenSSH does: the configuration first, then the files that it names.
                let config = std::fs::read_to_string(bot.file("ssh_config")).expect("always there");
                let named = |keyword: &str| {
                    let line =
                        config.lines().find_map(|line| line.trim().strip_prefix(keyword)).expect("named");
                    line.trim().trim_matches('"').to_owned()
                };
                let certificate = std::fs::read_to_string(named("CertificateFile")).expect("whole");
                let seen = bot.directory().join(format!("seen-{pairs}-cert.pub"));
                std::fs::write(&seen, certificate).expect("written");
                let key = bot.directory().join(format!("seen-{pairs}.pub"));
                std::fs::write(&key, keygen(&["-y", "-f", &named("IdentityFile")])).expect("written");
                let told = keygen(&["-l", "-f", key.to_str().expect("UTF-8")]);
                let fingerprint = told.split_whitespace().nth(1).expect("a fingerprint");
                let shown = keygen(&["-L", "-f", seen.to_str().expect("UTF-8")]);
                assert!(shown.contains(fingerprint), "{fingerprint} is not the key of\n{shown}");
                pairs += 1;
            }
        });
        for _ in 0..8 {
            bot.oneshot().ok();
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        reader.join().expect("no mix");
    });
}

fn keygen(arguments: &[&str]) -> String {
    testkit::run(testkit::programs::command("/usr/bin/ssh-keygen").args(arguments)).ok()
}
