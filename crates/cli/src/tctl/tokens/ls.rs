//! `tctl tokens ls`.

use crate::Failure;
use crate::console::Table;
use crate::tctl::session::Session;
use crate::tctl::show;
use access::resource::Kind;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

/// Arguments of `tctl tokens ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// Show the tokens themselves
    #[arg(long)]
    pub with_secrets: bool,
}

impl Ls {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let tokens = session.resources()?.all(Kind::Token, self.with_secrets).await?;
        session.show(&tokens, |tokens, console| match tokens.is_empty() {
            true => console.say("No active tokens found."),
            false => console.say(table(tokens, Timestamp::now())),
        })
    }
}

fn table(tokens: &[Value], now: Timestamp) -> String {
    let mut table = Table::new(["Token", "Type", "Labels", "Expiry Time (UTC)"]);
    for token in tokens {
        table.row([
            show::name(token),
            &show::list(token, "/spec/roles"),
            &show::labels(&[token.pointer("/metadata/labels")]),
            &show::expiry(token.pointer("/metadata/expires"), now),
        ]);
    }
    table.text()
}
