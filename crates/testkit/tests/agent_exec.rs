//! `tbot exec`: a command has credentials while it runs, and nothing is left when it has ended, however it ended.

use std::path::PathBuf;
use std::process::Command;
use testkit::process::Signal;
use testkit::programs::{command, ours};
use testkit::{Bot, Cluster, Layout, Process, run, until};

struct Fixture {
    cluster: Cluster,
    token: String,
    tmp: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let cluster = Cluster::start(Layout::OneProcess);
        cluster.role("tester", "[root]", "{env: test}");
        let added = cluster.tctl(&["bots", "add", "ci", "--roles=tester", "--format=json"]).ok();
        let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
        let token = added["token_id"].as_str().expect("a token").to_owned();
        let tmp = cluster.path().join("tmp");
        std::fs::create_dir(&tmp).expect("created");
        Self { cluster, token, tmp }
    }

    /// `tbot exec <flags> -- sh -c <script>`, with the token where CI systems put secrets.
    fn exec(&self, flags: &[&str], script: &str) -> Command {
        let mut tbot = self.bare();
        tbot.args(flags).args(["--", "sh", "-c", script]);
        tbot
    }

    fn bare(&self) -> Command {
        let mut tbot = command(ours("tbot"));
        tbot.arg("exec").env("TELEPORT_BOT_TOKEN", &self.token).env("TMPDIR", &self.tmp).args([
            "--proxy-server",
            &self.cluster.endpoint("proxy"),
            "--ca-pin",
            &self.cluster.pin(),
        ]);
        tbot
    }

    fn left(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.tmp).expect("listed").map(|entry| entry.expect("listed").path()).collect()
    }
}

#[test]
fn a_command_has_what_ssh_git_and_ansible_need_and_nothing_is_left() {
    let fixture = Fixture::new();
    let script = format!(
        "set -e; ssh -F \"$SSH_CONFIG\" -o BatchMode=yes root@{host} 'echo by ssh'\n\
         $GIT_SSH_COMMAND -o BatchMode=yes root@{host} 'echo by git'\n\
         ssh $ANSIBLE_SSH_ARGS -o BatchMode=yes root@{host} 'echo by ansible'\n\
         ls -A $TBOT_DESTINATION | grep -c '^.m-'\n\
         stat -c %a \"$TBOT_DESTINATION\"; ls \"$TBOT_DESTINATION\"; env\nexit 7",
        host = Bot::host("my-host")
    );
    let mut tbot = fixture.exec(&[], &script);
    tbot.env("NOTIFY_SOCKET", "/nowhere").env("WATCHDOG_USEC", "1").env("WATCHDOG_PID", "1");
    let outcome = run(tbot.env("TBOT_GITLAB_JWT", "of another program"));
    assert_eq!(outcome.code(), 7, "{outcome:#?}");
    for part in ["by ssh\n", "by git\n", "by ansible\n1\n700\n", "\nidentity\n", "\nkey-cert.pub\n"] {
        assert!(outcome.stdout.contains(part), "{part:?} is not in {outcome:#?}");
    }
    assert!(!outcome.stdout.contains(&fixture.token), "the token is nothing to the command");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert!(!outcome.stdout.contains(name), "{name} is for tbot: {outcome:#?}");
    }
    assert!(outcome.stdout.contains("of another program"), "{outcome:#?}");
    assert_eq!(outcome.stderr, "", "a command's output is its own");
    assert_eq!(fixture.left(), [] as [PathBuf; 0]);
    let masters = run(command("/bin/sh").args(["-c", "grep -l tbot- /proc/[0-9]*/cmdline"])).stdout;
    let mine = fixture.tmp.display().to_string();
    for process in masters.lines() {
        let words = std::fs::read_to_string(process).unwrap_or_default();
        assert!(!words.contains(&mine), "a shared connection outlived the command: {words}");
    }
}

