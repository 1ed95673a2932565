//! Ansible over several nodes with nothing but the generated `ssh_config`.

use testkit::cluster::NodeSettings;
use testkit::programs::{command, theirs};
use testkit::{Bot, Cluster, Layout, run};

#[test]
fn playbooks_reach_every_node_the_roles_allow_and_no_other() {
    let Some(ansible) = theirs("ansible") else { return };
    let mut cluster = Cluster::start(Layout::Processes);
    for (name, env) in [("web-1", "test"), ("web-2", "test"), ("vault", "prod")] {
        cluster.add_node(&NodeSettings { name, labels: &[("env", env)], more: "" });
    }
    let login = run(command("/usr/bin/id").arg("-un")).ok().trim().to_owned();
    cluster.role("playbooks", &format!("[{login}]"), "{env: test}");
    let bot = cluster.bot("ansible", &["playbooks"]);
    bot.oneshot().ok();

    let inventory = cluster.path().join("hosts");
    let hosts: Vec<String> = ["my-host", "web-1", "web-2"].map(Bot::host).into();
    std::fs::write(
        &inventory,
        format!("[allowed]\n{}\n[forbidden]\n{}\n", hosts.join("\n"), Bot::host("vault")),
    )
    .expect("written");
    // The interpreter itself: what a login shell finds may be a shim that depends on who runs it.
    let python =
        run(command("/usr/bin/env").args(["python3", "-c", "import sys; print(sys.executable)"])).ok();
    let interpreter = format!("ansible_python_interpreter={}", python.trim());
    let play = |group: &str, arguments: &[&str]| {
        run(command(&ansible)
            .env("HOME", cluster.path())
            .env("ANSIBLE_SSH_ARGS", format!("-F {}", bot.file("ssh_config").display()))
            .env("ANSIBLE_HOST_KEY_CHECKING", "True")
            .env("ANSIBLE_NOCOLOR", "1")
            .args(["-i", inventory.to_str().expect("UTF-8"), "-u", &login, "-e", &interpreter, group])
            .args(arguments))
    };
    let pong = play("allowed", &["-m", "ping"]).ok();
    assert_eq!(pong.matches("\"ping\": \"pong\"").count(), 3, "{pong}");
    let said = play("allowed", &["-m", "command", "-a", "echo from-the-node"]).ok();
    assert_eq!(said.matches("from-the-node").count(), 3, "{said}");
    let copied = cluster.path().join("copied");
    play("allowed", &["-m", "copy", "-a", &format!("content=carried dest={}", copied.display())]).ok();
    assert_eq!(std::fs::read_to_string(&copied).expect("copied"), "carried");
    let refused = play("forbidden", &["-m", "ping"]);
    assert!(refused.stdout.contains("UNREACHABLE"), "{refused:#?}");
}
