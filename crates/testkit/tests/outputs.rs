//! Everything that an agent has to renew at one time is asked for in one call, whatever it is; and what is wrong with one output
//! is told of that one.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use testkit::cluster::http_get;
use testkit::process::Signal;
use testkit::programs::{command, ours};
use testkit::{Bot, Cluster, Layout, Process, run, until};

const SPENT: &str = "0123456789abcdef0123456789abcdef";
const WORKLOADS: &str = "kind: role\nversion: v7\nmetadata: {name: workloads}\nspec:\n  allow:\n    spiffe: [{path: /svc/*}]\n  \
                         deny:\n    spiffe: [{path: /svc/secret}]\n";
const HOSTS: &str = "kind: role\nversion: v7\nmetadata: {name: hosts}\nspec:\n  allow:\n    rules: [{resources: [host_cert], \
                     verbs: [create]}]\n";

struct Running {
    cluster: Cluster,
    bot: Bot,
}

impl Running {
    /// A bot that has joined, with roles for every kind of output.
    fn start() -> Self {
        let cluster = Cluster::start(Layout::OneProcess);
        cluster.role("tester", "[root]", "{env: test}");
        cluster.create(WORKLOADS);
        cluster.create(HOSTS);
        let bot = cluster.bot("ci", &["tester", "workloads", "hosts"]);
        bot.oneshot().ok();
        Self { cluster, bot }
    }

    /// Nine outputs beside the first, of every kind that needs no server to look after.
    fn nine(&self) -> String {
        let at = |name: &str| self.bot.directory().join(name).display().to_string();
        let outputs = [
            format!(
                "type: identity, name: deploy, roles: [tester], credential_ttl: 31m, destination: {}",
                at("deploy")
            ),
            format!(
                "type: ssh_host, name: host-a, principals: [a.example.org], credential_ttl: 32m, destination: {}",
                at("host-a")
            ),
            format!(
                "type: ssh_host, name: host-b, roles: [hosts], principals: [b.example.org], destination: {}",
                at("host-b")
            ),
            format!(
                "type: spiffe-svid, name: svid-a, svid: {{path: /svc/a}}, roles: [workloads], credential_ttl: 33m, jwts: \
                 [{{audience: x, file_name: x.jwt}}, {{audience: y, file_name: y.jwt}}], destination: {}",
                at("svid-a")
            ),
            format!(
                "type: workload-identity-x509, name: svid-b, svid: {{path: /svc/b}}, destination: {}",
                at("svid-b")
            ),
            format!(
                "type: workload-identity-jwt, name: jwt-a, svid: {{path: /svc/c}}, audiences: [z], credential_ttl: 34m, \
                 destination: {}",
                at("jwt-a")
            ),
            format!(
                "type: workload-identity-jwt, name: jwt-b, svid: {{path: /svc/d}}, audiences: [z], destination: {}",
                at("jwt-b")
            ),
            format!("type: identity, name: memory, ssh_config: off, destination: {}", at("memory")),
            format!(
                "type: spiffe-workload-api, name: api, roles: [workloads], credential_ttl: 35m, listen: 'unix://{}', svids: \
                 [{{path: /svc/e}}, {{path: /svc/f}}]",
                at("api.sock")
            ),
        ];
        outputs.map(|output| format!("- {{{output}}}\n")).concat()
    }

    fn configure(&self, more: &str) {
        self.bot.configure(SPENT, &self.cluster.pin(), more);
    }

