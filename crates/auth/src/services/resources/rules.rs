//! What must hold between resources, so that none refers to nothing and none passes for another.

use crate::bootstrap::{FROM_FILE, ORIGIN};
use crate::catalog::{Reads, layout};
use crate::refusal;
use crate::services::shelf::Shelf;
use access::resource::{Kind, Resource, Role, User};
use access::{BotName, RoleName, bot, preset};
use api::status::{Class, Problem};
use jiff::Timestamp;
use store::Expect;

/// More names than this are counted, not listed.
const NAMED: usize = 5;

/// Checks a resource against all others before it is written.
pub(super) async fn check(
    shelf: Shelf<'_>,
    reads: &mut Reads<'_>,
    wanted: &Resource,
    is_new: bool,
) -> Result<(), Problem> {
    let now = shelf.catalog.now();
    in_future("metadata.expires", wanted.metadata().expires, now)?;
    match wanted {
        Resource::Role(_) => not_of_a_bot(reads, wanted).await,
        Resource::User(user) => {
            not_of_a_bot(reads, wanted).await?;
            known_roles(reads, &user.spec.roles).await
        }
        Resource::Bot(bot) => {
            if is_new {
                unused_by_bots(shelf, reads, &bot.name).await?;
            }
            known_roles(reads, &bot.roles).await
        }
        Resource::Lock(lock) => in_future("spec.expires", lock.spec.expires, now),
        _ => Ok(()),
    }
}

/// Settings that stand in the configuration file are changed there, and nobody can make others look so.
pub(super) fn not_from_file(resource: &Resource) -> Result<(), Problem> {
    if resource.metadata().labels.get(ORIGIN).is_none_or(|origin| origin != FROM_FILE) {
        return Ok(());
    }
    let reason = format!("the {} is set in the configuration file of the auth service", resource.kind());
    let problem = Problem::new(Class::Precondition, "set_in_file", reason);
    Err(problem.hint("change it there and restart the service, or remove it there to change it here"))
}

/// What has expired already would vanish without a word.
fn in_future(field: &str, time: Option<Timestamp>, now: Timestamp) -> Result<(), Problem> {
    match time {
        Some(time) if time <= now => Err(refusal::invalid(format!("{field}: {time} has passed"))),
        _ => Ok(()),
    }
}

/// Every role exists, and none stands for a bot: whoever held one of those could do what only the bot may.
pub(in crate::services) async fn known_roles(
    reads: &mut Reads<'_>,
    roles: &[RoleName],
) -> Result<(), Problem> {
    let mut missing = Vec::new();
    for name in roles {
        match reads.role(name).await? {
            None => missing.push(name.to_string()),
            Some(role) => {
                if let Some(bot) = bot::bot_of(&role.metadata) {
                    let reason = format!("role {name:?} belongs to the bot {bot:?} and to nobody else");
                    return Err(refusal::invalid(reason));
                }
            }
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => {
            let (noun, names) = (if missing.len() == 1 { "role" } else { "roles" }, listed(&missing));
            Err(Problem::new(Class::Precondition, "role_not_found", format!("{noun} {names} not found"))
                .hint("create it with tctl create -f"))
        }
    }
}

/// Refuses to touch the user and the role that follow from a bot, and to make anything that looks like one.
async fn not_of_a_bot(reads: &mut Reads<'_>, resource: &Resource) -> Result<(), Problem> {
    belongs_to_bot(reads, resource.kind(), resource.name()).await?;
    if let Some(rest) = resource.name().strip_prefix(bot::PREFIX) {
        let reason = format!(
            "{} {:?} cannot be made: names that begin with {} are reserved for bots",
            resource.kind(),
            resource.name(),
            bot::PREFIX
        );
        return Err(Problem::new(Class::Invalid, "name_reserved", reason).hint(format!(
            "choose another name, or make a bot: tctl bots add {}",
            if rest.is_empty() { "NAME" } else { rest }
        )));
    }
    match resource.metadata().labels.contains_key(bot::LABEL) {
        true => Err(refusal::invalid(format!(
            "metadata.labels: {} marks what belongs to a bot and cannot be set",
            bot::LABEL
        ))),
        false => Ok(()),
    }
}

/// Refuses if there is a bot that this user or role stands for.
pub(super) async fn belongs_to_bot(reads: &mut Reads<'_>, kind: Kind, name: &str) -> Result<(), Problem> {
    let Some(bot) = bot_behind(name) else { return Ok(()) };
    match reads.bot(&bot).await? {
        None => Ok(()),
        Some(_) => Err(Problem::new(
            Class::Precondition,
            "belongs_to_bot",
            format!("{kind} {name:?} follows from the bot {bot:?} and cannot be changed by itself"),
        )
        .hint(format!("change the bot with tctl bots update {bot}, or remove it with tctl bots rm {bot}"))),
    }
}

/// The bot that a user or role of this name would stand for.
pub(super) fn bot_behind(name: &str) -> Option<BotName> {
    BotName::new(name.strip_prefix(bot::PREFIX)?).ok()
}

/// The role of a bot, as a role.
pub(super) fn derived(kind: Kind, bot: &access::resource::Bot) -> Resource {
    let role = |role: Role| Resource::Role(Box::new(role));
    let user = |user: User| Resource::User(user);
    if kind == Kind::Role { role(bot::role_of(bot)) } else { user(bot::user_of(bot)) }
}

/// The names of a bot's user and role are free.
pub(in crate::services) async fn unused_by_bots(
    shelf: Shelf<'_>,
    reads: &mut Reads<'_>,
    name: &BotName,
) -> Result<(), Problem> {
    let name = name.resource_name();
    for kind in [Kind::Role, Kind::User] {
        if shelf.read_for(reads, kind, &name).await?.is_some() {
            return Err(refusal::exists(kind, &name));
        }
    }
    Ok(())
}

/// Refuses to remove a role that somebody holds or that is part of every cluster.
pub(super) async fn removable(
    shelf: Shelf<'_>,
    reads: &mut Reads<'_>,
    role: &RoleName,
) -> Result<(), Problem> {
    if preset::roles().iter().any(|preset| preset.name == *role) {
        let reason = format!("role {role:?} is a preset and cannot be deleted");
        return Err(Problem::new(Class::Precondition, "preset", reason).hint("edit it instead"));
    }
    // The epoch first: a reference that is added while the holders are listed changes it.
    let epoch = shelf.catalog.read(&layout::references_epoch()).await?;
    let epoch = epoch.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
    reads.expect(layout::references_epoch(), epoch);
    let mut holders = Vec::new();
    for kind in [Kind::User, Kind::Bot] {
        for entry in shelf.catalog.all(layout::kind(kind)).await? {
            let holder = shelf.open(kind, &entry)?;
            let roles = match &holder {
                Resource::User(user) => &user.spec.roles,
                Resource::Bot(bot) => &bot.roles,
                _ => continue,
            };
            if roles.contains(role) {
                holders.push(format!("{kind} {}", holder.name()));
            }
        }
    }
    match holders.is_empty() {
        true => Ok(()),
        false => {
            let reason = format!("role {role:?} is held by {}", listed(&holders));
            Err(Problem::new(Class::Precondition, "in_use", reason).hint("take it from them first"))
        }
    }
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMED).map(|name| format!("{name:?}")).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
