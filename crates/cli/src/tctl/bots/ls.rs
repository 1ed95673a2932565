//! `tctl bots ls`.

use crate::Failure;
use crate::console::Table;
use crate::tctl::session::Session;
use crate::tctl::show;
use access::resource::Kind;

pub(in crate::tctl) async fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let bots = session.resources()?.all(Kind::Bot, false).await?;
    session.show(&bots, |bots, console| {
        if bots.is_empty() {
            return console.say("No bots found");
        }
        let mut table = Table::new(["Bot", "User", "Roles"]);
        for bot in bots {
            let name = show::name(bot);
            table.row([name, &format!("bot-{name}"), &show::list(bot, "/spec/roles")]);
        }
        console.say(table.text())?;
        console.say("\nTo list the running copies of a bot, run tctl bots instances list NAME")
    })
}
