//! Identities of workloads.

use super::role;
use access::rbac::spiffe::{Wish, check};
use access::rbac::{DenialCode, RoleSet};
use access::resource::{Resource, Role};
use access::{Traits, UserName};
use proptest::prelude::*;
use serde_json::json;

fn wish(path: &str, dns: &[&str], addresses: &[&str]) -> Wish {
    Wish {
        path: path.parse().expect("a path"),
        dns: dns.iter().map(|name| name.parse().expect("a name")).collect(),
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
    }
}

fn decide(roles: &[Role], wish: Wish) -> Result<String, DenialCode> {
    let user = UserName::new("bot-ci").expect("a name");
    let set = RoleSet::new(&user, roles, &Traits::default());
    check(&set, wish).map(|permit| permit.granted_by().to_string()).map_err(|denial| denial.code)
}

const NOT: Result<String, DenialCode> = Err(DenialCode::SpiffeNotAllowed);

#[test]
fn nothing_is_allowed_that_no_rule_allows() {
    assert_eq!(decide(&[], wish("/a", &[], &[])), Err(DenialCode::NoRoles));
    let everything_else = json!({"allow": {"logins": ["root"], "node_labels": {"*": "*"},
        "rules": [{"resources": ["*"], "verbs": ["*"]}], "impersonate": {"roles": ["*"]}}});
    assert_eq!(decide(&[role("ops", everything_else)], wish("/a", &[], &[])), NOT);
}

#[test]
fn one_rule_has_to_allow_all_of_it() {
    let spec = json!({"allow": {"spiffe": [
        {"path": "/svc/*", "dns_sans": ["*.Internal.example"], "ip_sans": ["10.0.0.0/8", "2001:db8::/32"]},
        {"path": "^/(batch|cron)/[a-z]+$"},
    ]}});
    let roles = [role("web", spec)];
    let yes = Ok("web".to_owned());
    for (path, dns, addresses, expected) in [
        ("/svc/web", &[][..], &[][..], &yes),
        ("/svc/web/v2", &["a.internal.example", "B.internal.example"], &["10.1.2.3", "2001:db8::1"], &yes),
        ("/svc", &[], &[], &NOT),
        ("/svcx/web", &[], &[], &NOT),
        ("/svc/web", &["a.example"], &[], &NOT),
        ("/svc/web", &["a.internal.example", "a.example"], &[], &NOT),
        ("/svc/web", &[], &["11.1.2.3"], &NOT),
        ("/cron/daily", &[], &[], &yes),
        ("/cron/daily", &["a.internal.example"], &[], &NOT),
        ("/cron/daily", &[], &["10.1.2.3"], &NOT),
        ("/cron/Daily", &[], &[], &NOT),
    ] {
        assert_eq!(&decide(&roles, wish(path, dns, addresses)), expected, "{path} {dns:?} {addresses:?}");
    }
}

#[test]
fn a_refusal_of_any_role_comes_first() {
    let all = role(
        "all",
        json!({"allow": {"spiffe": [{"path": "*", "dns_sans": ["*"], "ip_sans": ["0.0.0.0/0"]}]}}),
    );
    let none = role(
        "none",
        json!({"deny": {"spiffe": [
            {"path": "/svc/db"}, {"path": "/svc/*", "dns_sans": ["db.*"]}, {"path": "/svc/*", "ip_sans": ["10.0.0.0/8"]},
        ]}}),
    );
    let roles = [all, none];
    let (yes, no) = (Ok("all".to_owned()), Err(DenialCode::SpiffeDenied));
    for (path, dns, addresses, expected) in [
        ("/svc/web", &[][..], &[][..], &yes),
        ("/svc/db", &[], &[], &no),
        ("/svc/web", &["web.example"], &[], &yes),
        ("/svc/web", &["web.example", "db.example"], &[], &no),
        ("/svc/web", &[], &["10.0.0.1"], &no),
        ("/svc/web", &[], &["192.0.2.1"], &yes),
        ("/other", &["db.example"], &["10.0.0.1"], &yes),
    ] {
        assert_eq!(&decide(&roles, wish(path, dns, addresses)), expected, "{path} {dns:?} {addresses:?}");
    }
}

