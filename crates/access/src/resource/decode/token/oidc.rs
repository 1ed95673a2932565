//! The section of a token whose joiners show ID tokens, by the table of their platform.

use crate::resource::Invalid;
use crate::resource::decode::fields::{Fields, Item, nearest};
use crate::resource::token::oidc::{Compare, Form, Oidc, Provider, Rule};
use std::collections::BTreeMap;

/// More rules than this are a mistake.
const MOST_RULES: usize = 256;

pub(super) fn settings(provider: Provider, section: Option<Item>) -> Result<Oidc, Invalid> {
    let word = provider.as_str();
    let missing = || {
        Invalid::new(format!("spec.{word}"), "this join method needs a section of its own, with allow rules")
    };
    let mut fields = Fields::of(section.filter(|section| !section.is_blank()).ok_or_else(missing)?)?;
    let mut settings = BTreeMap::new();
    for setting in provider.table().settings {
        let item = fields.take(setting.name).filter(|item| !item.is_blank());
        match item {
            Some(item) => {
                settings.insert(setting.name, formed(&item, setting.form)?);
            }
            None if setting.required => {
                return Err(fields.invalid(format!("{} is required", setting.name)));
            }
            None => {}
        }
    }
    if settings.contains_key("enterprise_server_host") && settings.contains_key("enterprise_slug") {
        return Err(
            fields.invalid("enterprise_server_host and enterprise_slug are for different products; keep one")
        );
    }
    let can_glob = provider.table().fields.iter().any(|field| field.compare == Compare::GlobIfEnabled);
    let globs = can_glob && fields.flag("enable_glob_matching")?.unwrap_or(false);
    let static_jwks = static_jwks(provider, &mut fields)?;
    let allow = rules(provider, fields.required("allow")?)?;
    fields.finish()?;
    Ok(Oidc { provider, settings, globs, static_jwks, allow })
}

/// The keys, as text or as they are.
fn static_jwks(provider: Provider, fields: &mut Fields) -> Result<Option<String>, Invalid> {
    let item = fields.take("static_jwks").filter(|item| !item.is_blank());
    if provider == Provider::Kubernetes {
        return kubernetes(item, fields);
    }
    // Where GitLab and GitHub are one's own, auth may not reach them; the others are on the Internet.
    if item.is_some() && !matches!(provider, Provider::Github | Provider::Gitlab) {
        return Err(fields.invalid(format!("{} has no static_jwks; its keys are fetched", provider.as_str())));
    }
    item.map(|item| key_set(&item)).transpose()
}

/// By the keys of the Kubernetes cluster, or by asking the one that auth itself runs in.
fn kubernetes(keys: Option<Item>, fields: &mut Fields) -> Result<Option<String>, Invalid> {
    let kind = fields.take("type").filter(|kind| !kind.is_blank());
    let word = kind.as_ref().map(Item::text).transpose()?;
    match (word.as_deref(), keys) {
        (None | Some("in_cluster"), None) => Ok(None),
        (None | Some("in_cluster"), Some(keys)) => {
            Err(keys.invalid("belongs to type: static_jwks; write that, or remove it"))
        }
        (Some("static_jwks"), None) => Err(fields.invalid("static_jwks.jwks is required")),
        (Some("static_jwks"), Some(keys)) => {
            let mut inner = Fields::of(keys)?;
            let keys = key_set(&inner.required("jwks")?)?;
            inner.finish().map(|()| Some(keys))
        }
        _ => Err(fields.invalid("type is in_cluster or static_jwks; others are not supported yet")),
    }
}

fn key_set(item: &Item) -> Result<String, Invalid> {
    if item.value.is_object() {
        return Ok(item.value.to_string());
    }
    let text = item.text()?;
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Object(_)) => Ok(text),
        _ => Err(item.invalid("a JSON Web Key Set is needed: {\"keys\": [...]}")),
    }
}

fn formed(item: &Item, form: Form) -> Result<String, Invalid> {
    let text = item.text()?;
    let host = |text: &str| {
        !text.is_empty()
            && text.len() <= 255
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'))
    };
    let fits = match form {
        Form::Host => host(&text),
        Form::Word => {
            text.len() <= 128 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        }
        Form::Url => text.strip_prefix("https://").is_some_and(|rest| {
            let plain =
                rest.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#' | '\\' | '"'));
            plain
                && host(rest.split('/').next().unwrap_or_default())
                && !rest.ends_with('/')
                && rest.len() <= 512
        }),
        Form::Text => text.len() <= 512 && text.chars().all(|c| c.is_ascii_graphic()),
    };
    let reason = match form {
        _ if fits => return Ok(text),
        Form::Host => "a host name is needed, without https:// and without a path",
        Form::Word => "letters, digits, - and _ are needed",
        Form::Url => "an address like https://host/path is needed, without a / at its end",
        Form::Text => "printable characters without spaces are needed",
    };
    Err(item.invalid(reason))
}

fn rules(provider: Provider, item: Item) -> Result<Vec<Rule>, Invalid> {
    let empty = item.invalid("at least one rule is needed; nobody joins without one");
    let many = item.invalid(format!("more than {MOST_RULES} rules"));
    let rules: Vec<Rule> =
        item.list()?.into_iter().map(|item| rule(provider, item)).collect::<Result<_, _>>()?;
    match rules.len() {
        0 => Err(empty),
        count if count > MOST_RULES => Err(many),
        _ => Ok(rules),
    }
}

fn rule(provider: Provider, item: Item) -> Result<Rule, Invalid> {
    let table = provider.table();
    let whole = item.invalid("");
    let mut rule = Rule::new();
    for (key, item) in Fields::of(item)?.into_items() {
        let Some(field) = table.fields.iter().find(|field| field.name == key) else {
            let known: Vec<&'static str> = table.fields.iter().map(|field| field.name).collect();
            return Err(item.invalid(match nearest(&key, &known) {
                Some(known) => format!("unknown field; did you mean {known}?"),
                None => format!("unknown field; known are {}", known.join(", ")),
            }));
        };
        // The incumbent prints what was left out as "". A flag that is false is a wish.
        let value = match field.compare {
            Compare::Flag if item.value.is_null() => continue,
            Compare::Flag => item.flag()?.to_string(),
            _ if item.is_blank() => continue,
            _ => item.text()?,
        };
        if field.name == "service_account" && value.split(':').filter(|part| !part.is_empty()).count() != 2 {
            return Err(item.invalid("write namespace:name"));
        }
        rule.insert(field.name, value);
    }
    for group in table.needs {
        if !group.iter().any(|name| rule.contains_key(name)) {
            let reason = format!("a rule needs one of {}", group.join(", "));
            return Err(Invalid::new(whole.path, reason));
        }
    }
    Ok(rule)
}
