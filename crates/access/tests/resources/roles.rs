//! Roles: checks, defaults, and what is foreign.

use super::role;
use access::resource::Resource;
use access::resource::role::RoleVersion;
use access::{Login, Ttl};
use serde_json::{Value, json};

#[test]
fn the_parts_of_a_role_are_checked() {
    let rules = |rule: Value| json!({"allow": {"rules": [rule]}});
    for (spec, part) in [
        (rules(json!({"verbs": ["read"]})), "missing resources"),
        (rules(json!({"resources": [], "verbs": ["read"]})), "missing resources"),
        (rules(json!({"resources": ["role"]})), "missing verbs"),
        (rules(json!({"resources": ["role"], "verbs": ["view"]})), "unknown verb \"view\""),
        (rules(json!({"resources": ["role"], "verbs": ["read"], "where": "equals("})), "ends too early"),
        (
            rules(json!({"resources": ["role"], "verbs": ["read"], "actions": ["run()"]})),
            "only action is log",
        ),
        (json!({"allow": {"logins": ["*"]}}), "wildcard matcher is not allowed in logins"),
        (json!({"deny": {"logins": ["*"]}}), "wildcard matcher is not allowed in logins"),
        (json!({"allow": {"logins": "root"}}), "a list is needed here, not \"root\""),
        (json!({"allow": {"logins": ["-oProxyCommand=x"]}}), "spec.allow.logins[0]: login"),
        (json!({"allow": {"logins": ["a b"]}}), "spec.allow.logins[0]: login"),
        (json!({"allow": {"logins": ["{{external.x"]}}), "braces"),
        (json!({"allow": {"logins": ["{{internal.shoe}}"]}}), "unsupported variable"),
        (json!({"allow": {"node_labels": {"*": "prod"}}}), "must be exactly"),
        (json!({"allow": {"node_labels": {"*": ["*", "*"]}}}), "must be exactly"),
        (json!({"allow": {"node_labels": {"": "x"}}}), "empty label key"),
        (json!({"allow": {"node_labels": {"env": "^[$"}}}), "not a regular expression"),
        (json!({"allow": {"node_labels": {"env": ["{{external.x"]}}}), "braces"),
        (json!({"allow": {"node_labels_expression": "labels["}}), "text in quotes"),
        (json!({"allow": {"impersonate": {"roles": ["^[$"]}}}), "not a regular expression"),
        (json!({"allow": {"impersonate": {"where": "x"}}}), "a condition is needed"),
        (json!({"options": {"max_session_ttl": "1 day"}}), "is not a duration"),
        (json!({"options": {"max_session_ttl": 3600}}), "a duration such as 1h30m is needed"),
        (json!({"options": {"max_sessions": -1}}), "whole number"),
        (json!({"options": {"forward_agent": "maybe"}}), "yes or no is needed"),
        (json!({"options": {"lock": "hard"}}), "locking mode must be one of"),
        (json!({"options": {"cert_format": "new"}}), "certificate format must be standard"),
    ] {
        let error = role("v7", spec.clone()).expect_err(&spec.to_string());
        assert!(error.contains(part), "{spec}\n  says {error}\n  wanted {part}");
    }
}

#[test]
fn defaults_follow_the_version() {
    for (version, node_labels) in [
        ("v3", json!({"*": ["*"]})),
        ("v4", json!({})),
        ("v5", json!({})),
        ("v6", json!({})),
        ("v7", json!({})),
    ] {
        let role = role(version, json!({"allow": {"logins": ["root"]}})).expect(version);
        assert_eq!(json!(role.spec.allow.node_labels), node_labels, "{version}");
    }
    let without_logins = role("v3", json!({})).expect("a role");
    assert_eq!(without_logins.version, RoleVersion::V3);
    assert_eq!(json!(without_logins.spec.allow.node_labels), json!({}));
    assert_eq!(
        serde_json::to_value(&without_logins.spec).expect("JSON"),
        json!({
            "options": {
                "cert_format": "standard", "max_session_ttl": "30h0m0s", "port_forwarding": true,
                "forward_agent": false, "ssh_file_copy": true, "pin_source_ip": false,
            },
            "allow": {"namespaces": ["default"], "node_labels": {}},
            "deny": {"namespaces": ["default"]},
        })
    );
}

#[test]
fn people_may_write_scalars_and_words() {
    let role = role(
        "v7",
        json!({
            "allow": {"node_labels": {"env": "prod", "team": ["a", "b"]}, "namespaces": null},
            "options": {
                "forward_agent": "yes", "port_forwarding": "no", "permit_x11_forwarding": true,
                "max_session_ttl": "17m", "client_idle_timeout": "never", "ssh_file_copy": "false",
                "require_post_quantum": "yes",
            },
        }),
    )
    .expect("a role");
    assert_eq!(json!(role.spec.allow.node_labels), json!({"env": ["prod"], "team": ["a", "b"]}));
    let options = role.spec.options;
    assert_eq!(
        (options.forward_agent, options.port_forwarding, options.ssh_file_copy),
        (Some(true), Some(false), Some(false))
    );
    assert_eq!(options.require_post_quantum, Some(true));
    assert_eq!(options.max_session_ttl, Some(Ttl::from_secs(17 * 60)));
    assert_eq!(options.client_idle_timeout, Some(Ttl::NEVER));
}

