//! The audit event of each change to a resource. Names and settings only: nothing secret is in any of them.

use crate::audit::{Event, Kind as EventKind, kind as events};
use access::resource::{Kind, Resource};
use serde_json::json;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::services) enum Action {
    Create,
    Update,
    Delete,
}

/// The event of a change.
pub(in crate::services) fn event(action: Action, resource: &Resource) -> Event {
    let event = Event::new(kind(action, resource.kind()));
    let event = match resource.metadata().expires {
        Some(expires) => event.with("expires", expires.to_string()),
        None => event,
    };
    match resource {
        Resource::Token(token) => {
            let roles: Vec<&str> = token.spec.roles.iter().map(|role| role.as_str()).collect();
            let event = event.name(&token.safe_name()).with("roles", roles);
            let event = event.with("join_method", token.spec.join_method().as_str());
            match &token.spec.bot_name {
                Some(bot) => event.with("bot_name", bot.as_str()),
                None => event,
            }
        }
        Resource::User(user) => event.name(resource.name()).with("roles", json!(user.spec.roles)),
        Resource::Bot(bot) => {
            let event = event.name(resource.name()).with("roles", json!(bot.roles));
            event.with("logins", json!(bot.traits.values("logins")))
        }
        Resource::Lock(lock) => {
            let event = event.name(resource.name()).with("target", json!(lock.spec.target));
            let event = event.with("message", lock.spec.message.as_str());
            match lock.spec.expires {
                Some(expires) => event.with("expires", expires.to_string()),
                None => event,
            }
        }
        Resource::AuthPreference(_) | Resource::NetworkingConfig(_) | Resource::RecordingConfig(_)
            if action == Action::Delete =>
        {
            event.name(resource.name()).with("restored_defaults", true)
        }
        _ => event.name(resource.name()),
    }
}

fn kind(action: Action, of: Kind) -> EventKind {
    use Action::{Create, Delete, Update};
    match (of, action) {
        (Kind::Role, Create) => events::ROLE_CREATED,
        (Kind::Role, Update) => events::ROLE_UPDATED,
        (Kind::Role, Delete) => events::ROLE_DELETED,
        (Kind::User, Create) => events::USER_CREATE,
        (Kind::User, Update) => events::USER_UPDATE,
        (Kind::User, Delete) => events::USER_DELETE,
        (Kind::Bot, Create) => events::BOT_CREATE,
        (Kind::Bot, Update) => events::BOT_UPDATE,
        (Kind::Bot, Delete) => events::BOT_DELETE,
        (Kind::Token, Create) => events::JOIN_TOKEN_CREATE,
        (Kind::Token, Update) => events::JOIN_TOKEN_UPDATE,
        (Kind::Token, Delete) => events::JOIN_TOKEN_DELETE,
        (Kind::Lock, Create | Update) => events::LOCK_CREATED,
        (Kind::Lock, Delete) => events::LOCK_DELETED,
        (Kind::ClusterAuthPreference, _) => events::AUTH_PREFERENCE_UPDATE,
        (Kind::ClusterNetworkingConfig, _) => events::NETWORKING_CONFIG_UPDATE,
        (Kind::SessionRecordingConfig, _) => events::RECORDING_CONFIG_UPDATE,
        // These are written by the hosts' and bots' own services, and only removed by people.
        (Kind::Node, _) => events::NODE_DELETE,
        (Kind::BotInstance, _) => events::BOT_INSTANCE_DELETE,
        (Kind::CertAuthority, _) => events::CERT_AUTHORITY_UPDATE,
    }
}
