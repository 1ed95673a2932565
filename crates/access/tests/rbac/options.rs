//! Section 2.2: how the options of several roles add up.

use super::{attempt, role, set};
use access::rbac::ssh::{KeyExchange, Request, SessionDefaults, SessionOptions, check};
use access::resource::Role;
use access::resource::cluster::LockingMode;
use access::{Labels, Ttl};
use serde_json::{Value, json};
use std::time::Duration;

fn merged_with(defaults: SessionDefaults, options: &[Value]) -> SessionOptions {
    let allow = json!({"logins": ["root"], "node_labels": {"*": "*"}});
    let roles: Vec<Role> = options
        .iter()
        .enumerate()
        .map(|(index, options)| role(&format!("r{index}"), json!({"allow": allow, "options": options})))
        .collect();
    let labels = Labels::default();
    let request =
        Request { login: "root", labels: &labels, key_exchange: KeyExchange::PostQuantum, defaults };
    check(&set(&roles), &request).expect("granted").options().clone()
}

fn merged(options: &[Value]) -> SessionOptions {
    merged_with(SessionDefaults::default(), options)
}

#[test]
fn the_defaults_of_one_role() {
    let options = merged(&[json!({})]);
    assert!(options.local_forwarding() && options.remote_forwarding() && options.file_copy());
    assert!(!options.agent_forwarding() && !options.x11_forwarding() && !options.disconnect_expired_cert());
    assert_eq!(
        (options.idle_timeout(), options.max_sessions(), options.max_connections()),
        (None, None, None)
    );
    assert_eq!(options.locking_mode(), LockingMode::BestEffort);
}

#[test]
fn what_any_role_allows() {
    let x11 = merged(&[json!({}), json!({"permit_x11_forwarding": true})]);
    assert!(x11.x11_forwarding());
    let agent = merged(&[json!({"forward_agent": true}), json!({"forward_agent": false})]);
    assert!(agent.agent_forwarding());
    let cut = merged(&[json!({"disconnect_expired_cert": true}), json!({"disconnect_expired_cert": false})]);
    assert!(cut.disconnect_expired_cert());
}

#[test]
fn what_any_role_forbids() {
    assert!(!merged(&[json!({}), json!({"ssh_file_copy": false})]).file_copy());
}

/// The role that allows the agent must be one that lists the login.
#[test]
fn agent_forwarding_belongs_to_a_login() {
    let roles = [
        role("a", json!({"allow": {"logins": ["root"], "node_labels": {"*": "*"}}})),
        role(
            "b",
            json!({"allow": {"logins": ["deploy"], "node_labels": {"*": "*"}}, "options": {"forward_agent": true}}),
        ),
        role("c", json!({"allow": {"node_labels": {"*": "*"}}, "options": {"forward_agent": true}})),
    ];
    let labels = Labels::default();
    for (login, expected) in [("root", false), ("deploy", true)] {
        let request = attempt(login, &labels);
        let permit = check(&set(&roles), &request).expect("granted");
        assert_eq!(permit.options().agent_forwarding(), expected, "{login}");
    }
}

#[test]
fn port_forwarding_in_both_notations() {
    let legacy = |on: bool| json!({"port_forwarding": on});
    let new =
        |local: Value, remote: Value| json!({"ssh_port_forwarding": {"local": local, "remote": remote}});
    let (on, off, none) = (json!({"enabled": true}), json!({"enabled": false}), Value::Null);
    for (options, local, remote) in [
        (vec![legacy(false)], false, false),
        (vec![legacy(false), legacy(true)], true, true),
        (vec![legacy(false), json!({})], true, true),
        (vec![new(on.clone(), on.clone())], true, true),
        (vec![new(on.clone(), off.clone())], true, false),
        (vec![new(off.clone(), none.clone()), legacy(true)], false, true),
        (vec![new(off.clone(), off.clone()), new(on.clone(), on.clone())], false, false),
        (vec![legacy(false), new(on.clone(), none.clone())], true, false),
        (vec![new(on, none.clone())], true, false),
        (vec![new(none.clone(), none)], false, false),
    ] {
        let options = (merged(&options), options);
        let found = (options.0.local_forwarding(), options.0.remote_forwarding());
        assert_eq!(found, (local, remote), "{:?}", options.1);
    }
}

#[test]
fn the_smallest_limit_that_is_one() {
    let options = merged(&[
        json!({"max_sessions": 0, "max_connections": 5, "client_idle_timeout": "never"}),
        json!({"max_sessions": 3, "client_idle_timeout": "20m"}),
        json!({"max_sessions": 7, "max_connections": 4, "client_idle_timeout": "1h"}),
    ]);
    assert_eq!((options.max_sessions(), options.max_connections()), (Some(3), Some(4)));
    assert_eq!(options.idle_timeout(), Some(Duration::from_secs(1200)));
}

#[test]
fn the_cluster_speaks_too() {
    let cluster = SessionDefaults {
        client_idle_timeout: Ttl::from_secs(60),
        disconnect_expired_cert: true,
        locking_mode: LockingMode::Strict,
        require_post_quantum: false,
    };
    let silent = merged_with(cluster, &[json!({})]);
    assert_eq!(silent.idle_timeout(), Some(Duration::from_secs(60)));
    assert!(silent.disconnect_expired_cert());
    assert_eq!(silent.locking_mode(), LockingMode::Strict);
    let role = json!({"client_idle_timeout": "1h", "disconnect_expired_cert": false, "lock": "best_effort"});
    let spoken = merged_with(cluster, &[role]);
    assert_eq!(spoken.idle_timeout(), Some(Duration::from_secs(60)));
    assert!(spoken.disconnect_expired_cert(), "a role cannot switch off what the cluster demands");
    assert_eq!(spoken.locking_mode(), LockingMode::BestEffort, "a role's lock mode replaces the cluster's");
}

#[test]
fn strict_locking_of_any_role_wins() {
    for modes in [["strict", "best_effort"], ["best_effort", "strict"]] {
        let options = merged(&[json!({"lock": modes[0]}), json!({"lock": modes[1]})]);
        assert_eq!(options.locking_mode(), LockingMode::Strict);
    }
}

#[test]
fn a_permit_knows_its_deadline() {
    let labels = Labels::default();
    let end = jiff::Timestamp::UNIX_EPOCH;
    for (disconnect, deadline) in [(true, Some(end)), (false, None)] {
        let roles = role(
            "a",
            json!({"allow": {"logins": ["root"], "node_labels": {"*": "*"}}, "options": {"disconnect_expired_cert": disconnect}}),
        );
        let request = attempt("root", &labels);
        let permit = check(&set(&[roles]), &request).expect("granted");
        assert_eq!(permit.deadline(end), deadline);
    }
}
