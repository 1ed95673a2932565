//! The cluster's authorities change under running agents: what they wrote follows within seconds, with the keys that it has, and
//! works at every moment.
//!
//! No command rotates an authority yet, so each step is taken in the store of an auth service that is stopped; agents learn of
//! it when it is back, as they would of a step that was taken while they were away.

use access::ClusterName;
use access::resource::cert_authority::{CaKind, RotationPhase};
use auth::catalog::layout;
use auth::sealing::Envelope;
use ca::{Authorities, EnvelopeKey, Retire};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use store::{SqliteOptions, SqliteStore, Store as _, Txn};
use testkit::bot::SPENT;
use testkit::cluster::CLUSTER;
use testkit::process::Signal;
use testkit::programs::{command, root};
use testkit::workload::{self, Workload};
use testkit::{Bot, Cluster, Layout, Outcome, Process, Stock, run, until};

/// Takes a step with each of `kinds` in the store below `data`, which is the daemon's user's before and after.
fn step(data: &Path, kinds: &[CaKind], to: RotationPhase) {
    let found = std::fs::metadata(data).expect("there");
    let owned_by = |owner: &str| run(command("/usr/bin/chown").args(["-R", owner]).arg(data)).ok();
    owned_by(&format!("{}:{}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    step_in_own(data, kinds, to);
    owned_by(&format!("{}:{}", found.uid(), found.gid()));
}

fn step_in_own(data: &Path, kinds: &[CaKind], to: RotationPhase) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let engine = SqliteStore::open(data.join("backend"), SqliteOptions::default()).expect("opens");
        let envelope = Envelope::open(data).expect("the key of this auth");
        let key = EnvelopeKey::new(envelope.derive("authorities").as_ref()).expect("a key");
        let cluster = ClusterName::new(CLUSTER).expect("a name");
        let entry = engine.read(&layout::authorities()).await.expect("reads").expect("authorities");
        let mut authorities =
            Authorities::open(&entry.value, &key, &cluster, jiff::Timestamp::now()).expect("ours");
        for kind in kinds {
            authorities.rotate(*kind, to, jiff::Timestamp::now(), Retire::AtOnce).expect("a legal step");
        }
        let sealed = authorities.seal(&key).expect("sealed");
        engine.commit(Txn::new().put(layout::authorities(), sealed)).await.expect("commits").expect("alone");
    });
}

struct Running {
    cluster: Cluster,
    bot: Bot,
    agent: Process,
    /// Looked after by the agent.
    stock: Option<(Stock, Process)>,
}

impl Running {
    /// An agent with an output for clients, `more`, and one for an SSH server, which renews by itself long after the test.
    fn with_files_for_sshd(more: impl FnOnce(&Path) -> String) -> Self {
        Self::start(|bot| {
            let output = format!(
                "{}- {{type: ssh_host, name: host, principals: [stock.{CLUSTER}], destination: {}}}\n",
                more(bot.directory()),
                bot.directory().join("host").display()
            );
            (output, None)
        })
    }

    /// An agent with an output for clients that looks after an SSH server.
    fn with_sshd() -> Self {
        Self::start(|bot| {
            let (stock, sshd) = Stock::start(bot.directory());
            (stock.service(bot.directory(), ""), Some((stock, sshd)))
        })
    }

    fn start(more: impl FnOnce(&Bot) -> (String, Option<(Stock, Process)>)) -> Self {
        let mut cluster = Cluster::start(Layout::Processes);
        cluster.role("tester", "[root]", "{env: test}");
        cluster.host_role("hosts", "", true);
        cluster.create(
            "kind: role\nversion: v7\nmetadata:\n  name: workloads\nspec:\n  allow:\n    spiffe: [{path: /svc/*}]\n",
        );
        // Where it is found again.
        let config = cluster.config("auth");
        let text = std::fs::read_to_string(&config).expect("written before");
        let fixed = format!("listen_addr: {}", cluster.endpoint("auth"));
        std::fs::write(&config, text.replacen("listen_addr: 127.0.0.1:0", &fixed, 1)).expect("written");
        cluster.process("auth").stop();
        cluster.restart("auth");
        let bot = cluster.bot("tester", &["tester", "hosts", "workloads"]);
        bot.oneshot().ok();
        let (more, stock) = more(&bot);
        bot.configure(SPENT, &cluster.pin(), &more);
        let agent = bot.start();
        let running = Self { cluster, bot, agent, stock };
        until("both outputs", || running.host("ssh_host").exists().then_some(()));
        // A node goes by the policy that it had until it has found auth again.
        until("the node to know the new role", || running.login().status.success().then_some(()));
        running
    }

