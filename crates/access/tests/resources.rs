//! Resources: what is accepted, what is refused and how, and that nothing is lost on the way.

use access::preset;
use access::resource::role::RoleVersion;
use access::resource::{Resource, Role};
use access::{Login, Ttl};
use proptest::prelude::*;
use serde_json::{Value, json};

fn decode(value: Value) -> Result<Resource, String> {
    Resource::from_json(value).map_err(|invalid| invalid.to_string())
}

fn role(version: &str, spec: Value) -> Result<Role, String> {
    let value = json!({"kind": "role", "version": version, "metadata": {"name": "r"}, "spec": spec});
    match decode(value)? {
        Resource::Role(role) => Ok(*role),
        other => Err(format!("not a role: {other:?}")),
    }
}

fn refused(value: Value, part: &str) {
    let error = decode(value.clone()).expect_err(&value.to_string());
    assert!(error.contains(part), "{value}\n  says {error}\n  wanted {part}");
}

/// The frame of sections 2.1 and 9: which text says what is wrong.
#[test]
fn the_frame_is_checked() {
    refused(Value::Null, "empty input");
    refused(json!([]), "a mapping is needed");
    refused(json!({}), "kind: kind is required");
    refused(json!({"kind": "rol"}), "there is no kind of resource called");
    refused(json!({"kind": "roles"}), "there is no kind of resource called");
    refused(json!({"kind": "role", "version": "v7"}), "metadata.name: name is required");
    refused(json!({"kind": "role", "metadata": {"name": "x"}}), "role version \"\" is not supported");
    refused(
        json!({"kind": "role", "version": "v2", "metadata": {"name": "x"}}),
        "role version \"v2\" is not supported",
    );
    refused(
        json!({"kind": "user", "version": "v1", "metadata": {"name": "x"}}),
        "user version \"v1\" is not supported; write version: v2",
    );
    refused(json!({"kind": "role", "version": "v7", "metadata": {"name": "Node"}}), "reserved role: Node");
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "default-implicit-role"}}),
        "reserved role",
    );
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "a b"}}),
        "metadata.name: role name",
    );
    refused(
        json!({"kind": "user", "version": "v2", "metadata": {"name": "$(id)"}}),
        "metadata.name: user name",
    );
    refused(json!({"kind": "bot", "version": "v1", "metadata": {"name": "-x"}}), "must start with");
    refused(json!({"kind": "node", "version": "v2", "metadata": {"name": "host"}}), "UUID");
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "x", "namespace": "n"}}),
        "one namespace only",
    );
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "x", "nam": 1}}),
        "metadata.nam: unknown field; did you mean name?",
    );
    refused(json!({"kind": "role", "version": "v7", "metadata": {"name": "x"}, "sub_kind": "y"}), "sub_kind");
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "x"}, "sepc": {}}),
        "sepc: unknown field; did you mean spec?",
    );
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "x", "expires": "soon"}}),
        "is not a time",
    );
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "x", "labels": {"a b": "c"}}}),
        "invalid label key: \"a b\"",
    );
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "x", "labels": {"a": "b\nc"}}}),
        "metadata.labels.a: a label's value is one line",
    );
}

