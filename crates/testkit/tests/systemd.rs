//! The agent under the real systemd: the unit that it writes holds it as tightly as it says and lets it do its work, and what it
//! reloads is reloaded.

use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::programs::{command, ours};
use testkit::{Bot, Cluster, Layout, Outcome, Stock, Systemd, run, until};

/// Not below /tmp, where tests keep everything else: a unit that needs the shared /tmp is less tight than it could be.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory")
}

/// The beginning of the bot's configuration: where it joins, and by what.
fn joining(bot: &Bot) -> String {
    let text = std::fs::read_to_string(bot.config()).expect("written before");
    text.split_once("storage:").expect("a storage").0.to_owned()
}

/// Writes the configuration and the unit `tbot.service` for it.
fn install(systemd: &Systemd, config: &Path, text: &str, more: &[&str]) -> String {
    std::fs::write(config, text).expect("written");
    let mut tbot = command(ours("tbot"));
    tbot.arg("-c").arg(config).args(["install", "systemd", "--write", "--systemd-directory"]);
    run(tbot.arg(systemd.units()).args(more)).ok();
    systemd.systemctl(&["daemon-reload"]).ok();
    std::fs::read_to_string(systemd.units().join("tbot.service")).expect("written")
}

/// systemd with an agent of its own.
struct Running {
    systemd: Systemd,
    config: PathBuf,
}

impl Running {
    fn start(&self, unit: &str) {
        let outcome = self.systemd.systemctl(&["start", unit]);
        let status = || self.systemd.systemctl(&["status", unit]).stdout;
        assert!(outcome.status.success(), "{outcome:#?}\n{}\n{}", status(), self.systemd.log());
    }

    fn tbot(&self, arguments: &[&str]) -> Outcome {
        run(self.systemd.inside(ours("tbot")).args(arguments).arg("-c").arg(&self.config))
    }

    /// A program in the mounts of the agent, as they are for it.
    fn confined(&self, program: &str) -> Command {
        let mut inside = self.systemd.inside("nsenter");
        inside.args(["-t", &self.systemd.property("tbot.service", "MainPID"), "-m", "--", program]);
        inside
    }

    fn renew(&self) {
        self.systemd.systemctl(&["kill", "--signal=USR1", "tbot.service"]).ok();
    }
}

#[test]
fn the_unit_for_sshd_lets_it_be_looked_after_and_nothing_else() {
    let scratch = scratch();
    // Debian's own unit of sshd, with a configuration of its own in /etc/ssh.
    let stock = Stock::prepare(scratch.path());
    let Some(systemd) = Systemd::boot(scratch.path()) else { return };
    let unit = std::fs::read_to_string("/lib/systemd/system/ssh.service").expect("it comes with sshd");
    systemd.unit("ssh.service", &unit);
    let cluster = Cluster::start(Layout::OneProcess);
    cluster.role("tester", "[root]", "{env: test}");
    cluster.host_role("keeper", "", true);
    let (tester, keeper) = (cluster.bot("tester", &["tester"]), cluster.bot("keeper", &["keeper"]));
    let config = scratch.path().join("tbot.yaml");
    let text = format!(
        "{}storage: /var/lib/teleport/bot\nservices:\n- type: sshd\n  name: sshd\n  destination: /var/lib/postern-sshd\n  \
         principals: [127.0.0.1]\n  sshd:\n    hostname: stock\n    address: 127.0.0.1:{}\n    labels: {{env: test}}\n    \
         snippet: /etc/ssh/sshd_config.d/10-postern.conf\n    reload: {{systemd_reload: ssh.service}}\n",
        joining(&keeper),
        stock.port()
    );
    let written = install(&systemd, &config, &text, &[]);
    for line in ["User=root\n", "CapabilityBoundingSet=\n", "PrivateUsers=yes\n", "PrivateTmp=yes\n"] {
        assert!(written.contains(line), "{line:?} is not in:\n{written}");
    }
    let running = Running { systemd, config };
    running.start("ssh.service");
    assert!(stock.shows_own_key());
    // Started means that sshd has its certificate and has been reloaded.
    running.start("tbot.service");
    tester.oneshot().ok();
    until("the server to let its users in", || stock.lets_in(&tester).then_some(()));
    assert!(stock.shows_own_key());
    until("the server among the nodes", || {
        cluster.tctl(&["nodes", "ls"]).ok().contains("stock").then_some(())
    });

    // A login that is locked stands in the configuration, which sshd reads when systemd reloads it.
    cluster.tctl(&["lock", "--login=root"]).ok();
    until("the lock to be in force", || stock.refuses(&tester).then_some(()));
    cluster.unlock();
    until("the lock to be lifted", || stock.lets_in(&tester).then_some(()));

    // It has nothing beyond that.
    let pid = running.systemd.property("tbot.service", "MainPID");
    let status = run(running.systemd.inside("cat").arg(format!("/proc/{pid}/status"))).ok();
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line:?} is not in:\n{status}");
    }
    for path in ["/etc/ssh/x", "/etc/x", "/var/lib/x", "/usr/x", "/run/x", "/root/x"] {
        let outcome = run(running.confined("touch").arg(path));
        assert!(
            outcome.stderr.contains("Read-only file system") || path == "/root/x",
            "{path}: {outcome:#?}"
        );
    }
    for path in ["/etc/ssh/sshd_config.d/x", "/var/lib/postern-sshd/x", "/var/lib/teleport/bot/x"] {
        run(running.confined("touch").arg(path)).ok();
    }

    // What systemd or sshd refuses is told, and a server that does not run is not brought up by it.
    let told = |what: &str| {
        running.renew();
        until(what, || running.tbot(&["status"]).stdout.contains(what).then_some(()));
    };
    let broken = unit.replace("ExecReload=/bin/kill", "ExecReload=/bin/false");
    running.systemd.unit("ssh.service", &broken);
    told("cannot be reloaded (systemctl reload ssh.service)");
    assert!(stock.lets_in(&tester), "it goes on as it was");
    running.systemd.unit("ssh.service", &unit);
    running.systemd.systemctl(&["stop", "ssh.service"]).ok();
    // The directory comes and goes with the unit of sshd, after which this one is ordered.
    told("Missing privilege separation directory");
    assert_eq!(running.systemd.property("ssh.service", "ActiveState"), "inactive");
    running.start("ssh.service");
    running.renew();
    until("the agent to be well again", || running.tbot(&["status"]).status.success().then_some(()));
    assert!(stock.lets_in(&tester));
    let undone = running.tbot(&["sshd", "--undo"]).ok();
    assert!(undone.contains("is removed and sshd reloaded"), "{undone}");
    until("the server to know nobody of the cluster", || (!stock.lets_in(&tester)).then_some(()));
}

