//! Whatever happens to an agent, it ends in one of two states: working, or saying what a person must do. And what is wrong at its
//! start is told at once and together, with nothing changed.

use std::os::unix::process::CommandExt;
use std::path::Path;
use testkit::programs::{command, ours, root};
use testkit::{Bot, Cluster, Process, run, until};

const SPENT: &str = "0123456789abcdef0123456789abcdef";
const NOBODY: u32 = 65_534;

/// The configuration with a renewal each second.
fn hurried(bot: &Bot) {
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    std::fs::write(bot.config(), format!("{config}renewal_interval: 1s\n")).expect("written");
}

/// A service as `tbot status` has it.
fn service(bot: &Bot, name: &str) -> serde_json::Value {
    let told = run(command(ours("tbot")).args(["status", "--format=json", "-c"]).arg(bot.config())).stdout;
    let told: serde_json::Value =
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let services = told["services"].as_array().expect("a list");
    services.iter().find(|service| service["name"] == name).cloned().unwrap_or_default()
}

fn becomes(agent: &mut Process, bot: &Bot, name: &str, status: &str) -> serde_json::Value {
    until(&format!("{name} to be {status}"), || {
        agent.assert_running();
        Some(service(bot, name)).filter(|service| service["status"] == status)
    })
}

#[test]
fn a_network_that_breaks_and_comes_back_needs_nobody() {
    let (mut cluster, bot) = Cluster::with_bot();
    cluster.keep_proxy_port("all");
    hurried(&bot);
    let mut agent = bot.start();
    becomes(&mut agent, &bot, "output-1", "healthy");
    cluster.process("all").kill();
    for name in ["identity", "output-1"] {
        let told = becomes(&mut agent, &bot, name, "degraded");
        assert!(
            told["reason"].as_str().expect("text").contains("check the port and that the server is running"),
            "{told:#}"
        );
    }
    cluster.restart("all");
    for name in ["identity", "output-1"] {
        becomes(&mut agent, &bot, name, "healthy");
    }
}

#[test]
fn an_agent_that_starts_before_its_cluster_joins_when_it_comes() {
    let (mut cluster, bot) = Cluster::with_bot();
    cluster.keep_proxy_port("all");
    cluster.process("all").kill();
    let mut tbot = command(ours("tbot"));
    let mut agent = Process::start("tbot", bot.directory(), tbot.args(["start", "-c"]).arg(bot.config()));
    until("the first failure", || agent.log().contains("not a member of the cluster yet").then_some(()));
    let told = service(&bot, "identity");
    assert_eq!(told["status"], "unhealthy", "{told:#}");
    cluster.restart("all");
    becomes(&mut agent, &bot, "output-1", "healthy");
}

#[test]
fn a_full_disk_is_told_and_forgotten_when_there_is_room() {
    if !root() {
        return;
    }
    let (_cluster, bot) = Cluster::with_bot();
    std::fs::create_dir(bot.storage()).expect("created");
    let mut mount = command("/bin/mount");
    mount.args(["-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs"]).arg(bot.storage());
    if !run(&mut mount).status.success() {
        eprintln!("SKIPPED: this root may not mount");
        return;
    }
    hurried(&bot);
    let mut agent = bot.start();
    becomes(&mut agent, &bot, "identity", "healthy");
    // Nothing can be stored, so nothing new is asked for; outputs go on.
    let ballast = bot.storage().join("ballast");
    let mut fill = command("/bin/dd");
    run(fill.arg("if=/dev/zero").arg(format!("of={}", ballast.display())).arg("bs=4k"));
    until("the complaint", || agent.log().contains("free some space").then_some(()));
    let written = agent.log().matches("credentials written").count();
    until("the output to be written all the same", || {
        agent.assert_running();
        (agent.log().matches("credentials written").count() > written + 1).then_some(())
    });
    std::fs::remove_file(&ballast).expect("ours");
    becomes(&mut agent, &bot, "identity", "healthy");
    assert!(agent.stop().success());
    bot.oneshot().ok();
    run(command("/bin/umount").arg(bot.storage())).ok();
}

