//! Writes a commented configuration file from a few answers.
//!
//! What it writes is checked like any other file before it is handed out, so it cannot be wrong.

use std::fmt::Write as _;

use crate::{
    cli::{Configure, Role},
    config, defaults,
};

/// Why no file can be written from these arguments.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// A label that is not one.
    #[error("label {0:?} is not KEY=VALUE")]
    Label(String),
    /// The arguments make a file with mistakes.
    #[error("these arguments make no valid configuration:\n{0}")]
    Mistakes(#[from] yaml::Mistakes),
}

/// The text of a configuration file.
///
/// # Errors
/// When the arguments contradict each other or hold malformed values.
pub fn generate(arguments: &Configure) -> Result<String, ConfigureError> {
    let roles = roles(arguments);
    let mut out = String::from(
        "# Configuration of postern. `postern configure --reference` explains every key,\n\
         # `postern configure --check FILE` finds mistakes.\n\
         version: v3\n",
    );
    host(&mut out, arguments);
    auth(&mut out, arguments, roles.contains(&Role::Auth));
    proxy(&mut out, arguments, roles.contains(&Role::Proxy));
    ssh(&mut out, arguments, &roles)?;
    config::parse("(generated)", &out, "localhost")?;
    Ok(out)
}

fn roles(arguments: &Configure) -> Vec<Role> {
    let joins = arguments.auth_server.is_some() || arguments.proxy.is_some();
    match arguments.roles.as_slice() {
        [] if joins => vec![Role::Node],
        [] => vec![Role::Auth, Role::Proxy, Role::Node],
        given => given.to_vec(),
    }
}

fn host(out: &mut String, arguments: &Configure) {
    *out += "\npostern:\n  # The name of this host in the cluster; the system's host name if left out.\n";
    line(out, "  ", "nodename", arguments.node_name.as_deref(), "gate-1");
    *out += "  # Everything the daemon keeps; readable by its user only.\n";
    line(out, "  ", "data_dir", Some(arguments.data_dir.as_deref().unwrap_or(defaults::DATA_DIR)), "");
    if arguments.auth_server.is_some() || arguments.proxy.is_some() {
        *out += "  # Where the cluster is, and how this host joins it. Once it has joined, the token is not needed.\n";
        for (key, value) in [("auth_server", &arguments.auth_server), ("proxy_server", &arguments.proxy)] {
            if value.is_some() {
                line(out, "  ", key, value.as_deref(), "");
            }
        }
    }
    join(out, arguments);
    *out += "  # Health (/livez, /readyz) and metrics (/metrics), without authentication.\n\
             \x20 # diag_addr: 127.0.0.1:3000\n\
             \x20 log:\n    output: stderr\n    severity: INFO\n    format:\n      output: text\n";
}

fn join(out: &mut String, arguments: &Configure) {
    if let Some(token) = &arguments.token {
        let _ = writeln!(out, "  join_params:\n    method: token\n    token_name: {}", scalar(token));
    }
    if !arguments.ca_pin.is_empty() {
        *out += "  # The cluster's certificate authority, as `tctl status` prints it.\n  ca_pin:\n";
        for pin in &arguments.ca_pin {
            let _ = writeln!(out, "  - {}", scalar(pin));
        }
    }
}

fn auth(out: &mut String, arguments: &Configure, enabled: bool) {
    *out += "\n# The certificate authority, policy and audit.\nauth_service:\n";
    if !switch(out, enabled) {
        return;
    }
    *out += "  # A DNS name in lower case. Fixed at the first start.\n";
    line(out, "  ", "cluster_name", arguments.cluster_name.as_deref(), "example.com");
    *out += "  listen_addr: 0.0.0.0:3025\n\
             \x20 # End sessions in which nothing happens.\n\
             \x20 # client_idle_timeout: 30m\n\
             \x20 # End sessions when the certificate they were opened with expires.\n\
             \x20 # disconnect_expired_cert: yes\n";
}

fn proxy(out: &mut String, arguments: &Configure, enabled: bool) {
    *out += "\n# The gate through which clients come: one port for every protocol.\nproxy_service:\n";
    if !switch(out, enabled) {
        return;
    }
    *out += "  web_listen_addr: 0.0.0.0:3080\n  # Where clients reach it.\n";
    line(out, "  ", "public_addr", arguments.public_addr.as_deref(), "gate.example.com:3080");
    *out += "  # A web certificate of your own; without one, the cluster issues it.\n";
    match (&arguments.key_file, &arguments.cert_file) {
        (Some(key), Some(cert)) => {
            let _ = writeln!(
                out,
                "  https_keypairs:\n  - key_file: {}\n    cert_file: {}",
                scalar(key),
                scalar(cert)
            );
        }
        _ => {
            *out += "  # https_keypairs:\n  # - key_file: /etc/postern/tls.key\n  #   cert_file: /etc/postern/tls.crt\n";
        }
    }
}

