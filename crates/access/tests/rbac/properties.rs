//! What holds for any roles: deny never grants, allow never removes, order and repetition do not matter.

use super::{alice, attempt, role};
use access::rbac::impersonate::Requester;
use access::rbac::ssh::{
    KeyExchange, Request, SessionDefaults, allowed_logins, check, explain, post_quantum_required, visible,
};
use access::rbac::{RoleSet, Verb, api, certificate, impersonate};
use access::resource::Role;
use access::{Labels, Traits};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::time::Duration;

fn logins() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(vec!["root", "deploy", "{{internal.logins}}", "{{external.none}}"]), 1..5)
}

fn selector() -> impl Strategy<Value = Value> {
    let values = select(vec!["prod", "dev", "*", "p*", "^(prod|dev)$", "{{external.env}}"]);
    let keys = select(vec!["env", "tier", "{{external.key}}"]);
    let keyed = prop::collection::btree_map(keys, prop::collection::vec(values, 1..4), 1..3);
    prop_oneof![1 => Just(json!({})), 6 => Just(json!({"*": "*"})), 3 => keyed.prop_map(|map| json!(map))]
}

fn expression() -> impl Strategy<Value = &'static str> {
    let expressions = select(vec![
        r#"labels["env"] == "prod""#,
        r#"!(labels["tier"] != "db") || contains(user.spec.traits["logins"], "root")"#,
        r#"regexp.match(labels["env"], "p*") || labels["tier"] == """#,
        r#"contains(email.local(user.spec.traits["logins"]), labels["env"])"#,
    ]);
    prop_oneof![6 => Just(""), 1 => expressions]
}

fn rules() -> impl Strategy<Value = Value> {
    let verbs = prop::collection::vec(select(vec!["list", "read", "readnosecrets", "update", "*"]), 1..3);
    let resources = prop::collection::vec(select(vec!["role", "node", "*"]), 1..3);
    let clause =
        select(vec!["", "", r#"contains(user.spec.roles, "r1")"#, r#"equals(resource.metadata.name, "x")"#]);
    let rule = (resources, verbs, clause).prop_map(
        |(resources, verbs, clause)| json!({"resources": resources, "verbs": verbs, "where": clause}),
    );
    prop::collection::vec(rule, 0..3).prop_map(Value::from)
}

fn conditions() -> impl Strategy<Value = Value> {
    let impersonated = prop::collection::vec(select(vec!["a", "b", "*"]), 0..2);
    (logins(), selector(), expression(), rules(), impersonated).prop_map(|(logins, selector, expression, rules, roles)| {
        json!({
            "logins": logins, "node_labels": selector, "node_labels_expression": expression, "rules": rules,
            "impersonate": {"roles": roles},
        })
    })
}

fn options() -> impl Strategy<Value = Value> {
    let ttl = select(vec!["1h", "8h", "never"]);
    (any::<[Option<bool>; 7]>(), ttl, 0u32..4, select(vec!["", "strict", "best_effort"])).prop_map(
        |(flags, ttl, count, lock)| {
            json!({
                "forward_agent": flags[0], "port_forwarding": flags[1], "ssh_file_copy": flags[2],
                "permit_x11_forwarding": flags[3], "disconnect_expired_cert": flags[4],
                "ssh_port_forwarding": flags[5].map(|enabled| json!({"local": {"enabled": enabled}})),
                "require_post_quantum": flags[6], "max_session_ttl": ttl, "client_idle_timeout": ttl, "max_sessions": count, "lock": lock,
            })
        },
    )
}

fn spec() -> impl Strategy<Value = Value> {
    let empty = || Just(json!({}));
    (prop_oneof![1 => empty(), 4 => conditions()], prop_oneof![8 => empty(), 1 => conditions()], options())
        .prop_map(|(allow, deny, options)| json!({"allow": allow, "deny": deny, "options": options}))
}

fn roles() -> impl Strategy<Value = Vec<Role>> {
    prop::collection::vec(spec(), 1..4).prop_map(|specs| {
        specs.into_iter().enumerate().map(|(index, spec)| role(&format!("r{index}"), spec)).collect()
    })
}

fn node() -> impl Strategy<Value = Labels> {
    let values = select(vec!["prod", "dev", "db", ""]);
    prop::collection::btree_map(select(vec!["env", "tier"]), values, 0..3)
        .prop_map(|map| map.into_iter().collect())
}

fn login() -> impl Strategy<Value = &'static str> {
    select(vec!["root", "root", "deploy", "app", "nobody"])
}

fn compile<'a>(roles: impl IntoIterator<Item = &'a Role>) -> RoleSet {
    let traits: Traits =
        [("logins", vec!["app"]), ("env", vec!["prod", "^[$"]), ("key", vec!["env"])].into_iter().collect();
    RoleSet::new(&alice(), roles, &traits)
}