    fn host(&self, name: &str) -> PathBuf {
        self.bot.directory().join("host").join(name)
    }

    /// A login by the files on disk, through the proxy to a node. Both may be connecting to auth anew.
    fn login(&self) -> Outcome {
        self.bot.ssh(&[&format!("root@{}", Bot::host("my-host")), "echo in"])
    }

    fn works(&self, when: &str) {
        match &self.stock {
            // While it is being reloaded, sshd answers nobody.
            Some((stock, _)) => {
                until(&format!("{when}: the stock server"), || stock.lets_in(&self.bot).then_some(()))
            }
            None => {
                let said = self.login();
                assert!(said.status.success(), "{when}: {said:#?}");
            }
        }
    }

    /// One step of the workloads' authority, while auth is away, until the agent has followed: the server's output is its last.
    fn step_of_workloads(&mut self, to: RotationPhase) {
        let followed = |agent: &Process| {
            let log = agent.log();
            let is_it = |line: &&str| line.contains("written again") && line.contains("service=\"host\"");
            log.lines().filter(is_it).count()
        };
        let before = followed(&self.agent);
        assert!(self.cluster.process("auth").stop().success());
        step(&self.cluster.path().join("auth"), &[CaKind::Spiffe], to);
        self.cluster.restart("auth");
        until(&format!("{to:?} to be followed"), || {
            self.agent.assert_running();
            (followed(&self.agent) > before).then_some(())
        });
    }

    /// One step, and a login while auth is away, when it is back, and when the agent has followed.
    fn step(&mut self, kinds: &[CaKind], to: RotationPhase, expected: &[(&str, usize)]) {
        let when = format!("{kinds:?} {to:?}");
        assert!(self.cluster.process("auth").stop().success());
        self.works(&format!("{when}, auth away"));
        step(&self.cluster.path().join("auth"), kinds, to);
        self.cluster.restart("auth");
        self.works(&format!("{when}, auth back"));
        for (name, count) in expected {
            until(&format!("{when}: {count} authorities in {name}"), || {
                self.agent.assert_running();
                (self.count(name) == *count).then_some(())
            });
        }
        self.works(&format!("{when}, followed"));
    }

    /// How many authorities a file has.
    fn count(&self, name: &str) -> usize {
        let path = if name.starts_with("ssh_host") { self.host(name) } else { self.bot.file(name) };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let begins = ["ssh-ed25519 ", "@cert-authority ", "-----BEGIN CERTIFICATE"];
        text.lines().filter(|line| begins.iter().any(|begin| line.starts_with(begin))).count()
    }

    fn keys(&self) -> [Vec<u8>; 3] {
        [self.bot.file("key"), self.bot.file("key-cert.pub"), self.host("ssh_host")]
            .map(|path| std::fs::read(path).expect("a file"))
    }

    /// Everything is renewed now, and signed by whoever signs now.
    fn renew(&mut self) {
        let before = self.keys();
        self.agent.signal(Signal::USR1);
        until("new keys", || {
            let now = self.keys();
            (now[0] != before[0] && now[2] != before[2]).then_some(())
        });
    }
}

