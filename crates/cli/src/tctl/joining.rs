//! What a new host or a new agent needs to join: ready configuration and command, with the pin that protects them.

use super::session::Session;
use super::show::spoken;
use crate::connection::{AUTH_PORT, PROXY_PORT, Target};
use crate::{Failure, documents};
use access::HostPort;
use access::name::SystemRole;
use api::v1::StatusRequest;
use identity::trust::Pin;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Where an agent keeps its own identity unless told otherwise.
const AGENT_STORAGE: &str = "/var/lib/teleport/bot";
/// Where it writes for others, in the guide.
const AGENT_OUTPUT: &str = "/opt/machine-id";

/// How to find this cluster and how to recognise it. Pins and addresses are checked: they go into commands and files.
pub(super) struct Joining {
    pub pins: Vec<Pin>,
    pub proxies: Vec<HostPort>,
    auth: Option<HostPort>,
}

impl Joining {
    /// Asks the cluster.
    pub async fn ask(session: &mut Session<'_>) -> Result<Self, Failure> {
        let status = session.cluster()?.status(StatusRequest {}).await?.into_inner();
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(format!("the server's answer cannot be used: {error}"))
        };
        let pins = status.ca_pins.iter().map(|pin| pin.parse().map_err(|error| wrong(&error)));
        let proxies = status.proxy_addrs.iter();
        let proxies = proxies.map(|text| HostPort::parse(text, PROXY_PORT).map_err(|error| wrong(&error)));
        Ok(Self {
            pins: pins.collect::<Result<_, _>>()?,
            proxies: proxies.collect::<Result<_, _>>()?,
            auth: auth_address(session),
        })
    }

    /// Pins as text.
    pub fn pin_texts(&self) -> Vec<String> {
        self.pins.iter().map(Pin::to_string).collect()
    }

    /// Proxies as text.
    pub fn proxy_texts(&self) -> Vec<String> {
        self.proxies.iter().map(HostPort::to_string).collect()
    }

    /// For a host with these roles.
    pub fn host(&self, token: &str, roles: &[SystemRole], ttl: Duration) -> Result<String, Failure> {
        // A proxy reaches auth directly; a node comes through a proxy where there is one.
        let through = self.proxies.first().filter(|_| roles == [SystemRole::Node]);
        let server = match through {
            Some(proxy) => ("proxy_server", proxy.to_string()),
            None => (
                "auth_server",
                self.auth.as_ref().map_or_else(|| "AUTH-HOST:3025".to_owned(), HostPort::to_string),
            ),
        };
        let enabled = |role| Enabled { enabled: roles.contains(&role) };
        let config = documents::to_yaml(&HostConfig {
            version: "v3",
            postern: HostSection {
                data_dir: "/var/lib/postern",
                auth_token: token,
                ca_pin: self.pin_texts(),
                server: BTreeMap::from([(server.0, server.1.as_str())]),
            },
            auth_service: Enabled { enabled: false },
            proxy_service: enabled(SystemRole::Proxy),
            ssh_service: enabled(SystemRole::Node),
        })?;
        let reach = match (through, &self.auth) {
            (None, None) => "AUTH-HOST:3025 stands for the address of the auth service; write the real one.",
            _ => "The new host must be able to reach the address in this file.",
        };
        Ok(format!(
            "The invite token: {token}\n\
             This token will expire in {}.\n\n\
             Write this to /etc/postern.yaml on the new host, readable by root only:\n\n{config}\n\
             and start it there:\n\n> postern start -c /etc/postern.yaml\n\n\
             Please note:\n\n  - {reach}\n  - Whoever knows the token can join the cluster until it expires.\n",
            spoken(ttl),
        ))
    }

    /// For a bot's agent.
    pub fn agent(&self, token: &str, ttl: Duration) -> Result<String, Failure> {
        let proxy = self.proxies.first().map_or_else(|| "PROXY-HOST:3080".to_owned(), HostPort::to_string);
        let config = documents::to_yaml(&AgentConfig {
            version: "v2",
            proxy_server: &proxy,
            onboarding: Onboarding { join_method: "token", token, ca_pins: self.pin_texts() },
            storage: Directory { kind: "directory", path: AGENT_STORAGE },
            outputs: [Output {
                kind: "identity",
                destination: Directory { kind: "directory", path: AGENT_OUTPUT },
            }],
        })?;
        let pins: String = self.pins.iter().map(|pin| format!("   --ca-pin={pin} \\\n")).collect();
        let reach = match self.proxies.is_empty() {
            true => "No proxy is online: PROXY-HOST:3080 stands for its address; write the real one.",
            false => "The agent's machine must be able to reach the proxy at this address.",
        };
        Ok(format!(
            "The bot token: {token}\n\
             This token will expire in {}.\n\n\
             Write this to tbot.yaml on the agent's machine, readable by its user only:\n\n{config}\n\
             and start it there:\n\n> tbot start -c tbot.yaml\n\n\
             or, without a file:\n\n> tbot start \\\n   --data-dir={AGENT_STORAGE} \\\n   \
             --destination-dir={AGENT_OUTPUT} \\\n   --token={token} \\\n{pins}   --proxy-server={proxy} \\\n   \
             --join-method=token\n\n\
             Please note:\n\n  - The token is good for one agent.\n  - {reach}\n  - The agent's user must be able to \
             write to both directories; other ones can be named.\n",
            spoken(ttl),
        ))
    }
}

