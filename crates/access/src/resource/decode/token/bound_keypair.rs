//! The section `bound_keypair` of a token.

use crate::resource::Invalid;
use crate::resource::decode::fields::{Fields, Item};
use crate::resource::token::bound_keypair::{
    BoundKeypair, Onboarding, Recovery, RecoveryMode, Secret, Status,
};

/// A secret that somebody made up must be hard to guess.
const SHORTEST_SECRET: usize = 16;

pub(super) fn settings(section: Option<Item>) -> Result<BoundKeypair, Invalid> {
    let Some(section) = section else {
        let (onboarding, recovery) = (Onboarding::default(), Recovery::default());
        return Ok(BoundKeypair { onboarding, recovery, rotate_after: None });
    };
    let mut fields = Fields::of(section)?;
    let settings = BoundKeypair {
        onboarding: onboarding(fields.section("onboarding")?)?,
        recovery: recovery(fields.section("recovery")?)?,
        rotate_after: fields.timestamp("rotate_after")?,
    };
    fields.finish()?;
    if settings.rotate_after.is_some() && settings.recovery.mode == RecoveryMode::Insecure {
        let reason =
            "with recovery.mode insecure several share the key, and one of them cannot replace it for all";
        return Err(Invalid::new("spec.bound_keypair.rotate_after", reason));
    }
    Ok(settings)
}

fn onboarding(mut fields: Fields) -> Result<Onboarding, Invalid> {
    let text = |item: Item| Some(item).filter(|item| !item.is_blank()).map(|item| item.text()).transpose();
    let key = fields.take("initial_public_key").map_or(Ok(None), text)?;
    let secret = match fields.take("registration_secret").filter(|item| !item.is_blank()) {
        None => None,
        Some(item) => Some(secret(&item, key.is_some())?),
    };
    let before = fields.timestamp("must_register_before")?;
    fields.finish()?;
    Ok(Onboarding { initial_public_key: key, registration_secret: secret, must_register_before: before })
}

fn secret(item: &Item, key_given: bool) -> Result<Secret, Invalid> {
    let secret = Secret(item.text()?);
    let reason = if secret.is_mask() {
        "this secret is masked; leave it out to keep the present one"
    } else if key_given {
        "given together with initial_public_key; keep one"
    } else if secret.0.len() < SHORTEST_SECRET || secret.0.len() > 255 {
        "a registration secret has 16 to 255 characters; leave it out to have one drawn"
    } else if !secret.0.chars().all(|c| c.is_ascii_graphic()) {
        "a registration secret has letters, digits and punctuation"
    } else {
        return Ok(secret);
    };
    Err(item.invalid(reason))
}

fn recovery(mut fields: Fields) -> Result<Recovery, Invalid> {
    let default = Recovery::default();
    let limit = match fields.take("limit") {
        None => default.limit,
        Some(item) => match item.count()? {
            0 => return Err(item.invalid("the first join counts too, so the limit is 1 at least")),
            limit => limit,
        },
    };
    let mode = match fields.take("mode").filter(|item| !item.is_blank()) {
        None => default.mode,
        Some(item) => {
            let word = item.text()?;
            let found = RecoveryMode::ALL.into_iter().find(|mode| mode.as_str() == word);
            found.ok_or_else(|| item.invalid("a recovery mode is standard, relaxed or insecure"))?
        }
    };
    fields.finish()?;
    Ok(Recovery { limit, mode })
}

/// As auth wrote it.
pub(super) fn status(item: Item) -> Result<Status, Invalid> {
    let mut fields = Fields::of(item)?;
    let status = match fields.take("bound_keypair") {
        Some(item) => item.plain()?,
        None => Status::default(),
    };
    fields.finish()?;
    Ok(status)
}
