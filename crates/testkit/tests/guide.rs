//! The guide as it is written: role, bot, agent, then tsh and OpenSSH, in both layouts.

use testkit::programs::{command, theirs};
use testkit::{Bot, Cluster, Layout, run};

const ROLE: &str = "\
kind: role
version: v6
metadata:
  name: example-role
spec:
  allow:
    # Allow login to the Linux user of this test.
    logins: ['LOGIN']
    # Allow connection to any node. Adjust these labels to match only nodes
    # that ansible needs to access.
    node_labels:
      '*': '*'
";

/// Root where the tests run as root, else whoever runs them: single-user mode.
fn login() -> String {
    if rustix::process::geteuid().is_root() {
        return "root".to_owned();
    }
    run(command("/usr/bin/id").arg("-un")).ok().trim().to_owned()
}

fn guide(layout: Layout) {
    let cluster = Cluster::start(layout);
    let login = login();

    // Step 1: a role, and a bot that has it.
    let bot = cluster.bot("example", &[]);
    cluster.create(&ROLE.replace("LOGIN", &login));
    cluster.tctl(&["bots", "update", "example", "--add-roles", "example-role"]).ok();

    // Step 2: the agent writes its output.
    bot.oneshot().ok();
    for file in ["identity", "ssh_config", "known_hosts", "key", "key-cert.pub", "key.pub", "tlscert"] {
        assert!(bot.file(file).exists(), "{file} is missing");
    }

    // Step 3: tsh, then OpenSSH.
    let hostname = run(&mut command("/bin/hostname")).ok();
    assert_eq!(bot.tsh(&["ssh", &format!("{login}@my-host"), "hostname"]).ok(), hostname);
    let target = format!("{login}@{}", Bot::host("my-host"));
    assert_eq!(bot.ssh(&[&target, "hostname"]).ok(), hostname);
    assert_eq!(bot.ssh(&[&target, "exit 7"]).code(), 7);
    assert_eq!(bot.tsh(&["ssh", &format!("{login}@my-host"), "exit 7"]).code(), 7);

    file_transfer(&cluster, &bot, &target);
}

fn file_transfer(cluster: &Cluster, bot: &Bot, target: &str) {
    let (there, back) = (cluster.path().join("there"), cluster.path().join("back"));
    let source = cluster.path().join("source");
    std::fs::write(&source, vec![7u8; 3_000_000]).expect("written");
    let (source, there, back) = (source.display(), there.display(), back.display());
    for scp in [vec![], vec!["-O"]] {
        let mut put = scp.clone();
        let (from, to) = (source.to_string(), format!("{target}:{there}"));
        put.extend([from.as_str(), to.as_str()]);
        run(&mut bot.openssh("scp", &put)).ok();
        let mut fetch = scp.clone();
        let (from, to) = (format!("{target}:{there}"), back.to_string());
        fetch.extend([from.as_str(), to.as_str()]);
        run(&mut bot.openssh("scp", &fetch)).ok();
        assert_eq!(std::fs::read(to).expect("fetched"), vec![7u8; 3_000_000]);
    }
    let mut sftp = bot.openssh("sftp", &["-b", "-", target]);
    let script = format!("put {source} {there}\nget {there} {back}\nrm {there}\n");
    testkit::process::run_with_input(&mut sftp, script.as_bytes()).ok();
}

#[test]
fn the_guide_works_with_all_services_in_one_process() {
    guide(Layout::OneProcess);
}

#[test]
fn the_guide_works_with_a_process_for_each_service() {
    guide(Layout::Processes);
}

#[test]
fn openssh_reads_the_certificate_as_ours() {
    let cluster = Cluster::start(Layout::OneProcess);
    cluster.role("reader", "[root]", "{'*': '*'}");
    let bot = cluster.bot("example", &["reader"]);
    bot.oneshot().ok();
    let Some(keygen) = theirs("ssh-keygen") else { return };
    let listing = run(command(keygen).args(["-L", "-f"]).arg(bot.file("key-cert.pub"))).ok();
    for line in ["user certificate", "Key ID: \"bot-example\"", "root", "permit-pty", "teleport-roles"] {
        assert!(listing.contains(line), "{line:?} is not in\n{listing}");
    }
}

#[test]
fn plain_ssh_jumps_through_the_proxy_with_nothing_of_ours_installed() {
    let cluster = Cluster::start(Layout::Processes);
    let login = login();
    cluster.role("jumper", &format!("[{login}]"), "{env: test}");
    let bot = cluster.bot("jumper", &["jumper"]);
    bot.oneshot().ok();
    let target = format!("{login}@{}", Bot::host("my-host"));
    let mut ssh = bot.jump(&target, &["echo jumped"]);
    assert_eq!(run(&mut ssh).ok().trim(), "jumped");
}
