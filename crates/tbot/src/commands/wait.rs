//! `tbot wait`: for scripts and units that need the credentials to be there.

use super::status::Seen;
use super::{NOT_READY, Place};
use crate::program::Global;
use access::Ttl;
use clap::Args;
use jiff::Timestamp;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(200);

/// Flags of `tbot wait`.
#[derive(Debug, Args)]
pub struct WaitFlags {
    /// Where the agent keeps its own identity; from the configuration file, else /var/lib/teleport/bot
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Accept only what the agent that runs now has written
    #[arg(long)]
    fresh: bool,
    /// Give up after this long, with exit code 3
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    timeout: Ttl,
}

/// Waits until every output is written and valid. Exit code 0 then, 3 when the time is over.
pub fn run(global: &Global, flags: &WaitFlags) -> Result<ExitCode, String> {
    let place = Place::find(global.config.clone(), flags.data_dir.as_deref())?;
    let start = Instant::now();
    loop {
        let (seen, now) = (Seen::look(&place)?, Timestamp::now());
        let Some(missing) = seen.missing(now, flags.fresh) else { return Ok(ExitCode::SUCCESS) };
        if flags.timeout.limit().is_some_and(|limit| start.elapsed() >= limit) {
            eprint!("{}", seen.text(now));
            let what = if flags.fresh { "not fresh" } else { "not there" };
            crate::console::error(&format!(
                "the credentials were {what} within {}: {missing}",
                flags.timeout
            ));
            return Ok(ExitCode::from(NOT_READY));
        }
        std::thread::sleep(POLL);
    }
}
