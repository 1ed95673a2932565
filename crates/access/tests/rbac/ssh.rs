//! Section 2.4 with 2.5 to 2.7: who may log in where.

use super::{allows, attempt, labels, role, set, versioned, with_traits};
use access::rbac::ssh::{allowed_logins, check, explain, visible};
use access::rbac::{DenialCode, MissingRole, RoleSet};
use access::resource::Role;
use access::{Labels, Login, RoleName, Traits};
use serde_json::{Value, json};

fn decide(roles: &RoleSet, login: &str, labels: &Labels) -> Result<Vec<String>, &'static str> {
    let request = attempt(login, labels);
    let explanation = explain(roles, &request);
    let decision = check(roles, &request);
    assert_eq!(explanation.decision, decision, "explaining decides as checking does");
    assert_eq!(explanation.allowed_logins.contains(login), decision.is_ok(), "the list of logins agrees");
    assert_eq!(visible(roles, labels), !allowed_logins(roles, labels).is_empty());
    match decision {
        Ok(permit) => Ok(permit.granted_by().iter().map(RoleName::to_string).collect()),
        Err(denial) => Err(denial.code.as_str()),
    }
}

fn granted(roles: &[Role], login: &str, node: &[(&str, &str)]) -> bool {
    decide(&set(roles), login, &labels(node)).is_ok()
}

#[test]
fn no_roles_mean_nothing() {
    assert_eq!(decide(&set(&[]), "root", &labels(&[])), Err("no_roles"));
}

#[test]
fn a_role_grants_its_logins_on_its_nodes() {
    let roles = set(&[allows("ops", &["root", "deploy"], "prod")]);
    let prod = labels(&[("env", "prod"), ("x", "y")]);
    assert_eq!(decide(&roles, "root", &prod), Ok(vec!["ops".into()]));
    assert_eq!(decide(&roles, "deploy", &prod), Ok(vec!["ops".into()]));
    assert_eq!(decide(&roles, "admin", &prod), Err("login_not_allowed"));
    assert_eq!(decide(&roles, "Root", &prod), Err("login_not_allowed"));
    assert_eq!(decide(&roles, "roo*", &prod), Err("login_not_allowed"));
    assert_eq!(decide(&roles, "", &prod), Err("login_not_allowed"));
    assert_eq!(decide(&roles, "root", &labels(&[("env", "dev")])), Err("node_not_allowed"));
    assert_eq!(decide(&roles, "root", &labels(&[])), Err("node_not_allowed"));
}

#[test]
fn labels_of_one_role_and_logins_of_another_never_combine() {
    let roles = set(&[allows("a", &["root"], "dev"), allows("b", &["deploy"], "prod")]);
    assert_eq!(decide(&roles, "root", &labels(&[("env", "prod")])), Err("login_not_allowed"));
    assert_eq!(decide(&roles, "deploy", &labels(&[("env", "dev")])), Err("login_not_allowed"));
    assert_eq!(decide(&roles, "deploy", &labels(&[("env", "prod")])), Ok(vec!["b".into()]));
}

#[test]
fn denied_logins_are_denied_on_every_node() {
    let deny = role("deny", json!({"deny": {"logins": ["root"], "node_labels": {"env": "dev"}}}));
    let roles = set(&[allows("ops", &["root", "deploy"], "prod"), deny]);
    assert_eq!(decide(&roles, "root", &labels(&[("env", "prod")])), Err("login_denied"));
    assert_eq!(decide(&roles, "deploy", &labels(&[("env", "prod")])), Ok(vec!["ops".into()]));
}

