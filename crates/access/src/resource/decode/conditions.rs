//! What roles allow and deny.

use super::Invalid;
use super::fields::{Fields, Item};
use super::foreign::{Gate, keep, keep_gated};
use crate::Login;
use crate::label::Pattern;
use crate::predicate::{Clause, LabelExpression};
use crate::rbac::Verb;
use crate::resource::Kind;
use crate::resource::role::{Conditions, Foreign, Impersonate, LabelSelector, Rule, SpiffeRule};
use crate::spiffe::Network;
use crate::template::{Matcher, Template};

/// Concern resources that do not exist here, or have no effect while accounts on hosts are not created.
const KEPT: [&str; 34] = [
    "app_labels",
    "app_labels_expression",
    "aws_role_arns",
    "azure_identities",
    "gcp_service_accounts",
    "cluster_labels",
    "cluster_labels_expression",
    "kubernetes_groups",
    "kubernetes_users",
    "kubernetes_labels",
    "kubernetes_labels_expression",
    "kubernetes_resources",
    "db_labels",
    "db_labels_expression",
    "db_names",
    "db_users",
    "db_roles",
    "db_permissions",
    "db_service_labels",
    "db_service_labels_expression",
    "desktop_groups",
    "windows_desktop_labels",
    "windows_desktop_labels_expression",
    "windows_desktop_logins",
    "group_labels",
    "group_labels_expression",
    "host_groups",
    "host_sudoers",
    "account_assignments",
    "github_permissions",
    "mcp",
    "workload_identity_labels",
    "workload_identity_labels_expression",
    "user_groups",
];

/// Would let people ask for more, join sessions, or hold sessions back until somebody joins.
const GATES: [Gate; 4] = [
    Gate { key: "request", off: &[], reason: "there are no access requests here yet" },
    Gate { key: "review_requests", off: &[], reason: "there are no access requests here yet" },
    Gate { key: "join_sessions", off: &[], reason: "sessions cannot be joined here yet" },
    Gate {
        key: "require_session_join",
        off: &[],
        reason: "sessions cannot be joined here yet, so they could never start",
    },
];

/// Refusing what does not exist takes nothing away.
const KEPT_IN_DENY: [&str; 3] = ["request", "review_requests", "join_sessions"];

pub(super) fn allow(mut fields: Fields) -> Result<Conditions, Invalid> {
    let mut foreign = Foreign::new();
    keep_gated(&mut fields, &GATES, &mut foreign)?;
    conditions(fields, foreign)
}

pub(super) fn deny(mut fields: Fields) -> Result<Conditions, Invalid> {
    let mut foreign = Foreign::new();
    keep(&mut fields, &KEPT_IN_DENY, &mut foreign);
    keep_gated(&mut fields, &GATES, &mut foreign)?;
    conditions(fields, foreign)
}

fn conditions(mut fields: Fields, mut foreign: Foreign) -> Result<Conditions, Invalid> {
    keep(&mut fields, &KEPT, &mut foreign);
    let conditions = Conditions {
        namespaces: fields.take("namespaces").map(Item::texts).transpose()?,
        logins: fields
            .take("logins")
            .map_or(Ok(Vec::new()), Item::list)?
            .iter()
            .map(login)
            .collect::<Result<_, _>>()?,
        node_labels: fields.take("node_labels").map(selector).transpose()?,
        node_labels_expression: fields
            .take("node_labels_expression")
            .map_or(Ok(String::new()), |item| checked(&item, LabelExpression::new))?,
        rules: fields
            .take("rules")
            .map_or(Ok(Vec::new()), Item::list)?
            .into_iter()
            .map(rule)
            .collect::<Result<_, _>>()?,
        impersonate: fields
            .take("impersonate")
            .map(impersonate)
            .transpose()?
            .filter(|some| *some != Impersonate::default()),
        spiffe: fields
            .take("spiffe")
            .map_or(Ok(Vec::new()), Item::list)?
            .into_iter()
            .map(spiffe)
            .collect::<Result<_, _>>()?,
        foreign,
    };
    fields.finish()?;
    Ok(conditions)
}

/// A text that is empty or understood by `parse`.
fn checked<T, E: std::fmt::Display>(item: &Item, parse: fn(&str) -> Result<T, E>) -> Result<String, Invalid> {
    let text = item.text()?;
    if !text.is_empty() {
        parse(&text).map_err(|error| item.invalid(error.to_string()))?;
    }
    Ok(text)
}

fn login(item: &Item) -> Result<String, Invalid> {
    let login = item.text()?;
    if login == "*" {
        return Err(item.invalid("wildcard matcher is not allowed in logins; list the accounts"));
    }
    match Template::new(&login).map_err(|error| item.invalid(error.to_string()))? {
        Template::Literal(_) => item.parse::<Login>().map(String::from),
        Template::Filled { .. } => Ok(login),
    }
}

