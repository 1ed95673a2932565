//! `tctl explain`: the decision about an access, and the rule behind it. Exit code 0 for yes, 3 for no, 1 when
//! there is no answer.

use super::session::Session;
use crate::Failure;
use crate::console::Console;
use api::v1::{ExplainSshRequest, ExplainSshResponse};
use clap::{Args, Subcommand};
use serde::Serialize;

/// The exit code of a denial, apart from that of a failure to find out.
const DENIED: u8 = 3;

/// What can be explained.
#[derive(Debug, Subcommand)]
pub enum Explain {
    /// Whether somebody may log in to a server by SSH
    Ssh(Ssh),
}

/// Arguments of `tctl explain ssh`.
#[derive(Debug, Args)]
pub struct Ssh {
    /// Who asks: bot/NAME or user/NAME
    #[arg(long = "as", value_name = "SUBJECT", value_parser = subject)]
    pub subject: String,
    /// The account on the server
    #[arg(long)]
    pub login: String,
    /// The server, by host name or id
    #[arg(long)]
    pub node: String,
}

#[derive(Serialize)]
struct Shown {
    allowed: bool,
    code: String,
    reason: String,
    rule: String,
    trace: Vec<String>,
}

impl Explain {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self::Ssh(Ssh { subject, login, node }) = self;
        let question = ExplainSshRequest { subject, login, node };
        let answer = session.cluster()?.explain_ssh(question).await?.into_inner();
        let ExplainSshResponse { allowed, code, reason, rule, trace } = answer;
        session.show(&Shown { allowed, code, reason, rule, trace }, Shown::say)?;
        // The answer is the output; a denial is said by the exit code, not as an error.
        if allowed { Ok(()) } else { Err(Failure { exit: DENIED, ..Failure::new("") }) }
    }
}

impl Shown {
    fn say(&self, console: &mut Console) -> Result<(), Failure> {
        let decision = if self.allowed { "ALLOWED" } else { "DENIED" };
        console.say(format!("{decision} ({}): {}", self.code, self.reason))?;
        if !self.rule.is_empty() {
            console.say(format!("rule: {}", self.rule))?;
        }
        for (number, step) in (1..).zip(&self.trace) {
            console.say(format!("  {number}. {step}"))?;
        }
        Ok(())
    }
}

fn subject(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some(("bot" | "user", name)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write bot/NAME or user/NAME".to_owned()),
    }
}
