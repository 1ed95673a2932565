//! `tctl bots instances show`.

use super::ls::last;
use crate::Failure;
use crate::console::{Console, Table};
use crate::tctl::locked::Locks;
use crate::tctl::session::Session;
use crate::tctl::show::text;
use access::resource::Kind;
use clap::Args;
use serde_json::Value;

/// Arguments of `tctl bots instances show`.
#[derive(Debug, Args)]
pub struct Show {
    /// BOT/UUID, as the list prints it
    #[arg(value_name = "BOT/UUID")]
    pub id: String,
}

impl Show {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        if !self.id.contains('/') {
            return Err(Failure::usage(format!("invalid bot instance syntax: {:?}", self.id))
                .hint("write BOT/UUID; tctl bots instances list prints it"));
        }
        let mut instance = session.resources()?.one(Kind::BotInstance, &self.id, false).await?;
        Locks::read(session).await?.mark_instance(&mut instance);
        session.show(&instance, say)
    }
}

fn say(instance: &Value, console: &mut Console) -> Result<(), Failure> {
    let mut table = Table::bare(2);
    table.row(["Bot", text(instance, "/spec/bot_name")]);
    table.row(["ID", text(instance, "/spec/instance_id")]);
    table.row(["Expires", text(instance, "/metadata/expires")]);
    let lock = text(instance, "/status/locked_by");
    if !lock.is_empty() {
        table.row(["Locked by", &format!("{lock}; why: tctl get {lock}")]);
    }
    console.say(table.text())?;
    let status = &instance["status"];
    part("Initial authentication", Some(&status["initial_authentication"]), console)?;
    part("Latest authentication", last(instance, "latest_authentications"), console)?;
    let heartbeat = last(instance, "latest_heartbeats");
    part("Latest heartbeat", heartbeat, console)?;
    services(heartbeat.and_then(|heartbeat| heartbeat["services"].as_array()), console)
}

/// How the agent said that its services were.
fn services(services: Option<&Vec<Value>>, console: &mut Console) -> Result<(), Failure> {
    let Some(services) = services else { return Ok(()) };
    console.say("\nServices:")?;
    let mut table = Table::new(["Name", "Status", "Valid Until", "Reason"]);
    for service in services {
        let cells = ["/name", "/status", "/expires", "/reason"].map(|field| text(service, field));
        table.row(cells);
    }
    console.say(table.text())
}

fn part(heading: &str, value: Option<&Value>, console: &mut Console) -> Result<(), Failure> {
    console.say(format!("\n{heading}:"))?;
    let Some(fields) = value.and_then(Value::as_object) else {
        return console.say("  none recorded");
    };
    let mut table = Table::bare(2);
    for (name, value) in fields.iter().filter(|(name, _)| *name != "services") {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        table.row([format!("  {name}"), text]);
    }
    console.say(table.text())
}
