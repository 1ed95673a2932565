//! The other kinds, each with what is refused.

use super::{decode, refused};
use serde_json::{Value, json};

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
    refused(
        token(json!({"roles": ["Node"], "join_method": "oracle"})),
        "join method \"oracle\" is not supported",
    );
    refused(token(json!({"roles": ["Node"], "allow": [{"aws_account": "1"}]})), "has no rules here");
    refused(token(json!({"roles": ["Node"], "status": {}})), "unknown field");
    for name in ["a b", "a\"b", "-x", "$(id)", "a\nb"] {
        let value = json!({"kind": "token", "version": "v2", "metadata": {"name": name}, "spec": {"roles": ["Node"]}});
        let error = decode(value).expect_err(name);
        assert!(!error.contains(name), "{error}");
    }
}

#[test]
fn a_bound_keypair_says_how_it_is_bound_and_how_often_it_helps() {
    let token = |bound: Value| {
        json!({"kind": "token", "version": "v2", "metadata": {"name": "ci-runner"}, "spec":
            {"roles": ["Bot"], "bot_name": "ci", "join_method": "bound_keypair", "bound_keypair": bound}})
    };
    let full = json!({
        "onboarding": {"registration_secret": "0123456789abcdef", "must_register_before": "2030-01-01T00:00:00Z"},
        "recovery": {"limit": 3, "mode": "relaxed"},
        "rotate_after": "2029-01-01T00:00:00Z",
    });
    let resource = decode(token(full.clone())).expect("a token");
    assert_eq!(resource.to_json()["spec"]["bound_keypair"], full);
    assert_eq!(decode(resource.to_json()).as_ref(), Ok(&resource));
    assert!(!format!("{resource:?}").contains("0123456789abcdef"));
    let shown = resource.without_secrets();
    assert_eq!(shown.name(), "ci-runner", "the name is no secret");
    assert!(!shown.to_json().to_string().contains("0123456789abcdef"));
    refused(shown.to_json(), "this secret is masked");
    let default = decode(token(Value::Null)).expect("needs no settings").to_json();
    assert_eq!(default["spec"]["bound_keypair"]["recovery"], json!({"limit": 1, "mode": "standard"}));
    for (bound, reason) in [
        (json!({"recovery": {"limit": 0}}), "recovery.limit: the first join counts too"),
        (json!({"recovery": {"mode": "lax"}}), "standard, relaxed or insecure"),
        (
            json!({"rotate_after": "2030-01-01T00:00:00Z", "recovery": {"mode": "insecure"}}),
            "rotate_after: with recovery.mode insecure",
        ),
        (json!({"onboarding": {"registration_secret": "short"}}), "16 to 255 characters"),
        (
            json!({"onboarding": {"registration_secret": "0123456789abcdef", "initial_public_key": "x"}}),
            "keep one",
        ),
        (json!({"recovry": {}}), "did you mean recovery?"),
    ] {
        refused(token(bound), reason);
    }
    let mut foreign = token(Value::Null);
    foreign["spec"]["join_method"] = "token".into();
    decode(foreign.clone()).expect("an empty section says nothing");
    foreign["spec"]["bound_keypair"] = json!({"recovery": {"limit": 3}});
    refused(foreign, "spec.bound_keypair: this section does not belong to join method token");
    let mut nodes = token(Value::Null);
    nodes["spec"]["roles"] = json!(["Bot", "Node"]);
    refused(nodes, "for one holder: give one role");
    for (role, fits) in [("Node", true), ("Proxy", true), ("Auth", false)] {
        let mut host = token(Value::Null);
        host["spec"]["roles"] = json!([role]);
        host["spec"]["bot_name"] = Value::Null;
        assert_eq!(decode(host).is_ok(), fits, "{role}");
    }
}