#[test]
fn a_hook_reloads_a_unit_after_each_renewal() {
    let scratch = scratch();
    let Some(systemd) = Systemd::boot(scratch.path()) else { return };
    let counted = scratch.path().join("reloads");
    let reads = |reload: &str| format!("[Service]\nExecStart=/bin/sleep infinity\nExecReload={reload}\n");
    let counts = reads(&format!("/bin/sh -c 'echo reload >> {}'", counted.display()));
    systemd.unit("reader.service", &counts);
    let cluster = Cluster::start(Layout::OneProcess);
    cluster.role("tester", "[root]", "{env: test}");
    let bot = cluster.bot("tester", &["tester"]);
    let (config, output) = (scratch.path().join("tbot.yaml"), scratch.path().join("output"));
    std::fs::create_dir(&output).expect("made");
    let text = format!(
        "{}storage: /var/lib/teleport/bot\noutputs:\n- type: identity\n  name: files\n  destination: {}\n  on_renew:\n  - \
         systemd_reload: reader.service\n",
        joining(&bot),
        output.display()
    );
    install(&systemd, &config, &text, &["--user=root", "--group=root"]);
    let running = Running { systemd, config };
    let reloads = || std::fs::read_to_string(&counted).map_or(0, |text| text.lines().count());
    running.start("reader.service");
    running.start("tbot.service");
    until("a reload after the first renewal", || (reloads() == 1).then_some(()));
    running.renew();
    until("another one", || (reloads() == 2).then_some(()));
    until("the agent to be well", || running.tbot(&["status"]).status.success().then_some(()));

    // One that fails, and one that is not there, take nothing back and are told.
    let told = |what: &str| {
        let key = std::fs::read(output.join("key")).expect("a key");
        running.renew();
        until(what, || {
            let status = running.tbot(&["status"]).stdout;
            let renewed = std::fs::read(output.join("key")).is_ok_and(|now| now != key);
            let told = status.contains("systemctl reload reader.service") && status.contains("degraded");
            (renewed && told).then_some(())
        });
    };
    running.systemd.unit("reader.service", &reads("/bin/false"));
    told("a reload that failed");
    running.systemd.systemctl(&["stop", "reader.service"]).ok();
    told("a reload of what does not run");
    let events = cluster.tctl(&["events", "ls", "--type=bot.hook", "--format=json"]).ok();
    assert!(events.contains("systemctl reload reader.service"), "{events}");
    running.systemd.unit("reader.service", &counts);
    running.start("reader.service");
    running.renew();
    until("the agent to be well again", || running.tbot(&["status"]).status.success().then_some(()));
}
