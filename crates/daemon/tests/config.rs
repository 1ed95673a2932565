//! Configuration files, as users have them: what is read, and everything that is said about what is not.

use std::time::Duration;

use daemon::config::{Config, JoinSecret, LogOutput, Pin, Server, Upstream, parse};

fn read(text: &str) -> Config {
    parse("postern.yaml", text, "host1").unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn mistakes(text: &str) -> String {
    parse("postern.yaml", text, "host1").expect_err("has mistakes").to_string()
}

/// What `configure` of the software that people come from writes for a host that runs everything.
const FOREIGN_ALL: &str = r#"
version: v3
teleport:
  nodename: gate
  data_dir: /var/lib/teleport
  log:
    output: stderr
    severity: INFO
    format:
      output: text
  ca_pin: ""
  diag_addr: ""
auth_service:
  enabled: "yes"
  listen_addr: 0.0.0.0:3025
  cluster_name: example.com
  proxy_listener_mode: multiplex
ssh_service:
  enabled: "yes"
  commands:
  - name: hostname
    command: [hostname]
    period: 1m0s
proxy_service:
  enabled: "yes"
  web_listen_addr: 0.0.0.0:443
  public_addr: gate.example.com:443
  https_keypairs: []
  https_keypairs_reload_interval: 0s
  acme: {}
"#;

const NODE: &str = "
version: v3
postern:
  data_dir: /tmp/x
  join_params: {method: token, token_name: /run/token}
  ca_pin: sha256:0000000000000000000000000000000000000000000000000000000000000000
  proxy_server: gate.example.com
  advertise_ip: 10.0.0.7
auth_service: {enabled: no}
proxy_service: {enabled: no}
ssh_service:
  labels: {env: prod, version: 1.10}
";

#[test]
fn a_file_from_elsewhere_works_as_it_is() {
    let config = read(FOREIGN_ALL);
    let proxy = config.services.proxy.expect("proxy");
    assert_eq!(config.services.upstream, Upstream::ThisProcess);
    assert_eq!(config.services.auth.expect("auth").cluster_name.as_str(), "example.com");
    assert_eq!((proxy.listen.port(), proxy.public[0].to_string()), (443, "gate.example.com:443".to_owned()));
    assert_eq!((proxy.keypairs.len(), proxy.keypairs_reload), (0, None));
    assert_eq!(config.services.node.expect("node").commands[0].period, Duration::from_secs(60));
}

#[test]
fn a_node_joins_elsewhere() {
    let config = read(NODE);
    let Upstream::Remote(remote) = &config.services.upstream else { panic!("joins") };
    assert!(
        matches!(&remote.server, Server::Proxy(address) if address.to_string() == "gate.example.com:3080")
    );
    assert_eq!(remote.secret, Some(JoinSecret::File("/run/token".into())));
    assert!(matches!(remote.pins.as_slice(), [Pin::Digest(_)]));
    let node = config.services.node.expect("node");
    assert_eq!(node.public[0].to_string(), "10.0.0.7:3022");
    assert_eq!(node.labels.value("version"), Some("1.10"));
    assert!(config.services.auth.is_none() && config.services.proxy.is_none());
}

#[test]
fn defaults() {
    let config = read("version: v3\n");
    let services = &config.services;
    assert_eq!(config.node_name.as_str(), "host1");
    assert_eq!(config.data_dir.to_str(), Some("/var/lib/postern"));
    assert_eq!(config.log.output, LogOutput::Stderr);
    assert_eq!(config.stop.drain, Duration::from_secs(30));
    let auth = services.auth.as_ref().expect("auth");
    assert_eq!(auth.listen.to_string(), "0.0.0.0:3025");
    assert_eq!(auth.storage.to_str(), Some("/var/lib/postern/backend"));
    assert_eq!(auth.cluster_name.as_str(), "host1");
    assert!(auth.preference.is_none() && auth.networking.is_none());
    assert_eq!(services.proxy.as_ref().expect("proxy").listen.to_string(), "0.0.0.0:3080");
    assert_eq!(services.node.as_ref().expect("node").listen.to_string(), "0.0.0.0:3022");
}

#[test]
fn every_mistake_of_a_bad_file_is_reported_in_one_run() {
    let text = r#"version: v2
postern:
  nodename: "bad name"
  data_dir: var/lib
  auth_servers: [a:3025]
  auth_token: hunter2
  ca_pin: [sha256:12, /etc/pin]
  auth_server: a:3025
  log: {output: syslog, severity: LOUD}
  diag_addr: nowhere
  cache: {enabled: yes}
  storage: {type: dynamodb, table_name: x}
  drain_timeout: never
auth_service:
  enabled: yes
  cluster_nam: x
  listen_addr: [0.0.0.0:3025]
  session_recording: node
  keep_alive_interval: 5 minutes
  authentication: {second_factor: otp, type: github}
  tokens: ["node:hunter2", "kube:x", "nonsense"]
proxy_service:
  web_listen_addr: 0.0.0.0:3022
  kube_listen_addr: 0.0.0.0:3026
  https_keypairs:
  - {key_file: a.pem, cert_file: /b.pem}
  tunnel_listen_addr: 0.0.0.0:3024
ssh_service:
  labels: {"a b": c}
  x11: {enabled: yes, display_offset: 20, max_display: 10}
  enhanced_recording: {enabled: no}
  commands: [{name: x, command: [], period: 1x}]
  cluster_name: y
db_service: {enabled: yes}
"#;
    let expected = include_str!("golden/mistakes.txt");
    let said = mistakes(text);
    assert!(!said.contains("hunter2"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mistakes.txt");
        std::fs::write(path, format!("{said}\n")).expect("writes");
        return;
    }
    assert_eq!(said, expected.trim_end());
}

#[test]
fn pam_is_off_unless_enabled_and_its_settings_are_checked() {
    let pam =
        |lines: &str| format!("version: v3\nssh_service:\n  permit_user_env: yes\n  pam: {{{lines}}}\n");
    let node =
        |text: &str| parse("postern.yaml", text, "web-1").expect("valid").services.node.expect("a node");
    let off = node(&pam("service_name: login"));
    assert!(off.pam.is_none() && off.user_env);
    let on = node(&pam("enabled: yes, environment: {TEAM: \"{{external.team}}\"}")).pam.expect("on");
    assert_eq!((on.service.as_str(), on.environment["TEAM"].as_str()), ("sshd", "{{external.team}}"));
    for (lines, says) in [
        (
            "enabled: yes, service_name: ../sshd",
            "ssh_service.pam.service_name: is not the name of a file in /etc/pam.d",
        ),
        ("enabled: yes, environment: {LD_PRELOAD: x}", "cannot be told a variable \"LD_PRELOAD\""),
        ("enabled: yes, environment: {XDG_RUNTIME_DIR: x}", "cannot be told a variable \"XDG_RUNTIME_DIR\""),
        ("enabled: yes, environment: {A: \"{{internal.logins}}\"}", "only external traits can be used here"),
        ("enabled: yes, environment: {A: \"{{external\"}", "braces that do not belong together"),
        (
            "enabled: yes, use_pam_auth: yes",
            "ssh_service.pam.use_pam_auth: not supported: users log in by certificate only",
        ),
    ] {
        let said = mistakes(&pam(lines));
        assert!(said.contains(says), "{lines}: {said}");
    }
}

#[test]
fn combinations_that_cannot_work() {
    let node = |postern: &str| {
        format!(
            "version: v3\nauth_service: {{enabled: no}}\nproxy_service: {{enabled: no}}\npostern: {{{postern}}}\n"
        )
    };
    for (text, says) in [
        ("postern: {}\n".to_owned(), "postern.yaml:1: version: missing; write \"version: v3\" at the top"),
        (
            "version: v3\nauth_service: {enabled: no}\nproxy_service: {enabled: no}\nssh_service: {enabled: no}\n".into(),
            "postern.yaml:1: no service is enabled; set enabled: yes in auth_service, proxy_service or ssh_service",
        ),
        (
            node(""),
            "postern.yaml:4: postern.auth_server: missing; auth_service does not run here, so say where it is with \
             auth_server or proxy_server",
        ),
        (
            node("auth_server: a, proxy_server: b"),
            "postern.yaml:4: postern.proxy_server: stands beside auth_server; keep one of them",
        ),
        (
            node("auth_server: a, auth_token: x, join_params: {token_name: y}"),
            "postern.yaml:4: postern.auth_token: stands beside join_params; keep one of them",
        ),
        (
            node("auth_server: a, join_params: {token_name: y, bound_keypair: {registration_secret: z}}"),
            "postern.yaml:4: postern.join_params.bound_keypair: belongs to method bound_keypair; remove it, or set that method",
        ),
        (
            "version: v3\nauth_service: {enabled: no}\nproxy_service: {enabled: yes}\npostern: {auth_server: a, join_params: \
             {method: bound_keypair, token_name: y}}\n"
                .to_owned(),
            "postern.yaml:4: postern.join_params.method: a key is bound for one service, and here are two; run proxy and \
             node apart, each with a data_dir and a token of its own",
        ),
        (
            node("auth_server: a, join_params: {method: iam, token_name: y}"),
            "postern.yaml:4: postern.join_params.method: this join method is not supported; use \"token\", \"bound_keypair\", \"tpm\" or \"kubernetes\"",
        ),
        (
            "version: v3\nauth_service: {enabled: no}\npostern: {proxy_server: b}\n".to_owned(),
            "postern.yaml:3: postern.proxy_server: a proxy reaches auth directly; give auth_server, or set \
             proxy_service to enabled: no",
        ),
        (
            "version: v3\nteleport: {auth_server: far:3025}\n".to_owned(),
            "postern.yaml:2: teleport.auth_server: auth_service runs in this process (it does unless its section says \
             enabled: no); remove this key, or disable auth_service",
        ),
        (
            "version: v3\nssh_service: {listen_addr: \"127.0.0.1:3080\"}\n".to_owned(),
            "postern.yaml:2: ssh_service.listen_addr: 127.0.0.1:3080 is taken by proxy_service.web_listen_addr; \
             change one",
        ),
    ] {
        assert_eq!(mistakes(&text), says, "{text}");
    }
    read("version: v3\npostern: {auth_server: \"127.0.0.1:3025\"}\n");
}

#[test]
fn settings_of_the_cluster_are_set_only_when_given() {
    let auth = read("version: v3\nauth_service: {client_idle_timeout: 10m, routing_strategy: most_recent}\n");
    let auth = auth.services.auth.expect("auth");
    assert!(auth.preference.is_none());
    let networking = auth.networking.expect("given");
    assert_eq!(networking.client_idle_timeout.0, Duration::from_secs(600));
    assert_eq!(networking.keep_alive_count_max, 3);
    let auth = read("version: v3\nauth_service: {authentication: {require_post_quantum: yes}}\n");
    let preference = auth.services.auth.expect("auth").preference.expect("given");
    assert!(preference.require_post_quantum && !preference.disconnect_expired_cert);
}