/// Where auth listens, as far as this machine or the caller knows.
fn auth_address(session: &Session<'_>) -> Option<HostPort> {
    if let Some(text) = &session.options.auth_server {
        return HostPort::parse(text, AUTH_PORT).ok();
    }
    match session.target().ok()? {
        Target::Local { data_dir } => listening(&data_dir),
        Target::Remote { .. } => None,
    }
}

/// What a daemon on this machine wrote down, unless it listens on every address and so names none.
fn listening(data_dir: &Path) -> Option<HostPort> {
    let text = std::fs::read_to_string(data_dir.join("endpoints.json")).ok()?;
    let endpoints: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).ok()?;
    let address = HostPort::parse(endpoints.get("auth")?.as_str()?, AUTH_PORT).ok()?;
    (!matches!(address.host(), "0.0.0.0" | "::")).then_some(address)
}

#[derive(Serialize)]
struct HostConfig<'a> {
    version: &'static str,
    postern: HostSection<'a>,
    auth_service: Enabled,
    proxy_service: Enabled,
    ssh_service: Enabled,
}

#[derive(Serialize)]
struct HostSection<'a> {
    data_dir: &'static str,
    auth_token: &'a str,
    ca_pin: Vec<String>,
    #[serde(flatten)]
    server: BTreeMap<&'static str, &'a str>,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct AgentConfig<'a> {
    version: &'static str,
    proxy_server: &'a str,
    onboarding: Onboarding<'a>,
    storage: Directory,
    outputs: [Output; 1],
}

#[derive(Serialize)]
struct Onboarding<'a> {
    join_method: &'static str,
    token: &'a str,
    ca_pins: Vec<String>,
}

#[derive(Serialize)]
struct Output {
    #[serde(rename = "type")]
    kind: &'static str,
    destination: Directory,
}

#[derive(Serialize)]
struct Directory {
    #[serde(rename = "type")]
    kind: &'static str,
    path: &'static str,
}

#[cfg(test)]
mod tests {
    use super::Joining;
    use std::time::Duration;

    #[test]
    fn the_file_and_the_command_name_the_same_directories() {
        let joining = Joining { pins: Vec::new(), proxies: Vec::new(), auth: None };
        let text = joining.agent("0123456789abcdef", Duration::from_secs(3600)).expect("rendered");
        for directory in ["/var/lib/teleport/bot", "/opt/machine-id"] {
            assert_eq!(text.matches(directory).count(), 2, "{text}");
        }
    }
}
