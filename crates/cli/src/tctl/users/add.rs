//! `tctl users add`.

use super::{LOGINS, listed};
use crate::Failure;
use crate::tctl::session::Session;
use access::resource::user::UserSpec;
use access::resource::{Metadata, Resource, User};
use access::{RoleName, Traits, UserName};
use clap::Args;
use serde::Serialize;

/// Arguments of `tctl users add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The user's name
    pub name: UserName,
    /// Roles of the user
    #[arg(long, value_delimiter = ',', required = true)]
    pub roles: Vec<RoleName>,
    /// Accounts on servers, for roles that refer to the user's logins
    #[arg(long, value_delimiter = ',')]
    pub logins: Vec<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a UserName,
    roles: &'a [RoleName],
    action: &'static str,
}

impl Add {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self { name, roles, logins } = self;
        let mut traits = Traits::default();
        let logins = listed(logins);
        if !logins.is_empty() {
            traits.0.insert(LOGINS.to_owned(), logins);
        }
        let metadata = Metadata { name: name.to_string(), ..Metadata::default() };
        let user = User { metadata, name: name.clone(), spec: UserSpec { roles: roles.clone(), traits } };
        session.resources()?.create(&Resource::User(user)).await?;
        let sentence = format!(
            "User {:?} has been created.\nGive them an identity file:\n\n> tctl auth sign --user={name} -o {name}.identity",
            name.as_str()
        );
        session.tell(&Shown { name: &name, roles: &roles, action: "created" }, sentence)
    }
}
