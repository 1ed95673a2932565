//! Hosts that keep stock OpenSSH: an agent gives `sshd` a host certificate of the cluster and the authorities of its users, and
//! the real `ssh` and the real `sshd` believe each other by them.

use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::bot::SPENT;
use testkit::cluster::CLUSTER;
use testkit::programs::command;
use testkit::{Bot, Cluster, Layout, Outcome, Sshd, run};

const HOSTS: &str = "hosts";

/// A bot that may log in as root, and have certificates for hosts below the cluster's name.
fn cluster_with_bot() -> (Cluster, Bot) {
    let cluster = Cluster::start(Layout::OneProcess);
    cluster.role("tester", "[root]", "{env: test}");
    cluster.host_role(HOSTS, &format!(r#"all_end_with(host_cert.principals, ".{CLUSTER}")"#), false);
    let bot = cluster.bot("tester", &["tester", HOSTS]);
    (cluster, bot)
}

/// The place of the second output.
fn host(bot: &Bot) -> PathBuf {
    bot.directory().join("host")
}

fn ssh_host(bot: &Bot, principal: &str) -> String {
    format!(
        "- type: ssh_host\n  name: host\n  principals: [{principal}]\n  destination: {}\n  credential_ttl: 90m\n",
        host(bot).display()
    )
}

/// What `sshd` is told of the files of an `ssh_host` output.
fn lines(directory: &Path) -> String {
    let at = |name: &str| directory.join(name).display().to_string();
    format!(
        "HostKey {}\nHostCertificate {}\nTrustedUserCAKeys {}\nAuthorizedKeysFile none\nPasswordAuthentication no\n",
        at("ssh_host"),
        at("ssh_host-cert.pub"),
        at("ssh_host-user-ca.pub")
    )
}

/// `ssh` to the stock server under a name of the cluster.
fn ssh(bot: &Bot, sshd: &Sshd, name: &str, login: &str) -> Command {
    bot.straight(name, sshd.address().port(), login)
}

fn listing(certificate: &Path) -> String {
    run(command("/usr/bin/ssh-keygen").args(["-L", "-f"]).arg(certificate)).ok()
}

fn refused_for(outcome: Outcome, parts: &[&str]) {
    let told = outcome.refused();
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn stock_sshd_and_stock_ssh_believe_each_other_by_an_output() {
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    bot.oneshot().ok();
    bot.configure(SPENT, &cluster.pin(), &ssh_host(bot, &format!("stock.{CLUSTER}")));
    bot.oneshot().ok();
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(host(bot).join(name)).expect("written").permissions().mode() & 0o777
    };
    assert_eq!(mode("ssh_host"), 0o600);
    let certificate = listing(&host(bot).join("ssh_host-cert.pub"));
    for part in ["host certificate", &format!("stock.{CLUSTER}"), "x-teleport-role"] {
        assert!(certificate.contains(part), "{part:?} is not in:\n{certificate}");
    }

    let sshd = Sshd::start(bot.directory(), &lines(&host(bot)));
    let said = run(ssh(bot, &sshd, "stock", "root").arg("echo here")).ok();
    assert_eq!(said.trim(), "here");
    // It is that host and no other, and whoever may not log in does not.
    refused_for(run(ssh(bot, &sshd, "other", "root").arg("true")), &["Certificate invalid: name is not"]);
    refused_for(run(ssh(bot, &sshd, "stock", "nobody").arg("true")), &["Permission denied"]);

    // The next set is as good, for the server that read the one before, too.
    let before = std::fs::read(host(bot).join("ssh_host")).expect("a key");
    bot.oneshot().ok();
    assert_ne!(std::fs::read(host(bot).join("ssh_host")).expect("a key"), before);
    assert_eq!(run(ssh(bot, &sshd, "stock", "root").arg("echo again")).ok().trim(), "again");

    let status = run(command(testkit::programs::ours("tbot")).args(["status", "-c"]).arg(bot.config()));
    let status = status.stdout;
    let line = status.lines().find(|line| line.starts_with("host "));
    assert!(line.is_some_and(|line| line.contains("healthy")), "{status}");
    let doctor = run(command(testkit::programs::ours("tbot")).args(["doctor", "-c"]).arg(bot.config())).ok();
    assert!(doctor.contains("output host"), "{doctor}");
}

#[test]
fn a_host_certificate_needs_a_rule_and_a_name_that_is_free() {
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    bot.oneshot().ok();
    let tried = |principal: &str| {
        bot.configure(SPENT, &cluster.pin(), &ssh_host(bot, principal));
        bot.oneshot()
    };
    refused_for(tried("stock.elsewhere.org"), &["output host: ", "host_cert", "whose where"]);
    // A node of the cluster has this name.
    refused_for(tried(&format!("my-host.{CLUSTER}")), &["output host: ", "belongs to node"]);
    refused_for(tried(&format!("'*.{CLUSTER}'")), &["output host: ", "is not a host name"]);
    assert!(!host(bot).join("ssh_host").exists());
    tried(&format!("free.{CLUSTER}")).ok();
    assert!(host(bot).join("ssh_host").exists());

    cluster.tctl(&["bots", "update", "tester", "--set-roles", "tester"]).ok();
    refused_for(tried(&format!("free.{CLUSTER}")), &["output host: ", "host_cert"]);
    let told = cluster.tctl(&["events", "ls", "--type=cert.denied", "--format=json"]);
    assert!(told.ok().contains("host_cert"), "the refusal is on record");
}

#[test]
fn exec_gives_a_command_the_files_of_a_host() {
    let cluster_and_bot = cluster_with_bot();
    let (cluster, bot) = &cluster_and_bot;
    bot.oneshot().ok();
    let file = bot.directory().join("exec.yaml");
    let text = format!(
        "version: v2\nproxy_server: {}\nonboarding: {{token: {SPENT}, ca_pins: [\"{}\"]}}\nstorage: {}\noutputs:\n\
         - {{type: ssh_host, name: host, principals: [stock.{CLUSTER}], destination: {{type: memory}}}}\n",
        cluster.endpoint("proxy"),
        cluster.pin(),
        bot.storage().display()
    );
    std::fs::write(&file, text).expect("written");
    let mut exec = command(testkit::programs::ours("tbot"));
    exec.args(["exec", "-c"]).arg(&file).args(["--", "/bin/sh", "-c"]);
    let said =
        run(exec.arg("ssh-keygen -L -f $TBOT_DESTINATION/host/ssh_host-cert.pub; ls $TBOT_DESTINATION")).ok();
    assert!(said.contains("host certificate") && said.contains("ssh_config"), "{said}");
}
