//! Section 2.9, and sections 5 and 6.3 of the sheet on machine identities.

use super::{alice, role, set, with_traits};
use access::bot::{role_of, user_of};
use access::rbac::RoleSet;
use access::rbac::impersonate::{Requester, requestable, roles, user};
use access::resource::user::UserSpec;
use access::resource::{Bot, Metadata, Role, User};
use access::{BotName, RoleName, Traits, Ttl, UserName};
use serde_json::{Value, json};

fn wanted(names: &[&str]) -> Vec<Role> {
    names.iter().map(|name| role(name, json!({}))).collect()
}

fn ask(held: &RoleSet, names: &[&str]) -> Result<Vec<String>, String> {
    let wanted = wanted(names);
    let requested: Vec<&Role> = wanted.iter().collect();
    match roles(held, Requester::default(), &requested) {
        Ok(permit) => Ok(permit.roles().iter().map(RoleName::to_string).collect()),
        Err(denial) => Err(denial.code.to_string()),
    }
}

fn impersonates(name: &str, side: &str, part: Value) -> Role {
    role(name, json!({side: {"impersonate": part}}))
}

fn bot(roles: &[&str]) -> Bot {
    Bot {
        metadata: Metadata { name: "example".into(), ..Metadata::default() },
        name: BotName::new("example").expect("a name"),
        roles: roles.iter().map(|name| RoleName::new(*name).expect("a name")).collect(),
        traits: Traits::default(),
        max_session_ttl: Ttl::from_secs(3600),
    }
}

