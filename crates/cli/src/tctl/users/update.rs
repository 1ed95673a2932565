//! `tctl users update`.

use super::{LOGINS, listed};
use crate::Failure;
use crate::tctl::resources::decoded;
use crate::tctl::session::Session;
use access::resource::{Kind, Resource};
use access::{RoleName, UserName};
use clap::Args;
use serde::Serialize;

/// Arguments of `tctl users update`.
#[derive(Debug, Args)]
pub struct Update {
    /// The user
    pub name: UserName,
    /// The roles from now on
    #[arg(long, value_delimiter = ',')]
    pub set_roles: Option<Vec<RoleName>>,
    /// The accounts on servers from now on; empty for none
    #[arg(long, value_delimiter = ',')]
    pub set_logins: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a UserName,
    action: &'static str,
}

impl Update {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self { name, set_roles, set_logins } = self;
        if set_roles.is_none() && set_logins.is_none() {
            return Err(Failure::usage("nothing to change").hint("give --set-roles or --set-logins"));
        }
        let mut resources = session.resources()?;
        let Resource::User(mut user) = decoded(resources.one(Kind::User, name.as_str(), true).await?)? else {
            return Err(Failure::new(format!("the server's answer about user {name:?} is no user")));
        };
        if let Some(roles) = set_roles {
            user.spec.roles = roles;
        }
        match set_logins.map(listed) {
            None => {}
            Some(logins) if logins.is_empty() => drop(user.spec.traits.0.remove(LOGINS)),
            Some(logins) => drop(user.spec.traits.0.insert(LOGINS.to_owned(), logins)),
        }
        // With the revision that was read: a change of somebody else in between is not lost.
        resources.upsert(&Resource::User(user)).await?;
        let sentence = format!("User {:?} has been updated", name.as_str());
        session.tell(&Shown { name: &name, action: "updated" }, sentence)
    }
}
