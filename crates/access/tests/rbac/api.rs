//! Sections 2.3 and 2.8: who may do what to which resource.

use super::{alice, role, set, with_traits};
use access::rbac::api::{ResourceView, check, read};
use access::rbac::{RoleSet, Verb};
use access::resource::{Metadata, Role};
use access::{RoleName, Traits, preset};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn rules(name: &str, side: &str, rules: Value) -> Role {
    role(name, json!({side: {"rules": rules}}))
}

fn may(roles: &RoleSet, verb: Verb, kind: &str) -> Result<String, String> {
    match check(roles, verb, kind, None) {
        Ok(permit) => Ok(permit.granted_by().to_string()),
        Err(denial) => Err(denial.code.to_string()),
    }
}

#[test]
fn without_a_rule_there_is_no_permission() {
    let roles = set(&[role("a", json!({}))]);
    assert_eq!(may(&roles, Verb::Update, "role"), Err("action_not_allowed".into()));
    assert_eq!(may(&set(&[]), Verb::List, "node"), Err("action_not_allowed".into()));
    let denial = check(&roles, Verb::Update, "role", None).expect_err("denied");
    assert_eq!(denial.reason, "access denied to perform action \"update\" on \"role\"");
}

#[test]
fn rules_name_resources_and_verbs() {
    let roles = set(&[
        rules("one", "allow", json!([{"resources": ["role", "user"], "verbs": ["list", "update"]}])),
        rules("verbs", "allow", json!([{"resources": ["token"], "verbs": ["*"]}])),
        rules("kinds", "allow", json!([{"resources": ["*"], "verbs": ["rotate"]}])),
    ]);
    for (verb, kind, expected) in [
        (Verb::List, "role", Ok("one")),
        (Verb::Update, "user", Ok("one")),
        (Verb::Delete, "user", Err("action_not_allowed")),
        (Verb::Delete, "token", Ok("verbs")),
        (Verb::Rotate, "cert_authority", Ok("kinds")),
        (Verb::Create, "cert_authority", Err("action_not_allowed")),
    ] {
        assert_eq!(
            may(&roles, verb, kind),
            expected.map(str::to_owned).map_err(str::to_owned),
            "{verb} {kind}"
        );
    }
}

#[test]
fn reading_includes_reading_without_secrets_and_not_the_reverse() {
    let full = set(&[rules("a", "allow", json!([{"resources": ["token"], "verbs": ["read"]}]))]);
    assert!(may(&full, Verb::ReadNoSecrets, "token").is_ok());
    assert!(read(&full, "token", None).expect("allowed").with_secrets());
    let masked = set(&[rules("a", "allow", json!([{"resources": ["token"], "verbs": ["readnosecrets"]}]))]);
    assert!(may(&masked, Verb::Read, "token").is_err());
    assert!(!read(&masked, "token", None).expect("allowed").with_secrets());
}

#[test]
fn deny_comes_first_whatever_the_role() {
    let allow = rules("allow", "allow", json!([{"resources": ["*"], "verbs": ["*"]}]));
    for (deny, verb, kind, denied) in [
        (json!([{"resources": ["role"], "verbs": ["delete"]}]), Verb::Delete, "role", true),
        (json!([{"resources": ["role"], "verbs": ["delete"]}]), Verb::Update, "role", false),
        (json!([{"resources": ["*"], "verbs": ["delete"]}]), Verb::Delete, "user", true),
        (json!([{"resources": ["role"], "verbs": ["*"]}]), Verb::Delete, "user", false),
        (json!([{"resources": ["token"], "verbs": ["read"]}]), Verb::ReadNoSecrets, "token", true),
        (json!([{"resources": ["token"], "verbs": ["readnosecrets"]}]), Verb::Read, "token", true),
    ] {
        let roles = set(&[allow.clone(), rules("deny", "deny", deny.clone())]);
        let expected = if denied { Err("action_denied".to_owned()) } else { Ok("allow".to_owned()) };
        assert_eq!(may(&roles, verb, kind), expected, "{deny}: {verb} {kind}");
    }
    let roles = set(&[
        allow,
        rules(
            "deny",
            "deny",
            json!([{"resources": ["user"], "verbs": ["list"]}, {"resources": ["role"], "verbs": ["list"]}]),
        ),
    ]);
    let denial = check(&roles, Verb::List, "role", None).expect_err("denied");
    assert_eq!(denial.rule.expect("a rule").to_string(), "role \"deny\": deny.rules[1]");
}