fn selector(item: Item) -> Result<LabelSelector, Invalid> {
    Fields::of(item)?.into_items().map(|(key, values)| selector_entry(key, values)).collect()
}

fn selector_entry(key: String, values: Item) -> Result<(String, Vec<String>), Invalid> {
    let whole = Item { path: values.path.clone(), value: serde_json::Value::Null };
    if key.is_empty() {
        return Err(whole.invalid("an empty label key fits no server"));
    }
    Template::new(&key).map_err(|error| whole.invalid(error.to_string()))?;
    let values: Vec<String> = values.one_or_more()?.iter().map(selector_value).collect::<Result<_, _>>()?;
    match key == "*" && values != ["*"] {
        true => Err(whole.invalid("selector *:<value> is not supported; the value must be exactly \"*\"")),
        false => Ok((key, values)),
    }
}

fn selector_value(item: &Item) -> Result<String, Invalid> {
    let value = item.text()?;
    match Template::new(&value).map_err(|error| item.invalid(error.to_string()))? {
        Template::Literal(text) => {
            Pattern::new(&text).map_err(|error| item.invalid(error.to_string()))?;
        }
        Template::Filled { .. } => {}
    }
    Ok(value)
}

fn rule(item: Item) -> Result<Rule, Invalid> {
    let mut fields = Fields::of(item)?;
    let rule = Rule {
        resources: fields.texts("resources")?,
        verbs: fields
            .take("verbs")
            .map_or(Ok(Vec::new()), Item::list)?
            .iter()
            .map(verb)
            .collect::<Result<_, _>>()?,
        condition: fields.take("where").map_or(Ok(String::new()), |item| checked(&item, Clause::new))?,
        actions: fields
            .take("actions")
            .map_or(Ok(Vec::new()), Item::list)?
            .iter()
            .map(action)
            .collect::<Result<_, _>>()?,
    };
    if rule.resources.is_empty() || rule.resources.iter().any(String::is_empty) {
        return Err(fields.invalid("missing resources"));
    }
    for word in &rule.resources {
        // An alias in a deny rule would deny nothing, and look as if it did.
        if let Ok(kind) = word.parse::<Kind>()
            && kind.as_str() != word
        {
            return Err(fields.invalid(format!("no resource is called {word:?} in rules; write {kind}")));
        }
    }
    if rule.verbs.is_empty() {
        return Err(fields.invalid("missing verbs"));
    }
    fields.finish()?;
    Ok(rule)
}

fn verb(item: &Item) -> Result<String, Invalid> {
    match item.text()?.as_str() {
        "*" => Ok("*".into()),
        _ => item.parse::<Verb>().map(|verb| verb.to_string()),
    }
}

fn action(item: &Item) -> Result<String, Invalid> {
    checked(item, crate::predicate::check_action)
}

fn impersonate(item: Item) -> Result<Impersonate, Invalid> {
    let mut fields = Fields::of(item)?;
    let matchers = |item: Option<Item>| -> Result<Vec<String>, Invalid> {
        let items = item.map_or(Ok(Vec::new()), Item::list)?;
        items.iter().map(|item| checked(item, Matcher::new)).collect()
    };
    let impersonate = Impersonate {
        users: matchers(fields.take("users"))?,
        roles: matchers(fields.take("roles"))?,
        condition: fields.take("where").map_or(Ok(String::new()), |item| checked(&item, Clause::new))?,
    };
    fields.finish()?;
    Ok(impersonate)
}

fn spiffe(item: Item) -> Result<SpiffeRule, Invalid> {
    let mut fields = Fields::of(item)?;
    let path = fields.required("path")?;
    let text = path.text()?;
    let pattern = text == "*" || text.starts_with('/') || text.starts_with('^') && text.ends_with('$');
    if !pattern {
        return Err(path.invalid(format!("{text:?} fits no path; it begins with a slash, or is ^...$")));
    }
    Pattern::new(&text).map_err(|error| path.invalid(error.to_string()))?;
    let dns_sans = fields.take("dns_sans").map_or(Ok(Vec::new()), Item::list)?;
    let ip_sans = fields.take("ip_sans").map_or(Ok(Vec::new()), Item::list)?;
    let rule = SpiffeRule {
        path: text,
        dns_sans: dns_sans.iter().map(dns_san).collect::<Result<_, _>>()?,
        ip_sans: ip_sans.iter().map(ip_san).collect::<Result<_, _>>()?,
    };
    fields.finish()?;
    Ok(rule)
}

fn dns_san(item: &Item) -> Result<String, Invalid> {
    match item.text()? {
        empty if empty.is_empty() => Err(item.invalid("an empty pattern fits no name")),
        text => Pattern::new(&text).map(|_| text).map_err(|error| item.invalid(error.to_string())),
    }
}

fn ip_san(item: &Item) -> Result<String, Invalid> {
    item.parse::<Network>()?;
    item.text()
}