#[test]
fn tokens_for_jobs_say_whose_jobs_and_which() {
    let token = |method: &str, section: Value| {
        json!({"kind": "token", "version": "v2", "metadata": {"name": "ci"}, "spec":
            {"roles": ["Bot"], "bot_name": "ci", "join_method": method, method: section}})
    };
    let org = "c3b8a3d2-0000-4000-8000-000000000000";
    for (method, section) in [
        (
            "github",
            json!({"enterprise_slug": "acme", "allow": [{"repository": "us/app"}, {"sub": "x", "ref_type": "branch"}]}),
        ),
        (
            "gitlab",
            json!({"domain": "gitlab.example.com:8443", "static_jwks": "{\"keys\": []}", "allow": [{"project_path": "us/*", "ref_protected": "true"}]}),
        ),
        ("circleci", json!({"organization_id": org, "allow": [{"context_id": "c"}]})),
        (
            "spacelift",
            json!({"hostname": "acme.app.spacelift.io", "enable_glob_matching": true, "allow": [{"space_id": "root-*"}]}),
        ),
        (
            "terraform_cloud",
            json!({"audience": "a", "allow": [{"organization_name": "o", "workspace_name": "w"}]}),
        ),
        (
            "bitbucket",
            json!({"audience": "a", "identity_provider_url": "https://api.bitbucket.org/2.0/x", "allow": [{"workspace_uuid": "{w}"}]}),
        ),
        ("azure_devops", json!({"organization_id": org, "allow": [{"project_name": "p"}]})),
        ("kubernetes", json!({"type": "in_cluster", "allow": [{"service_account": "ns:name"}]})),
        (
            "kubernetes",
            json!({"type": "oidc", "oidc": {"issuer": "https://oidc.eks.example/id/X"}, "audience": "a", "allow": [{"service_account": "ns:name"}]}),
        ),
        (
            "azure",
            json!({"attestation_cas": "-----BEGIN CERTIFICATE-----\n", "allow": [{"subscription": org, "resource_groups": ["a", "b"]}]}),
        ),
        (
            "env0",
            json!({"audience": "https://app.env0.com", "allow": [{"organization_id": "o", "env0_tag": "t"}]}),
        ),
        (
            "gcp",
            json!({"allow": [{"project_ids": ["p", "q"], "locations": ["us-west1"], "service_accounts": ["a@p"]}]}),
        ),
        (
            "kubernetes",
            json!({"type": "static_jwks", "static_jwks": {"jwks": "{\"keys\": []}"}, "allow": [{"service_account": "ns:name"}]}),
        ),
    ] {
        let resource =
            decode(token(method, section.clone())).unwrap_or_else(|error| panic!("{method}: {error}"));
        assert_eq!(resource.to_json()["spec"][method], section, "{method}");
        assert_eq!(decode(resource.to_json()).as_ref(), Ok(&resource));
        assert_eq!(resource.without_secrets().name(), "ci");
    }
    for (method, section, reason) in [
        ("github", Value::Null, "spec.github: this join method needs a section"),
        ("github", json!({"enterprise_slug": "acme", "allow": []}), "nobody joins without one"),
        ("github", json!({"allow": [{"repository": ""}]}), "allow[0]: a rule needs one of sub, repository"),
        ("github", json!({"allow": [{"actor": "me"}]}), "a rule needs one of sub"),
        ("github", json!({"allow": [{"repositry": "us/app"}]}), "did you mean repository?"),
        (
            "github",
            json!({"enterprise_server_host": "https://x", "allow": [{"sub": "x"}]}),
            "without https://",
        ),
        (
            "github",
            json!({"enterprise_server_host": "x", "enterprise_slug": "y", "allow": [{"sub": "x"}]}),
            "keep one",
        ),
        ("gitlab", json!({"allow": [{"sub": "x", "ref_protected": "perhaps"}]}), "yes or no is needed"),
        ("gitlab", json!({"static_jwks": "[]", "allow": [{"sub": "x"}]}), "JSON Web Key Set"),
        ("circleci", json!({"allow": [{"project_id": "x"}]}), "organization_id is required"),
        ("circleci", json!({"organization_id": "../x", "allow": [{"project_id": "x"}]}), "letters, digits"),
        (
            "spacelift",
            json!({"hostname": "x", "static_jwks": "{}", "allow": [{"space_id": "x"}]}),
            "its keys are fetched",
        ),
        ("terraform_cloud", json!({"allow": [{"organization_id": "x"}]}), "a rule needs one of project_id"),
        (
            "bitbucket",
            json!({"audience": "a", "identity_provider_url": "http://x", "allow": [{"workspace_uuid": "x"}]}),
            "https://host/path",
        ),
        (
            "bitbucket",
            json!({"audience": "a", "identity_provider_url": "https://a@b/x", "allow": [{"workspace_uuid": "x"}]}),
            "https://host/path",
        ),
        (
            "kubernetes",
            json!({"type": "oidc", "allow": [{"service_account": "a:b"}]}),
            "oidc.issuer is required",
        ),
        (
            "kubernetes",
            json!({"type": "oidc", "oidc": {"issuer": "http://x"}, "allow": [{"service_account": "a:b"}]}),
            "https://host/path",
        ),
        (
            "kubernetes",
            json!({"type": "remote", "allow": [{"service_account": "a:b"}]}),
            "type is in_cluster, static_jwks or oidc",
        ),
        ("gcp", json!({"allow": [{"locations": ["us-west1"]}]}), "a rule needs one of project_ids"),
        ("gcp", json!({"allow": [{"project_ids": []}]}), "a rule needs one of project_ids"),
        ("azure", json!({"allow": [{"resource_groups": ["a"]}]}), "a rule needs one of subscription"),
        ("azure", json!({"allow": [{"subscription": "*"}]}), "the id of a subscription is needed"),
        (
            "azure",
            json!({"attestation_cas": "/etc/ca.pem", "allow": [{"subscription": org}]}),
            "certificates in PEM are needed",
        ),
        ("env0", json!({"allow": [{"project_id": "p"}]}), "a rule needs one of organization_id"),
        (
            "kubernetes",
            json!({"oidc": {"issuer": "https://x"}, "allow": [{"service_account": "a:b"}]}),
            "belongs to type: oidc",
        ),
        (
            "kubernetes",
            json!({"static_jwks": {"jwks": "{}"}, "allow": [{"service_account": "a:b"}]}),
            "belongs to type: static_jwks",
        ),
        (
            "kubernetes",
            json!({"type": "static_jwks", "allow": [{"service_account": "a:b"}]}),
            "static_jwks.jwks is required",
        ),
        (
            "kubernetes",
            json!({"type": "static_jwks", "static_jwks": {"jwks": "{\"keys\": []}"}, "allow": [{"service_account": "a"}]}),
            "namespace:name",
        ),
    ] {
        refused(token(method, section), reason);
    }
}

