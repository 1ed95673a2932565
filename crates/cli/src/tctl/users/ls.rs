//! `tctl users ls`.

use crate::Failure;
use crate::console::Table;
use crate::tctl::session::Session;
use crate::tctl::show;
use access::resource::Kind;

pub(in crate::tctl) async fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let users = session.resources()?.all(Kind::User, false).await?;
    session.show(&users, |users, console| {
        if users.is_empty() {
            return console.say("No users found");
        }
        let mut table = Table::new(["User", "Roles"]);
        for user in users {
            table.row([show::name(user), &show::list(user, "/spec/roles")]);
        }
        console.say(table.text())
    })
}
