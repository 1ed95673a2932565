//! Join tokens. No message here repeats the name, because the name is the secret.

use super::fields::{Fields, Item};
use super::{Invalid, Kind, metadata, version};
use crate::name::SystemRole;
use crate::resource::Token;
use crate::resource::token::{JoinMethod, TokenSpec};

pub(super) fn decode(top: &mut Fields) -> Result<Token, Invalid> {
    let metadata = metadata::decode(top)?;
    version(top, Kind::Token)?;
    check_name(&metadata.name)?;
    let mut spec = top.section("spec")?;
    let roles = roles(spec.required("roles")?)?;
    let join_method = join_method(&mut spec)?;
    let bot_name =
        spec.take("bot_name").filter(|item| !item.is_blank()).map(|item| item.parse()).transpose()?;
    match (roles.contains(&SystemRole::Bot), bot_name.is_some()) {
        (true, false) => return Err(Invalid::new("spec.bot_name", "a token with role Bot needs a bot_name")),
        (false, true) => {
            return Err(Invalid::new("spec.bot_name", "only a token with role Bot has a bot_name"));
        }
        _ => {}
    }
    for key in ["suggested_labels", "suggested_agent_matcher_labels"] {
        if let Some(item) = spec.take(key)
            && !item.is_blank()
        {
            return Err(item.invalid("labels are set in the node's own configuration; remove it"));
        }
    }
    spec.finish()?;
    Ok(Token { metadata, spec: TokenSpec { roles, join_method, bot_name } })
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

fn join_method(spec: &mut Fields) -> Result<JoinMethod, Invalid> {
    if let Some(allow) = spec.take("allow")
        && !allow.is_blank()
    {
        return Err(allow.invalid("join method token has no allow rules; other methods are not supported"));
    }
    match spec.take("join_method") {
        Some(item) if !matches!(item.text()?.as_str(), "" | "token") => {
            Err(item.invalid(format!("join method {:?} is not supported; write token", item.text()?)))
        }
        _ => Ok(JoinMethod::Token),
    }
}