#[test]
fn the_configuration_file_says_what_flags_do_not() {
    let fixture = Fixture::new();
    let config = fixture.cluster.path().join("exec.yaml");
    let storage = fixture.cluster.path().join("storage");
    let text = format!(
        "version: v2\nproxy_server: {}\nonboarding: {{token: {}, ca_pins: ['{}']}}\nstorage: {}\n\
         outputs: [{{type: identity, destination: /nowhere/at/all, roles: [tester]}}]\n",
        fixture.cluster.endpoint("proxy"),
        fixture.token,
        fixture.cluster.pin(),
        storage.display()
    );
    std::fs::write(&config, text).expect("written");
    for _ in 0..2 {
        let mut tbot = command(ours("tbot"));
        tbot.env("TMPDIR", &fixture.tmp).args(["exec", "-c"]).arg(&config).args(["--", "test", "-n", "x"]);
        run(&mut tbot).ok();
    }
    assert!(storage.join("identity").exists(), "the file's storage is used: one token, two runs");
    // An agent that runs with it has what exec would ask for.
    let mut tbot = command(ours("tbot"));
    tbot.args(["exec", "-c"]).arg(&config).args(["--", "true"]);
    let lock = std::fs::File::open(storage.join("lock")).expect("there");
    lock.lock().expect("nobody holds it");
    let held = run(&mut tbot);
    assert_eq!(held.code(), 125, "{held:#?}");
    for part in [
        "is in use by a running agent; use what it writes (ssh -F /nowhere/at/all/ssh_config)",
        "--data-dir memory://",
    ] {
        assert!(held.stderr.contains(part), "{part:?} is not in {held:#?}");
    }
    drop(lock);
    assert!(!std::path::Path::new("/nowhere").exists());
    let usage = run(command(ours("tbot")).args(["exec", "-c"]).arg(&config));
    assert_eq!(usage.code(), 2, "{usage:#?}");
}

#[test]
fn signals_reach_the_command_and_its_end_is_told_as_shells_do() {
    let fixture = Fixture::new();
    let mark = fixture.cluster.path().join("mark");
    let wait = format!(
        "echo $$ $TBOT_DESTINATION > {m}.new; mv {m}.new {m}; while :; do sleep 0.1; done",
        m = mark.display()
    );
    let started = |agent: &mut Process| {
        until("the command to start", || {
            agent.assert_running();
            std::fs::read_to_string(&mark).ok()
        })
    };
    let trapping = format!("trap 'echo told; exit 9' TERM; {wait}");
    let kept = fixture.cluster.path().join("kept").display().to_string();
    let flags = ["--data-dir", &kept];
    let mut agent = Process::start("exec", fixture.cluster.path(), &mut fixture.exec(&flags, &trapping));
    let told = started(&mut agent);
    let directory = told.trim().split(' ').nth(1).expect("a directory").to_owned();
    assert!(std::path::Path::new(&directory).join("key").exists());
    assert_eq!(agent.stop().code(), Some(9));
    assert!(agent.log().contains("told"));
    assert_eq!(fixture.left(), [] as [PathBuf; 0]);

    std::fs::remove_file(&mark).expect("ours");
    let mut agent = Process::start("exec", fixture.cluster.path(), &mut fixture.exec(&flags, &wait));
    started(&mut agent);
    assert_eq!(agent.stop().code(), Some(128 + 15));
    assert_eq!(fixture.left(), [] as [PathBuf; 0]);

    // Killed, it can remove nothing; the next run does.
    std::fs::remove_file(&mark).expect("ours");
    let mut agent = Process::start("exec", fixture.cluster.path(), &mut fixture.exec(&flags, &wait));
    let told = started(&mut agent);
    let pid = told.split(' ').next().expect("a pid").parse().expect("a number");
    agent.signal(Signal::KILL);
    agent.kill();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("not zero"), Signal::KILL)
        .expect("ours");
    assert_eq!(fixture.left().len(), 1);
    run(&mut fixture.exec(&flags, "true")).ok();
    assert_eq!(fixture.left(), [] as [PathBuf; 0]);
}

#[test]
fn credentials_are_renewed_while_the_command_runs() {
    let fixture = Fixture::new();
    let script = "cd $TBOT_DESTINATION; first=$(cat key.pub); for n in $(seq 600); do \
                  [ \"$(cat key.pub)\" = \"$first\" ] || exit 0; sleep 0.1; done; exit 1";
    run(&mut fixture.exec(&["--renewal-interval=1s"], script)).ok();
}

#[test]
fn refusals_have_their_own_exit_codes() {
    let fixture = Fixture::new();
    let mut missing = fixture.bare();
    missing.args(["--", "/no/such/command"]);
    let outcome = run(&mut missing);
    assert_eq!(outcome.code(), 127, "{outcome:#?}");
    assert!(outcome.stderr.contains("ERROR: cannot run \"/no/such/command\""), "{outcome:#?}");

    // The token is spent by now.
    let spent = run(&mut fixture.exec(&[], "echo ran"));
    assert_eq!((spent.code(), spent.stdout.as_str()), (125, ""), "{spent:#?}");
    assert!(spent.stderr.contains("token"), "{spent:#?}");
    let elsewhere = run(&mut fixture.exec(&["--destination-dir=/tmp/x"], "echo ran"));
    assert_eq!((elsewhere.code(), elsewhere.stdout.as_str()), (125, ""), "{elsewhere:#?}");
    assert!(!spent.stderr.contains(&fixture.token));
    assert_eq!(fixture.left(), [] as [PathBuf; 0]);
}
