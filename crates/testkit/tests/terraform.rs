//! Terraform, whose SSH client is Go's: commands and files on a node, straight and through the proxy as a bastion.

use std::path::{Path, PathBuf};

use testkit::programs::{command, where_present};
use testkit::{Bot, Cluster, Layout, Outcome, run};

/// A cluster, a bot that may log in, and a directory of Terraform's.
struct Story {
    terraform: PathBuf,
    cluster: Cluster,
    bot: Bot,
    login: String,
}

impl Story {
    fn start() -> Option<Self> {
        let terraform = where_present("terraform")?;
        let cluster = Cluster::start(Layout::Processes);
        let login = run(command("/usr/bin/id").arg("-un")).ok().trim().to_owned();
        cluster.role("provisioning", &format!("[{login}]"), "{env: test}");
        let bot = cluster.bot("terraform", &["provisioning"]);
        bot.oneshot().ok();
        Some(Self { terraform, cluster, bot, login })
    }

    /// The cluster's host authority, from what the bot wrote.
    fn authority(&self) -> String {
        let known = std::fs::read_to_string(self.bot.file("known_hosts")).expect("written");
        let line = known.lines().find(|line| line.starts_with("@cert-authority ")).expect("an authority");
        line.split(' ').skip(2).take(2).collect::<Vec<_>>().join(" ")
    }

    /// How the bot is let in anywhere; `prefix` is for the bastion's settings.
    fn credentials(&self, prefix: &str) -> String {
        let (login, key, certificate) = (&self.login, self.bot.file("key"), self.bot.file("key-cert.pub"));
        format!(
            "{prefix}user = \"{login}\"\n{prefix}private_key = file(\"{}\")\n{prefix}certificate = file(\"{}\")\n",
            key.display(),
            certificate.display()
        )
    }

    /// Address and port of a service.
    fn endpoint(&self, service: &str) -> (String, String) {
        let endpoint = self.cluster.endpoint(service);
        let (address, port) = endpoint.rsplit_once(':').expect("host:port");
        (address.to_owned(), port.to_owned())
    }

    /// Straight to the node.
    fn straight(&self) -> String {
        let (address, port) = self.endpoint("my-host");
        format!("host = \"{address}\"\nport = {port}\n{}", self.credentials(""))
    }

    /// Through the proxy, which has to be of this authority.
    fn jumping(&self, authority: &str) -> String {
        let (address, port) = self.endpoint("proxy");
        let node = Bot::host("my-host");
        let bastion = format!("bastion_host = \"{address}\"\nbastion_port = {port}\n");
        let bastion = format!("{bastion}bastion_host_key = \"{authority}\"\n");
        format!("host = \"{node}\"\n{bastion}{}{}", self.credentials("bastion_"), self.credentials(""))
    }

    /// Puts a file there and runs a command, with hosts of this authority alone.
    fn apply(&self, name: &str, connection: &str, authority: &str, line: &str) -> Outcome {
        let directory = self.cluster.path().join(name);
        std::fs::create_dir(&directory).expect("a new directory");
        let plan = format!(
            "resource \"terraform_data\" \"it\" {{\nconnection {{\ntype = \"ssh\"\nagent = false\n\
             host_key = \"{authority}\"\nscript_path = \"{}\"\n{connection}}}\n\
             provisioner \"file\" {{\ncontent = \"carried\"\ndestination = \"{}\"\n}}\n\
             provisioner \"remote-exec\" {{\ninline = [\"{line}\"]\n}}\n}}\n",
            directory.join("script").display(),
            directory.join("carried").display()
        );
        std::fs::write(directory.join("main.tf"), plan).expect("written");
        self.terraform(&directory, &["init"]).ok();
        self.terraform(&directory, &["apply", "-auto-approve"])
    }

    fn terraform(&self, directory: &Path, arguments: &[&str]) -> Outcome {
        let mut terraform = command(&self.terraform);
        // Nothing of this machine's, and nobody else to talk to.
        terraform.env("HOME", self.cluster.path()).env("TF_CLI_CONFIG_FILE", "/dev/null");
        terraform.env("CHECKPOINT_DISABLE", "1").env("TMPDIR", directory);
        run(terraform.current_dir(directory).args(arguments).args(["-no-color", "-input=false"]))
    }

    fn carried(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.cluster.path().join(name).join("carried")).ok()
    }
}

/// Its words about a failure, which it breaks into lines.
fn said(outcome: &Outcome) -> String {
    outcome.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn terraform_provisions_through_the_proxy_and_straight() {
    let Some(story) = Story::start() else { return };
    let authority = story.authority();
    for (name, connection) in [("jumping", story.jumping(&authority)), ("straight", story.straight())] {
        let said = story.apply(name, &connection, &authority, "echo from-$((40 + 2))").ok();
        assert!(said.contains("from-42"), "{name}: {said}");
        assert_eq!(story.carried(name).as_deref(), Some("carried"), "{name}");
    }
    let failed = story.apply("failing", &story.jumping(&authority), &authority, "exit 7");
    assert!(!failed.status.success() && said(&failed).contains("exited with status 7"), "{failed:#?}");
}

#[test]
fn terraform_refuses_hosts_of_another_authority() {
    let Some(story) = Story::start() else { return };
    let other = story.cluster.path().join("other_ca");
    run(command("/usr/bin/ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&other))
        .ok();
    let other = std::fs::read_to_string(other.with_extension("pub")).expect("made");
    // It holds the bastion to `host_key` too, whatever `bastion_host_key` says.
    let jumping = story.jumping(&story.authority());
    for (name, connection) in [("through-the-proxy", jumping), ("to-the-node", story.straight())] {
        // It tries again until then, whatever the reason.
        let connection = format!("timeout = \"5s\"\n{connection}");
        let refused = story.apply(name, &connection, other.trim(), "echo from-the-node");
        assert!(said(&refused).contains("no authorities for hostname"), "{name}: {refused:#?}");
        assert_eq!(story.carried(name), None, "{name}");
    }
}
