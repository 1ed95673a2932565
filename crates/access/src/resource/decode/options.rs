//! Options of roles.

use super::Invalid;
use super::cluster::locking_mode;
use super::fields::{Fields, Item};
use super::foreign::{Gate, keep, keep_gated};
use crate::resource::role::{CertExtension, CertFormat, Foreign, RoleOptions, SshPortForwarding, Switch};
use crate::template::Template;

/// Would change what a session may do or must do, were they understood.
const GATES: [Gate; 6] = [
    Gate {
        key: "require_session_mfa",
        off: &["no", "off"],
        reason: "second factors are not checked here yet",
    },
    Gate { key: "create_host_user", off: &["no", "off"], reason: "accounts on hosts are not created here" },
    Gate {
        key: "create_host_user_mode",
        off: &["off", "unspecified"],
        reason: "accounts on hosts are not created here",
    },
    Gate { key: "device_trust_mode", off: &["off", "optional"], reason: "devices are not checked here" },
    Gate {
        key: "mfa_verification_interval",
        off: &["0s"],
        reason: "second factors are not checked here yet",
    },
    Gate { key: "request_access", off: &["optional"], reason: "there are no access requests here yet" },
];

/// Concern desktops, databases, clusters of containers and identity providers, or have no effect while the
/// gated ones are off.
const KEPT: [&str; 9] = [
    "desktop_clipboard",
    "desktop_directory_sharing",
    "create_desktop_user",
    "create_db_user",
    "create_db_user_mode",
    "idp",
    "max_kubernetes_connections",
    "request_prompt",
    "create_host_user_default_shell",
];

pub(super) fn decode(mut fields: Fields) -> Result<RoleOptions, Invalid> {
    let mut options = RoleOptions {
        max_session_ttl: fields.ttl("max_session_ttl")?,
        forward_agent: fields.flag("forward_agent")?,
        port_forwarding: fields.flag("port_forwarding")?,
        ssh_port_forwarding: fields.take("ssh_port_forwarding").map(ssh_port_forwarding).transpose()?,
        permit_x11_forwarding: fields.flag("permit_x11_forwarding")?,
        ssh_file_copy: fields.flag("ssh_file_copy")?,
        client_idle_timeout: fields.ttl("client_idle_timeout")?,
        disconnect_expired_cert: fields.flag("disconnect_expired_cert")?,
        max_connections: fields.count("max_connections")?,
        max_sessions: fields.count("max_sessions")?,
        lock: fields
            .take("lock")
            .filter(|item| !item.is_blank())
            .map(|item| locking_mode(&item))
            .transpose()?,
        require_post_quantum: fields.flag("require_post_quantum")?,
        pin_source_ip: fields.flag("pin_source_ip")?,
        cert_format: fields
            .take("cert_format")
            .filter(|item| !item.is_blank())
            .map(|item| cert_format(&item))
            .transpose()?,
        cert_extensions: fields
            .take("cert_extensions")
            .map_or(Ok(Vec::new()), Item::list)?
            .into_iter()
            .map(cert_extension)
            .collect::<Result<_, _>>()?,
        foreign: Foreign::new(),
    };
    let foreign = &mut options.foreign;
    keep_gated(&mut fields, &GATES, foreign)?;
    keep(&mut fields, &KEPT, foreign);
    if let Some(item) = fields.take("record_session") {
        foreign.insert("record_session".into(), record_session(item)?);
    }
    if let Some(item) = fields.take("enhanced_recording") {
        foreign.insert("enhanced_recording".into(), enhanced_recording(item)?);
    }
    fields.finish()?;
    Ok(options)
}

fn ssh_port_forwarding(item: Item) -> Result<SshPortForwarding, Invalid> {
    let mut fields = Fields::of(item)?;
    let decoded = SshPortForwarding {
        local: fields.take("local").map(switch).transpose()?,
        remote: fields.take("remote").map(switch).transpose()?,
    };
    fields.finish()?;
    Ok(decoded)
}

fn switch(item: Item) -> Result<Switch, Invalid> {
    let mut fields = Fields::of(item)?;
    let enabled = fields.required("enabled")?.flag()?;
    fields.finish()?;
    Ok(Switch { enabled })
}

fn cert_format(item: &Item) -> Result<CertFormat, Invalid> {
    match item.text()?.as_str() {
        "standard" => Ok(CertFormat::Standard),
        "oldssh" => {
            Err(item
                .invalid("nodes decide by the roles in a certificate, which oldssh leaves out; remove it"))
        }
        _ => Err(item.invalid("certificate format must be standard")),
    }
}

fn cert_extension(item: Item) -> Result<CertExtension, Invalid> {
    let mut fields = Fields::of(item)?;
    for (key, only) in [("type", "ssh"), ("mode", "extension")] {
        if let Some(item) = fields.take(key)
            && item.value.as_u64() != Some(0)
            && item.text()? != only
        {
            return Err(item.invalid(format!("{key} of a certificate extension must be {only}")));
        }
    }
    let name = fields.required("name")?;
    let value = fields.take("value");
    let extension = CertExtension {
        kind: "ssh".into(),
        mode: "extension".into(),
        name: extension_name(&name)?,
        value: value.as_ref().map(Item::text).transpose()?.unwrap_or_default(),
    };
    if let Some(value) = value {
        Template::new(&extension.value).map_err(|error| value.invalid(error.to_string()))?;
    }
    fields.finish()?;
    Ok(extension)
}

/// Extensions that say who somebody is, or what sshd permits, come from the cluster and never from a role.
fn extension_name(item: &Item) -> Result<String, Invalid> {
    const OURS: [&str; 9] = [
        "login-ip",
        "client-ip",
        "mfa-verified",
        "prev-identity-expires",
        "impersonator",
        "disallow-reissue",
        "renewable",
        "generation",
        "private-key-policy",
    ];
    let name = item.text()?;
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > 128 || !name.chars().all(|c| c.is_ascii_graphic() && c != ',') {
        return Err(item.invalid("an extension's name is one word such as login@github.com"));
    }
    let reserved = OURS.contains(&lower.as_str())
        || ["permit-", "no-", "teleport-", "x-teleport", "postern"]
            .iter()
            .any(|prefix| lower.starts_with(prefix))
        || ["@goteleport.com", "@openssh.com", "@postern"].iter().any(|domain| lower.contains(domain));
    match reserved {
        true => Err(item.invalid(format!("extension {name} is set by the cluster and cannot be chosen"))),
        false => Ok(name),
    }
}

/// `best_effort` promises nothing, so it is true here; `strict` would be a lie.
fn record_session(item: Item) -> Result<serde_json::Value, Invalid> {
    let whole = item.value.clone();
    let mut fields = Fields::of(item)?;
    for key in ["default", "ssh"] {
        if let Some(mode) = fields.take(key) {
            match mode.text()?.as_str() {
                "" | "best_effort" => {}
                "strict" => {
                    return Err(mode.invalid(
                        "record_session strict is not supported: sessions are not recorded here yet",
                    ));
                }
                _ => return Err(mode.invalid("recording mode must be one of best_effort, strict")),
            }
        }
    }
    fields.ignore(&["desktop", "k8s"]);
    fields.finish()?;
    Ok(whole)
}

/// Only what nodes with the feature switched on would record; there are none here.
fn enhanced_recording(item: Item) -> Result<serde_json::Value, Invalid> {
    let whole = item.value.clone();
    for event in item.list()? {
        if !matches!(event.text()?.as_str(), "command" | "disk" | "network") {
            return Err(event.invalid("enhanced recording knows command, disk and network"));
        }
    }
    Ok(whole)
}
