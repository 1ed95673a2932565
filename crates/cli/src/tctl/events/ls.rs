//! `tctl events ls`.

use super::row;
use crate::Failure;
use crate::console::Table;
use crate::tctl::session::Session;
use api::v1::SearchRequest;
use clap::Args;
use jiff::Timestamp;

/// Arguments of `tctl events ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// Not before this time, like 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub from: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,
    /// Only these events, like session.start
    #[arg(long = "type", value_name = "EVENT", value_delimiter = ',')]
    pub types: Vec<String>,
    /// At most so many, the newest ones
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}

impl Ls {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let written = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        let request = SearchRequest {
            from: written(self.from),
            to: written(self.to),
            events: self.types,
            after: 0,
            limit: self.limit,
            newest_first: true,
        };
        let answer = session.audit()?.search(request).await?.into_inner();
        let events: Result<Vec<_>, _> = answer.events.iter().map(row::parsed).collect();
        let mut events = events?;
        // Read like a log: the newest one last.
        events.sort_by_key(|event| event["sequence"].as_u64());
        session.show(&events, |events, console| {
            if events.is_empty() {
                return console.say("No events found");
            }
            let mut table = Table::new(["Time", "Code", "Event", "User", "Details"]);
            events.iter().for_each(|event| table.row(row::cells(event)));
            console.say(table.text())
        })
    }
}