#[test]
fn unknown_fields_are_refused_with_their_place() {
    for (spec, message) in [
        (json!({"option": {}}), "spec.option: unknown field; did you mean options?"),
        (
            json!({"options": {"forward_agnet": true}}),
            "spec.options.forward_agnet: unknown field; did you mean forward_agent?",
        ),
        (json!({"allow": {"login": []}}), "spec.allow.login: unknown field; did you mean logins?"),
        (json!({"deny": {"zzzzzzzzzzzzzzz": 1}}), "spec.deny.zzzzzzzzzzzzzzz: unknown field; known are"),
        (
            json!({"allow": {"rules": [{"resources": ["a"], "verbs": ["read"], "wher": ""}]}}),
            "spec.allow.rules[0].wher: unknown field; did you mean where?",
        ),
        (
            json!({"allow": {"impersonate": {"role": []}}}),
            "spec.allow.impersonate.role: unknown field; did you mean roles?",
        ),
        (
            json!({"options": {"ssh_port_forwarding": {"local": {"on": true}}}}),
            "spec.options.ssh_port_forwarding.local.enabled: enabled is required",
        ),
        (
            json!({"allow": {"node_labels": {"k8s.io/os": [1]}}}),
            "spec.allow.node_labels.\"k8s.io/os\"[0]: a text is needed here; write \"1\" in quotes",
        ),
    ] {
        let error = role("v7", spec).expect_err(message);
        assert!(error.starts_with(message), "{error}\nwanted {message}");
    }
}

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
        (json!({"options": {"cert_format": "new"}}), "certificate format must be one of"),
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
fn tokens_keep_their_secret() {
    let token = |spec: Value| json!({"kind": "token", "version": "v2", "metadata": {"name": "0123456789abcdef0123456789abcdef", "expires": "2030-01-01T00:00:00Z"}, "spec": spec});
    let resource = decode(token(json!({"roles": ["bot"], "bot_name": "example"}))).expect("a token");
    let shown = format!("{resource:?}");
    assert!(!shown.contains("0123456789abcdef0123456789abcdef") && shown.contains("****"), "{shown}");
    let masked = resource.without_secrets();
    assert_eq!(masked.name(), "************************89abcdef");
    refused(masked.to_json(), "masked");
    refused(token(json!({"roles": []})), "at least one role");
    refused(token(json!({})), "spec.roles: roles is required");
    refused(token(json!({"roles": ["Wizard"]})), "unknown system role \"Wizard\"");
    refused(token(json!({"roles": ["Bot"]})), "needs a bot_name");
    refused(token(json!({"roles": ["Node"], "bot_name": "example"})), "only a token with role Bot");
    refused(token(json!({"roles": ["Node"], "join_method": "iam"})), "join method \"iam\" is not supported");
    refused(token(json!({"roles": ["Node"], "allow": [{"aws_account": "1"}]})), "no allow rules");
    for name in ["a b", "a\"b", "-x", "$(id)", "a\nb"] {
        let value = json!({"kind": "token", "version": "v2", "metadata": {"name": name}, "spec": {"roles": ["Node"]}});
        let error = decode(value).expect_err(name);
        assert!(!error.contains(name), "{error}");
    }
}

#[test]
fn locks_have_targets_that_exist() {
    let lock = |target: Value| json!({"kind": "lock", "version": "v2", "metadata": {"name": "l"}, "spec": {"target": target, "message": "m"}});
    refused(
        json!({"kind": "lock", "version": "v2", "metadata": {"name": "l"}, "spec": {}}),
        "target is required",
    );
    refused(lock(json!({})), "a lock needs a target");
    refused(lock(json!({"user": ""})), "a lock needs a target");
    refused(lock(json!({"mfa_device": "x"})), "would refuse nobody");
    refused(lock(json!({"login": "*"})), "no patterns");
    refused(lock(json!({"usr": "a"})), "spec.target.usr: unknown field; did you mean user?");
    let old = decode(lock(json!({"node": "n1"}))).expect("the old name of server_id");
    assert_eq!(old.to_json()["spec"]["target"], json!({"server_id": "n1"}));
}

#[test]
fn settings_are_checked_and_found_without_a_name() {
    let config = |kind: &str, spec: Value| json!({"kind": kind, "version": "v2", "spec": spec});
    let cap = decode(config("cluster_auth_preference", json!({
        "type": "local", "second_factor": "otp", "allow_local_auth": true, "require_session_mfa": false,
        "device_trust": {"mode": "off"}, "disconnect_expired_cert": "yes", "default_session_ttl": "1h", "locking_mode": "strict"
    }))).expect("loads");
    assert_eq!(cap.name(), "cluster-auth-preference");
    let networking = decode(config("cluster_networking_config", json!({
        "routing_strategy": "Most_Recent", "proxy_listener_mode": 1, "tunnel_strategy": {"type": "agent_mesh"}, "keep_alive_interval": 0
    }))).expect("loads");
    assert_eq!(networking.to_json()["spec"]["routing_strategy"], "most_recent");
    assert_eq!(networking.to_json()["spec"]["keep_alive_interval"], "5m0s");
    refused(config("cluster_auth_preference", json!({"require_session_mfa": true})), "second factors");
    refused(
        config("cluster_auth_preference", json!({"device_trust": {"mode": "required"}})),
        "spec.device_trust.mode: mode is not supported",
    );
    refused(
        config("cluster_networking_config", json!({"routing_strategy": "random"})),
        "routing strategy must be one of",
    );
    refused(
        config("cluster_networking_config", json!({"proxy_listener_mode": "separate"})),
        "proxy listener mode must be one of",
    );
    refused(config("session_recording_config", json!({"mode": "node"})), "write off");
    refused(
        json!({"kind": "cluster_auth_preference", "version": "v2", "metadata": {"name": "mine"}}),
        "there is one cluster_auth_preference only",
    );
}

