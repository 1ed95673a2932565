//! `tctl join`: what became of attempts to join.

use super::session::Session;
use crate::Failure;
use crate::console::{Console, Table};
use api::v1::{ExplainJoinRequest, ExplainJoinResponse};
use clap::{Args, Subcommand};
use serde::Serialize;

/// What can be asked about joining.
#[derive(Debug, Subcommand)]
pub enum Join {
    /// Say why a join was refused, claim by claim
    Explain(Explain),
}

/// Arguments of `tctl join explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The attempt, as the joiner was told and as the audit log has it
    pub attempt: String,
}

#[derive(Serialize)]
struct Shown {
    attempt: String,
    at: String,
    code: String,
    reason: String,
    method: String,
    token_name: String,
    role: String,
    remote_addr: String,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    rule: u32,
    field: String,
    wanted: String,
    found: String,
    fits: bool,
}

impl Join {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self::Explain(Explain { attempt }) = self;
        let question = ExplainJoinRequest { attempt: attempt.clone() };
        let answer = session.cluster()?.explain_join(question).await?.into_inner();
        session.show(&Shown::of(attempt, answer), Shown::say)
    }
}

impl Shown {
    fn of(attempt: String, answer: ExplainJoinResponse) -> Self {
        let ExplainJoinResponse { at, code, reason, method, token_name, role, remote_addr, checks } = answer;
        let checks = checks.into_iter().map(|check| Check {
            rule: check.rule,
            field: check.field,
            wanted: check.wanted,
            found: check.found,
            fits: check.fits,
        });
        let checks = checks.collect();
        Self { attempt, at, code, reason, method, token_name, role, remote_addr, checks }
    }

    fn say(&self, console: &mut Console) -> Result<(), Failure> {
        console.say(format!("REFUSED ({}): {}", self.code, self.reason))?;
        console.say(format!(
            "attempt {} at {} from {}: role {}, method {}, token {}",
            self.attempt, self.at, self.remote_addr, self.role, self.method, self.token_name
        ))?;
        if self.checks.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["Rule", "Field", "Wanted", "Found", "Fits"]);
        for check in &self.checks {
            let rule = if check.rule == 0 { "-".to_owned() } else { check.rule.to_string() };
            let fits = if check.fits { "yes" } else { "NO" };
            table.row([&rule, &check.field, &check.wanted, &check.found, fits]);
        }
        console.say(table.text())
    }
}