#[test]
fn denied_nodes_are_denied_under_every_login() {
    let by_label = role("deny", json!({"deny": {"node_labels": {"env": "prod", "tier": ["db", "cache"]}}}));
    let roles = set(&[allows("ops", &["root"], "prod"), by_label]);
    assert_eq!(
        decide(&roles, "root", &labels(&[("env", "prod"), ("tier", "db")])),
        Err("node_denied_by_label")
    );
    assert_eq!(decide(&roles, "root", &labels(&[("env", "prod"), ("tier", "web")])), Ok(vec!["ops".into()]));
    let by_expression =
        role("deny", json!({"deny": {"node_labels_expression": r#"labels["tier"] == "db""#}}));
    let roles = set(&[allows("ops", &["root"], "prod"), by_expression]);
    assert_eq!(
        decide(&roles, "root", &labels(&[("env", "prod"), ("tier", "db")])),
        Err("node_denied_by_expression")
    );
    assert_eq!(decide(&roles, "root", &labels(&[("env", "prod")])), Ok(vec!["ops".into()]));
}

/// Either deny selector is enough, while both allow selectors must fit.
#[test]
fn labels_and_expression_add_up_differently_on_each_side() {
    let both = json!({"logins": ["root"], "node_labels": {"env": "prod"}, "node_labels_expression": r#"labels["tier"] == "web""#});
    let allow = role("a", json!({"allow": both}));
    assert!(granted(std::slice::from_ref(&allow), "root", &[("env", "prod"), ("tier", "web")]));
    assert!(!granted(std::slice::from_ref(&allow), "root", &[("env", "prod")]));
    assert!(!granted(&[allow], "root", &[("tier", "web")]));
    let everything = role("a", json!({"allow": {"logins": ["root"], "node_labels": {"*": "*"}}}));
    let deny = role(
        "d",
        json!({"deny": {"node_labels": {"env": "prod"}, "node_labels_expression": r#"labels["tier"] == "web""#}}),
    );
    for node in [[("env", "prod"), ("tier", "x")], [("env", "x"), ("tier", "web")]] {
        assert!(!granted(&[everything.clone(), deny.clone()], "root", &node), "{node:?}");
    }
    assert!(granted(&[everything, deny], "root", &[("env", "x")]));
}

#[test]
fn without_selectors_a_role_reaches_nothing() {
    for version in ["v4", "v5", "v6", "v7"] {
        assert!(!granted(
            &[versioned("a", version, json!({"allow": {"logins": ["root"]}}))],
            "root",
            &[("a", "b")]
        ));
    }
    assert!(granted(&[versioned("a", "v3", json!({"allow": {"logins": ["root"]}}))], "root", &[]));
    let none = versioned("a", "v3", json!({"allow": {"logins": ["root"], "node_labels": {}}}));
    assert!(!granted(&[none], "root", &[("a", "b")]));
    let expression =
        role("a", json!({"allow": {"logins": ["root"], "node_labels_expression": r#"labels["a"] == "b""#}}));
    assert!(granted(&[expression], "root", &[("a", "b")]));
}

#[test]
fn namespaces_are_default_or_everything() {
    for (namespaces, reached) in
        [(json!(["default"]), true), (json!(["*"]), true), (json!([]), true), (json!(["other"]), false)]
    {
        let allow = role(
            "a",
            json!({"allow": {"namespaces": namespaces, "logins": ["root"], "node_labels": {"*": "*"}}}),
        );
        assert_eq!(granted(std::slice::from_ref(&allow), "root", &[]), reached, "{namespaces}");
        let everything = role("e", json!({"allow": {"logins": ["root"], "node_labels": {"*": "*"}}}));
        let deny = role("d", json!({"deny": {"namespaces": namespaces, "logins": ["root"]}}));
        assert_eq!(granted(&[everything, deny], "root", &[]), !reached, "deny {namespaces}");
    }
}

/// Section 2.5, through roles.
#[test]
fn selectors_fit_labels() {
    for (selector, node, expected) in [
        (json!({}), &[("a", "b")][..], false),
        (json!({"*": "*"}), &[], true),
        (json!({"*": "*", "env": "prod"}), &[], true),
        (json!({"env": "*"}), &[("env", "")], true),
        (json!({"env": "*"}), &[], false),
        (json!({"env": ["dev", "*"]}), &[("env", "x\ny")], true),
        (json!({"env": []}), &[("env", "x")], false),
        (json!({"env": "prod"}), &[("Env", "prod")], false),
        (json!({"e*": "prod"}), &[("env", "prod")], false),
        (json!({"e*": "prod"}), &[("e*", "prod")], true),
        (json!({"env": "prod", "team": "a"}), &[("env", "prod"), ("team", "a"), ("more", "x")], true),
        (json!({"env": "prod", "team": "a"}), &[("env", "prod")], false),
        (json!({"env": ["dev", "prod"]}), &[("env", "prod")], true),
        (json!({"env": "pr*d"}), &[("env", "prood")], true),
        (json!({"env": "^test|staging$"}), &[("env", "my-staging")], true),
        (json!({"env": "^(test|staging)$"}), &[("env", "my-staging")], false),
        (json!({"env": "{{external.envs}}"}), &[("env", "dev")], true),
        (json!({"env": "{{external.envs}}"}), &[("env", "stage")], true),
        (json!({"env": "x-{{external.envs}}"}), &[("env", "dev")], false),
        (json!({"env": "x-{{external.envs}}"}), &[("env", "x-dev")], true),
        (json!({"env": "{{external.none}}"}), &[("env", "dev")], false),
        (json!({"env": "{{external.none}}"}), &[("env", "")], true),
        (json!({"{{external.keys}}": "v"}), &[("first", "v")], true),
        (json!({"{{external.keys}}": "v"}), &[("second", "v")], false),
        (json!({"{{external.none}}": "*"}), &[("", "v"), ("x", "v")], false),
        (json!({"env": "{{external.broken}}"}), &[("env", "^[$")], false),
        (json!({"env": ["{{external.broken}}", "dev"]}), &[("env", "dev")], true),
        (json!({"env": "{{external.regex}}"}), &[("env", "dev-12")], true),
    ] {
        let traits: [(&str, &[&str]); 4] = [
            ("envs", &["dev", "st*"]),
            ("keys", &["first", "second"]),
            ("broken", &["^[$"]),
            ("regex", &["^dev-[0-9]+$"]),
        ];
        let allow = role("a", json!({"allow": {"logins": ["root"], "node_labels": selector}}));
        let decision = decide(&with_traits(&[allow], &traits), "root", &labels(node));
        assert_eq!(decision.is_ok(), expected, "{selector} against {node:?}");
    }
}

/// What a trait spoils refuses on the deny side.
#[test]
fn a_broken_pattern_in_deny_fits_every_value() {
    let everything = role("a", json!({"allow": {"logins": ["root"], "node_labels": {"*": "*"}}}));
    let deny = role("d", json!({"deny": {"node_labels": {"env": "{{external.broken}}"}}}));
    let roles = with_traits(&[everything.clone(), deny], &[("broken", &["^[$"])]);
    assert_eq!(decide(&roles, "root", &labels(&[("env", "any")])), Err("node_denied_by_label"));
    assert_eq!(decide(&roles, "root", &labels(&[])), Ok(vec!["a".into()]));
    let mail = r#"contains(email.local(user.spec.traits["mail"]), labels["owner"])"#;
    let deny = role("d", json!({"deny": {"node_labels_expression": mail}}));
    let roles = with_traits(&[everything, deny], &[("mail", &["nobody"])]);
    assert_eq!(decide(&roles, "root", &labels(&[])), Err("node_denied_by_expression"));
    let allow = role("a", json!({"allow": {"logins": ["root"], "node_labels_expression": mail}}));
    let roles = with_traits(&[allow], &[("mail", &["nobody"])]);
    assert_eq!(decide(&roles, "root", &labels(&[("owner", "nobody")])), Err("node_not_allowed"));
}

#[test]
fn traits_fill_logins_on_both_sides() {
    let role_of =
        |side: &str, logins: Value| role("r", json!({side: {"logins": logins, "node_labels": {"x": "*"}}}));
    let traits: [(&str, &[&str]); 3] = [
        ("logins", &["root", "deploy", "root"]),
        (
            "odd",
            &[
                "-oProxyCommand=x",
                "a b",
                "a:b",
                "a/b",
                "",
                "a\nb",
                "thirty-three-characters-long-name",
                "fine",
            ],
        ),
        ("mail", &["bob@example.com"]),
    ];
    for (logins, expected) in [
        (json!(["{{internal.logins}}"]), vec!["deploy", "root"]),
        (
            json!(["{{external.logins}}", "root", "x-{{internal.logins}}"]),
            vec!["deploy", "root", "x-deploy", "x-root"],
        ),
        (json!(["{{external.odd}}"]), vec!["fine"]),
        (json!(["{{external.none}}", "root"]), vec!["root"]),
        (json!(["{{email.local(external.mail)}}"]), vec!["bob"]),
        (json!(["{{email.local(external.logins)}}"]), vec![]),
    ] {
        let roles = with_traits(&[role_of("allow", logins.clone())], &traits);
        let found = allowed_logins(&roles, &labels(&[("x", "y")]));
        assert_eq!(found.iter().map(Login::as_str).collect::<Vec<_>>(), expected, "{logins}");
    }
    let everything = role("a", json!({"allow": {"logins": ["root", "bob"], "node_labels": {"*": "*"}}}));
    let denies = with_traits(&[everything, role_of("deny", json!(["{{external.logins}}"]))], &traits);
    assert_eq!(decide(&denies, "root", &labels(&[])), Err("login_denied"));
    assert_eq!(decide(&denies, "bob", &labels(&[])), Ok(vec!["a".into()]));
}

/// A deny that fails on the user's traits denies every login; one whose trait is not there denies none.
#[test]
fn a_deny_that_cannot_be_filled_denies_all() {
    let everything = role("a", json!({"allow": {"logins": ["root", "bob"], "node_labels": {"*": "*"}}}));
    let deny = role("deny", json!({"deny": {"logins": ["{{email.local(external.mails)}}"]}}));
    for (mails, bob) in [
        (&["root@x"][..], Ok(vec!["a".into()])),
        (&["root@x", "junk"], Err("login_denied")),
        (&[], Ok(vec!["a".into()])),
    ] {
        let roles = with_traits(&[everything.clone(), deny.clone()], &[("mails", mails)]);
        assert_eq!(decide(&roles, "bob", &labels(&[])), bob, "{mails:?}");
    }
}

#[test]
fn roles_filled_from_the_certificate_see_the_traits_of_the_certificate() {
    let expression = r#"contains(user.spec.traits["teams"], labels["team"])"#;
    let allow = role("a", json!({"allow": {"logins": ["root"], "node_labels_expression": expression}}));
    let member = with_traits(std::slice::from_ref(&allow), &[("teams", &["core"])]);
    assert_eq!(decide(&member, "root", &labels(&[("team", "core")])), Ok(vec!["a".into()]));
    assert_eq!(decide(&set(&[allow]), "root", &labels(&[("team", "core")])), Err("node_not_allowed"));
}

#[test]
fn a_missing_role_fails_the_whole() {
    let allow = allows("ops", &["root"], "prod");
    let deny = RoleName::new("deny").expect("a name");
    let find = |name: &RoleName| (*name == allow.name).then_some(&allow);
    let names = [allow.name.clone(), deny.clone()];
    let resolved = RoleSet::resolve(&super::alice(), &names, &Traits::default(), find);
    assert_eq!(resolved.err(), Some(MissingRole(deny)));
    assert!(RoleSet::resolve(&super::alice(), &names[..1], &Traits::default(), find).is_ok());
}

#[test]
fn denials_tell_the_caller_little_and_administrators_everything() {
    let deny = role("no-root", json!({"deny": {"logins": ["root"]}}));
    let roles = set(&[allows("ops", &["root", "deploy"], "prod"), deny]);
    let denial =
        |login, node: &[(&str, &str)]| check(&roles, &attempt(login, &labels(node))).expect_err("denied");
    let reachable = denial("root", &[("env", "prod")]);
    assert_eq!(
        reachable.reason,
        "access to node denied: login \"root\" is not allowed there; allowed are deploy"
    );
    assert_eq!(reachable.rule.expect("a rule").to_string(), r#"role "no-root": deny.logins {"root"}"#);
    let other = denial("admin", &[("env", "prod")]);
    assert_eq!(other.code, DenialCode::LoginNotAllowed);
    assert_eq!(
        other.rule.expect("a rule").to_string(),
        r#"role "ops": allow.logins {"deploy", "root"} lists no "admin""#
    );
    let hidden = denial("deploy", &[("env", "dev")]);
    assert_eq!(hidden.reason, "access to node denied. User does not have permissions. Confirm SSH login.");
    assert_eq!(hidden.rule, None);
}

#[test]
fn an_explanation_names_every_part() {
    let allow = role(
        "ops",
        json!({"allow": {"logins": ["root", "{{internal.logins}}"], "node_labels": {"env": "prod"}}}),
    );
    let deny = role(
        "no-db",
        json!({"deny": {"node_labels": {"tier": "db"}, "node_labels_expression": r#"labels["a"] == "b""#}}),
    );
    let node = labels(&[("env", "prod"), ("tier", "db")]);
    let request = attempt("root", &node);
    let explanation = explain(&set(&[allow, deny]), &request);
    let steps: Vec<String> = explanation.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps,
        [
            r#"role "no-db" deny: refuses (node_labels {"tier": ["db"]} fits; node_labels_expression "labels[\"a\"] == \"b\"" does not fit)"#,
            r#"role "no-db" allow: does not grant (says nothing)"#,
            r#"role "ops" allow: grants (node_labels {"env": ["prod"]} fits; logins {"root"} list "root"; login "{{internal.logins}}" was dropped: the user has no trait logins)"#,
        ]
    );
    assert_eq!(explanation.decision.expect_err("denied").code, DenialCode::NodeDeniedByLabel);
}
