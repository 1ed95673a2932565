//! `tctl events tail`.

use super::row;
use crate::console::Format;
use crate::tctl::session::Session;
use crate::{Failure, escape};
use api::v1::TailRequest;
use clap::Args;
use tokio_stream::StreamExt;

/// Arguments of `tctl events tail`.
#[derive(Debug, Args)]
pub struct Tail {
    /// Begin after the event of this number instead of now
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub after: u64,
}

impl Tail {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut events = session.audit()?.tail(TailRequest { after: self.after }).await?.into_inner();
        while let Some(event) = events.next().await {
            let body = row::parsed(&event?)?;
            match session.format() {
                Format::Text => session.console.say(escape::line(row::cells(&body).join("  ").trim_end()))?,
                // One a line, so that a program reads them as they come.
                Format::Json => session.console.json_line(&body)?,
                Format::Yaml => {
                    session.console.say("---")?;
                    session.console.yaml(&body)?;
                }
            }
        }
        Err(Failure::new("the auth service ended the stream of events").hint("run the command again"))
    }
}
