//! A cluster of real processes in a scratch directory.

use crate::bot::Bot;
use crate::process::{Outcome, Process, run};
use crate::programs::{command, ours};
use crate::wait::until;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The name of every test cluster.
pub const CLUSTER: &str = "test.example.com";

/// Which services share a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// auth, proxy and one node in one process.
    OneProcess,
    /// A process for each service, joined by tokens.
    Processes,
}

/// A running cluster; everything ends with it.
pub struct Cluster {
    // Before the directory, so that processes end before their files go.
    processes: BTreeMap<String, Process>,
    directory: TempDir,
}

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeSettings<'a> {
    /// Its name for clients.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// More lines below `ssh_service`, indented by two.
    pub more: &'a str,
}

impl Cluster {
    /// Starts auth, proxy and the node `my-host` (label `env: test`).
    pub fn start(layout: Layout) -> Self {
        let mut cluster = Self::empty();
        let node = NodeSettings { name: "my-host", labels: &[("env", "test")], more: "" };
        match layout {
            Layout::OneProcess => {
                cluster.launch("all", &format!("{AUTH}{PROXY}{}", ssh_service(&node)), node.name)
            }
            Layout::Processes => {
                cluster.launch("auth", &format!("{AUTH}{NO_PROXY}{NO_NODE}"), "auth");
                cluster.add_proxy();
                cluster.add_node(&node);
            }
        }
        cluster
    }

    /// Starts everything in one process, and makes a bot whose agent has not been started: `tester`, who may log in to `my-host`
    /// as root.
    pub fn with_bot() -> (Self, Bot) {
        let cluster = Self::start(Layout::OneProcess);
        cluster.role("tester", "[root]", "{env: test}");
        let bot = cluster.bot("tester", &["tester"]);
        (cluster, bot)
    }

    /// Starts auth alone, on a port that it keeps.
    pub fn auth_alone() -> Self {
        let mut cluster = Self::empty();
        cluster.prepare_auth();
        cluster.restart("auth");
        let text = std::fs::read_to_string(cluster.config("auth")).expect("written before");
        let fixed = format!("listen_addr: {}", cluster.endpoint("auth"));
        std::fs::write(cluster.config("auth"), text.replace("listen_addr: 127.0.0.1:0", &fixed))
            .expect("written");
        cluster
    }

    /// Writes the configuration of an auth service that is alone, and starts nothing.
    pub fn prepare_auth(&self) {
        self.configure("auth", &format!("{AUTH}{NO_PROXY}{NO_NODE}"), "auth", "");
    }

    /// The command that starts the process of this name.
    pub fn start_command(&self, name: &str) -> Command {
        let mut start = command(ours("postern"));
        start.args(["start", "-c"]).arg(self.config(name));
        start
    }

    /// Whether the process of this name, started by whomever, is ready.
    pub fn is_ready(&self, name: &str) -> bool {
        let endpoints = read_endpoints(&self.endpoints_file(name));
        let diag = endpoints.and_then(|endpoints| endpoints.get("diag")?.parse().ok());
        diag.and_then(|diag| http_status(diag, "/readyz")) == Some(200)
    }

    /// A directory and no processes.
    pub fn empty() -> Self {
        let directory = tempfile::Builder::new().prefix("postern-").tempdir().expect("a scratch directory");
        // Sessions run as other users, who must be able to reach what tests put here for them.
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("ours");
        Self { processes: BTreeMap::new(), directory }
    }

    /// Joins a proxy by token.
    pub fn add_proxy(&mut self) {
        let joining = self.joining("proxy");
        self.launch_joined("proxy", &format!("{NO_AUTH}{PROXY}{NO_NODE}"), "proxy", &joining);
    }

    /// Joins a node by token.
    pub fn add_node(&mut self, settings: &NodeSettings<'_>) {
        let joining = self.joining("node");
        let services = format!("{NO_AUTH}{NO_PROXY}{}", ssh_service(settings));
        self.launch_joined(settings.name, &services, settings.name, &joining);
    }

