//! Who the processes of a cluster are, seen from outside and from within a session.

use std::collections::BTreeMap;

use testkit::cluster::NodeSettings;
use testkit::programs::root;
use testkit::{Bot, Cluster, Layout, until};

/// What the kernel says of a process.
fn status(pid: u32) -> BTreeMap<String, String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    fields(&status)
}

fn fields(status: &str) -> BTreeMap<String, String> {
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn uid(status: &BTreeMap<String, String>) -> &str {
    status["Uid"].split_whitespace().next().expect("a number")
}

fn children(pid: u32) -> Vec<u32> {
    let children = |task: std::fs::DirEntry| {
        let listed = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    };
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks.flat_map(|task| children(task.expect("readable"))).collect()
}

const NODE: NodeSettings<'_> = NodeSettings {
    name: "labelled",
    labels: &[("env", "test")],
    more: "  commands:\n  - name: uid\n    command: [\"/usr/bin/id\", \"-u\"]\n    period: 1m0s\n",
};

#[test]
fn no_process_that_reads_from_the_network_is_root() {
    if !root() {
        return;
    }
    let mut cluster = Cluster::start(Layout::Processes);
    cluster.add_node(&NODE);
    let mut daemons = vec![];
    for name in ["auth", "proxy", "my-host", "labelled"] {
        let pid = cluster.process(name).pid();
        let found = status(pid);
        assert_ne!(uid(&found), "0", "{name}");
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(u64::from_str_radix(&found[set], 16), Ok(0), "{name}: {set}");
        }
        assert_eq!((found["NoNewPrivs"].as_str(), found["Seccomp"].as_str()), ("1", "2"), "{name}");
        daemons.push(uid(&found).to_owned());
        let roots: Vec<String> = children(pid)
            .into_iter()
            .map(status)
            .filter(|child| uid(child) == "0")
            .map(|child| child["Name"].clone())
            .collect();
        let expected: &[&str] = if ["auth", "proxy"].contains(&name) { &[] } else { &["session-launche"] };
        assert_eq!(roots, expected, "{name}: what stays root");
    }
    // Parted, they are different users, unless there is an account that all of them become.
    let passwd = std::fs::read_to_string("/etc/passwd").expect("reads");
    let parted: std::collections::BTreeSet<_> = daemons[..3].iter().collect();
    assert!(parted.len() == 3 || passwd.contains("\npostern:"), "{daemons:?}");
    // A command for a label is the daemon's, not root's.
    until("the label", || {
        let nodes = cluster.tctl(&["nodes", "ls"]).ok();
        nodes
            .lines()
            .any(|line| line.contains("labelled") && line.contains(&format!("uid={}", daemons[3])))
            .then_some(())
    });
}

#[test]
fn a_session_has_the_rights_of_its_user_also_after_a_restart() {
    if !root() {
        return;
    }
    let mut cluster = Cluster::start(Layout::OneProcess);
    cluster.role("tester", "[root, daemon]", "{env: test}");
    let bot = cluster.bot("tester", &["tester"]);
    bot.oneshot().ok();
    let within = |login: &str| {
        let target = format!("{login}@{}", Bot::host("my-host"));
        fields(&bot.ssh(&[&target, "cat /proc/self/status"]).ok())
    };
    for _ in 0..2 {
        let session = within("root");
        assert_eq!((session["NoNewPrivs"].as_str(), session["Seccomp"].as_str()), ("0", "0"));
        assert_eq!(uid(&session), "0");
        assert_eq!(session["CapEff"], status(std::process::id())["CapEff"], "root is root there");
        cluster.keep_proxy_port("all");
        cluster.process("all").stop();
        cluster.restart("all");
    }
}

/// The launcher is told of a lock first, for as long as it answers.
#[test]
fn a_launcher_that_hangs_holds_up_no_lock() {
    let mut cluster = Cluster::start(Layout::Processes);
    let login = testkit::run(testkit::programs::command("/usr/bin/id").arg("-un")).ok();
    cluster.role("tester", &format!("[{}]", login.trim()), "{env: test}");
    let bot = cluster.bot("tester", &["tester"]);
    bot.oneshot().ok();
    let opened = cluster.path().join("opened");
    let target = format!("{}@{}", login.trim(), Bot::host("my-host"));
    let mut client = bot.openssh("ssh", &[&target, &format!("touch {}; sleep 300", opened.display())]);
    let session = std::thread::spawn(move || testkit::run(&mut client));
    until("the session to be open", || opened.exists().then_some(()));
    let launcher = children(cluster.process("my-host").pid())
        .into_iter()
        .find(|child| status(*child)["Name"] == "session-launche")
        .expect("the node has a launcher");
    let signal = |name: &str| {
        testkit::run(testkit::programs::command("kill").args([name, &launcher.to_string()])).ok();
    };
    signal("-STOP");
    cluster.tctl(&["lock", "--user=bot-tester", "--message=stop the bot"]).ok();
    let ended = session.join().expect("the client ends");
    signal("-CONT");
    // Nobody can tell the session why; that it ends is what counts.
    assert!(!ended.status.success(), "{ended:#?}");
}
