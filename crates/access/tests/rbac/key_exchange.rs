//! Connections that must be safe from quantum computers: who can require it, and what whoever comes without is told.

use super::{allows, labels, role, set};
use access::rbac::ssh::{
    KeyExchange, Request, SessionDefaults, check, check_key_exchange, explain, post_quantum_required,
};
use access::rbac::{Denial, DenialCode};
use access::resource::Role;
use serde_json::{Value, json};

const CURVE: KeyExchange<'_> = KeyExchange::Classical("curve25519-sha256");
const CLUSTER: SessionDefaults = SessionDefaults {
    client_idle_timeout: access::Ttl::NEVER,
    disconnect_expired_cert: false,
    locking_mode: access::resource::cluster::LockingMode::BestEffort,
    require_post_quantum: true,
};

fn ops(name: &str, options: Value) -> Role {
    role(name, json!({"allow": {"logins": ["root"], "node_labels": {"env": "prod"}}, "options": options}))
}

fn log_in(
    roles: &[Role],
    login: &str,
    key_exchange: KeyExchange<'_>,
    defaults: SessionDefaults,
) -> Result<(), Denial> {
    let node = labels(&[("env", "prod")]);
    check(&set(roles), &Request { login, labels: &node, key_exchange, defaults }).map(|_| ())
}

#[test]
fn one_that_requires_it_is_enough() {
    let none = SessionDefaults::default();
    let (silent, yes, no) =
        (json!({}), json!({"require_post_quantum": "yes"}), json!({"require_post_quantum": false}));
    for (options, defaults, required) in [
        (vec![&silent], none, false),
        (vec![&no], none, false),
        (vec![&yes], none, true),
        (vec![&yes, &no], none, true),
        (vec![&no, &yes], none, true),
        (vec![&silent, &yes], none, true),
        (vec![&silent], CLUSTER, true),
        (vec![&no], CLUSTER, true),
    ] {
        let roles: Vec<Role> =
            (0..).zip(&options).map(|(nth, options)| ops(&format!("r{nth}"), (*options).clone())).collect();
        assert_eq!(post_quantum_required(&set(&roles), defaults).is_some(), required, "{options:?}");
        assert_eq!(log_in(&roles, "root", KeyExchange::PostQuantum, defaults), Ok(()), "{options:?}");
        let over_a_curve = log_in(&roles, "root", CURVE, defaults).map_err(|denial| denial.code);
        let expected = if required { Err(DenialCode::PostQuantumRequired) } else { Ok(()) };
        assert_eq!(over_a_curve, expected, "{options:?}");
    }
}

/// Also a role that grants nothing itself.
#[test]
fn it_need_not_be_the_role_that_grants() {
    let strict = role("strict", json!({"options": {"require_post_quantum": true}}));
    let roles = [allows("ops", &["root"], "prod"), strict];
    let denial = log_in(&roles, "root", CURVE, SessionDefaults::default()).expect_err("refused");
    assert_eq!(denial.code, DenialCode::PostQuantumRequired);
    assert_eq!(denial.rule.expect("a rule").to_string(), r#"role "strict": options.require_post_quantum"#);
}

#[test]
fn the_refusal_names_what_was_used_who_wants_more_and_what_to_do() {
    let strict = [ops("ops", json!({"require_post_quantum": true}))];
    let by_role = log_in(&strict, "root", CURVE, SessionDefaults::default()).expect_err("refused");
    assert_eq!(
        by_role.reason,
        "a role of yours requires a post-quantum key exchange, and this connection uses curve25519-sha256"
    );
    assert_eq!(by_role.code.as_str(), "post_quantum_required");
    for step in ["OpenSSH 9.0", "sntrup761x25519-sha512", "mlkem768x25519-sha256", "KexAlgorithms"] {
        assert!(by_role.hint().contains(step), "{}", by_role.hint());
    }
    let by_cluster = log_in(&strict, "root", CURVE, CLUSTER).expect_err("refused");
    assert_eq!(
        by_cluster.reason,
        "this cluster requires a post-quantum key exchange, and this connection uses curve25519-sha256"
    );
    assert_eq!(by_cluster.rule, None);
}

/// Whoever may not log in at all is told that, and not how to connect better.
#[test]
fn other_refusals_come_first() {
    let strict = [ops("ops", json!({"require_post_quantum": true}))];
    let denial = log_in(&strict, "admin", CURVE, CLUSTER).expect_err("refused");
    assert_eq!(denial.code, DenialCode::LoginNotAllowed);
    assert_eq!(log_in(&[], "root", CURVE, CLUSTER).expect_err("refused").code, DenialCode::NoRoles);
}

#[test]
fn a_connection_can_be_judged_without_a_login() {
    let strict = set(&[ops("ops", json!({"require_post_quantum": true}))]);
    let none = SessionDefaults::default();
    assert!(check_key_exchange(&strict, KeyExchange::PostQuantum, none).is_ok());
    assert!(check_key_exchange(&strict, CURVE, none).is_err());
    assert!(check_key_exchange(&set(&[ops("ops", json!({}))]), CURVE, none).is_ok());
    assert!(check_key_exchange(&set(&[]), CURVE, CLUSTER).is_err(), "the cluster speaks for everybody");
}

#[test]
fn an_explanation_says_who_requires_it() {
    let node = labels(&[("env", "prod")]);
    let strict = ops("ops", json!({"require_post_quantum": true}));
    let by = |roles: &[Role], defaults| {
        let key_exchange = KeyExchange::PostQuantum;
        let request = Request { login: "root", labels: &node, key_exchange, defaults };
        explain(&set(roles), &request).post_quantum.map(|by| by.to_string())
    };
    let plain = [ops("ops", json!({}))];
    assert_eq!(by(&plain, SessionDefaults::default()), None);
    let role = by(&[strict], SessionDefaults::default());
    assert_eq!(role.as_deref(), Some(r#"role "ops": options.require_post_quantum"#));
    assert_eq!(by(&plain, CLUSTER).as_deref(), Some("cluster_auth_preference: require_post_quantum"));
}
