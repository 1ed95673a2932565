//! Ansible over several nodes with nothing but the generated `ssh_config`.

use std::path::PathBuf;

use testkit::cluster::NodeSettings;
use testkit::programs::{command, theirs};
use testkit::{Bot, Cluster, Layout, Outcome, run};

/// Three nodes that the bot may reach, one that it may not, and an inventory with both.
struct Story {
    ansible: PathBuf,
    cluster: Cluster,
    bot: Bot,
    login: String,
}

impl Story {
    fn start() -> Option<Self> {
        let ansible = theirs("ansible")?;
        let mut cluster = Cluster::start(Layout::Processes);
        for (name, env) in [("web-1", "test"), ("web-2", "test"), ("vault", "prod")] {
            cluster.add_node(&NodeSettings { name, labels: &[("env", env)], more: "" });
        }
        let login = run(command("/usr/bin/id").arg("-un")).ok().trim().to_owned();
        cluster.role("playbooks", &format!("[{login}]"), "{env: test}");
        let bot = cluster.bot("ansible", &["playbooks"]);
        bot.oneshot().ok();
        let hosts: Vec<String> = ["my-host", "web-1", "web-2"].map(Bot::host).into();
        let inventory = format!("[allowed]\n{}\n[forbidden]\n{}\n", hosts.join("\n"), Bot::host("vault"));
        std::fs::write(cluster.path().join("hosts"), inventory).expect("written");
        Some(Self { ansible, cluster, bot, login })
    }

    /// Runs `ansible` or a neighbour of it; `ssh` are more of ssh's arguments.
    fn run(&self, program: &str, ssh: &str, pipelining: bool, arguments: &[&str]) -> Outcome {
        // The interpreter itself: what a login shell finds may be a shim that depends on who runs it.
        let python =
            run(command("/usr/bin/env").args(["python3", "-c", "import sys; print(sys.executable)"])).ok();
        let interpreter = format!("ansible_python_interpreter={}", python.trim());
        run(command(self.ansible.with_file_name(program))
            .env("HOME", self.cluster.path())
            .env("ANSIBLE_SSH_ARGS", format!("-F {} {ssh}", self.bot.file("ssh_config").display()))
            .env("ANSIBLE_HOST_KEY_CHECKING", "True")
            .env("ANSIBLE_PIPELINING", if pipelining { "True" } else { "False" })
            .env("ANSIBLE_NOCOLOR", "1")
            .args(["-i", self.cluster.path().join("hosts").to_str().expect("UTF-8")])
            .args(["-u", &self.login, "-e", &interpreter])
            .args(arguments))
    }

    fn play(&self, arguments: &[&str]) -> Outcome {
        self.run("ansible", "", false, arguments)
    }
}

#[test]
fn playbooks_reach_every_node_the_roles_allow_and_no_other() {
    let Some(story) = Story::start() else { return };
    let pong = story.play(&["allowed", "-m", "ping"]).ok();
    assert_eq!(pong.matches("\"ping\": \"pong\"").count(), 3, "{pong}");
    let said = story.play(&["allowed", "-m", "command", "-a", "echo from-the-node"]).ok();
    assert_eq!(said.matches("from-the-node").count(), 3, "{said}");
    let refused = story.play(&["forbidden", "-m", "ping"]);
    assert!(refused.stdout.contains("UNREACHABLE"), "{refused:#?}");
}

const PLAYBOOK: &str = "\
- hosts: allowed
  gather_facts: false
  tasks:
  - copy: {content: carried, dest: '{{ there }}/{{ inventory_hostname }}', mode: '0640'}
  - stat: {path: '{{ there }}/{{ inventory_hostname }}'}
    register: carried
  - assert: {that: [carried.stat.mode == '0640', carried.stat.size == 7]}
  - script: script
    register: said
  - assert: {that: [said.stdout is search('from a script')]}
  - fetch: {src: '{{ there }}/{{ inventory_hostname }}', dest: '{{ here }}/', flat: true}
  - command: exit-with-nothing-of-this-name
    register: missing
    failed_when: missing.rc != 2
";

fn playbook(ssh: &str, pipelining: bool) {
    let Some(story) = Story::start() else { return };
    let path = |name: &str| story.cluster.path().join(name);
    std::fs::write(path("playbook.yaml"), PLAYBOOK).expect("written");
    std::fs::write(path("script"), "#!/bin/sh\necho from a script\n").expect("written");
    for directory in ["there", "here"] {
        std::fs::create_dir(path(directory)).expect("made");
    }
    let variables = format!("there={} here={}", path("there").display(), path("here").display());
    let ssh = ssh.replace("DIRECTORY", path("").to_str().expect("UTF-8"));
    let playbook = path("playbook.yaml");
    let playbook = playbook.to_str().expect("UTF-8");
    let told = story.run("ansible-playbook", &ssh, pipelining, &["-e", &variables, playbook]).ok();
    assert_eq!(told.matches("failed=0").count(), 3, "{told}");
    for host in ["my-host", "web-1", "web-2"] {
        let fetched = std::fs::read_to_string(path("here").join(Bot::host(host))).expect("fetched");
        assert_eq!(fetched, "carried", "{host}");
    }
}

#[test]
fn a_playbook_with_a_connection_and_a_file_for_each_task() {
    playbook("", false);
}

#[test]
fn a_playbook_with_pipelining_over_shared_connections() {
    playbook("-o ControlMaster=auto -o ControlPersist=20s -o ControlPath=DIRECTORY/%C", true);
}