/// Row C8 of the abuse table.
#[test]
fn a_bot_gets_its_roles_and_no_others() {
    let bot = bot(&["a", "b"]);
    let held = RoleSet::new(&user_of(&bot).name, [&role_of(&bot)], &bot.traits);
    assert_eq!(ask(&held, &["b", "a", "b"]), Ok(vec!["a".into(), "b".into()]));
    assert_eq!(ask(&held, &["a"]), Ok(vec!["a".into()]));
    assert_eq!(ask(&held, &["a", "admin"]), Err("impersonation_not_allowed".into()));
    assert_eq!(ask(&held, &["bot-example"]), Err("impersonation_not_allowed".into()));
    assert_eq!(ask(&held, &[]), Err("no_roles_requested".into()));
    assert_eq!(requestable(&held).iter().map(RoleName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    let rolesless = self::bot(&[]);
    let held = RoleSet::new(&user_of(&rolesless).name, [&role_of(&rolesless)], &rolesless.traits);
    assert_eq!(ask(&held, &["a"]), Err("impersonation_not_allowed".into()));
}

#[test]
fn an_output_cannot_ask_again() {
    let bot = bot(&["a"]);
    let held = RoleSet::new(&user_of(&bot).name, [&role_of(&bot)], &bot.traits);
    let wanted = wanted(&["a"]);
    let requested: Vec<&Role> = wanted.iter().collect();
    for requester in [
        Requester { disallow_reissue: true, impersonated: false },
        Requester { disallow_reissue: false, impersonated: true },
    ] {
        let denial = roles(&held, requester, &requested).expect_err("denied");
        assert_eq!(denial.code.as_str(), "reissue_not_allowed");
        assert_eq!(denial.reason, "identity is not allowed to reissue certificates");
    }
}

#[test]
fn one_role_must_cover_everything() {
    let held = set(&[
        impersonates("x", "allow", json!({"roles": ["a"]})),
        impersonates("y", "allow", json!({"roles": ["b", "dev-*"]})),
    ]);
    assert!(ask(&held, &["a"]).is_ok() && ask(&held, &["b", "dev-1"]).is_ok());
    assert_eq!(ask(&held, &["a", "b"]), Err("impersonation_not_allowed".into()));
}

#[test]
fn a_role_that_names_users_is_not_for_roles_alone() {
    let held = set(&[impersonates("x", "allow", json!({"users": ["*"], "roles": ["*"]}))]);
    assert_eq!(ask(&held, &["a"]), Err("impersonation_not_allowed".into()));
    let unfilled =
        set(&[impersonates("x", "allow", json!({"users": ["{{external.none}}"], "roles": ["*"]}))]);
    assert_eq!(ask(&unfilled, &["a"]), Err("impersonation_not_allowed".into()));
    let roles_only_in_deny = set(&[impersonates("x", "deny", json!({"roles": ["a"]}))]);
    assert_eq!(ask(&roles_only_in_deny, &["a"]), Err("impersonation_denied".into()));
    assert_eq!(ask(&roles_only_in_deny, &["b"]), Err("impersonation_not_allowed".into()));
}

#[test]
fn deny_comes_first() {
    let held = set(&[
        impersonates("allow", "allow", json!({"roles": ["*"]})),
        impersonates("deny", "deny", json!({"roles": ["admin", "^root-.*$"]})),
    ]);
    assert!(ask(&held, &["a"]).is_ok());
    for names in [&["admin"][..], &["a", "admin"], &["root-1"]] {
        assert_eq!(ask(&held, names), Err("impersonation_denied".into()), "{names:?}");
    }
}

#[test]
fn matchers_are_filled_from_the_askers_traits() {
    let matchers = json!({"roles": ["app-{{external.apps}}", r#"{{regexp.match("^x-[0-9]$")}}"#]});
    let held = with_traits(&[impersonates("x", "allow", matchers)], &[("apps", &["web", "db"])]);
    assert!(ask(&held, &["app-web", "app-db", "x-1"]).is_ok());
    assert!(ask(&held, &["app-cache"]).is_err());
    assert!(ask(&held, &["x-12"]).is_err());
    assert!(requestable(&held).contains("app-web"));
}

#[test]
fn clauses_see_the_role_asked_for() {
    let clause = r#"equals(impersonate_role.metadata.labels["team"], "core")"#;
    let held = set(&[impersonates("x", "allow", json!({"roles": ["*"], "where": clause}))]);
    let mut wanted = wanted(&["a", "b"]);
    wanted[0].metadata.labels.insert("team".into(), "core".into());
    assert!(roles(&held, Requester::default(), &[&wanted[0]]).is_ok());
    assert!(
        roles(&held, Requester::default(), &[&wanted[0], &wanted[1]]).is_err(),
        "it must hold for each of them"
    );
}

fn as_user(held: &RoleSet, name: &str, names: &[&str]) -> Result<(), String> {
    let name = UserName::new(name).expect("a name");
    let metadata = Metadata { name: name.to_string(), ..Metadata::default() };
    let target = User { metadata, name, spec: UserSpec::default() };
    let wanted = wanted(names);
    let requested: Vec<&Role> = wanted.iter().collect();
    user(held, Requester::default(), &target, &requested)
        .map(|_| ())
        .map_err(|denial| denial.code.to_string())
}

#[test]
fn another_user_needs_a_role_that_covers_user_and_roles() {
    let allow = impersonates("x", "allow", json!({"users": ["ci-*"], "roles": ["deploy", "build"]}));
    let held = set(std::slice::from_ref(&allow));
    assert_eq!(as_user(&held, "ci-1", &["deploy", "build"]), Ok(()));
    assert_eq!(as_user(&held, "ci-1", &["deploy", "admin"]), Err("impersonation_not_allowed".into()));
    assert_eq!(as_user(&held, "bob", &["deploy"]), Err("impersonation_not_allowed".into()));
    let roles_only = set(&[impersonates("x", "allow", json!({"roles": ["deploy"]}))]);
    assert_eq!(as_user(&roles_only, "ci-1", &["deploy"]), Err("impersonation_not_allowed".into()));
    for deny in
        [json!({"users": ["ci-1"]}), json!({"roles": ["deploy"]}), json!({"users": ["x"], "roles": ["dep*"]})]
    {
        let held = set(&[allow.clone(), impersonates("d", "deny", deny.clone())]);
        assert_eq!(as_user(&held, "ci-1", &["deploy"]), Err("impersonation_denied".into()), "{deny}");
    }
    let by_name =
        json!({"users": ["*"], "roles": ["*"], "where": r#"equals(impersonate_user.metadata.name, "bob")"#});
    let held = set(&[impersonates("x", "allow", by_name)]);
    assert_eq!(as_user(&held, "bob", &["a"]), Ok(()));
    assert_eq!(as_user(&held, "eve", &["a"]), Err("impersonation_not_allowed".into()));
}

#[test]
fn the_reason_names_asker_and_wish() {
    let wanted = wanted(&["b", "a"]);
    let requested: Vec<&Role> = wanted.iter().collect();
    let denial = roles(&set(&[role("x", json!({}))]), Requester::default(), &requested).expect_err("denied");
    assert_eq!(
        denial.reason,
        format!("user {} has requested role impersonation for a, b, which is not allowed", alice())
    );
}
