//! A stock OpenSSH server that an agent looks after: certificate, authorities, locks, configuration, its place among the nodes;
//! and nothing of it takes a working server away.

use testkit::bot::SPENT;
use testkit::process::Signal;
use testkit::programs::{command, ours, root};
use testkit::{Bot, Cluster, Layout, Outcome, Process, Stock, run, until};

/// A cluster whose bot may look after servers, and log in to them.
fn cluster_with_bot() -> (Cluster, Bot) {
    let cluster = Cluster::start(Layout::OneProcess);
    cluster.role("tester", "[root]", "{env: test}");
    cluster.host_role("keeper", "", true);
    let bot = cluster.bot("tester", &["tester", "keeper"]);
    bot.oneshot().ok();
    (cluster, bot)
}

fn tbot(bot: &Bot, arguments: &[&str]) -> Outcome {
    run(command(ours("tbot")).args(arguments).arg("-c").arg(bot.config()))
}

/// The agent, once sshd has what it needs.
fn looked_after(bot: &Bot, stock: &Stock) -> Process {
    let mut agent = bot.start();
    until("sshd to be reached by its certificate", || {
        agent.assert_running();
        stock.lets_in(bot).then_some(())
    });
    agent
}

#[test]
fn a_stock_server_is_looked_after_and_given_back() {
    if !root() {
        return;
    }
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    let (stock, mut sshd) = Stock::start(bot.directory());
    bot.configure(SPENT, &cluster.pin(), &stock.service(bot.directory(), ""));
    let mut agent = looked_after(bot, &stock);
    stock.answers(&mut sshd);

    // It is a node like others, to whoever may see it.
    until("the server among the nodes", || {
        agent.assert_running();
        cluster.tctl(&["nodes", "ls"]).ok().contains("stock").then_some(())
    });
    assert!(bot.tsh(&["ls"]).ok().contains("stock"), "its labels let the bot see it");
    let target = format!("root@{}", Bot::host("stock"));
    until("the server behind the proxy", || {
        (bot.ssh(&[&target, "echo through"]).stdout == "through\n").then_some(())
    });

    // A configuration with a mistake is not loaded, and the server goes on.
    let config = std::fs::read_to_string(stock.config()).expect("written");
    std::fs::write(stock.config(), format!("{config}NoSuchKeyword yes\n")).expect("ours");
    agent.signal(Signal::USR1);
    let status = until("the agent to say so", || {
        let status = tbot(bot, &["status"]).stdout;
        status.contains("sshd refuses").then_some(status)
    });
    assert!(status.contains("NoSuchKeyword") || status.contains("nosuchkeyword"), "{status}");
    sshd.assert_running();
    assert!(stock.lets_in(bot), "it goes on as it was");
    std::fs::write(stock.config(), &config).expect("ours");
    agent.signal(Signal::USR1);
    until("the agent to be well again", || tbot(bot, &["status"]).status.success().then_some(()));

    // It is given back while the agent runs, which leaves it alone from then on.
    let said = tbot(bot, &["sshd", "--undo"]).ok();
    assert!(said.contains("is removed and sshd reloaded"), "{said}");
    assert!(!stock.snippet().exists());
    until("the server to know nobody of the cluster", || (!stock.lets_in(bot)).then_some(()));
    stock.answers(&mut sshd);
    agent.signal(Signal::USR1);
    until("the agent to say why it does nothing", || {
        tbot(bot, &["status"]).stdout.contains("tbot sshd --redo").then_some(())
    });
    assert!(!stock.snippet().exists());
    tbot(bot, &["sshd", "--redo"]).ok();
    agent.signal(Signal::USR1);
    until("the server to be looked after again", || stock.lets_in(bot).then_some(()));

    // By hand, where tbot cannot be had: the mark, the file, a reload.
    let mark = bot.directory().join("host/sshd-undone");
    std::fs::write(&mark, "").expect("ours");
    std::fs::remove_file(stock.snippet()).expect("there");
    sshd.signal(Signal::HUP);
    until("the server to know nobody of the cluster", || (!stock.lets_in(bot)).then_some(()));
    agent.signal(Signal::USR1);
    until("the agent to say why it does nothing", || {
        tbot(bot, &["status"]).stdout.contains("tbot sshd --redo").then_some(())
    });
    assert!(!stock.snippet().exists());
    std::fs::remove_file(mark).expect("there");
    agent.signal(Signal::USR1);
    until("the server to be looked after once more", || stock.lets_in(bot).then_some(()));
}

