//! Decoding is total, and what is written reads back.

use access::Ttl;
use access::resource::Resource;
use access::resource::role::RoleVersion;
use proptest::prelude::*;
use serde_json::{Value, json};

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
