//! The agent under a service manager: what it says to it, and the unit that it writes for it.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use testkit::programs::{command, ours, theirs};
use testkit::{Bot, Cluster, Outcome, Process, run, until};

/// The socket that a manager listens on, and everything that it heard.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn start(bot: &Bot, watchdog: &str) -> (Self, Process) {
        let path = bot.directory().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_nonblocking(true).expect("set");
        let mut tbot = command(ours("tbot"));
        tbot.args(["start", "-c"]).arg(bot.config());
        tbot.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", watchdog);
        let agent = Process::start("tbot", bot.directory(), &mut tbot);
        (Self { socket, heard: Vec::new() }, agent)
    }

    /// The next message, if there is one.
    fn next(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        self.heard.push(text.clone());
        Some(text)
    }

    fn until(&mut self, part: &str) {
        until(part, || self.next().filter(|text| text.contains(part)).map(drop));
    }
}

#[test]
fn a_manager_is_told_when_it_is_ready_alive_and_stopping() {
    let (_cluster, bot) = Cluster::with_bot();
    let (mut manager, mut agent) = Manager::start(&bot, "200000");
    manager.until("READY=1");
    assert!(bot.file("ssh_config").exists(), "ready means that everything is written");
    assert!(manager.heard.contains(&"STATUS=1 output(s) valid".to_owned()), "{:?}", manager.heard);
    assert!(!manager.heard.contains(&"WATCHDOG=1".to_owned()), "not before it is ready");
    manager.until("WATCHDOG=1");
    assert!(agent.stop().success());
    manager.until("STOPPING=1");
}

#[test]
fn a_watchdog_is_not_deceived() {
    let (mut cluster, bot) = Cluster::with_bot();
    let spent = "0123456789abcdef0123456789abcdef";
    bot.oneshot().ok();
    bot.configure(spent, &cluster.pin(), "  credential_ttl: 3s\n  renewal_interval: 1s\n");
    let (mut manager, mut agent) = Manager::start(&bot, "200000");
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    cluster.process("all").kill();
    manager.until("STATUS=output-1: ");
    agent.assert_running();
    // A round after that, nothing has been said of being alive.
    while manager.next().is_some() {}
    manager.heard.clear();
    let failures = agent.log().matches("renewal failed").count();
    until("two more rounds", || (agent.log().matches("renewal failed").count() > failures + 2).then_some(()));
    while manager.next().is_some() {}
    assert!(!manager.heard.contains(&"WATCHDOG=1".to_owned()), "{:?}", manager.heard);
}

fn install(bot: &Bot, directory: &Path, more: &[&str]) -> Outcome {
    let mut tbot = command(ours("tbot"));
    tbot.arg("-c").arg(bot.config()).args(["install", "systemd"]);
    run(tbot.arg("--systemd-directory").arg(directory).args(more))
}

/// What would keep the agent from running as its user is told with the command that mends it.
#[test]
fn a_unit_for_a_user_who_could_not_write_is_told() {
    let (cluster, bot) = Cluster::with_bot();
    let units = cluster.path().join("units");
    std::fs::create_dir(&units).expect("created");
    std::fs::create_dir(bot.output()).expect("created");
    let told = |flags: &[&str]| {
        let wrote = install(&bot, &units, &[&["--write", "--force"], flags].concat());
        assert!(wrote.status.success(), "{wrote:#?}");
        wrote.stderr
    };
    let me = run(command("/usr/bin/id").arg("-un")).ok();
    let group = run(command("/usr/bin/id").arg("-gn")).ok();
    let mine = told(&["--user", me.trim(), "--group", group.trim()]);
    assert!(!mine.contains("belongs to") && !mine.contains("does not exist"), "{mine}");
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(bot.output()).expect("there"));
    let theirs = told(&["--user=nobody", "--group=nogroup"]);
    let words = format!(
        "{0} belongs to uid {uid}, and the agent runs as nobody: chown -R nobody:nogroup {0}",
        bot.output().display()
    );
    assert!(theirs.contains(&words), "{theirs}");
    let without = told(&["--user=nobody", "--group=no-such-group"]);
    assert!(
        without.contains("the group no-such-group does not exist")
            && without.contains("groupadd --system no-such-group"),
        "{without}"
    );
    // Others have to get to a socket.
    let socket = bot.directory().join("run/tbot.sock");
    let service = format!(
        "services:\n- {{type: spiffe-workload-api, listen: \"unix://{}\", svids: [{{path: /svc/a}}]}}\n",
        socket.display()
    );
    bot.configure("0123456789abcdef0123456789abcdef", &cluster.pin(), &service);
    let told = told(&["--user=nobody", "--group=nogroup"]);
    assert!(told.contains("install -d -m 0755 -o nobody -g nogroup"), "{told}");
}