#[test]
fn a_server_that_is_no_node_hears_of_locks() {
    if !root() {
        return;
    }
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    // Not even a rule for nodes is needed.
    cluster.host_role("keeper", "", false);
    let (stock, _sshd) = Stock::start(bot.directory());
    bot.configure(SPENT, &cluster.pin(), &stock.service(bot.directory(), "    register: false\n"));
    let mut agent = looked_after(bot, &stock);
    cluster.role("others", "[root]", "{env: test}");
    let other = cluster.bot("other", &["others"]);
    other.oneshot().ok();
    assert!(stock.lets_in(&other));
    for target in ["--user=bot-other", "--role=others"] {
        cluster.tctl(&["lock", target]).ok();
        until(&format!("{target} to be in force"), || {
            agent.assert_running();
            stock.refuses(&other).then_some(())
        });
        assert!(stock.lets_in(bot), "{target} is about somebody else");
        cluster.unlock();
        until(&format!("{target} to be lifted"), || stock.lets_in(&other).then_some(()));
    }
    assert!(!cluster.tctl(&["nodes", "ls"]).ok().contains("stock"));
    assert!(tbot(bot, &["status"]).status.success(), "nothing is missing");
    // Whoever speaks for it is removed: what it heard last stays.
    cluster.tctl(&["lock", "--user=bot-other"]).ok();
    until("the lock to be in force", || stock.refuses(&other).then_some(()));
    cluster.tctl(&["bots", "rm", "tester"]).ok();
    until("the agent to say so", || {
        tbot(bot, &["status"]).stdout.contains("the server does not hear of locks").then_some(())
    });
    assert!(stock.refuses(&other));
}

#[test]
fn locks_reach_a_stock_server() {
    if !root() {
        return;
    }
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    let (stock, _sshd) = Stock::start(bot.directory());
    bot.configure(SPENT, &cluster.pin(), &stock.service(bot.directory(), ""));
    let mut agent = looked_after(bot, &stock);
    cluster.role("others", "[root]", "{env: test}");
    let other = cluster.bot("other", &["others"]);
    other.oneshot().ok();
    assert!(stock.lets_in(&other));
    until("the server to hear of locks", || {
        agent.assert_running();
        cluster.tctl(&["nodes", "ls"]).ok().contains("stock").then_some(())
    });

    let instances = cluster.tctl(&["get", "bot_instances", "--format=json"]).ok();
    let instances: serde_json::Value = serde_json::from_str(&instances).expect("JSON");
    let id = |name: &str| {
        let all = instances.as_array().expect("a list").iter();
        let found = all.clone().find(|instance| instance["spec"]["bot_name"] == name).expect("an instance");
        found["spec"]["instance_id"].as_str().expect("an id").to_owned()
    };
    for (target, also_ours) in [
        (format!("--user=bot-{}", "other"), false),
        ("--role=others".to_owned(), false),
        (format!("--bot-instance-id={}", id("other")), false),
        ("--login=root".to_owned(), true),
        (format!("--server-id={}", id("tester")), true),
    ] {
        cluster.tctl(&["lock", &target]).ok();
        until(&format!("{target} to be in force"), || stock.refuses(&other).then_some(()));
        if also_ours {
            until(&format!("{target} to be in force for all"), || stock.refuses(bot).then_some(()));
        } else {
            assert!(stock.lets_in(bot), "{target} is about somebody else");
        }
        cluster.unlock();
        until(&format!("{target} to be lifted"), || {
            (stock.lets_in(&other) && stock.lets_in(bot)).then_some(())
        });
    }
    let list = bot.directory().join("host/revoked-keys");
    run(command("/usr/bin/ssh-keygen").args(["-Q", "-l", "-f"]).arg(list)).ok();
}