#[test]
fn clauses_narrow_rules() {
    let labels = BTreeMap::from([("owner".to_owned(), "alice".to_owned())]);
    let participants = ["alice".to_owned()];
    let own =
        ResourceView { name: "x", labels: &labels, participants: Some(&participants), principals: None };
    let nobody = BTreeMap::new();
    let foreign = ResourceView { name: "y", labels: &nobody, participants: Some(&[]), principals: None };
    let clause = r#"equals(resource.metadata.labels["owner"], user.metadata.name)"#;
    let rule = |clause: &str| json!([{"resources": ["token"], "verbs": ["delete"], "where": clause}]);
    let roles = set(&[rules("a", "allow", rule(clause))]);
    assert!(check(&roles, Verb::Delete, "token", Some(own)).is_ok());
    assert!(check(&roles, Verb::Delete, "token", Some(foreign)).is_err());
    assert!(check(&roles, Verb::Delete, "token", None).is_err(), "no resource, no fulfilled clause");
    let everything = rules("e", "allow", json!([{"resources": ["*"], "verbs": ["*"]}]));
    let roles = set(&[everything, rules("d", "deny", rule(clause))]);
    assert!(check(&roles, Verb::Delete, "token", Some(own)).is_err());
    assert!(check(&roles, Verb::Delete, "token", Some(foreign)).is_ok());
    assert!(check(&roles, Verb::Delete, "token", None).is_ok());
    let by_trait = rule(r#"contains(user.spec.traits["teams"], "core") && contains(user.spec.roles, "a")"#);
    let role = rules("a", "allow", by_trait);
    assert!(
        check(
            &with_traits(std::slice::from_ref(&role), &[("teams", &["core"])]),
            Verb::Delete,
            "token",
            None
        )
        .is_ok()
    );
    assert!(check(&set(&[role]), Verb::Delete, "token", None).is_err());
}

/// A clause that decoding would have refused: the safe side, whichever it stands on.
#[test]
fn a_broken_clause_grants_nothing_and_refuses() {
    let mut broken = rules("b", "allow", json!([{"resources": ["role"], "verbs": ["list"]}]));
    broken.spec.allow.rules[0].condition = "equals(".into();
    assert!(may(&set(std::slice::from_ref(&broken)), Verb::List, "role").is_err());
    std::mem::swap(&mut broken.spec.allow, &mut broken.spec.deny);
    let everything = rules("e", "allow", json!([{"resources": ["*"], "verbs": ["*"]}]));
    assert_eq!(may(&set(&[everything, broken]), Verb::List, "role"), Err("action_denied".into()));
}

#[test]
fn everybody_with_a_role_sees_what_clients_need() {
    let roles = set(&[role("a", json!({}))]);
    for kind in ["node", "proxy", "auth_server", "cluster_auth_preference", "cluster_name", "remote_cluster"]
    {
        assert!(may(&roles, Verb::List, kind).is_ok() && may(&roles, Verb::Read, kind).is_ok(), "{kind}");
        assert!(may(&roles, Verb::Update, kind).is_err(), "{kind}");
    }
    assert!(may(&roles, Verb::ReadNoSecrets, "cert_authority").is_ok());
    assert!(may(&roles, Verb::Read, "cert_authority").is_err());
    assert!(may(&roles, Verb::Create, "usage_event").is_ok());
    assert_eq!(roles.names().iter().map(RoleName::as_str).collect::<Vec<_>>(), ["a"], "it is not shown");
}

#[test]
fn the_role_nop_stays_alone() {
    let mut nop = role("x", json!({}));
    nop.name = RoleName::new("Nop").expect("a name");
    let roles = RoleSet::new(&alice(), [&nop], &Traits::default());
    assert!(may(&roles, Verb::List, "node").is_err());
}

#[test]
fn presets_do_what_they_are_for() {
    let of = |role: Role| set(&[role]);
    let (editor, access, auditor) = (of(preset::editor()), of(preset::access()), of(preset::auditor()));
    for kind in ["role", "user", "bot", "token", "lock", "cluster_networking_config"] {
        assert!(
            may(&editor, Verb::Create, kind).is_ok() && may(&editor, Verb::Delete, kind).is_ok(),
            "{kind}"
        );
        assert!(
            may(&access, Verb::Create, kind).is_err() && may(&auditor, Verb::Create, kind).is_err(),
            "{kind}"
        );
    }
    assert!(may(&editor, Verb::Read, "cert_authority").is_err(), "private keys are nobody's");
    assert!(may(&auditor, Verb::List, "event").is_ok() && may(&auditor, Verb::Read, "session").is_ok());
    let none = BTreeMap::new();
    let own = ["alice".to_owned()];
    let session = |participants| ResourceView {
        name: "s",
        labels: &none,
        participants: Some(participants),
        principals: None,
    };
    assert!(check(&access, Verb::Read, "session", Some(session(&own))).is_ok());
    assert!(check(&access, Verb::Read, "session", Some(session(&[]))).is_err());
}

#[test]
fn rules_of_another_namespace_do_not_count() {
    let part = |namespace: &str| json!({"namespaces": [namespace], "rules": [{"resources": ["token"], "verbs": ["list"]}]});
    for (namespace, counts) in [("default", true), ("*", true), ("other", false)] {
        let allow = role("a", json!({"allow": part(namespace)}));
        assert_eq!(may(&set(&[allow]), Verb::List, "token").is_ok(), counts, "{namespace}");
        let both = role("b", json!({"allow": part("default"), "deny": part(namespace)}));
        assert_eq!(may(&set(&[both]), Verb::List, "token").is_err(), counts, "deny {namespace}");
    }
}

#[test]
fn a_resource_is_seen_by_its_metadata() {
    let metadata = Metadata { name: "x".into(), ..Metadata::default() };
    let rule = json!([{"resources": ["lock"], "verbs": ["delete"], "where": r#"equals(resource.metadata.name, "x")"#}]);
    let roles = set(&[rules("a", "allow", rule)]);
    assert!(check(&roles, Verb::Delete, "lock", Some((&metadata).into())).is_ok());
    // Nobody took part in what is no session, so a clause about that is not fulfilled, negated or not.
    for clause in ["contains(session.participants, \"alice\")", "!contains(session.participants, \"alice\")"]
    {
        let roles = set(&[rules(
            "a",
            "allow",
            json!([{"resources": ["lock"], "verbs": ["delete"], "where": clause}]),
        )]);
        assert!(check(&roles, Verb::Delete, "lock", Some((&metadata).into())).is_err(), "{clause}");
    }
}
