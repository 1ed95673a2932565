//! The roles that every cluster has from its first start (fact sheet, sections 2.3 and 2.10).

use crate::resource::role::{Conditions, LabelSelector, RoleOptions, RoleSpec, RoleVersion, Rule};
use crate::resource::{Metadata, Role};
use crate::{RoleName, Ttl};
use std::collections::BTreeMap;

/// Marks a preset, so that an upgrade may refresh it.
pub const LABEL: (&str, &str) = ("teleport.internal/resource-type", "preset");

/// The name of the implicit role; nobody can create a role of that name.
pub const IMPLICIT: &str = "default-implicit-role";

/// What reading is, for resources with secrets and without.
const READ_ONLY: [&str; 2] = ["list", "read"];
const READ_WRITE: [&str; 5] = ["list", "create", "read", "update", "delete"];

/// The presets that are stored at the first start: `editor`, `access`, `auditor`.
pub fn roles() -> [Role; 3] {
    [editor(), access(), auditor()]
}

/// Changes the cluster's settings, and reaches no server.
pub fn editor() -> Role {
    let mut rules = vec![rule(
        &[
            "user",
            "role",
            "bot",
            "token",
            "node",
            "lock",
            "cluster_auth_preference",
            "cluster_networking_config",
            "session_recording_config",
        ],
        &READ_WRITE,
    )];
    rules.push(rule(&["bot_instance"], &["list", "read", "delete"]));
    rules.push(rule(&["instance"], &READ_ONLY));
    preset("editor", "Edit cluster configuration", Conditions { rules, ..Conditions::default() })
}

/// Reaches every server under the logins of the user's `logins` trait.
pub fn access() -> Role {
    let own_sessions = Rule {
        condition: "contains(session.participants, user.metadata.name)".into(),
        ..rule(&["session"], &["read", "list"])
    };
    let allow = Conditions {
        logins: vec!["{{internal.logins}}".into()],
        node_labels: Some(LabelSelector::from([("*".into(), vec!["*".into()])])),
        rules: vec![rule(&["event", "instance"], &READ_ONLY), own_sessions],
        ..Conditions::default()
    };
    preset("access", "Access cluster resources", allow)
}

/// Reads what happened, and reaches no server.
pub fn auditor() -> Role {
    let rules = vec![rule(&["session", "event", "session_tracker", "cluster_alert", "instance"], &READ_ONLY)];
    let mut role = preset("auditor", "Review cluster events", Conditions { rules, ..Conditions::default() });
    role.spec.options.forward_agent = Some(false);
    role.spec.options.port_forwarding = Some(false);
    role
}

/// Held by everybody who holds any role: sees what clients need to find their way.
pub fn implicit() -> Role {
    let listed = [
        "node",
        "proxy",
        "auth_server",
        "reverse_tunnel",
        "cluster_auth_preference",
        "cluster_name",
        "ssh_session",
        "remote_cluster",
    ];
    let allow = Conditions {
        rules: vec![
            rule(&listed, &READ_ONLY),
            rule(&["cert_authority"], &["list", "readnosecrets"]),
            rule(&["usage_event"], &["create"]),
        ],
        ..Conditions::default()
    };
    let options = RoleOptions {
        max_session_ttl: Some(Ttl(std::time::Duration::from_secs(u64::from(u32::MAX)))),
        port_forwarding: Some(false),
        ..RoleOptions::default()
    };
    built(
        IMPLICIT,
        "",
        BTreeMap::new(),
        RoleSpec { options, allow, deny: Conditions::default() },
        RoleVersion::V3,
    )
}

fn preset(name: &str, description: &str, allow: Conditions) -> Role {
    let labels = BTreeMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())]);
    let options =
        RoleOptions { forward_agent: Some(true), port_forwarding: Some(true), ..RoleOptions::default() };
    let spec = RoleSpec { options, allow, deny: Conditions::default() };
    built(name, description, labels, spec, RoleVersion::V7)
}

/// A role of the program's own, with its defaults.
pub(crate) fn built(
    name: &str,
    description: &str,
    labels: BTreeMap<String, String>,
    spec: RoleSpec,
    version: RoleVersion,
) -> Role {
    let metadata =
        Metadata { name: name.into(), description: description.into(), labels, ..Metadata::default() };
    let name = RoleName::new(name).expect("built-in role names are in the alphabet");
    let mut role = Role { metadata, name, version, spec };
    role.fill_defaults();
    role
}

fn rule(resources: &[&str], verbs: &[&str]) -> Rule {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Rule { resources: owned(resources), verbs: owned(verbs), ..Rule::default() }
}