    /// How often auth was asked for outputs.
    fn calls(&self) -> u64 {
        let diag = self.cluster.endpoint("diag").parse().expect("an address");
        let (_, text) = http_get(diag, "/metrics").expect("answers");
        let line = text.lines().find(|line| line.starts_with("postern_auth_output_calls_total"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    }

    fn services(&self) -> BTreeMap<String, Value> {
        let status =
            run(command(ours("tbot")).args(["status", "--format", "json", "-c"]).arg(self.bot.config()));
        let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        let services = status["services"].as_array().cloned().unwrap_or_default();
        services
            .into_iter()
            .map(|service| (service["name"].as_str().unwrap_or_default().to_owned(), service))
            .collect()
    }

    /// Waits until each of the ten outputs has had so many rounds, and each was good.
    fn healthy(&self, agent: &mut Process, rounds: u64) {
        until(&format!("{rounds} rounds of everything"), || {
            agent.assert_running();
            let mut services = self.services();
            services.retain(|name, _| !["identity", "heartbeat"].contains(&name.as_str()));
            let done = |service: &Value| {
                service["status"] == "healthy" && service["iterations"].as_u64() == Some(rounds)
            };
            (services.len() == 10 && services.values().all(done)).then_some(())
        });
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let told = self.cluster.tctl(&["events", "ls", "--format=json", &format!("--type={kind}")]).ok();
        let told: Value = serde_json::from_str(&told).expect("JSON");
        told.as_array().cloned().expect("a list")
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn ten_outputs_of_every_kind_are_one_call() {
    let running = Running::start();
    running.configure(&running.nine());
    let before = running.calls();
    let mut agent = running.bot.start();
    running.healthy(&mut agent, 1);
    assert_eq!(running.calls(), before + 1, "{}", agent.log());
    agent.signal(Signal::USR1);
    running.healthy(&mut agent, 2);
    assert_eq!(running.calls(), before + 2, "{}", agent.log());
    assert!(agent.stop().success());

    // One event each, and each has the roles and the life that its own output asks for.
    let issued = running.events("spiffe.svid.issued");
    assert_eq!(issued.len(), 2 * 8, "{issued:#?}");
    let life = |event: &Value, expires: &Value| -> i64 {
        let at = |value: &Value| {
            value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).expect("a time")
        };
        (at(expires).duration_since(at(&event["time"])).as_secs() + 30) / 60
    };
    for (path, minutes, roles) in
        [("a", 33, 1), ("b", 60, 3), ("c", 34, 3), ("d", 60, 3), ("e", 35, 1), ("f", 35, 1)]
    {
        let id = format!("spiffe://test.example.com/svc/{path}");
        let of_it: Vec<&Value> = issued.iter().filter(|event| event["spiffe_id"] == id.as_str()).collect();
        assert_eq!(of_it.len(), if path == "a" { 6 } else { 2 }, "{id}: {issued:#?}");
        for event in of_it {
            assert_eq!(life(event, &event["expires"]), minutes, "{event:#}");
            assert_eq!(event["roles"].as_array().map(Vec::len), Some(roles), "{event:#}");
        }
    }
    let created = running.events("cert.create");
    let lives = |fits: fn(&Value) -> bool| {
        let of_it =
            created.iter().filter(|event| event["requested_by"] == "bot-ci" && fits(&event["identity"]));
        of_it.map(|event| life(event, &event["identity"]["expires"])).collect::<Vec<_>>()
    };
    assert_eq!(lives(|identity| identity["names"][0] == "a.example.org"), [32, 32], "{created:#?}");
    assert_eq!(lives(|identity| identity["names"][0] == "b.example.org"), [60, 60], "{created:#?}");
    let deploy = lives(|identity| {
        identity["roles"].as_array().is_some_and(|roles| roles.len() == 1 && roles[0] == "tester")
    });
    assert_eq!(deploy, [31, 31], "{created:#?}");

    // What one call does not hold is asked for in two.
    let many: Vec<String> =
        (0..70).map(|nth| format!("{{audience: a{nth}, file_name: {nth}.jwt}}")).collect();
    let directory = running.bot.directory().join("many");
    running.configure(&format!(
        "- {{type: spiffe-svid, name: many, svid: {{path: /svc/a}}, destination: {}, jwts: [{}]}}\n",
        directory.display(),
        many.join(", ")
    ));
    let before = running.calls();
    running.bot.oneshot().ok();
    assert_eq!(running.calls(), before + 2);
    assert_ne!(text(&directory.join("0.jwt")), text(&directory.join("69.jwt")));
}

#[test]
fn what_is_wrong_with_one_output_is_told_of_that_one() {
    let running = Running::start();
    let at = |name: &str| running.bot.directory().join(name);
    // One of each kind that may not be had, each for a reason of its own.
    let bad = format!(
        "- {{type: workload-identity-jwt, name: bad-jwt, svid: {{path: /svc/secret}}, audiences: [z], destination: {0}/1}}\n\
         - {{type: spiffe-svid, name: bad-svid, svid: {{path: /other}}, destination: {0}/2}}\n\
         - {{type: ssh_host, name: bad-host, roles: [tester], principals: [c.example.org], destination: {0}/3}}\n\
         - {{type: identity, name: bad-role, roles: [nobody-has-it], destination: {0}/4}}\n",
        at("bad").display()
    );
    std::fs::create_dir(at("bad")).expect("made");
    running.configure(&format!("{bad}{}", running.nine()));
    let before = running.calls();
    let told = running.bot.oneshot().refused();
    assert_eq!(running.calls(), before + 1, "{told}");
    for (name, reason) in [
        ("bad-jwt", "/svc/secret is not allowed"),
        ("bad-svid", "/other is not allowed"),
        ("bad-host", "host_cert"),
        ("bad-role", "nobody-has-it"),
    ] {
        let line = told.lines().find(|line| line.contains(&format!("output {name}: ")));
        assert!(line.is_some_and(|line| line.contains(reason)), "{name}: {reason:?} is not told in:\n{told}");
    }
    assert_eq!(told.matches("renewal failed").count(), 4, "nothing else failed:\n{told}");
    for file in [
        "deploy/key",
        "host-a/ssh_host",
        "host-b/ssh_host",
        "svid-a/y.jwt",
        "svid-b/svid.pem",
        "jwt-b/jwt_svid",
    ] {
        assert!(!text(&at(file)).is_empty());
    }
    // The same while it runs: the good ones have what they need, and the bad ones say why not.
    let mut agent = running.bot.start();
    until("everybody's state", || {
        agent.assert_running();
        let services = running.services();
        let is =
            |name: &str, status: &str| services.get(name).is_some_and(|service| service["status"] == status);
        let good = ["deploy", "host-a", "host-b", "svid-a", "svid-b", "jwt-a", "jwt-b", "memory", "api"];
        let bad = ["bad-jwt", "bad-svid", "bad-host", "bad-role"];
        (good.iter().all(|name| is(name, "healthy")) && bad.iter().all(|name| is(name, "unhealthy")))
            .then_some(())
    });
    assert!(agent.stop().success());
}