#[test]
fn of_two_running_copies_each_says_what_to_do() {
    let (cluster, bot) = Cluster::with_bot();
    bot.oneshot().ok();
    let copy = cluster.bot("copy", &["tester"]);
    let mut cp = command("/bin/cp");
    run(cp.arg("-a").arg(format!("{}/.", bot.storage().display())).arg(copy.storage())).ok();
    hurried(&bot);
    // The copy has the whole machine of the original, at other paths.
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let config =
        config.replace(&bot.directory().display().to_string(), &copy.directory().display().to_string());
    std::fs::write(copy.config(), config).expect("written");
    let start = |bot: &Bot| {
        let mut tbot = command(ours("tbot"));
        Process::start("tbot", bot.directory(), tbot.args(["start", "-c"]).arg(bot.config()))
    };
    let mut agents = [(start(&bot), &bot), (start(&copy), &copy)];
    for (agent, bot) in &mut agents {
        let told = until("the refusal", || {
            agent.assert_running();
            let told = service(bot, "identity")["reason"].as_str()?.to_owned();
            (told.contains("lock") || told.contains("generation")).then_some(told)
        });
        assert!(
            told.contains("tctl bots instances unlock tester/"),
            "it names the command that helps: {told}"
        );
    }
    // With another token that does not help either, the lock is what has to go.
    bot.configure(SPENT, &cluster.pin(), "");
    drop(agents);
    let told = bot.oneshot().refused();
    let last: Vec<&str> = told.lines().filter(|line| line.starts_with("ERROR: ")).collect();
    assert_eq!(last.len(), 1, "{told}");
    assert!(last[0].contains("tctl bots instances unlock tester/") && last[0].len() < 500, "{told}");
}

/// The agent and a copy of its state directory; the copy has renewed once, the agent is what is left behind.
fn with_copy() -> (Cluster, Bot, Bot) {
    let (cluster, bot) = Cluster::with_bot();
    bot.oneshot().ok();
    let copy = cluster.bot("copy", &["tester"]);
    run(command("/bin/cp").arg("-a").arg(format!("{}/.", bot.storage().display())).arg(copy.storage())).ok();
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let config =
        config.replace(&bot.directory().display().to_string(), &copy.directory().display().to_string());
    std::fs::write(copy.config(), config).expect("written");
    copy.oneshot().ok();
    (cluster, bot, copy)
}