#[test]
fn what_is_on_disk_follows_the_authorities_and_works_at_every_moment() {
    use RotationPhase::{Init, Rollback, Standby, UpdateClients, UpdateServers};
    let mut running = Running::with_files_for_sshd(|_| String::new());
    let user = |count| [("teleport-user-ca.crt", count), ("ssh_host-user-ca.pub", count)];
    let host = |count| [("teleport-host-ca.crt", count), ("known_hosts", count)];
    running.works("at first");
    let keys = running.keys();
    for phase in [Init, UpdateClients, UpdateServers] {
        running.step(&[CaKind::User], phase, &user(2));
        assert!(running.keys() == keys, "{phase:?}: a bundle is no reason for a new key");
    }
    for (phase, count) in [(Init, 2), (UpdateClients, 2), (Rollback, 2), (Standby, 1)] {
        running.step(&[CaKind::Host], phase, &host(count));
        assert!(running.keys() == keys, "{phase:?}: a bundle is no reason for a new key");
    }
    running.renew();
    let keys = running.keys();
    running.step(&[CaKind::User], Standby, &user(1));
    assert!(running.keys() == keys, "what the new authority signed is as good as before");
}

#[test]
fn a_stock_server_follows_the_authorities_and_works_at_every_moment() {
    use RotationPhase::{Init, Standby, UpdateClients, UpdateServers};
    if !root() {
        return;
    }
    let mut running = Running::with_sshd();
    let all = [CaKind::User, CaKind::Host, CaKind::Openssh];
    let trusting = |count| [("known_hosts", count), ("ssh_host-user-ca.pub", count)];
    let read = |running: &Running, name: &str| std::fs::read_to_string(running.host(name)).expect("a file");
    let signer = |running: &Running| {
        let certificate = running.host("ssh_host-cert.pub");
        let listed = run(command("/usr/bin/ssh-keygen").args(["-L", "-f"]).arg(certificate)).ok();
        listed.lines().find(|line| line.contains("Signing CA")).expect("a signer").to_owned()
    };
    running.works("at first");
    let (key, certificate) = (read(&running, "ssh_host"), read(&running, "ssh_host-cert.pub"));
    let (retired_users, retired_hosts) = (read(&running, "ssh_host-user-ca.pub"), signer(&running));
    for phase in [Init, UpdateClients] {
        running.step(&all, phase, &trusting(2));
        assert_eq!(
            read(&running, "ssh_host-cert.pub"),
            certificate,
            "{phase:?}: who signs hosts is as it was"
        );
    }
    // Nobody renews anything: what the retiring authority signed would be good for days.
    running.step(&all, UpdateServers, &trusting(2));
    until("a certificate of the new authority", || (signer(&running) != retired_hosts).then_some(()));
    until("sshd to show it", || {
        let (stock, _) = running.stock.as_ref().expect("there is one");
        let shown = running.bot.directory().join("shown");
        // By the newest authority alone.
        let known = std::fs::read_to_string(running.bot.file("known_hosts")).expect("a file");
        std::fs::write(&shown, known.lines().next_back().expect("two")).expect("written");
        let mut ssh = running.bot.straight("stock", stock.port(), "root");
        let file = format!("UserKnownHostsFile={}", shown.display());
        let mut only = command("/usr/bin/ssh");
        only.args(["-o", &file]).args(ssh.arg("true").get_args());
        run(&mut only).status.success().then_some(())
    });
    running.works("UpdateServers, by the new authority");
    assert_eq!(read(&running, "ssh_host"), key, "clients may know it by its key");
    let before = running.keys();
    running.agent.signal(Signal::USR1);
    until("the client to have a certificate of the new authority", || {
        (running.keys()[0] != before[0]).then_some(())
    });
    running.step(&all, Standby, &trusting(1));
    assert!(
        !read(&running, "ssh_host-user-ca.pub").contains(retired_users.trim()),
        "nobody trusts it any more"
    );
    assert_ne!(signer(&running), retired_hosts);
    assert_eq!(read(&running, "ssh_host"), key);
    let listed =
        run(command("/usr/bin/ssh-keygen").args(["-Q", "-l", "-f"]).arg(running.host("revoked-keys")));
    listed.ok();
}