fn actions(roles: &RoleSet) -> Vec<bool> {
    let pairs = Verb::ALL.into_iter().flat_map(|verb| ["role", "node", "token"].map(|kind| (verb, kind)));
    pairs.map(|(verb, kind)| api::check(roles, verb, kind, None).is_ok()).collect()
}

fn wishes(roles: &RoleSet) -> Vec<bool> {
    let (a, b) = (role("a", json!({})), role("b", json!({})));
    let wishes = [vec![&a], vec![&b], vec![&a, &b]];
    wishes.iter().map(|wish| impersonate::roles(roles, Requester::default(), wish).is_ok()).collect()
}

fn at_most(less: &[bool], more: &[bool]) -> bool {
    less.iter().zip(more).all(|(less, more)| more | !less)
}

/// The properties would hold of themselves if nothing were ever granted.
#[test]
fn the_generated_roles_grant_often_enough() {
    let mut runner = TestRunner::deterministic();
    let cases = (roles(), node(), login());
    let granted = (0..400).filter(|_| {
        let (roles, node, login) = cases.new_tree(&mut runner).expect("a case").current();
        let request = attempt(login, &node);
        check(&compile(&roles), &request).is_ok()
    });
    let granted = granted.count();
    assert!((80..320).contains(&granted), "{granted} of 400 are granted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn adding_a_role_that_only_denies_never_grants(
        roles in roles(), deny in conditions(), node in node(), login in login(),
    ) {
        let extra = role("extra", json!({"deny": deny}));
        let (before, after) = (compile(&roles), compile(roles.iter().chain([&extra])));
        let request = attempt(login, &node);
        prop_assert!(check(&before, &request).is_ok() || check(&after, &request).is_err());
        prop_assert!(allowed_logins(&after, &node).is_subset(&allowed_logins(&before, &node)));
        prop_assert!(visible(&before, &node) || !visible(&after, &node));
        prop_assert!(at_most(&actions(&after), &actions(&before)));
        prop_assert!(at_most(&wishes(&after), &wishes(&before)));
    }

    #[test]
    fn adding_a_role_that_only_allows_never_removes(
        roles in roles(), allow in conditions(), node in node(), login in login(),
    ) {
        let extra = role("extra", json!({"allow": allow}));
        let (before, after) = (compile(&roles), compile(roles.iter().chain([&extra])));
        let request = attempt(login, &node);
        prop_assert!(check(&before, &request).is_err() || check(&after, &request).is_ok());
        prop_assert!(allowed_logins(&before, &node).is_subset(&allowed_logins(&after, &node)));
        prop_assert!(at_most(&actions(&before), &actions(&after)));
        prop_assert!(at_most(&wishes(&before), &wishes(&after)));
    }

    #[test]
    fn adding_a_deny_to_a_role_never_grants(
        roles in roles(), deny in conditions(), at in any::<prop::sample::Index>(), node in node(), login in login(),
    ) {
        let at = at.index(roles.len());
        let mut changed = roles.clone();
        let added = role("x", json!({"deny": deny})).spec.deny;
        let deny = &mut changed[at].spec.deny;
        deny.logins.extend(added.logins);
        deny.rules.extend(added.rules);
        let (before, after) = (compile(&roles), compile(&changed));
        let request = attempt(login, &node);
        prop_assert!(check(&before, &request).is_ok() || check(&after, &request).is_err());
        prop_assert!(at_most(&actions(&after), &actions(&before)));
    }

    /// A requirement narrows what can be done over other connections to nothing, and changes nothing over its own.
    #[test]
    fn requiring_a_post_quantum_key_exchange_only_narrows(
        roles in roles(), at in any::<prop::sample::Index>(), cluster in any::<bool>(), node in node(), login in login(),
    ) {
        let at = at.index(roles.len());
        let mut changed = roles.clone();
        changed[at].spec.options.require_post_quantum = Some(true);
        let (before, after) = (compile(&roles), compile(&changed));
        let over = |roles: &RoleSet, key_exchange, require_post_quantum| {
            let defaults = SessionDefaults { require_post_quantum, ..SessionDefaults::default() };
            check(roles, &Request { login, labels: &node, key_exchange, defaults })
        };
        let (curve, best) = (KeyExchange::Classical("curve25519-sha256"), KeyExchange::PostQuantum);
        prop_assert_eq!(over(&before, best, cluster), over(&after, best, false));
        prop_assert!(over(&after, curve, cluster).is_err());
        prop_assert!(over(&before, curve, true).is_err());
        let defaults = SessionDefaults { require_post_quantum: cluster, ..SessionDefaults::default() };
        let free = post_quantum_required(&before, defaults).is_none();
        prop_assert_eq!(over(&before, curve, cluster).is_ok(), free && over(&before, best, cluster).is_ok());
    }

    /// Nothing at all depends on the order, and a role given twice is a role given once.
    #[test]
    fn order_and_repetition_do_not_matter(
        roles in roles(), node in node(), login in login(), order in any::<prop::sample::Index>(),
    ) {
        let mut turned = roles.clone();
        turned.reverse();
        let by = order.index(turned.len());
        turned.rotate_left(by);
        let (one, other) = (compile(&roles), compile(turned.iter().chain(&roles)));
        let request = attempt(login, &node);
        prop_assert_eq!(explain(&one, &request), explain(&other, &request));
        prop_assert_eq!(actions(&one), actions(&other));
        prop_assert_eq!(wishes(&one), wishes(&other));
        prop_assert_eq!(certificate::options(&one), certificate::options(&other));
        for hours in [1, 5, 100] {
            let ttl = Duration::from_secs(hours * 3600);
            prop_assert_eq!(certificate::logins(&one, ttl), certificate::logins(&other, ttl));
            prop_assert_eq!(certificate::max_ttl(&one, ttl), certificate::max_ttl(&other, ttl));
            prop_assert!(certificate::max_ttl(&one, ttl) <= ttl);
        }
    }

    /// The three questions about a node agree, and whoever gets in is in the certificate too.
    #[test]
    fn the_questions_agree(roles in roles(), node in node(), login in login()) {
        let roles = compile(&roles);
        let request = attempt(login, &node);
        let explanation = explain(&roles, &request);
        let granted = explanation.decision.is_ok();
        prop_assert_eq!(&explanation.decision, &check(&roles, &request));
        prop_assert_eq!(allowed_logins(&roles, &node).contains(login), granted);
        prop_assert!(visible(&roles, &node) || !granted);
        let refuses = explanation.steps.iter().any(|step| step.side == "deny" && step.takes_effect);
        let grants = explanation.steps.iter().any(|step| step.side == "allow" && step.takes_effect);
        prop_assert_eq!(granted, grants && !refuses);
        if granted {
            let principals = certificate::logins(&roles, Duration::from_secs(60)).expect("logins");
            prop_assert!(principals.contains(login));
        }
    }
}
