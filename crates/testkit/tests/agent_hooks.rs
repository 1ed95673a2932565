//! What is done after a renewal is done, and what of it goes wrong costs nobody the credentials.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use testkit::programs::{command, ours};
use testkit::{Bot, Cluster, run};

fn with_hooks(hooks: &str) -> (Cluster, Bot) {
    let (cluster, bot) = Cluster::with_bot();
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let hooks = hooks.replace("HERE", &cluster.path().display().to_string());
    std::fs::write(bot.config(), format!("{config}  on_renew:\n{hooks}")).expect("written");
    (cluster, bot)
}

fn script(path: &std::path::Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("written");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("ours");
}

#[test]
fn programs_processes_and_units_are_told_of_a_renewal() {
    let (cluster, bot) = with_hooks(
        "  - exec: [HERE/hook, one, two]\n  - pid_file: HERE/pid\n    signal: SIGUSR1\n  - systemd_reload: web.service\n",
    );
    let here = cluster.path();
    script(
        &here.join("hook"),
        &format!(
            "echo $1 $2 $TBOT_OUTPUT $TBOT_DESTINATION > {}/told; env >> {0}/told; echo said",
            here.display()
        ),
    );
    script(&here.join("systemctl"), &format!("echo $@ > {}/reloaded", here.display()));
    let mut sleep = command("/bin/sleep").arg("600").spawn().expect("starts");
    std::fs::write(here.join("pid"), sleep.id().to_string()).expect("written");
    let mut oneshot = bot.oneshot_command();
    let path = format!("{}:{}", here.display(), std::env::var("PATH").expect("set"));
    let outcome =
        run(oneshot.env("PATH", path).env("TELEPORT_BOT_TOKEN", "").env_remove("TELEPORT_BOT_TOKEN"));
    assert!(outcome.stderr.contains("said"), "what a hook prints is in the log: {outcome:#?}");
    outcome.ok();
    let told = std::fs::read_to_string(here.join("told")).expect("the program ran");
    assert!(told.starts_with(&format!("one two output-1 {}\n", bot.output().display())), "{told}");
    assert_eq!(
        std::fs::read_to_string(here.join("reloaded")).expect("ran"),
        "--no-ask-password reload -- web.service\n"
    );
    assert_eq!(sleep.wait().expect("our own child").signal(), Some(10));
}

#[test]
fn a_hook_that_fails_is_told_and_takes_nothing_back() {
    let (cluster, bot) = with_hooks(
        "  - exec: [/bin/false]\n  - exec: [/no/such/program]\n  - exec: [HERE/slow]\n    timeout: 1s\n  - pid_file: HERE/nothing\n",
    );
    // It would go on in the background if only the program itself were ended.
    script(
        &cluster.path().join("slow"),
        &format!("sleep 600 & echo $! > {}/slow.pid; wait", cluster.path().display()),
    );
    let outcome = bot.oneshot();
    for part in [
        "the credentials are written, but a hook failed",
        "on_renew[0] (exec /bin/false): ended with exit status: 1",
        "on_renew[1] (exec /no/such/program): cannot be run: No such file",
        "on_renew[2] (exec ",
        "did not end within 1s and was killed",
        "on_renew[3] (signal to the process of ",
    ] {
        assert!(outcome.stderr.contains(part), "{part:?} is not in {outcome:#?}");
    }
    outcome.ok();
    let pid = std::fs::read_to_string(cluster.path().join("slow.pid")).expect("it ran");
    testkit::until("what it started to be gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
    let status = run(command(ours("tbot")).arg("status").arg("-c").arg(bot.config())).stdout;
    assert!(status.contains("degraded") && status.contains("output-1: on_renew[0]"), "{status}");
    run(bot.openssh("ssh", &["root@my-host.test.example.com", "true"]).env("PATH", "/usr/bin:/bin")).ok();
}

#[test]
fn what_came_of_hooks_is_in_the_audit_log_and_nothing_secret_is() {
    let (cluster, bot) =
        with_hooks("  - exec: [HERE/good, secret-argument]\n  - exec: [HERE/bad]\n  - exec: [HERE/starts]\n");
    let here = cluster.path();
    script(&here.join("good"), "echo this is fine");
    script(
        &here.join("bad"),
        "for n in $(seq 2000); do echo line $n; done\ncat $TBOT_DESTINATION/key >&2\nprintf '\\033[31mit broke\\n'; exit 3",
    );
    // What goes on in the background keeps nobody waiting, and is not ended.
    script(
        &here.join("starts"),
        &format!("(sleep 600; echo late) & echo $! > {}/started.pid", here.display()),
    );
    let outcome = bot.oneshot();
    assert!(outcome.stderr.contains("line 2000"), "the log has all of it");
    outcome.ok();
    let pid = std::fs::read_to_string(here.join("started.pid")).expect("it ran");
    assert!(std::path::Path::new("/proc").join(pid.trim()).exists());
    run(command("/bin/kill").arg(pid.trim())).ok();
    let events = cluster.tctl(&["events", "ls", "--type=bot.hook", "--format=json"]).ok();
    let told: serde_json::Value = serde_json::from_str(&events).expect("JSON");
    let told = told.as_array().expect("a list");
    let of = |nth: u64| {
        told.iter().find(|event| event["hook"] == nth).unwrap_or_else(|| panic!("no {nth} in {events}"))
    };
    assert_eq!(told.len(), 3, "{events}");
    for (nth, code) in [(0, "TB004I"), (1, "TB004E"), (2, "TB004I")] {
        assert_eq!((&of(nth)["code"], &of(nth)["output"]), (&code.into(), &"output-1".into()), "{events}");
        assert_eq!(of(nth)["bot_name"], "tester", "{events}");
    }
    assert_eq!(of(0)["action"], format!("exec {}/good", here.display()));
    let bad = of(1);
    assert_eq!(bad["error"], "ended with exit status: 3", "{events}");
    let tail = bad["tail"].as_str().expect("text");
    assert!(tail.ends_with("it broke") && tail.contains("***") && tail.len() <= 160, "{tail}");
    assert!(!events.contains("this is fine") && !events.contains("secret-argument"), "{events}");
    let key = std::fs::read_to_string(bot.file("key")).expect("written");
    let secret = key.lines().filter(|line| !line.starts_with("-----")).find(|line| events.contains(line));
    assert_eq!(secret, None, "{events}");
}

#[test]
fn hooks_that_make_no_sense_are_refused_together() {
    let (_cluster, bot) = with_hooks(
        "  - exec: [relative]\n  - exec: [/bin/true]\n    systemd_reload: x.service\n  - signal: HUP\n  - pid_file: /p\n    signal: KILL\n  \
         - systemd_reload: --all\n  - exec: [/bin/true]\n    timeout: soon\n  - run: x\n",
    );
    let told = bot.oneshot().refused();
    for part in [
        "on_renew[0].exec: write the absolute path",
        "on_renew[1]: give one of exec, pid_file (with signal) and systemd_reload",
        "on_renew[2].signal: belongs to pid_file",
        "on_renew[3].signal: unknown signal; known are HUP",
        "on_renew[4].systemd_reload: is not the name of a unit",
        "on_renew[5].timeout: \"soon\" is not a duration",
        "on_renew[6].run: unknown key",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert!(!bot.output().exists());
}