/// What workloads have goes on with its keys under another bundle, in files and at the socket, until nobody believes it any more.
/// Proxies and nodes are reached through the last step, in which nobody trusts what the retired authority signed.
#[test]
fn proxies_and_nodes_follow_whoever_signs_hosts() {
    use RotationPhase::{Init, Standby, UpdateClients, UpdateServers};
    let mut running = Running::with_files_for_sshd(|_| String::new());
    let trusting = |count| [("known_hosts", count)];
    let shown = |running: &Running, service: &str| {
        let endpoint = running.cluster.endpoint(service);
        let (address, port) = endpoint.rsplit_once(':').expect("an address");
        let mut ssh = command("/usr/bin/ssh");
        ssh.args(["-v", "-F", "none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=none"]);
        let said = run(ssh.args(["-o", "StrictHostKeyChecking=yes", "-p", port, address, "true"])).stderr;
        let line = said.lines().find(|line| line.contains("Server host certificate"))?;
        line.split_whitespace().skip_while(|word| *word != "CA").nth(2).map(str::to_owned)
    };
    let hosts = ["proxy", "my-host"];
    let at_first = hosts.map(|service| shown(&running, service).expect("a certificate"));
    for phase in [Init, UpdateClients] {
        running.step(&[CaKind::Host], phase, &trusting(2));
    }
    assert_eq!(hosts.map(|service| shown(&running, service).expect("a certificate")), at_first);
    running.step(&[CaKind::Host], UpdateServers, &trusting(2));
    for (service, before) in hosts.iter().zip(&at_first) {
        until(&format!("a certificate of the new authority at the {service}"), || {
            shown(&running, service).filter(|now| now != before)
        });
    }
    running.step(&[CaKind::Host], Standby, &trusting(1));
}

#[test]
fn workloads_follow_their_authority_with_the_keys_that_they_have() {
    use RotationPhase::{Init, Standby, UpdateClients, UpdateServers};
    if !workload::possible() {
        return;
    }
    let mut running = Running::with_files_for_sshd(|directory| {
        let at = |name: &str| directory.join(name).display().to_string();
        format!(
            "- {{type: spiffe-svid, name: svid, svid: {{path: /svc/a}}, jwts: [{{audience: x, file_name: x.jwt}}], destination: \
             {}}}\n- {{type: workload-identity-jwt, name: jwt, svid: {{path: /svc/b}}, audiences: [x], destination: {}}}\n- \
             {{type: spiffe-workload-api, name: api, listen: 'unix://{}', svids: [{{path: /svc/c}}]}}\n",
            at("svid"),
            at("jwt"),
            at("api.sock")
        )
    });
    let [svid, jwt, socket] = ["svid", "jwt", "api.sock"].map(|name| running.bot.directory().join(name));
    until("every output", || jwt.join("jwt_svid").exists().then_some(()));
    until("the socket", || socket.exists().then_some(()));
    let mut listener = Workload::start(&socket, "bundles", None);
    let first = listener.says("the first bundle", |said| said["authorities"] == 1);
    let kept = |name: &str| std::fs::read(svid.join(name)).expect("a file");
    let documents = || {
        let token = std::fs::read(jwt.join("jwt_svid")).expect("a file");
        [kept("svid.pem"), kept("svid_key.pem"), kept("x.jwt"), token]
    };
    let authorities =
        || String::from_utf8_lossy(&kept("svid_bundle.pem")).matches("-----BEGIN CERTIFICATE").count();
    assert_eq!(authorities(), 1);
    let before = documents();
    for phase in [Init, UpdateClients, UpdateServers] {
        running.step_of_workloads(phase);
        assert_eq!(authorities(), 2, "{phase:?}");
        assert!(documents() == before, "{phase:?}: a bundle is no reason for a new key");
    }
    let told = listener.says("both authorities", |said| said["authorities"] == 2);
    assert_eq!(told["serial"], first["serial"], "the same certificate under another bundle");
    // From here on nobody believes what the first authority signed.
    running.step_of_workloads(Standby);
    until("documents of the new authority", || {
        running.agent.assert_running();
        let now = documents();
        (authorities() == 1 && now.iter().zip(&before).all(|(now, before)| now != before)).then_some(())
    });
    let path = |name: &str| svid.join(name).display().to_string();
    let mut openssl = command("/usr/bin/openssl");
    run(openssl.args(["verify", "-CAfile", &path("svid_bundle.pem"), &path("svid.pem")])).ok();
    let told = listener.says("one authority", |said| said["authorities"] == 1);
    assert_ne!(told["serial"], first["serial"], "another certificate");
    assert!(running.agent.stop().success());
}
