//! `tbot keypair create`: the key that method `bound_keypair` keeps, made before the token is, so that the token names it
//! and no secret travels.

use crate::agent::member::fresh_key;
use crate::agent::storage::{BoundKey, Storage};
use crate::config::flags;
use clap::{Args, Subcommand};
use jiff::Timestamp;

/// What can be done with such a key.
#[derive(Debug, Subcommand)]
pub enum Keypair {
    /// Make the key of the agent that uses this storage, if it has none, and print its public half
    Create(Create),
}

/// Arguments of `tbot keypair create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Where the agent keeps its own identity: a path or file:///path
    #[arg(long, value_name = "DIR")]
    pub storage: String,
    /// Replace a key that is there: whoever it was bound for does not come back with it
    #[arg(long)]
    pub overwrite: bool,
}

impl Keypair {
    /// Runs the command.
    pub fn run(&self) -> Result<(), String> {
        let Self::Create(Create { storage, overwrite }) = self;
        let destination = flags::directory(storage)?;
        let storage = Storage::open(destination).map_err(|error| error.to_string())?;
        let line = create(&storage, *overwrite, Timestamp::now()).map_err(|error| error.to_string())?;
        crate::console::print(&format!("{line}\n"))
    }
}

fn create(storage: &Storage, overwrite: bool, now: Timestamp) -> Result<String, crate::agent::AgentError> {
    let mut stored = storage.load()?;
    if let Some(bound) = stored.bound.as_ref().filter(|_| !overwrite) {
        return Ok(bound.key.public().to_openssh());
    }
    let bound = BoundKey { key: fresh_key()?, state: vec![] };
    let line = bound.key.public().to_openssh();
    // What was asked for with another key is nobody's any more.
    (stored.bound, stored.pending) = (Some(bound), None);
    storage.keep_stored(now, &stored)?;
    Ok(line)
}
