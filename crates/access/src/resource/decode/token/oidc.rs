//! The section of a token whose joiners show ID tokens, by the table of their platform.

use crate::resource::Invalid;
use crate::resource::decode::fields::{Fields, Item, nearest};
use crate::resource::token::oidc::{Compare, Form, Oidc, Provider, Rule, Wanted};
use std::collections::BTreeMap;

/// More rules than this are a mistake, and more values of one field.
const MOST_RULES: usize = 256;
const MOST_VALUES: usize = 256;
/// The parts of AWS, as ARNs name them. A rule is about the first one unless it names another.
const PARTITIONS: [&str; 3] = ["aws", "aws-cn", "aws-us-gov"];

/// The rules of `iam`, which has no section of its own.
pub(super) fn iam(spec: &mut Fields) -> Result<Oidc, Invalid> {
    let allow = rules(Provider::Iam, spec.required("allow")?)?;
    let (provider, settings) = (Provider::Iam, BTreeMap::new());
    Ok(Oidc { provider, settings, globs: false, static_jwks: None, remote: None, allow })
}

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
    let (static_jwks, remote) = match provider {
        Provider::Kubernetes => kubernetes(&mut fields)?,
        _ => (static_jwks(provider, &mut fields)?, None),
    };
    let allow = rules(provider, fields.required("allow")?)?;
    fields.finish()?;
    Ok(Oidc { provider, settings, globs, static_jwks, remote, allow })
}

/// The keys, as text or as they are.
fn static_jwks(provider: Provider, fields: &mut Fields) -> Result<Option<String>, Invalid> {
    let item = fields.take("static_jwks").filter(|item| !item.is_blank());
    // Where GitLab and GitHub are one's own, auth may not reach them; the others are on the Internet.
    if item.is_some() && !matches!(provider, Provider::Github | Provider::Gitlab) {
        return Err(fields.invalid(format!("{} has no static_jwks; its keys are fetched", provider.as_str())));
    }
    item.map(|item| key_set(&item)).transpose()
}