fn ssh(out: &mut String, arguments: &Configure, roles: &[Role]) -> Result<(), ConfigureError> {
    *out += "\n# The SSH server of this host.\nssh_service:\n";
    if !switch(out, roles.contains(&Role::Node)) {
        return Ok(());
    }
    *out += "  listen_addr: 0.0.0.0:3022\n  # Where the proxy reaches it.\n";
    let own_public = arguments.public_addr.as_deref().filter(|_| !roles.contains(&Role::Proxy));
    line(out, "  ", "public_addr", own_public, "node-1.example.com:3022");
    *out += "  # Roles select nodes by labels.\n";
    if arguments.node_labels.is_empty() {
        *out += "  # labels:\n  #   env: production\n";
    } else {
        *out += "  labels:\n";
    }
    for label in &arguments.node_labels {
        let (key, value) = label.split_once('=').ok_or_else(|| ConfigureError::Label(label.clone()))?;
        let _ = writeln!(out, "    {}: {}", scalar(key), scalar(value));
    }
    *out += "  # Labels told by commands.\n\
             \x20 # commands:\n\
             \x20 # - name: kernel\n\
             \x20 #   command: [uname, -r]\n\
             \x20 #   period: 1h\n";
    Ok(())
}

fn switch(out: &mut String, enabled: bool) -> bool {
    *out += if enabled { "  enabled: yes\n" } else { "  enabled: no\n" };
    enabled
}

/// The key with its value, or commented out with an example.
fn line(out: &mut String, indent: &str, key: &str, value: Option<&str>, example: &str) {
    let _ = match value {
        Some(value) => writeln!(out, "{indent}{key}: {}", scalar(value)),
        None => writeln!(out, "{indent}# {key}: {example}"),
    };
}

/// Plain where that cannot be read as anything else, quoted otherwise.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._/-:@+".contains(c))
        && !text.ends_with(':');
    // A JSON string is a YAML string.
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::generate;
    use crate::config::{self, Config};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        configure: crate::cli::Configure,
    }

    fn config(arguments: &str) -> Config {
        let line = Line::parse_from(std::iter::once("configure").chain(arguments.split_whitespace()));
        let text = generate(&line.configure).unwrap_or_else(|error| panic!("{arguments}: {error}"));
        config::parse("f", &text, "host").expect("was checked")
    }

    fn refusal(arguments: &str) -> String {
        let line = Line::parse_from(std::iter::once("configure").chain(arguments.split_whitespace()));
        generate(&line.configure).expect_err("is refused").to_string()
    }

    #[test]
    fn whatever_it_writes_is_valid_and_means_what_was_asked_for() {
        let all = config("--cluster-name example.com --public-addr gate.example.com:443 --data-dir /data");
        assert_eq!(all.services.names(), ["auth", "proxy", "node"]);
        assert_eq!(all.services.proxy.expect("proxy").public[0].to_string(), "gate.example.com:443");
        assert_eq!(all.data_dir.to_str(), Some("/data"));

        let pin = "ab".repeat(32);
        let node = config(&format!(
            "--proxy gate.example.com --token abc:def --ca-pin sha256:{pin} --node-name n --node-labels env=prod,a/b=1=2"
        ));
        assert_eq!(node.services.names(), ["node"]);
        assert_eq!(node.node_name.as_str(), "n");
        let labels = node.services.node.expect("node").labels;
        assert_eq!((labels.value("env"), labels.value("a/b")), (Some("prod"), Some("1=2")));

        let proxy = config("--roles proxy --auth-server a:3025 --cert-file /c --key-file /k --token yes");
        assert_eq!(proxy.services.proxy.expect("proxy").keypairs.len(), 1);
        assert_eq!(config("--roles node,proxy,auth").services.names().len(), 3);
    }

    #[test]
    fn contradictions_and_malformed_values_are_refused() {
        for (arguments, says) in [
            ("--roles node", "postern.auth_server: missing"),
            ("--node-labels env", "label \"env\" is not KEY=VALUE"),
            ("--cluster-name Foo!", "auth_service.cluster_name: cluster name \"Foo!\""),
            ("--auth-server a --proxy b", "stands beside auth_server"),
            ("--token x", "so nothing joins"),
            ("--proxy a\":b", "is not an address"),
        ] {
            let said = refusal(arguments);
            assert!(said.contains(says), "{arguments}: {said}");
        }
    }
}
