//! `tctl nodes add`: `tctl tokens add --type=node` under the name that people look for.

use crate::Failure;
use crate::tctl::session::Session;
use crate::tctl::tokens;
use access::Ttl;
use access::name::SystemRole;
use clap::Args;

/// Arguments of `tctl nodes add`.
#[derive(Debug, Args)]
pub struct Add {
    /// What joins
    #[arg(long, value_name = "TYPES", value_delimiter = ',', default_value = "node")]
    pub roles: Vec<SystemRole>,
    /// How long the token is good
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    pub ttl: Ttl,
    /// The token itself, instead of a random one
    #[arg(long)]
    pub token: Option<String>,
}

impl Add {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self { roles, ttl, token } = self;
        tokens::add::Add { types: roles, value: token, ttl, labels: Vec::new() }.run(session).await
    }
}