/// A hook that takes long keeps no lock waiting, and ends with the agent.
#[test]
fn a_lock_does_not_wait_for_a_hook() {
    if !root() {
        return;
    }
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    let (stock, _sshd) = Stock::start(bot.directory());
    let pid_file = bot.directory().join("hook.pid");
    let script = format!("echo $$ > {}; exec sleep 300", pid_file.display());
    let hook = format!("  on_renew:\n  - exec: [/bin/sh, -c, \"{script}\"]\n    timeout: 300s\n");
    let service = stock.service(bot.directory(), "");
    bot.configure(SPENT, &cluster.pin(), &format!("{hook}{service}{hook}"));
    let mut agent = looked_after(bot, &stock);
    cluster.role("others", "[root]", "{env: test}");
    let other = cluster.bot("other", &["others"]);
    other.oneshot().ok();
    assert!(stock.lets_in(&other));
    let pid = std::fs::read_to_string(&pid_file).expect("the hook runs");
    let runs = || std::path::Path::new("/proc").join(pid.trim()).exists();
    cluster.tctl(&["lock", "--user=bot-other"]).ok();
    until("the lock to be in force", || stock.refuses(&other).then_some(()));
    let list = std::fs::read(bot.directory().join("host/revoked-keys")).expect("there");
    assert!(list.windows(9).any(|bytes| bytes == b"bot-other"), "sshd's list names whoever is locked");
    assert!(runs(), "all this time it ran");
    assert!(agent.stop().success());
    until("the hook to be ended", || (!runs()).then_some(()));
}

#[test]
fn accounts_that_are_not_listed_are_not_logged_in_to() {
    if !root() {
        return;
    }
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    let (stock, _sshd) = Stock::start(bot.directory());
    bot.configure(SPENT, &cluster.pin(), &stock.service(bot.directory(), "    accounts: [nobody]\n"));
    let mut agent = bot.start();
    until("the configuration of sshd", || {
        agent.assert_running();
        let text = std::fs::read_to_string(stock.snippet()).ok()?;
        text.contains("Match User *,!nobody").then_some(())
    });
    until("the certificate of sshd", || stock.refuses(bot).then_some(()));
    // An account more in the configuration is one more in sshd's.
    bot.configure(SPENT, &cluster.pin(), &stock.service(bot.directory(), "    accounts: [nobody, root]\n"));
    agent.signal(Signal::HUP);
    until("root to be let in", || stock.lets_in(bot).then_some(()));
}

#[test]
fn a_server_that_may_be_no_node_is_looked_after_and_says_so() {
    if !root() {
        return;
    }
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    cluster.host_role("keeper", "", false);
    let (stock, _sshd) = Stock::start(bot.directory());
    bot.configure(SPENT, &cluster.pin(), &stock.service(bot.directory(), ""));
    let _agent = looked_after(bot, &stock);
    let status = until("the agent to say so", || {
        let status = tbot(bot, &["status"]).stdout;
        status.contains("not among the cluster's nodes").then_some(status)
    });
    assert!(status.contains("degraded") && status.contains("on \"node\""), "{status}");
    assert!(!cluster.tctl(&["nodes", "ls"]).ok().contains("stock"));
}

#[test]
fn what_somebody_else_configured_is_not_replaced() {
    if !root() {
        return;
    }
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    let (stock, _sshd) = Stock::start(bot.directory());
    bot.configure(SPENT, &cluster.pin(), &stock.service(bot.directory(), ""));
    let config = std::fs::read_to_string(stock.config()).expect("written");
    let refused = |part: &str| {
        let told = bot.oneshot().refused();
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
        assert!(stock.shows_own_key(), "it goes on as it was");
    };
    std::fs::write(stock.snippet(), "# mine\n").expect("ours");
    refused("was not written by tbot");
    assert_eq!(std::fs::read_to_string(stock.snippet()).expect("there"), "# mine\n");
    std::fs::remove_file(stock.snippet()).expect("ours");
    let list = bot.directory().join("mine.krl");
    run(command("/usr/bin/ssh-keygen").args(["-k", "-q", "-f"]).arg(&list)).ok();
    std::fs::write(stock.config(), format!("{config}RevokedKeys {}\n", list.display())).expect("ours");
    refused("sets revokedkeys to");
    assert!(!stock.snippet().exists());
    let without = config.split_once('\n').expect("an Include").1;
    std::fs::write(stock.config(), without).expect("ours");
    refused("does not include");
    assert!(!stock.snippet().exists());
    std::fs::write(stock.config(), &config).expect("ours");
    bot.oneshot().ok();
    assert!(stock.snippet().exists());
}