    /// Joins a node by these `join_params`, as they stand in braces.
    pub fn add_node_joining(&mut self, settings: &NodeSettings<'_>, params: &str) {
        self.prepare_node_joining(settings, params);
        self.restart(settings.name);
    }

    /// Writes the configuration of such a node, and starts nothing.
    pub fn prepare_node_joining(&self, settings: &NodeSettings<'_>, params: &str) {
        let joining = self.reaching(&format!("join_params: {{{params}}}"));
        let services = format!("{NO_AUTH}{NO_PROXY}{}", ssh_service(settings));
        self.configure(settings.name, &services, settings.name, &joining);
    }

    fn joining(&self, kind: &str) -> String {
        let token = self.tctl(&["tokens", "add", &format!("--type={kind}"), "--format=text"]).ok();
        self.reaching(&format!("auth_token: {}", token.trim()))
    }

    fn reaching(&self, joining: &str) -> String {
        let (auth, pin) = (self.endpoint("auth"), self.pin());
        format!("  auth_server: {auth}\n  {joining}\n  ca_pin: \"{pin}\"\n")
    }

    /// The pin of the cluster's host authority.
    pub fn pin(&self) -> String {
        let status = self.tctl(&["status", "--format=json"]).ok();
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        status["ca_pins"][0].as_str().expect("a pin").to_owned()
    }

    fn launch(&mut self, name: &str, services: &str, nodename: &str) {
        self.launch_joined(name, services, nodename, "");
    }

    fn launch_joined(&mut self, name: &str, services: &str, nodename: &str, joining: &str) {
        self.configure(name, services, nodename, joining);
        self.restart(name);
    }

    fn configure(&self, name: &str, services: &str, nodename: &str, joining: &str) {
        let data = self.path().join(name);
        let config = format!(
            "version: v3\npostern:\n  nodename: {nodename}\n  data_dir: {data}\n  diag_addr: 127.0.0.1:0\n  \
             log:\n    severity: DEBUG\n{joining}{services}",
            data = data.display()
        );
        std::fs::write(self.config(name), config).expect("written");
    }

    /// Starts the process of this name again from its configuration; the old one must have ended.
    pub fn restart(&mut self, name: &str) {
        let endpoints = self.endpoints_file(name);
        std::fs::remove_file(&endpoints).ok();
        let mut process = self.spawn(name);
        until(&format!("{name} to be ready"), || {
            process.assert_running();
            self.is_ready(name).then_some(())
        });
        self.processes.insert(name.to_owned(), process);
    }

    /// As [`Self::restart`], for a process that cannot be ready now: waits until it listens as `service`.
    pub fn restart_unready(&mut self, name: &str, service: &str) {
        let endpoints = self.endpoints_file(name);
        std::fs::remove_file(&endpoints).ok();
        let mut process = self.spawn(name);
        until(&format!("{name} to listen"), || {
            process.assert_running();
            read_endpoints(&endpoints)?.get(service).map(drop)
        });
        self.processes.insert(name.to_owned(), process);
    }

    fn spawn(&self, name: &str) -> Process {
        Process::start(name, self.path(), &mut self.start_command(name))
    }

