//! `tctl bots instances list`.

use crate::Failure;
use crate::console::Table;
use crate::tctl::locked::Locks;
use crate::tctl::session::Session;
use crate::tctl::show::{name, text};
use access::BotName;
use access::resource::Kind;
use clap::Args;
use serde_json::Value;

/// Arguments of `tctl bots instances list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only copies of this bot
    pub name: Option<BotName>,
}

impl List {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut instances = session.resources()?.all(Kind::BotInstance, false).await?;
        if let Some(bot) = &self.name {
            instances.retain(|instance| text(instance, "/spec/bot_name") == bot.as_str());
        }
        let locks = Locks::read(session).await?;
        instances.iter_mut().for_each(|instance| locks.mark_instance(instance));
        session.show(&instances, |instances, console| match (instances.is_empty(), &self.name) {
            (true, Some(bot)) => console.say(format!("No bot instances found with name {:?}", bot.as_str())),
            (true, None) => console.say("No bot instances found"),
            _ => console.say(table(instances)),
        })
    }
}

fn table(instances: &[Value]) -> String {
    let mut table =
        Table::new(["ID", "Join Method", "Hostname", "Joined", "Last Seen", "Generation", "Locked By"]);
    for instance in instances {
        let first = &instance["status"]["initial_authentication"];
        let latest = last(instance, "latest_authentications").unwrap_or(first);
        let heartbeat =
            last(instance, "latest_heartbeats").unwrap_or(&instance["status"]["initial_heartbeat"]);
        let seen = text(latest, "/authenticated_at").max(text(heartbeat, "/recorded_at"));
        let generation = latest["generation"].as_u64().map(|generation| generation.to_string());
        table.row([
            name(instance),
            or_none(text(latest, "/join_method")),
            or_none(text(heartbeat, "/hostname")),
            or_none(text(first, "/authenticated_at")),
            or_none(seen),
            or_none(generation.as_deref().unwrap_or("")),
            text(instance, "/status/locked_by"),
        ]);
    }
    table.text()
}

/// The newest entry of a list of the status.
pub(super) fn last<'a>(instance: &'a Value, key: &str) -> Option<&'a Value> {
    instance["status"][key].as_array()?.last()
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "n/a" } else { text }
}
