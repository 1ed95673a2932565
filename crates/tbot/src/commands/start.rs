//! `tbot start`.

use crate::agent::exposed::Exposed;
use crate::agent::{self, Source};
use crate::config::StartFlags;
use crate::health::Health;
use crate::program::Global;
use std::process::ExitCode;

/// Runs until told to stop, or once.
pub fn run(global: &Global, flags: &StartFlags) -> Result<ExitCode, String> {
    let source = Source { path: global.config.clone(), flags: flags.clone() };
    let (config, replaced) = source.load()?;
    global.log(config.debug);
    for key in replaced {
        tracing::warn!(key, "a flag or an environment variable overrides the configuration file");
    }
    if let Some(Exposed { said, fix }) = Exposed::find(&source, &config) {
        tracing::warn!("{said}; {fix}");
    }
    if !config.storage.is_persistent() {
        tracing::warn!(
            "storage is in memory: the bot instance is lost when tbot ends, and needs a new token"
        );
    }
    let runtime = crate::program::runtime()?;
    let ended = match config.oneshot {
        true => runtime.block_on(agent::oneshot(config)),
        false => runtime.block_on(agent::run(config, &source, Health::default())),
    };
    ended.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
}
