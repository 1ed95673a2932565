//! Bots and their instances.

use super::fields::{Fields, Item};
use super::{Invalid, Kind, metadata, user, version};
use crate::BotName;
use crate::resource::bot::{BotInstanceSpec, DEFAULT_MAX_SESSION_TTL};
use crate::resource::{Bot, BotInstance};

pub(super) fn decode(top: &mut Fields) -> Result<Bot, Invalid> {
    let metadata = metadata::decode(top)?;
    version(top, Kind::Bot)?;
    let name = BotName::new(metadata.name.as_str())
        .map_err(|error| Invalid::new("metadata.name", error.to_string()))?;
    let mut spec = top.section("spec")?;
    let bot = Bot {
        metadata,
        roles: user::role_names(&mut spec)?,
        traits: user::traits(spec.take("traits"))?,
        max_session_ttl: spec
            .ttl("max_session_ttl")?
            .filter(|ttl| ttl.limit().is_some())
            .unwrap_or(DEFAULT_MAX_SESSION_TTL),
        name,
    };
    spec.finish()?;
    status(top, &bot)?;
    Ok(bot)
}

/// The incumbent prints the names that follow from the bot's.
fn status(top: &mut Fields, bot: &Bot) -> Result<(), Invalid> {
    let mut status = top.section("status")?;
    for key in ["user_name", "role_name"] {
        if let Some(item) = status.take(key)
            && item.text()? != bot.name.resource_name()
        {
            return Err(item.invalid(format!("it is {} and cannot be chosen", bot.name.resource_name())));
        }
    }
    status.finish()
}

pub(super) fn decode_instance(top: &mut Fields) -> Result<BotInstance, Invalid> {
    let metadata = metadata::decode(top)?;
    version(top, Kind::BotInstance)?;
    let spec: BotInstanceSpec = top.required("spec")?.plain()?;
    let expected = format!("{}/{}", spec.bot_name, spec.instance_id);
    if metadata.name != expected {
        return Err(Invalid::new("metadata.name", format!("the name must be {expected}, as spec says")));
    }
    let status = top.take("status").map_or(Ok(Default::default()), Item::plain)?;
    Ok(BotInstance { metadata, spec, status })
}