#[test]
fn users_bots_nodes_and_authorities_are_checked() {
    let user =
        |spec: Value| json!({"kind": "user", "version": "v2", "metadata": {"name": "alice"}, "spec": spec});
    let loaded = decode(user(json!({
        "roles": ["access"], "traits": {"logins": ["root"], "db_users": null}, "expires": "0001-01-01T00:00:00Z",
        "created_by": {"time": "2024-01-01T00:00:00Z"}, "status": {"is_locked": false, "lock_expires": "0001-01-01T00:00:00Z"}
    }))).expect("loads");
    assert_eq!(
        loaded.to_json()["spec"],
        json!({"roles": ["access"], "traits": {"logins": ["root"], "db_users": []}})
    );
    refused(user(json!({"status": {"is_locked": true}})), "tctl lock");
    refused(user(json!({"expires": "2030-01-01T00:00:00Z"})), "metadata.expires");
    refused(user(json!({"github_identities": [{}, {"a": 1}]})), "single sign-on");
    refused(user(json!({"roles": ["a b"]})), "spec.roles[0]: role name");

    let bot = json!({"kind": "bot", "version": "v1", "metadata": {"name": "b"},
        "spec": {"roles": ["r"], "traits": [{"name": "logins", "values": ["root"]}]}, "status": {"user_name": "bot-b", "role_name": "bot-b"}});
    let loaded = decode(bot).expect("loads");
    assert_eq!(
        loaded.to_json()["spec"],
        json!({"roles": ["r"], "traits": [{"name": "logins", "values": ["root"]}], "max_session_ttl": "12h0m0s"})
    );
    refused(
        json!({"kind": "bot", "version": "v1", "metadata": {"name": "b"}, "spec": {"roles": [""]}}),
        "role name is empty",
    );

    let node = |spec: Value| json!({"kind": "node", "version": "v2", "metadata": {"name": "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c"}, "spec": spec});
    for addr in ["127.0.0.1:3022", "[::1]:3022", "host.example.com:22", ""] {
        assert!(decode(node(json!({"hostname": "h", "addr": addr}))).is_ok(), "{addr}");
    }
    for addr in ["host", "host:99999", "a b:22", "-oX:22", "[::1:22", "::1:22", "`id`:22"] {
        refused(node(json!({"addr": addr})), "is not host:port");
    }
    refused(node(json!({"hostname": "-oProxyCommand=x"})), "spec.hostname: node name");

    let authority = |name: &str, key: &str| {
        json!({"kind": "cert_authority", "version": "v2", "metadata": {"name": name},
        "spec": {"type": "user", "cluster_name": "c.example", "active_keys": {"ssh": [key]}}})
    };
    assert!(decode(authority("c.example", "ssh-ed25519 AAAA")).is_ok());
    refused(authority("other", "ssh-ed25519 AAAA"), "the name must be c.example");
    refused(authority("c.example", "-----BEGIN OPENSSH PRIVATE KEY-----"), "a private key does not belong");

    let instance = |name: &str| {
        json!({"kind": "bot_instance", "version": "v1", "metadata": {"name": name},
        "spec": {"bot_name": "b", "instance_id": "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c"}})
    };
    assert!(decode(instance("b/b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c")).is_ok());
    refused(instance("b/other"), "the name must be b/b5a2");
}

/// Rows D4, I1 and I3 of the abuse table: too much, or control characters, anywhere.
#[test]
fn size_depth_and_control_characters_are_bounded() {
    let labelled =
        |labels: Value| json!({"kind": "role", "version": "v7", "metadata": {"name": "r", "labels": labels}});
    refused(labelled(json!({"a": "x".repeat(10 << 20)})), "at most 4096 are allowed");
    let many: serde_json::Map<String, Value> = (0..300).map(|n| (format!("k{n}"), json!("v"))).collect();
    refused(labelled(Value::Object(many)), "300 keys; at most 256");
    refused(labelled(json!({"a": "\u{1b}]52;c;x\u{7}"})), "control character");
    refused(labelled(json!({"a": "x\0"})), "control character");
    refused(labelled(json!({"a\r": "x"})), "control character");
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "r"}, "spec": {"options": {"idp": deep}}}),
        "levels deep",
    );
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "r"}, "spec": {"allow": {"logins": vec!["a"; 2000]}}}),
        "at most 1024",
    );
    let wide: Vec<Vec<u8>> = vec![vec![0; 1000]; 100];
    refused(
        json!({"kind": "role", "version": "v7", "metadata": {"name": "r"}, "spec": {"options": {"idp": wide}}}),
        "more than 20000 values",
    );
}