#[test]
fn the_rules_of_iam_are_about_accounts_that_are_named() {
    let token = |allow: Value| {
        json!({"kind": "token", "version": "v2", "metadata": {"name": "ci"}, "spec":
            {"roles": ["Bot"], "bot_name": "ci", "join_method": "iam", "allow": allow}})
    };
    let account = "123456789012";
    let arn = |partition: &str| format!("arn:{partition}:sts::{account}:assumed-role/ci/*");
    for (rule, partition) in [
        (json!({"aws_account": account}), "aws"),
        (json!({"aws_account": account, "aws_partition": "aws-us-gov"}), "aws-us-gov"),
        (json!({"aws_account": account, "aws_arn": "*:assumed-role/ci/*"}), "aws"),
        (json!({"aws_account": account, "aws_arn": "arn:aws*:assumed-role/ci/*"}), "aws"),
        (json!({"aws_arn": arn("aws")}), "aws"),
        (json!({"aws_arn": arn("aws-cn")}), "aws-cn"),
        (json!({"aws_arn": arn("aws-cn"), "aws_partition": "aws-cn"}), "aws-cn"),
    ] {
        let read = decode(token(json!([rule.clone()]))).unwrap_or_else(|error| panic!("{rule}: {error}"));
        let mut whole = rule;
        whole["aws_partition"] = json!(partition);
        assert_eq!(read.to_json()["spec"]["allow"], json!([whole]), "a rule is about one partition");
        assert_eq!(decode(read.to_json()).as_ref(), Ok(&read));
    }
    for (allow, reason) in [
        (json!([]), "nobody joins without one"),
        (json!([{}]), "a rule needs one of aws_account, aws_arn"),
        (json!([{"aws_arn": "*"}]), "aws_arn must name the account"),
        (json!([{"aws_arn": "arn:aws:sts::*:assumed-role/ci/*"}]), "aws_arn must name the account"),
        (json!([{"aws_arn": "arn:*:123456789012:assumed-role/ci/*"}]), "aws_arn must name the account"),
        (
            json!([{"aws_arn": "arn:aws:sts::12345678901?:assumed-role/ci/*"}]),
            "aws_arn must name the account",
        ),
        (json!([{"aws_account": "12345"}]), "12 digits"),
        (json!([{"aws_account": "*"}]), "12 digits"),
        (json!([{"aws_partition": "aws"}]), "a rule needs one of aws_account, aws_arn"),
        (json!([{"aws_account": account, "aws_partition": "*"}]), "is one of aws, aws-cn, aws-us-gov"),
        (json!([{"aws_arn": arn("aws"), "aws_partition": "aws-cn"}]), "nobody fits both"),
        (json!([{"aws_account": account, "aws_role": "x"}]), "unknown field"),
    ] {
        refused(token(allow), reason);
    }
    let mut other = token(json!([{"aws_account": account}]));
    other["spec"]["gcp"] = json!({"allow": [{"project_ids": ["p"]}]});
    refused(other, "does not belong to join method iam");
    let mut other = token(json!([{"aws_account": account}]));
    other["spec"]["join_method"] = json!("token");
    refused(other, "join method token has no rules here");
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
    // Names are no ids, and a lock on one would only look as if it locked.
    for target in [json!({"server_id": "web-1"}), json!({"node": "web-1"}), json!({"bot_instance_id": "ci"})]
    {
        refused(lock(target), "is no id, so the lock would refuse nobody");
    }
    let id = "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c";
    let old = decode(lock(json!({"node": id}))).expect("the old name of server_id");
    assert_eq!(old.to_json()["spec"]["target"], json!({"server_id": id}));
    decode(lock(json!({"server_id": format!("{id}.example.com")}))).expect("as some logs write it");
}

#[test]
fn settings_are_checked_and_found_without_a_name() {
    let config = |kind: &str, spec: Value| json!({"kind": kind, "version": "v2", "spec": spec});
    let cap = decode(config("cluster_auth_preference", json!({
        "type": "local", "second_factor": "otp", "allow_local_auth": true, "require_session_mfa": false,
        "device_trust": {"mode": "off"}, "disconnect_expired_cert": "yes", "default_session_ttl": "1h", "locking_mode": "strict"
    }))).expect("loads");
    assert_eq!(cap.name(), "cluster-auth-preference");
    assert_eq!(cap.to_json()["spec"].get("require_post_quantum"), None, "not written while it is off");
    let strict =
        decode(config("cluster_auth_preference", json!({"require_post_quantum": "yes"}))).expect("loads");
    assert_eq!(strict.to_json()["spec"]["require_post_quantum"], true);
    assert_eq!(decode(strict.to_json()), Ok(strict));
    refused(
        config("cluster_auth_preference", json!({"require_post_quantum": "maybe"})),
        "require_post_quantum",
    );
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