#[test]
fn the_lock_of_a_copied_state_directory_is_lifted_and_the_right_one_goes_on() {
    let (cluster, bot, copy) = with_copy();
    bot.oneshot().refused();
    copy.oneshot().refused();
    let instances = cluster.tctl(&["bots", "instances", "ls", "tester", "--format=json"]).ok();
    let instances: serde_json::Value = serde_json::from_str(&instances).expect("JSON");
    let id = instances[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    let event = cluster.tctl(&["events", "ls", "--type=cert.generation_mismatch", "--format=json"]).ok();
    let event: serde_json::Value = serde_json::from_str(&event).expect("JSON");
    let told = cluster.tctl(&["bots", "instances", "unlock", &id]).ok();
    // Both addresses, as the audit log has them.
    for key in ["addr.remote", "other_addr"] {
        let addr = event[0][key].as_str().expect("an address");
        assert!(addr.starts_with("127.0.0.1:") && told.contains(addr), "{addr} is not in {told}");
    }
    for part in [
        &format!("The bot instance {id} is unlocked; it alone was locked."),
        "2           go on, while its certificate is valid",
        "1           nothing: its next renewal locks both again",
        "stop the one that can do nothing, empty its storage",
        "tctl bots instances add tester",
        &format!("tctl rm bot_instance/{id}"),
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    copy.oneshot().ok();
    let lifted = cluster.tctl(&["events", "ls", "--type=lock.deleted", "--format=json"]).ok();
    assert!(
        lifted.contains("\"bot_instance_id\"") && lifted.contains("\"bot_name\": \"tester\""),
        "{lifted}"
    );
    let again = cluster.tctl(&["bots", "instances", "unlock", &id]).refused();
    assert!(again.contains("there is no such lock") && again.contains("tctl get locks"), "{again}");
    // What it says helps: the one that was left behind joins as an instance of its own.
    std::fs::remove_dir_all(bot.storage()).expect("ours");
    let added = cluster.tctl(&["bots", "instances", "add", "tester", "--format=json"]).ok();
    let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
    bot.configure(added["token_id"].as_str().expect("a token"), &cluster.pin(), "");
    bot.oneshot().ok();
    copy.oneshot().ok();
    // And if the other one was the thief: the instance goes, and with it its certificates.
    cluster.tctl(&["rm", &format!("bot_instance/{id}")]).ok();
    let refused = copy.oneshot().refused();
    assert!(refused.contains("no longer enrolled"), "{refused}");
    bot.oneshot().ok();
}

#[test]
fn directories_of_other_users_and_unwritable_ones_are_told_together() {
    if !root() {
        return;
    }
    let (_cluster, bot) = Cluster::with_bot();
    let place = |name: &str| bot.directory().join(name);
    let give = |path: &Path| std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("given");
    give(&bot.config());
    for name in ["storage", "mine"] {
        std::fs::create_dir(place(name)).expect("created");
        give(&place(name));
    }
    std::fs::create_dir(place("theirs")).expect("created");
    std::os::unix::fs::chown(place("theirs"), Some(1), Some(1)).expect("given");
    std::fs::create_dir(place("roots")).expect("created");
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let outputs: String = ["mine", "theirs", "roots"]
        .map(|name| format!("- type: identity\n  name: {name}\n  destination: {}\n", place(name).display()))
        .concat();
    std::fs::write(bot.config(), format!("{config}{outputs}")).expect("written");
    let outcome = run(bot.oneshot_command().uid(NOBODY).gid(NOBODY));
    assert_eq!(outcome.code(), 1);
    let told = outcome.refused();
    for part in [
        // Below a directory of root's.
        "ERROR: output output-1: cannot create the directory",
        "ERROR: output theirs: ",
        "belongs to uid 1 ",
        "ERROR: output roots: cannot write",
        "make it writable for the user that runs tbot",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert!(!told.contains("output mine"), "{told}");
    assert!(!place("mine").join("key").exists() && !place("storage").join("key").exists(), "nobody joined");
}

#[test]
fn one_directory_by_two_paths_is_refused() {
    let (_cluster, bot) = Cluster::with_bot();
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let link = bot.directory().join("link");
    std::os::unix::fs::symlink(bot.output(), &link).expect("linked");
    for (path, symlinks) in [(link, "insecure"), (bot.directory().join("x/../output"), "secure")] {
        std::fs::create_dir_all(bot.directory().join("x")).expect("created");
        let more = format!(
            "- type: identity\n  name: second\n  destination: {{type: directory, path: {}, symlinks: {symlinks}}}\n",
            path.display()
        );
        std::fs::write(bot.config(), format!("{config}{more}")).expect("written");
        let told = bot.oneshot().refused();
        assert!(told.contains("is the directory of output output-1 by another path"), "{told}");
    }
    assert!(!bot.file("key").exists());
}

#[test]
fn tokens_and_files_that_are_not_there_are_one_clear_error_each() {
    let (cluster, bot) = Cluster::with_bot();
    let token = bot.directory().join("token");
    bot.configure(token.to_str().expect("UTF-8"), &cluster.pin(), "");
    let refused = |part: &str| {
        let outcome = bot.oneshot();
        assert_eq!(outcome.code(), 1, "{outcome:#?}");
        let told = outcome.refused();
        assert_eq!(told.lines().filter(|line| line.starts_with("ERROR: ")).count(), 1, "{told}");
        assert!(told.contains(part), "{part:?} is not in {told}");
    };
    refused("put it there, readable for the user that runs tbot");
    std::fs::write(&token, " \n").expect("written");
    refused("it is empty; onboarding.token names the file");
    bot.configure("", &cluster.pin(), "");
    refused("no existing identity found in directory ");
    std::fs::remove_file(bot.config()).expect("ours");
    refused("tbot configure writes a configuration file");
    for (arguments, code) in [(vec!["start", "--no-such-flag"], 2), (vec!["nothing"], 2), (vec!["start"], 1)]
    {
        let outcome = run(command(ours("tbot")).args(&arguments));
        assert_eq!(outcome.code(), code, "{outcome:#?}");
    }
}
