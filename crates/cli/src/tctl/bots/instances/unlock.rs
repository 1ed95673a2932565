//! `tctl bots instances unlock`.

use crate::Failure;
use crate::console::{Console, Table};
use crate::tctl::session::Session;
use api::v1::{Sighting, UnlockInstanceRequest, UnlockInstanceResponse};
use clap::Args;
use serde::Serialize;

/// Arguments of `tctl bots instances unlock`.
#[derive(Debug, Args)]
pub struct Unlock {
    /// BOT/UUID, as the list prints it
    #[arg(value_name = "BOT/UUID")]
    pub id: String,
}

#[derive(Serialize)]
struct Unlocked {
    id: String,
    lock: String,
    action: &'static str,
    /// The copy that has what is in force.
    ahead: Option<Seen>,
    /// The copy that has what was in force before.
    behind: Option<Seen>,
    #[serde(skip_serializing_if = "String::is_empty")]
    join_token: String,
    other_locks: Vec<String>,
}

#[derive(Serialize)]
struct Seen {
    addr: String,
    generation: u64,
}

impl Unlock {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let request = UnlockInstanceRequest { name: self.id.clone() };
        let answer = session.bots()?.unlock_instance(request).await?.into_inner();
        let UnlockInstanceResponse { lock, ahead, behind, join_token, other_locks } = answer;
        let (ahead, behind) = (ahead.map(Seen::from), behind.map(Seen::from));
        let unlocked =
            Unlocked { id: self.id, lock, action: "deleted", ahead, behind, join_token, other_locks };
        session.show(&unlocked, say)
    }
}

impl From<Sighting> for Seen {
    fn from(Sighting { addr, generation }: Sighting) -> Self {
        let addr = if addr.is_empty() { "an unknown address".to_owned() } else { addr };
        Self { addr, generation }
    }
}

fn say(unlocked: &Unlocked, console: &mut Console) -> Result<(), Failure> {
    let Unlocked { id, ahead, behind, join_token, other_locks, .. } = unlocked;
    let bot = id.split_once('/').map_or(id.as_str(), |(bot, _)| bot);
    console.say(what_was_locked(id, join_token))?;
    if let (Some(ahead), Some(behind)) = (ahead, behind) {
        console.say("\nTwo agents were seen with its identity:")?;
        let mut table = Table::new(["Address", "Generation", "What it can do now"]);
        table.row([
            ahead.addr.as_str(),
            &ahead.generation.to_string(),
            "go on, while its certificate is valid",
        ]);
        table.row([
            behind.addr.as_str(),
            &behind.generation.to_string(),
            "nothing: its next renewal locks both again",
        ]);
        console.say(table.text())?;
    }
    let again = match join_token.as_str() {
        "" => format!("join it as an instance of its own, with a token from tctl bots instances add {bot}"),
        token => format!("give it a key and a token of its own, like {token}"),
    };
    console.say(format!(
        "\nIf both are yours, stop the one that can do nothing, empty its storage and {again}.\n\
         If the one that can go on is not yours, remove the instance, which refuses both: tctl rm bot_instance/{id}. Then empty \
         the storage of yours and {again}."
    ))?;
    match other_locks.as_slice() {
        [] => Ok(()),
        others => console.say(format!(
            "\nIt is still refused by other locks: {}. Remove them with tctl rm lock/NAME.",
            others.join(", ")
        )),
    }
}

fn what_was_locked(id: &str, join_token: &str) -> String {
    match join_token {
        "" => format!("The bot instance {id} is unlocked; it alone was locked."),
        token => format!(
            "The bot instance {id} is unlocked, and so is whoever joins with the token {token}: its lock held both."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::what_was_locked;

    #[test]
    fn a_lock_may_hold_the_token_too() {
        assert!(what_was_locked("ci/1", "").ends_with("it alone was locked."));
        let both = what_was_locked("ci/1", "ci-key");
        assert!(both.contains("joins with the token ci-key") && !both.contains("alone"), "{both}");
    }
}