    /// The running process of this name.
    pub fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap_or_else(|| panic!("no process {name}"))
    }

    /// Where a service listens, as `host:port`: `auth`, `proxy`, or a node by its process' name.
    pub fn endpoint(&self, service: &str) -> String {
        // A service is ready a moment before it is listed.
        until(&format!("{service} to be listed"), || {
            self.processes.keys().find_map(|name| {
                let key =
                    if name == service && !matches!(service, "auth" | "proxy") { "node" } else { service };
                read_endpoints(&self.endpoints_file(name))?.get(key).cloned()
            })
        })
    }

    /// Makes a process take the port that its proxy has now whenever it starts again: agents know it by that.
    pub fn keep_proxy_port(&self, name: &str) {
        let text = std::fs::read_to_string(self.config(name)).expect("written before");
        let fixed = format!("web_listen_addr: {}", self.endpoint("proxy"));
        std::fs::write(self.config(name), text.replace("web_listen_addr: 127.0.0.1:0", &fixed))
            .expect("written");
    }

    /// The scratch directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The configuration file of a process.
    pub fn config(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.yaml"))
    }

    fn endpoints_file(&self, name: &str) -> PathBuf {
        self.path().join(name).join("endpoints.json")
    }

    fn auth_name(&self) -> &'static str {
        if self.config("all").exists() { "all" } else { "auth" }
    }

    /// Runs tctl on the auth host.
    pub fn tctl(&self, arguments: &[&str]) -> Outcome {
        run(command(ours("tctl")).arg("-c").arg(self.config(self.auth_name())).args(arguments))
    }

    /// Creates or replaces resources from YAML.
    pub fn create(&self, yaml: &str) {
        let file = tempfile::NamedTempFile::new_in(self.path()).expect("a scratch file");
        std::fs::write(file.path(), yaml).expect("written");
        self.tctl(&["create", "-f", file.path().to_str().expect("UTF-8")]).ok();
    }

    /// Creates a role that allows `logins` on nodes with `labels` (YAML flow maps and lists).
    pub fn role(&self, name: &str, logins: &str, labels: &str) {
        self.create(&format!(
            "kind: role\nversion: v6\nmetadata:\n  name: {name}\nspec:\n  allow:\n    logins: {logins}\n    \
             node_labels: {labels}\n"
        ));
    }

    /// Creates a role that allows host certificates where `condition` holds (always, if it is empty), and perhaps to put such hosts
    /// among the nodes.
    pub fn host_role(&self, name: &str, condition: &str, registers: bool) {
        let condition =
            if condition.is_empty() { String::new() } else { format!("\n      where: '{condition}'") };
        let nodes = if registers { "\n    - {resources: [node], verbs: [create, update]}" } else { "" };
        self.create(&format!(
            "kind: role\nversion: v7\nmetadata:\n  name: {name}\nspec:\n  allow:\n    rules:\n    - resources: \
             [host_cert]\n      verbs: [create]{condition}{nodes}\n"
        ));
    }

    /// Removes every lock.
    pub fn unlock(&self) {
        let locks = self.tctl(&["get", "locks", "--format=json"]).ok();
        let locks: serde_json::Value = serde_json::from_str(&locks).expect("JSON");
        for lock in locks.as_array().expect("a list") {
            let name = lock["metadata"]["name"].as_str().expect("a name");
            self.tctl(&["rm", &format!("lock/{name}")]).ok();
        }
    }

    /// Creates a bot with these roles and an agent that has not been started.
    pub fn bot(&self, name: &str, roles: &[&str]) -> Bot {
        let added =
            self.tctl(&["bots", "add", name, &format!("--roles={}", roles.join(",")), "--format=json"]).ok();
        let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
        let token = added["token_id"].as_str().expect("a token");
        Bot::new(self.path(), name, token, &self.endpoint("proxy"), &self.pin())
    }
}

const AUTH: &str =
    "auth_service:\n  enabled: true\n  cluster_name: test.example.com\n  listen_addr: 127.0.0.1:0\n";
const PROXY: &str = "proxy_service:\n  enabled: true\n  web_listen_addr: 127.0.0.1:0\n";
const NO_AUTH: &str = "auth_service:\n  enabled: false\n";
const NO_PROXY: &str = "proxy_service:\n  enabled: false\n";
const NO_NODE: &str = "ssh_service:\n  enabled: false\n";

fn ssh_service(settings: &NodeSettings<'_>) -> String {
    let labels: String = settings.labels.iter().map(|(key, value)| format!("    {key}: {value}\n")).collect();
    format!("ssh_service:\n  enabled: true\n  listen_addr: 127.0.0.1:0\n  labels:\n{labels}{}", settings.more)
}

fn read_endpoints(file: &Path) -> Option<BTreeMap<String, String>> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// The status code of a GET, if something answers.
pub fn http_status(address: SocketAddr, path: &str) -> Option<u16> {
    http_get(address, path).map(|(status, _)| status)
}

/// Status code and body of a GET, if something answers.
pub fn http_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(crate::wait::DEADLINE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