/// What the incumbent prints of its own preset role.
#[test]
fn a_role_file_of_the_incumbent_loads_and_keeps_what_is_foreign() {
    let printed = json!({
        "kind": "role", "version": "v7",
        "metadata": {
            "id": 1_696_941_029_462_042_000_i64, "name": "access", "description": "Access cluster resources",
            "revision": "0b6d2d0c-7f4b-4d63-9d8f-6f29b1a1e0a2", "namespace": "default",
            "labels": {"teleport.internal/resource-type": "preset"}
        },
        "spec": {
            "allow": {
                "app_labels": {"*": "*"}, "aws_role_arns": ["{{internal.aws_role_arns}}"], "db_labels": {"*": "*"},
                "db_names": ["{{internal.db_names}}"], "db_service_labels": {"*": "*"},
                "kubernetes_groups": ["{{internal.kubernetes_groups}}"],
                "kubernetes_resources": [{"kind": "*", "name": "*", "namespace": "*", "verbs": ["*"]}],
                "logins": ["{{internal.logins}}"], "node_labels": {"*": "*"},
                "request": {}, "join_sessions": [], "review_requests": null,
                "rules": [
                    {"resources": ["event"], "verbs": ["list", "read"]},
                    {"resources": ["session"], "verbs": ["read", "list"], "where": "contains(session.participants, user.metadata.name)"}
                ],
                "windows_desktop_labels": {"*": "*"}, "windows_desktop_logins": ["{{internal.windows_logins}}"]
            },
            "deny": {"logins": null, "app_labels": {"env": "prod"}},
            "options": {
                "cert_format": "standard", "create_db_user": false, "create_desktop_user": false,
                "create_host_user": false, "create_host_user_mode": "off", "desktop_clipboard": true, "desktop_directory_sharing": true,
                "device_trust_mode": "", "disconnect_expired_cert": false, "enhanced_recording": ["command", "network"],
                "forward_agent": true, "idp": {"saml": {"enabled": true}}, "lock": "", "max_session_ttl": "30h0m0s",
                "mfa_verification_interval": "0s", "pin_source_ip": false, "port_forwarding": true, "request_access": "optional",
                "record_session": {"default": "best_effort", "desktop": true}, "require_session_mfa": false, "ssh_file_copy": true
            }
        }
    });
    let resource = Resource::from_json(printed).expect("loads");
    let written = resource.to_json();
    assert_eq!(written["spec"]["allow"]["app_labels"], json!({"*": "*"}));
    assert_eq!(written["spec"]["deny"]["app_labels"], json!({"env": "prod"}));
    assert_eq!(written["spec"]["options"]["idp"], json!({"saml": {"enabled": true}}));
    assert_eq!(Resource::from_json(written), Ok(resource));
}

#[test]
fn what_would_change_access_to_servers_is_refused_by_name() {
    for (spec, name) in [
        (json!({"options": {"require_session_mfa": true}}), "require_session_mfa is not supported"),
        (json!({"options": {"require_session_mfa": "hardware_key"}}), "require_session_mfa is not supported"),
        (
            json!({"options": {"record_session": {"default": "strict"}}}),
            "record_session strict is not supported",
        ),
        (json!({"options": {"record_session": {"ssh": "strict"}}}), "spec.options.record_session.ssh"),
        (json!({"options": {"record_session": {"ssh": "loose"}}}), "recording mode must be"),
        (json!({"options": {"enhanced_recording": ["sound"]}}), "enhanced recording knows"),
        (json!({"options": {"create_host_user": true}}), "create_host_user is not supported"),
        (json!({"options": {"create_host_user_mode": "keep"}}), "create_host_user_mode is not supported"),
        (json!({"options": {"device_trust_mode": "required"}}), "device_trust_mode is not supported"),
        (
            json!({"options": {"mfa_verification_interval": "1h"}}),
            "mfa_verification_interval is not supported",
        ),
        (json!({"options": {"request_access": "always"}}), "request_access is not supported"),
        (json!({"options": {"cert_format": "oldssh"}}), "nodes decide by the roles in a certificate"),
        (json!({"deny": {"rules": [{"resources": ["roles"], "verbs": ["*"]}]}}), "write role"),
        (json!({"allow": {"request": {"roles": ["admin"]}}}), "request is not supported"),
        (json!({"allow": {"review_requests": {"roles": ["admin"]}}}), "review_requests is not supported"),
        (json!({"allow": {"join_sessions": [{"name": "x"}]}}), "join_sessions is not supported"),
        (
            json!({"allow": {"require_session_join": [{"name": "x"}]}}),
            "require_session_join is not supported",
        ),
    ] {
        let error = role("v7", spec.clone()).expect_err(&spec.to_string());
        assert!(error.contains(name), "{spec}\n  says {error}");
    }
}

#[test]
fn a_role_cannot_forge_what_a_certificate_says() {
    let extension = |name: &str| json!({"options": {"cert_extensions": [{"type": "ssh", "mode": "extension", "name": name, "value": "{{external.x}}"}]}});
    assert!(role("v7", extension("login@github.com")).is_ok());
    for name in [
        "teleport-roles",
        "permit-pty",
        "no-touch-required",
        "Renewable",
        "bot-name@goteleport.com",
        "generation",
        "a b",
        "",
        "force,command",
        "permit-agent-forwarding",
    ] {
        assert!(role("v7", extension(name)).is_err(), "{name}");
    }
    let critical = json!({"options": {"cert_extensions": [{"type": "ssh", "mode": "critical", "name": "x@y", "value": ""}]}});
    assert!(role("v7", critical).expect_err("critical").contains("must be extension"));
}

#[test]
fn a_login_type_and_a_role_agree() {
    assert!(Login::new("root").is_ok());
    assert!(role("v7", json!({"allow": {"logins": ["root", "svc$", "a.b-c_d"]}})).is_ok());
}