/// By the keys of the Kubernetes cluster, by those that its issuer publishes, or by asking the one that auth itself runs in.
fn kubernetes(fields: &mut Fields) -> Result<(Option<String>, Option<String>), Invalid> {
    let mut section = |name| fields.take(name).filter(|item| !item.is_blank());
    let (kind, keys, remote) = (section("type"), section("static_jwks"), section("oidc"));
    let word = kind.as_ref().map(Item::text).transpose()?.unwrap_or_else(|| "in_cluster".to_owned());
    for (name, given) in [("static_jwks", &keys), ("oidc", &remote)] {
        if let Some(given) = given
            && word != name
        {
            return Err(given.invalid(format!("belongs to type: {name}; write that, or remove it")));
        }
    }
    match (word.as_str(), keys, remote) {
        ("in_cluster", ..) => Ok((None, None)),
        ("static_jwks", Some(keys), _) => {
            let mut inner = Fields::of(keys)?;
            let keys = key_set(&inner.required("jwks")?)?;
            inner.finish().map(|()| (Some(keys), None))
        }
        ("static_jwks", None, _) => Err(fields.invalid("static_jwks.jwks is required")),
        ("oidc", _, Some(remote)) => {
            let mut inner = Fields::of(remote)?;
            let issuer = formed(&inner.required("issuer")?, Form::Url)?;
            inner.finish().map(|()| (None, Some(issuer)))
        }
        ("oidc", _, None) => Err(fields.invalid("oidc.issuer is required")),
        _ => Err(fields.invalid("type is in_cluster, static_jwks or oidc")),
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
        // What is in them is looked at where they are used.
        Form::Certificates => {
            text.len() <= 64 * 1024 && text.trim_start().starts_with("-----BEGIN CERTIFICATE-----")
        }
    };
    let reason = match form {
        _ if fits => return Ok(text),
        Form::Host => "a host name is needed, without https:// and without a path",
        Form::Word => "letters, digits, - and _ are needed",
        Form::Url => "an address like https://host/path is needed, without a / at its end",
        Form::Text => "printable characters without spaces are needed",
        Form::Certificates => "certificates in PEM are needed, as one text of at most 64 KiB",
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
            list if list.is_list() => {
                if let Some(values) = values(item)? {
                    rule.insert(field.name, Wanted::AnyOf(values));
                }
                continue;
            }
            _ => item.text()?,
        };
        let digits = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        match field.name {
            "service_account" if value.split(':').filter(|part| !part.is_empty()).count() != 2 => {
                return Err(item.invalid("write namespace:name"));
            }
            "aws_account" if !digits(&value) => {
                return Err(item.invalid("the number of an account is needed: 12 digits, in quotes"));
            }
            "aws_partition" if !PARTITIONS.contains(&value.as_str()) => {
                return Err(item.invalid(format!("is one of {}", PARTITIONS.join(", "))));
            }
            "subscription" if !is_guid(&value) => {
                let reason =
                    "the id of a subscription is needed, such as 01234567-89ab-cdef-0123-456789abcdef";
                return Err(item.invalid(reason));
            }
            _ => {}
        }
        rule.insert(field.name, Wanted::One(value));
    }
    if provider == Provider::Iam && !names_account(&rule) {
        let reason = "aws_arn must name the account, as in arn:aws:sts::123456789012:assumed-role/ci/*, with no pattern \
                      before it; or give aws_account too";
        return Err(Invalid::new(whole.path, reason));
    }
    for group in table.needs {
        if !group.iter().any(|name| rule.contains_key(name)) {
            let reason = format!("a rule needs one of {}", group.join(", "));
            return Err(Invalid::new(whole.path, reason));
        }
    }
    if provider == Provider::Iam {
        in_one_partition(&mut rule).map_err(|reason| Invalid::new(whole.path, reason))?;
    }
    Ok(rule)
}

/// Names the partition in a rule of `iam` that does not: an account of this number in another one is somebody else's.
fn in_one_partition(rule: &mut Rule) -> Result<(), String> {
    let arn = rule.get("aws_arn").and_then(|arn| arn.all().first()?.split(':').nth(1));
    let of_arn = arn.and_then(|word| PARTITIONS.into_iter().find(|known| *known == word));
    match (rule.get("aws_partition").and_then(|wanted| wanted.all().first()), of_arn) {
        (Some(given), Some(of_arn)) if given != of_arn => {
            Err(format!("aws_arn is of partition {of_arn}, and aws_partition says {given}; nobody fits both"))
        }
        (Some(_), _) => Ok(()),
        (None, of_arn) => {
            rule.insert("aws_partition", Wanted::One(of_arn.unwrap_or(PARTITIONS[0]).to_owned()));
            Ok(())
        }
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// A list without what is blank; none where nothing is left.
fn values(item: Item) -> Result<Option<Vec<String>>, Invalid> {
    let many = item.invalid(format!("more than {MOST_VALUES} values"));
    let values: Vec<String> = item.texts()?.into_iter().filter(|text| !text.is_empty()).collect();
    match values.len() {
        0 => Ok(None),
        count if count > MOST_VALUES => Err(many),
        _ => Ok(Some(values)),
    }
}

/// Whether a rule of `iam` is about one account: a pattern could otherwise let in everybody who has one of their own.
fn names_account(rule: &Rule) -> bool {
    let plain = |arn: &String| {
        let mut parts = arn.split(':').take(6);
        let before: Vec<&str> = parts.by_ref().take(5).collect();
        let is_plain = !before.iter().any(|part| part.contains(['*', '?']));
        is_plain && before.len() == 5 && !before[4].is_empty() && parts.next().is_some()
    };
    rule.contains_key("aws_account") || rule.get("aws_arn").is_none_or(|arn| arn.all().iter().all(plain))
}
