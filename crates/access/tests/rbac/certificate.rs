//! Sections 2.2 and 3.1: what roles put into certificates.

use super::{role, set, with_traits};
use access::Login;
use access::rbac::RoleSet;
use access::rbac::certificate::{logins, max_ttl, options};
use serde_json::json;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn named(roles: &RoleSet, ttl: Duration) -> Result<Vec<String>, String> {
    match logins(roles, ttl) {
        Ok(logins) => Ok(logins.iter().map(Login::to_string).collect()),
        Err(denial) => Err(format!("{}: {}", denial.code, denial.reason)),
    }
}

#[test]
fn a_life_is_lowered_to_what_every_role_allows() {
    let day = role("day", json!({"options": {"max_session_ttl": "24h"}}));
    let hours = role("hours", json!({"options": {"max_session_ttl": "8h"}}));
    let silent = role("silent", json!({}));
    let zero = role("zero", json!({"options": {"max_session_ttl": 0}}));
    assert_eq!(max_ttl(&set(&[day.clone(), hours.clone()]), 12 * HOUR), 8 * HOUR);
    assert_eq!(max_ttl(&set(&[day, hours]), HOUR), HOUR);
    assert_eq!(max_ttl(&set(&[silent]), 1000 * HOUR), 30 * HOUR);
    assert_eq!(max_ttl(&set(&[zero]), 1000 * HOUR), 30 * HOUR, "nobody gets an endless certificate");
}

#[test]
fn principals_come_from_roles_that_allow_the_life() {
    let short = role("short", json!({"allow": {"logins": ["root"]}, "options": {"max_session_ttl": "1h"}}));
    let long = role(
        "long",
        json!({"allow": {"logins": ["deploy"]}, "options": {"max_session_ttl": "10h"}, "deny": {"logins": ["root"]}}),
    );
    let roles = set(&[short, long]);
    assert_eq!(named(&roles, HOUR), Ok(vec!["deploy".into(), "root".into()]), "denied ones stay in");
    assert_eq!(named(&roles, 2 * HOUR), Ok(vec!["deploy".into()]));
    assert_eq!(
        named(&roles, 11 * HOUR),
        Err("ttl_not_allowed: this user cannot request a certificate for 11h0m0s".into())
    );
}

#[test]
fn no_logins_by_design_is_not_the_same_as_none_left() {
    let editor = role("editor", json!({"allow": {"rules": [{"resources": ["role"], "verbs": ["*"]}]}}));
    let empty = role("empty", json!({"allow": {"logins": ["{{internal.logins}}"]}}));
    assert_eq!(named(&set(std::slice::from_ref(&editor)), HOUR), Ok(vec![]));
    assert_eq!(named(&set(&[]), HOUR), Ok(vec![]));
    let none_left = "no_logins: this user cannot create SSH sessions, has no allowed logins";
    assert_eq!(named(&set(&[editor.clone(), empty.clone()]), HOUR), Err(none_left.into()));
    assert_eq!(
        named(&with_traits(&[editor, empty], &[("logins", &["root"])]), HOUR),
        Ok(vec!["root".into()])
    );
}

#[test]
fn options_add_up() {
    let plain = options(&set(&[role("a", json!({}))]));
    assert!(
        plain.port_forwarding && !plain.agent_forwarding && !plain.x11_forwarding && !plain.pin_source_ip
    );
    let none = options(&set(&[role("a", json!({"options": {"port_forwarding": false}}))]));
    assert!(!none.port_forwarding, "one role that says no, alone");
    let two = options(&set(&[
        role("a", json!({"options": {"forward_agent": true}})),
        role("b", json!({"options": {"pin_source_ip": true, "permit_x11_forwarding": true}})),
    ]));
    assert!(two.agent_forwarding && two.pin_source_ip && two.x11_forwarding);
    let remote_only =
        json!({"ssh_port_forwarding": {"local": {"enabled": false}, "remote": {"enabled": true}}});
    assert!(options(&set(&[role("a", json!({"options": remote_only}))])).port_forwarding);
    assert!(!options(&set(&[])).port_forwarding);
}

#[test]
fn extensions_are_filled_and_the_first_name_wins() {
    let with = |name: &str, value: &str| {
        let extension =
            json!({"type": "ssh", "mode": "extension", "name": "login@github.com", "value": value});
        role(name, json!({"options": {"cert_extensions": [extension]}}))
    };
    let traits: [(&str, &[&str]); 1] = [("github", &["first", "second"])];
    let filled = options(&with_traits(&[with("b", "other"), with("a", "{{external.github}}")], &traits));
    assert_eq!(filled.extensions.get("login@github.com").map(String::as_str), Some("first"));
    let unfilled = options(&set(&[with("a", "{{external.github}}")]));
    assert!(unfilled.extensions.is_empty());
}
