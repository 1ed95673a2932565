//! Resources: what is accepted, what is refused and how, and that nothing is lost on the way.

mod kinds;
mod properties;
mod roles;

use access::preset;
use access::resource::{Resource, Role};
use serde_json::{Value, json};

pub(crate) fn decode(value: Value) -> Result<Resource, String> {
    Resource::from_json(value).map_err(|invalid| invalid.to_string())
}

pub(crate) fn role(version: &str, spec: Value) -> Result<Role, String> {
    let value = json!({"kind": "role", "version": version, "metadata": {"name": "r"}, "spec": spec});
    match decode(value)? {
        Resource::Role(role) => Ok(*role),
        other => Err(format!("not a role: {other:?}")),
    }
}

pub(crate) fn refused(value: Value, part: &str) {
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
