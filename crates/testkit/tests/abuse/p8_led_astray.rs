//! Row P8: whoever may register one host says that it is where another one is. The proxy dials there, and finds out who answers:
//! nobody gets to a server that labels hide from them.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::cluster::CLUSTER;
use testkit::programs::{command, root};
use testkit::{Bot, Cluster, Layout, Process, run, until};

/// A server of the system, as its package leaves it.
struct Server {
    directory: PathBuf,
    port: u16,
    process: Process,
}

impl Server {
    fn start(scratch: &Path, name: &str) -> Self {
        std::fs::create_dir_all("/run/sshd").ok();
        let directory = scratch.join(format!("{name}-sshd"));
        std::fs::create_dir_all(directory.join("sshd_config.d")).expect("made");
        let at = |file: &str| directory.join(file).display().to_string();
        run(command("/usr/bin/ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f", &at("own_key")]))
            .ok();
        // sshd takes no port that the system chooses.
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let text = format!(
            "Include {}/*.conf\nListenAddress 127.0.0.1:{port}\nPidFile {}\nHostKey {}\nUsePAM no\nUseDNS no\nStrictModes no\n\
             PermitRootLogin yes\nAuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
            at("sshd_config.d"),
            at("sshd.pid"),
            at("own_key")
        );
        std::fs::write(directory.join("sshd_config"), text).expect("written");
        let mut sshd = command("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(directory.join("sshd_config"));
        let mut process = Process::start(&format!("{name}-sshd"), scratch, &mut sshd);
        until("sshd to listen", || {
            process.assert_running();
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { directory, port, process }
    }

    /// The service of the agent that looks after it, under this name and label, and says that it is at `port`.
    fn service(&self, bot: &Bot, name: &str, env: &str, port: u16) -> String {
        let at = |file: &str| self.directory.join(file).display().to_string();
        format!(
            "services:\n- type: sshd\n  name: sshd\n  destination: {}\n  sshd:\n    hostname: {name}\n    address: \
             127.0.0.1:{port}\n    labels: {{env: {env}}}\n    config: {}\n    snippet: {}\n    reload: {{pid_file: {}}}\n",
            bot.directory().join("host").display(),
            at("sshd_config"),
            at("sshd_config.d/10-postern.conf"),
            at("sshd.pid")
        )
    }
}

/// A bot that may have a certificate for this one name, and put it among the nodes; and its agent.
fn keeper(cluster: &Cluster, name: &str) -> Bot {
    cluster.create(&format!(
        "kind: role\nversion: v7\nmetadata:\n  name: keeper-{name}\nspec:\n  allow:\n    rules:\n    - resources: [host_cert]\n      \
         verbs: [create]\n      where: is_subset(host_cert.principals, \"{name}\", \"{name}.{CLUSTER}\")\n    - resources: [node]\n      \
         verbs: [create, update]\n"
    ));
    let bot = cluster.bot(&format!("keeper-{name}"), &[&format!("keeper-{name}")]);
    bot.oneshot().ok();
    bot
}

fn looked_after(cluster: &Cluster, bot: &Bot, name: &str, service: &str) -> Process {
    const SPENT: &str = "0123456789abcdef0123456789abcdef";
    bot.configure(SPENT, &cluster.pin(), service);
    let mut agent = bot.start();
    until(&format!("{name} among the nodes"), || {
        agent.assert_running();
        cluster.tctl(&["nodes", "ls"]).ok().contains(name).then_some(())
    });
    agent
}

/// Every way through the proxy to a host, with these options of OpenSSH where it is OpenSSH.
fn ways(bot: &Bot, host: &str, options: &[&str], what: &str) -> Vec<Command> {
    let target = format!("root@{}", Bot::host(host));
    let mut by_jump = bot.jump(&target, &[]);
    by_jump.args(options).arg(what);
    let mut by_command = bot.openssh("ssh", options);
    by_command.args([&target, what]);
    vec![by_command, by_jump]
}

#[test]
fn p8_an_address_leads_to_nobody_but_who_registered_it() {
    if !root() {
        return;
    }
    let cluster = Cluster::start(Layout::OneProcess);
    cluster.role("dev", "[root]", "{env: dev}");
    cluster.role("prod", "[root]", "{env: prod}");
    cluster.role("test", "[root]", "{env: test}");
    let victim = Server::start(cluster.path(), "prod");
    let keeper_of_prod = keeper(&cluster, "prod-1");
    let service = victim.service(&keeper_of_prod, "prod-1", "prod", victim.port);
    let _prod = looked_after(&cluster, &keeper_of_prod, "prod-1", &service);
    let (dev, prod) = (cluster.bot("dev-user", &["dev"]), cluster.bot("prod-user", &["prod", "test"]));
    dev.oneshot().ok();
    prod.oneshot().ok();

    // Who may see it gets to it, whatever exchange and key their client asks for; through fresh keys as well.
    let exchanges = [
        "KexAlgorithms=curve25519-sha256",
        "KexAlgorithms=sntrup761x25519-sha512@openssh.com",
        "KexAlgorithms=ecdh-sha2-nistp384",
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "KexAlgorithms=diffie-hellman-group-exchange-sha256",
    ];
    until("the server behind the proxy", || {
        let target = format!("root@{}", Bot::host("prod-1"));
        (prod.ssh(&[&target, "id -u"]).stdout == "0\n").then_some(())
    });
    for exchange in exchanges {
        for mut way in ways(&prod, "prod-1", &["-o", exchange], "id -u") {
            assert_eq!(run(&mut way).ok(), "0\n", "{exchange}");
        }
    }
    for mut way in ways(
        &prod,
        "prod-1",
        &["-o", "RekeyLimit=100K"],
        "head -c 3000000 /dev/zero | wc -c; head -c 2000000 /dev/zero",
    ) {
        let told = run(&mut way).ok();
        assert!(told.starts_with("3000000\n") && told.len() == 2_000_008, "{} bytes", told.len());
    }
    // Clients without host authorities ask for a plain key: the one that a certificate is about does.
    const PLAIN: [&str; 4] = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];
    let certificate = keeper_of_prod.directory().join("host/ssh_host-cert.pub");
    let certificate = std::fs::read_to_string(certificate).expect("a certificate");
    let (algorithm, _) = certificate.split_once("-cert-v01@openssh.com ").expect("a type");
    let certified = format!("HostKeyAlgorithms={algorithm}");
    let plain = |algorithms: &'static str| [&PLAIN[..], &["-o", algorithms]].concat();
    let certified: &'static str = certified.leak();
    for mut way in ways(&prod, "prod-1", &plain(certified), "id -u") {
        assert_eq!(run(&mut way).ok(), "0\n");
    }
    for mut way in
        ways(&prod, "my-host", &plain("HostKeyAlgorithms=ecdsa-sha2-nistp256,ssh-ed25519"), "id -u")
    {
        assert_eq!(run(&mut way).ok(), "0\n");
    }

    // Who may not see it does not.
    for mut way in ways(&dev, "prod-1", &[], "id -u") {
        assert!(run(&mut way).refused().contains("host_unknown"));
    }
    // Somebody registers a host of their own, and says that it is where that server is.
    let own = Server::start(cluster.path(), "dev");
    let keeper_of_dev = keeper(&cluster, "dev-1");
    let service = own.service(&keeper_of_dev, "dev-1", "dev", victim.port);
    let _dev = looked_after(&cluster, &keeper_of_dev, "dev-1", &service);
    let alias = format!("HostKeyAlias={}", Bot::host("prod-1"));
    let other =
        "what answers at the address of node \"dev-1\" is another host of this cluster (node_other_host)";
    until("the proxy to know of it", || {
        let outcome = run(&mut ways(&dev, "dev-1", &["-o", &alias], "id -u")[0]);
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
        outcome.stderr.contains("node_other_host").then_some(())
    });
    for exchange in exchanges {
        for mut way in ways(&dev, "dev-1", &["-o", &alias, "-o", exchange], "id -u") {
            let refused = run(&mut way).refused();
            assert!(refused.contains(other), "{exchange}: {refused}");
            assert!(!refused.contains("prod-1 (") && !refused.contains("for prod-1"), "{refused}");
        }
    }
    // A key that no certificate is about, and the one that the other host's certificate is about.
    for algorithms in ["HostKeyAlgorithms=ssh-ed25519", certified] {
        for mut way in ways(&dev, "dev-1", &plain(algorithms), "id -u") {
            let refused = run(&mut way).refused();
            assert!(refused.contains(other), "{algorithms}: {refused}");
        }
    }
    let refused = dev.tsh(&["ssh", "root@dev-1", "id -u"]).refused();
    assert!(refused.contains("node_other_host"), "{refused}");
    // Nobody logged in there, and administrators read what stood there.
    assert!(!victim.process.log().contains("bot-dev-user"), "{}", victim.process.log());
    let events = cluster.tctl(&["events", "ls", "--type=auth", "--format=json"]).ok();
    let events: serde_json::Value = serde_json::from_str(&events).expect("JSON");
    let event =
        events.as_array().expect("a list").iter().find(|event| event["reason_code"] == "node_other_host");
    let event = event.expect("an event");
    assert_eq!(event["user"], "bot-dev-user", "{event}");
    let shown = event["server_shown"].as_str().expect("what stood there");
    let (_, shown) = shown.split_once("the host certificate is for ").expect("another host's");
    let nodes = cluster.tctl(&["nodes", "ls"]).ok();
    let victim = nodes.lines().find(|line| line.contains("prod-1")).expect("a node");
    assert!(victim.contains(&shown[..36]), "{shown} is not in {victim}");
}