#[test]
fn presets_can_be_written_and_read() {
    for preset in preset::roles() {
        let resource = Resource::Role(Box::new(preset));
        assert_eq!(Resource::from_json(resource.to_json()), Ok(resource));
    }
    let implicit = Resource::Role(Box::new(preset::implicit()));
    refused(implicit.to_json(), "reserved role");
}

#[test]
fn serde_is_as_strict_as_the_decoder() {
    let text = r#"{"kind":"role","version":"v7","metadata":{"name":"r"},"spec":{"sepc":1}}"#;
    let error = serde_json::from_str::<Resource>(text).expect_err("unknown field");
    assert!(error.to_string().contains("spec.sepc"), "{error}");
}

/// Words of every kind, so that random documents get past the first check.
fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "kind",
        "version",
        "metadata",
        "spec",
        "name",
        "labels",
        "expires",
        "options",
        "allow",
        "deny",
        "logins",
        "node_labels",
        "node_labels_expression",
        "rules",
        "resources",
        "verbs",
        "where",
        "impersonate",
        "roles",
        "users",
        "traits",
        "target",
        "user",
        "message",
        "join_method",
        "bot_name",
        "status",
        "max_session_ttl",
        "record_session",
        "ssh_port_forwarding",
        "local",
        "enabled",
        "cert_extensions",
        "request",
        "*",
        "hostname",
        "addr",
        "type",
    ])
    .prop_map(str::to_owned)
}

fn anything() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "role",
        "user",
        "bot",
        "token",
        "node",
        "lock",
        "v1",
        "v2",
        "v3",
        "v7",
        "yes",
        "1h",
        "root",
        "*",
        "^a$",
        "{{internal.logins}}",
        "{{",
        "list",
        "",
        "2030-01-01T00:00:00Z",
        "Node",
        "Bot",
        "cluster_auth_preference",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn conditions() -> impl Strategy<Value = Value> {
    let value = prop::sample::select(vec!["prod", "*", "a*", "^x$", "{{external.env}}"]);
    let labels = prop::collection::btree_map("[a-z]{1,3}", prop::collection::vec(value, 0..3), 0..3);
    let logins =
        prop::collection::vec(prop::sample::select(vec!["root", "deploy", "{{internal.logins}}"]), 0..3);
    let where_clause = prop::sample::select(vec!["", r#"contains(user.spec.roles, "a")"#]);
    (labels, logins, where_clause, any::<bool>()).prop_map(|(labels, logins, clause, foreign)| {
        let mut value = json!({
            "node_labels": labels, "logins": logins,
            "rules": [{"resources": ["role"], "verbs": ["read"], "where": clause}],
            "impersonate": {"roles": logins},
        });
        if foreign {
            value["app_labels"] = json!({"*": "*"});
        }
        value
    })
}

proptest! {
    #[test]
    fn decoding_never_panics(value in anything()) {
        let _ = Resource::from_json(value);
    }

    #[test]
    fn decoding_with_a_right_frame_never_panics(
        kind in prop::sample::select(access::resource::Kind::all().collect::<Vec<_>>()),
        spec in anything(),
    ) {
        let value = json!({"kind": kind.as_str(), "version": kind.version(), "metadata": {"name": "x"}, "spec": spec});
        if let Ok(resource) = Resource::from_json(value) {
            prop_assert_eq!(Resource::from_json(resource.to_json()), Ok(resource));
        }
    }

    #[test]
    fn what_is_written_reads_back(
        version in prop::sample::select(RoleVersion::ALL.to_vec()),
        allow in conditions(),
        deny in conditions(),
        ttl in any::<u32>(),
        flags in any::<[Option<bool>; 3]>(),
    ) {
        let spec = json!({
            "allow": allow, "deny": deny,
            "options": {
                "max_session_ttl": Ttl::from_secs(u64::from(ttl)).to_string(), "max_sessions": ttl,
                "forward_agent": flags[0], "ssh_file_copy": flags[1],
                "ssh_port_forwarding": flags[2].map(|enabled| json!({"local": {"enabled": enabled}})),
            },
        });
        let value = json!({"kind": "role", "version": version.as_str(), "metadata": {"name": "r"}, "spec": spec});
        let resource = Resource::from_json(value).expect("a role");
        prop_assert_eq!(Resource::from_json(resource.to_json()), Ok(resource));
    }
}

#[test]
fn a_login_type_and_a_role_agree() {
    assert!(Login::new("root").is_ok());
    assert!(role("v7", json!({"allow": {"logins": ["root", "svc$", "a.b-c_d"]}})).is_ok());
}
