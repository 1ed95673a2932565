//! `tctl version`.

use super::session::Session;
use crate::Failure;
use serde::Serialize;

#[derive(Serialize)]
struct Shown {
    version: &'static str,
}

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let shown = Shown { version: env!("CARGO_PKG_VERSION") };
    session.tell(&shown, format!("Postern {}", shown.version))
}