/// Names have no case, and an address of IPv4 is one however it is written.
#[test]
fn a_refusal_is_escaped_by_no_other_spelling() {
    let all = json!({"path": "*", "dns_sans": ["*"], "ip_sans": ["0.0.0.0/0", "::/0"]});
    let denying = |rule: serde_json::Value| {
        [role("all", json!({"allow": {"spiffe": [all]}})), role("none", json!({"deny": {"spiffe": [rule]}}))]
    };
    let (yes, no) = (Ok("all".to_owned()), Err(DenialCode::SpiffeDenied));
    for pattern in [
        "DB.internal",
        "^(?-i)DB\\.internal$",
        "^DB\\.(internal|X)$",
        "^[A-Z]{2}\\.internal$",
        "^[^A-Z0-9]+l$",
    ] {
        let roles = denying(json!({"path": "/*", "dns_sans": [pattern]}));
        let expected = if pattern.contains("?-i") { &yes } else { &no };
        for name in ["db.internal", "DB.INTERNAL", "Db.Internal"] {
            assert_eq!(&decide(&roles, wish("/a", &[name], &[])), expected, "{pattern} {name}");
        }
        assert_eq!(decide(&roles, wish("/a", &["web.example"], &[])), yes, "{pattern}");
    }
    for network in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
        let roles = denying(json!({"path": "/*", "ip_sans": [network]}));
        for address in ["10.0.0.1", "::ffff:10.0.0.1"] {
            assert_eq!(decide(&roles, wish("/a", &[], &[address])), no, "{network} {address}");
        }
        assert_eq!(decide(&roles, wish("/a", &[], &["2001:db8::1"])), yes);
    }
    // A rule for IPv6 allows nothing of IPv4.
    let six = [role("six", json!({"allow": {"spiffe": [{"path": "*", "ip_sans": ["::/0"]}]}}))];
    assert_eq!(decide(&six, wish("/a", &[], &["::ffff:10.0.0.1"])), NOT);
    // What a rule allows stays what it says.
    let capitals = [role("web", json!({"allow": {"spiffe": [{"path": "*", "dns_sans": ["^[A-Z]+$"]}]}}))];
    assert_eq!(decide(&capitals, wish("/a", &["web"], &[])), NOT);
}

#[test]
fn rules_come_back_as_they_were_written_and_wrong_ones_are_refused() {
    let rule = json!({"path": "/svc/*", "dns_sans": ["*.example"], "ip_sans": ["10.0.0.0/8"]});
    let written =
        role("web", json!({"allow": {"spiffe": [rule]}, "deny": {"spiffe": [{"path": "/svc/db"}]}}));
    let json = Resource::Role(Box::new(written.clone())).to_json();
    assert_eq!(json["spec"]["allow"]["spiffe"][0], rule);
    assert_eq!(Resource::from_json(json), Ok(Resource::Role(Box::new(written))));
    for (rule, part) in [
        (json!({}), "path"),
        (json!({"path": "svc/*"}), "begins with a slash"),
        (json!({"path": "^/[$"}), "regular expression"),
        (json!({"path": "/a", "dns_sans": [""]}), "dns_sans[0]"),
        (json!({"path": "/a", "dns_sans": ["^[$"]}), "dns_sans[0]"),
        (json!({"path": "/a", "ip_sans": ["10.0.0.1"]}), "not a network"),
        (json!({"path": "/a", "dns": ["x"]}), "dns"),
        (json!("/a"), "spiffe[0]"),
    ] {
        let value = json!({"kind": "role", "version": "v7", "metadata": {"name": "x"},
            "spec": {"allow": {"spiffe": [rule]}}});
        let error = Resource::from_json(value).expect_err("refused").to_string();
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

proptest! {
    /// More deny rules never allow more, and fewer allow rules neither.
    #[test]
    fn refusals_only_take_away(
        allow in proptest::collection::vec("/[ab*]{1,3}", 0..3),
        deny in proptest::collection::vec("/[ab*]{1,3}", 0..3),
        path in "/[ab]{1,3}",
    ) {
        let rules = |paths: &[String]| paths.iter().map(|path| json!({"path": path})).collect::<Vec<_>>();
        let with = |allow: &[String], deny: &[String]| {
            let spec = json!({"allow": {"spiffe": rules(allow)}, "deny": {"spiffe": rules(deny)}});
            decide(&[role("r", spec)], wish(&path, &[], &[])).is_ok()
        };
        if with(&allow, &deny) {
            prop_assert!(with(&allow, &[]));
            prop_assert!(!with(&[], &deny));
            let mut more = deny.clone();
            more.push(path.clone());
            prop_assert!(!with(&allow, &more));
        }
    }
}
