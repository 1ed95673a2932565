//! `tctl tokens rm`.

use crate::Failure;
use crate::tctl::session::Session;
use access::resource::Kind;
use access::resource::token::masked;
use clap::Args;
use serde::Serialize;

/// Arguments of `tctl tokens rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// The token
    pub token: String,
}

#[derive(Serialize)]
struct Removed {
    token: String,
    action: &'static str,
}

impl Rm {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        session.resources()?.delete(Kind::Token, &self.token).await?;
        let token = masked(&self.token);
        let sentence = format!("Token {token} has been deleted");
        session.tell(&Removed { token, action: "deleted" }, sentence)
    }
}
