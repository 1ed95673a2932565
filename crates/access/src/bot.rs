//! The role and the user that stand for a bot (fact sheet on machine identities, section 5).
//!
//! The role lets the bot ask for the roles of its outputs and for nothing else: it grants no server.

use crate::preset::built;
use crate::resource::role::{Conditions, Impersonate, RoleOptions, RoleSpec, RoleVersion, Rule};
use crate::resource::user::UserSpec;
use crate::resource::{Bot, Metadata, Role, User};
use crate::{BotName, RoleName, UserName};
use std::collections::BTreeMap;

/// The label that makes a user or a role a bot's; its value is the bot's name.
pub const LABEL: &str = "teleport.dev/bot";

/// What the names of a bot's user and role begin with, and no others do.
pub const PREFIX: &str = "bot-";

/// The role `bot-<name>`: may impersonate the bot's roles, each of them and all together.
pub fn role_of(bot: &Bot) -> Role {
    let allow = Conditions {
        rules: vec![Rule {
            resources: vec!["cert_authority".into()],
            verbs: vec!["readnosecrets".into()],
            ..Rule::default()
        }],
        impersonate: (!bot.roles.is_empty()).then(|| Impersonate {
            roles: bot.roles.iter().map(RoleName::to_string).collect(),
            ..Impersonate::default()
        }),
        ..Conditions::default()
    };
    let options = RoleOptions { max_session_ttl: Some(bot.max_session_ttl), ..RoleOptions::default() };
    let spec = RoleSpec { options, allow, deny: Conditions::default() };
    let description = format!("Automatically generated role for bot {}", bot.name);
    let mut role = built(&bot.name.resource_name(), &description, labels_of(bot), spec, RoleVersion::V7);
    role.metadata.expires = bot.metadata.expires;
    role
}

/// The user `bot-<name>`, who holds that role and the bot's traits.
pub fn user_of(bot: &Bot) -> User {
    let name = bot.name.resource_name();
    let metadata = Metadata {
        name: name.clone(),
        labels: labels_of(bot),
        expires: bot.metadata.expires,
        ..Metadata::default()
    };
    let role = RoleName::new(name.as_str()).expect("a bot's name fits the alphabet and length of role names");
    let user = UserName::new(name).expect("a bot's name fits the alphabet and length of user names");
    User { metadata, name: user, spec: UserSpec { roles: vec![role], traits: bot.traits.clone() } }
}

/// The bot whose user or role this is.
pub fn bot_of(metadata: &Metadata) -> Option<BotName> {
    let bot = BotName::new(metadata.labels.get(LABEL)?.as_str()).ok()?;
    (bot.resource_name() == metadata.name).then_some(bot)
}

fn labels_of(bot: &Bot) -> BTreeMap<String, String> {
    let mut labels = bot.metadata.labels.clone();
    labels.insert(LABEL.to_owned(), bot.name.to_string());
    labels
}

#[cfg(test)]
mod tests {
    use super::{bot_of, role_of, user_of};
    use crate::resource::{Bot, Metadata, Resource};
    use crate::{BotName, RoleName, Traits, Ttl};

    fn bot() -> Bot {
        Bot {
            metadata: Metadata { name: "example".into(), ..Metadata::default() },
            name: BotName::new("example").expect("a name"),
            roles: vec![RoleName::new("example-role").expect("a name")],
            traits: Traits::from_iter([("logins", vec!["root"])]),
            max_session_ttl: Ttl::from_secs(12 * 3600),
        }
    }

    #[test]
    fn the_pair_stands_for_the_bot_and_for_it_alone() {
        let (role, user) = (role_of(&bot()), user_of(&bot()));
        assert_eq!(role.name.as_str(), "bot-example");
        assert_eq!(user.spec.roles, std::slice::from_ref(&role.name));
        assert_eq!(user.spec.traits, bot().traits);
        assert_eq!(role.spec.options.max_session_ttl, Some(Ttl::from_secs(12 * 3600)));
        let impersonate = role.spec.allow.impersonate.clone().expect("may ask for roles");
        assert_eq!((impersonate.users.len(), impersonate.roles), (0, vec!["example-role".to_owned()]));
        assert!(role.spec.allow.logins.is_empty(), "the bot itself logs in nowhere");
        assert_eq!(bot_of(&role.metadata), Some(bot().name));
        assert_eq!(bot_of(&user.metadata), Some(bot().name));
    }

    #[test]
    fn a_label_alone_makes_no_bot() {
        let mut user = user_of(&bot());
        user.metadata.name = "alice".into();
        assert_eq!(bot_of(&user.metadata), None);
    }

    #[test]
    fn the_pair_can_be_written_and_read() {
        for resource in [Resource::Role(Box::new(role_of(&bot()))), Resource::User(user_of(&bot()))] {
            assert_eq!(Resource::from_json(resource.to_json()), Ok(resource));
        }
    }
}