#[test]
fn a_unit_is_printed_written_and_never_overwritten_by_accident() {
    let (cluster, bot) = Cluster::with_bot();
    let units = cluster.path().join("units");
    std::fs::create_dir(&units).expect("created");
    let printed = install(&bot, &units, &[]).ok();
    assert!(!units.join("tbot.service").exists(), "without --write it is only printed");
    for line in [
        "User=teleport\n".to_owned(),
        format!("ReadWritePaths={}\n", bot.output().display()),
        format!("start -c {}\n", bot.config().display()),
    ] {
        assert!(printed.contains(&line), "{line:?} is not in:\n{printed}");
    }
    let wrote = install(&bot, &units, &["--write", "--name=ci"]);
    assert!(wrote.stderr.contains("install -d -m 0700 -o teleport -g teleport"), "{wrote:#?}");
    let nobodys =
        "the user teleport does not exist, and the unit will not start without it: useradd --system -U -M";
    assert!(wrote.stderr.contains(nobodys), "{wrote:#?}");
    assert!(wrote.ok().contains("systemctl enable --now ci.service"));
    let unit = units.join("ci.service");
    assert_eq!(std::fs::read_to_string(&unit).expect("written"), printed);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&unit).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(install(&bot, &units, &["--write", "--name=ci"]).ok(), "No changes\n");
    std::fs::write(&unit, "mine").expect("written");
    let refused = install(&bot, &units, &["--write", "--name=ci"]).refused();
    assert!(refused.contains("exists and is different"), "{refused}");
    assert_eq!(std::fs::read_to_string(&unit).expect("there"), "mine");
    install(&bot, &units, &["--write", "--name=ci", "--force"]).ok();
    assert_eq!(std::fs::read_to_string(&unit).expect("written"), printed);
    std::fs::write(
        bot.config(),
        format!(
            "version: v2\nproxy_server: p:1\nservices: [{{type: sshd, name: sshd, destination: {0}/s, sshd: {{snippet: {0}/d/x.conf, \
             reload: {{pid_file: /run/sshd.pid}}}}}}]\n",
            bot.directory().display()
        ),
    )
    .expect("written");
    let refused = install(&bot, &units, &["--user=teleport"]).refused();
    assert!(refused.contains("the service sshd") && refused.contains("leave --user out"), "{refused}");
    let wrote = install(&bot, &units, &["--write", "--name=sshd"]);
    let missing = format!("install -d -m 0755 {}/d", bot.directory().display());
    assert!(wrote.stderr.contains(&missing), "{wrote:#?}");
    wrote.ok();
    assert!(std::fs::read_to_string(units.join("sshd.service")).expect("written").contains("User=root\n"));
    bot.configure("0123456789abcdef0123456789abcdef", &cluster.pin(), "");
    for wrong in ["--name=a/b", "--user=x y"] {
        assert!(install(&bot, &units, &[wrong]).refused().contains("letters"), "{wrong}");
    }
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    std::fs::write(bot.config(), format!("{config}oneshot: true\n")).expect("written");
    assert!(install(&bot, &units, &[]).refused().contains("a unit is for an agent that goes on"));
    let nothing = run(command(ours("tbot")).args(["install", "systemd"])).refused();
    assert!(nothing.contains("-c"), "{nothing}");
}

/// systemd's own opinion of what an attacker in the agent could do: 0 is nothing, 10 is everything.
#[test]
fn a_unit_leaves_little_to_do_for_an_attacker() {
    let Some(analyze) = theirs("systemd-analyze") else { return };
    // Not below /tmp, where tests keep everything else: a unit that needs the shared /tmp is a little more exposed.
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory");
    let (config, units) = (scratch.path().join("tbot.yaml"), scratch.path().join("units"));
    std::fs::create_dir(&units).expect("created");
    let output = "outputs:\n- type: identity\n  destination: /opt/machine-id\n";
    let hooks = "  on_renew: [{pid_file: /run/x.pid}, {systemd_reload: x.service}, {exec: [/bin/true]}]\n";
    let sshd = |reload: &str| {
        format!(
            "services:\n- {{type: sshd, name: sshd, destination: /var/lib/postern-sshd, sshd: {{reload: {reload}}}}}\n"
        )
    };
    let (by_systemd, by_signal) = (sshd("{systemd_reload: ssh.service}"), sshd("{pid_file: /run/sshd.pid}"));
    for (what, threshold) in [
        (output.to_owned(), 15),
        (format!("{output}{hooks}"), 15),
        (by_systemd.clone(), 14),
        (by_signal, 15),
        // Root, for whom other users exist: whoever reads the output, and whoever is signalled.
        (format!("{by_systemd}{output}"), 16),
        (format!("{by_systemd}{output}{hooks}"), 18),
    ] {
        std::fs::write(&config, format!("version: v2\nproxy_server: p:1\n{what}")).expect("written");
        let mut tbot = command(ours("tbot"));
        tbot.arg("-c").arg(&config).args(["install", "systemd", "--write", "--force"]);
        run(tbot.arg("--systemd-directory").arg(&units)).ok();
        let unit = units.join("tbot.service");
        let mut security = command(&analyze);
        security.args(["security", "--offline=true", "--no-pager"]).arg(format!("--threshold={threshold}"));
        security.arg(&unit);
        let told = run(&mut security).ok();
        assert!(told.contains("Overall exposure level for tbot.service"), "{told}");
        let mut verify = command(&analyze);
        let verified = run(verify.args(["verify", "--man=no"]).arg(&unit));
        for complaint in ["Unknown", "Failed to parse", "ignoring"] {
            assert!(!verified.stderr.contains(complaint), "{verified:#?}");
        }
    }
}
