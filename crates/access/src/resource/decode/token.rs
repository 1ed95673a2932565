//! Join tokens. No message here repeats the name, because the name may be the secret.

mod bound_keypair;
mod oidc;
mod tpm;

use super::fields::{Fields, Item};
use super::{Invalid, Kind, metadata, version};
use crate::name::SystemRole;
use crate::resource::Token;
use crate::resource::token::{JoinMethod, Method, Provider, TokenSpec};

pub(super) fn decode(top: &mut Fields) -> Result<Token, Invalid> {
    let metadata = metadata::decode(top)?;
    version(top, Kind::Token)?;
    check_name(&metadata.name)?;
    let mut spec = top.section("spec")?;
    let roles = roles(spec.required("roles")?)?;
    let bot_name =
        spec.take("bot_name").filter(|item| !item.is_blank()).map(|item| item.parse()).transpose()?;
    match (roles.contains(&SystemRole::Bot), bot_name.is_some()) {
        (true, false) => return Err(Invalid::new("spec.bot_name", "a token with role Bot needs a bot_name")),
        (false, true) => {
            return Err(Invalid::new("spec.bot_name", "only a token with role Bot has a bot_name"));
        }
        _ => {}
    }
    let method = method(&mut spec)?;
    if let Some(reason) = unfit_roles(&method, &roles) {
        return Err(Invalid::new("spec.roles", reason));
    }
    for key in ["suggested_labels", "suggested_agent_matcher_labels"] {
        if let Some(item) = spec.take(key)
            && !item.is_blank()
        {
            return Err(item.invalid("labels are set in the node's own configuration; remove it"));
        }
    }
    spec.finish()?;
    let status = top.take("status").filter(|item| !item.is_blank());
    let status = match (&method, status) {
        (Method::BoundKeypair(_), Some(item)) => Some(Box::new(bound_keypair::status(item)?)),
        (_, Some(item)) => return Err(item.invalid("a token of this method has no status; remove it")),
        (_, None) => None,
    };
    Ok(Token { metadata, spec: TokenSpec { roles, bot_name, method }, status })
}

fn check_name(name: &str) -> Result<(), Invalid> {
    const MAX: usize = 255;
    let reason = if name.starts_with('*') {
        "this name is masked; take the token with tctl get --with-secrets"
    } else if name.len() > MAX {
        "the token is longer than 255 bytes"
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@+:=/".contains(c)) {
        "the token contains other characters than letters, digits and -_.@+:=/"
    } else if name.starts_with('-') {
        "the token starts with -"
    } else {
        return Ok(());
    };
    Err(Invalid::new("metadata.name", reason))
}

fn roles(item: Item) -> Result<Vec<SystemRole>, Invalid> {
    let empty = item.invalid("a token needs at least one role");
    let mut roles: Vec<SystemRole> = item.list()?.iter().map(Item::parse).collect::<Result<_, _>>()?;
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { Err(empty) } else { Ok(roles) }
}

/// What is wrong with these roles for this method, if anything.
fn unfit_roles(method: &Method, roles: &[SystemRole]) -> Option<&'static str> {
    let one = roles.len() == 1;
    match method {
        Method::Token => None,
        // The one holder of the key is one bot or one service of a host.
        Method::BoundKeypair(_) if one && roles != [SystemRole::Auth] => None,
        Method::BoundKeypair(_) => {
            Some("a token with a bound key is for one holder: give one role, Bot, Node or Proxy")
        }
        Method::Oidc(oidc) if oidc.provider != Provider::Kubernetes => (roles != [SystemRole::Bot])
            .then_some("this platform vouches for jobs, not for hosts: the role is Bot"),
        Method::Oidc(_) | Method::Tpm(_) => {
            let bot_and_host = !one && roles.contains(&SystemRole::Bot);
            (bot_and_host || roles.contains(&SystemRole::Auth))
                .then_some("a token of this method is for Bot, or for Node and Proxy")
        }
    }
}

/// The word and the section that belongs to it; the sections of other methods are refused by name.
fn method(spec: &mut Fields) -> Result<Method, Invalid> {
    let word = match spec.take("join_method") {
        Some(item) => match item.text()?.as_str() {
            "" => JoinMethod::Token,
            word => JoinMethod::find(word).ok_or_else(|| item.invalid(unknown(word)))?,
        },
        None => JoinMethod::Token,
    };
    if word == JoinMethod::Oidc(Provider::Iam) {
        let rules = oidc::iam(spec)?;
        return only(spec, word, Method::Oidc(Box::new(rules)));
    }
    if let Some(allow) = spec.take("allow")
        && !allow.is_blank()
    {
        let reason =
            format!("join method {} has no rules here; write them into its own section", word.as_str());
        return Err(allow.invalid(reason));
    }
    let own = if word.has_secret_name() { None } else { spec.take(word.as_str()) };
    let method = match word {
        JoinMethod::Token => Ok(Method::Token),
        JoinMethod::BoundKeypair => bound_keypair::settings(own).map(Method::BoundKeypair),
        JoinMethod::Tpm => tpm::settings(own).map(Method::Tpm),
        JoinMethod::Oidc(provider) => {
            oidc::settings(provider, own).map(|settings| Method::Oidc(Box::new(settings)))
        }
    };
    only(spec, word, method?)
}

/// The method, where no other one has a section.
fn only(spec: &mut Fields, word: JoinMethod, method: Method) -> Result<Method, Invalid> {
    for other in JoinMethod::all() {
        if let Some(section) = spec.take(other.as_str())
            && !section.is_blank()
        {
            let reason = format!("this section does not belong to join method {}; remove it", word.as_str());
            return Err(section.invalid(reason));
        }
    }
    Ok(method)
}

fn unknown(word: &str) -> String {
    let known: Vec<&str> = JoinMethod::all().map(JoinMethod::as_str).collect();
    let word = super::fields::shortened(word);
    format!("join method {word:?} is not supported; known are {}", known.join(", "))
}
