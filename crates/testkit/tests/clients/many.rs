//! Tools that ask many hosts at once: pssh and ClusterShell.

use testkit::cluster::NodeSettings;
use testkit::programs::{command, theirs};
use testkit::{Bot, run};

use super::story::{NO_SUCH_LOGIN, Story};

/// Three nodes that the bot may reach; `vault` is one that it may not.
fn several() -> (Story, Vec<String>) {
    let mut story = Story::start();
    for (name, env) in [("web-1", "test"), ("web-2", "test"), ("vault", "prod")] {
        story.cluster.add_node(&NodeSettings { name, labels: &[("env", env)], more: "" });
    }
    (story, ["my-host", "web-1", "web-2"].map(Bot::host).into())
}

#[test]
fn pssh_runs_commands_and_copies_on_every_host() {
    let Some(pssh) = theirs("parallel-ssh") else { return };
    let Some(pscp) = theirs("parallel-scp") else { return };
    let (story, hosts) = several();
    let arguments = |hosts: &[String]| {
        let config = format!("-F {}", story.bot.file("ssh_config").display());
        [
            &["-l".to_owned(), story.login.clone(), "-x".to_owned(), config, "-H".to_owned()],
            &[hosts.join(" ")][..],
        ]
        .concat()
    };
    let said = run(command(&pssh).args(arguments(&hosts)).args(["-i", "echo on $SSH_CONNECTION"])).ok();
    assert_eq!((said.matches("[SUCCESS]").count(), said.matches("on 127.0.0.1").count()), (3, 3), "{said}");

    std::fs::write(story.path("file"), "carried").expect("written");
    let copied =
        run(command(&pscp).args(arguments(&hosts)).args([story.text("file"), story.text("copied")])).ok();
    assert_eq!(copied.matches("[SUCCESS]").count(), 3, "{copied}");
    assert_eq!(std::fs::read_to_string(story.path("copied")).expect("copied"), "carried");

    // One that is not allowed fails, and the others do not mind.
    let all = [hosts, vec![Bot::host("vault")]].concat();
    let refused = run(command(&pssh).args(arguments(&all)).args(["-i", "true"]));
    assert_eq!((refused.code(), refused.stdout.matches("[SUCCESS]").count()), (4, 3), "{refused:#?}");
    assert!(refused.stdout.contains(&format!("[FAILURE] {}", Bot::host("vault"))), "{refused:#?}");
}

#[test]
fn clustershell_gathers_answers_and_copies() {
    let Some(clush) = theirs("clush") else { return };
    let (story, hosts) = several();
    let clush = |hosts: &[String], login: &str, rest: &[&str]| {
        let config = format!("-F {} -o BatchMode=yes", story.bot.file("ssh_config").display());
        let mut clush = command(&clush);
        clush.env("HOME", story.cluster.path()).args(["-l", login, "-o", &config, "-w", &hosts.join(",")]);
        run(clush.args(rest))
    };
    // Equal answers are shown once, for all who gave them.
    let said = clush(&hosts, &story.login, &["-b", "echo the same"]).ok();
    assert_eq!(said.matches("the same").count(), 1, "{said}");
    assert!(said.contains("(3)"), "{said}");

    std::fs::write(story.path("file"), "carried").expect("written");
    clush(&hosts, &story.login, &["--copy", &story.text("file"), "--dest", &story.text("copied")]).ok();
    assert_eq!(std::fs::read_to_string(story.path("copied")).expect("copied"), "carried");

    let refused = clush(&hosts, "daemon", &["-S", "true"]);
    assert_eq!(refused.code(), 255, "{refused:#?}");
    assert_eq!(refused.stderr.matches(NO_SUCH_LOGIN).count(), 3, "{refused:#?}");
}
