//! `tbot doctor`: looks at everything that an agent needs, changes nothing, and says of each thing that is wrong how to
//! mend it.

mod files;
mod finding;
mod identity;
mod server;

use crate::agent::Source;
use crate::agent::exposed::Exposed;
use crate::config::{Config, StartFlags};
use crate::program::Global;
use clap::{Args, ValueEnum};
use finding::Finding;
use std::process::ExitCode;

/// Flags of `tbot doctor`.
#[derive(Debug, Args)]
pub struct DoctorFlags {
    #[command(flatten)]
    start: StartFlags,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Prints what it finds. Exit code 0 when nothing is wrong, else 1.
pub fn run(global: &Global, flags: &DoctorFlags) -> Result<ExitCode, String> {
    let source = Source { path: global.config.clone(), flags: flags.start.clone() };
    let findings = match source.load() {
        Ok((config, _)) => {
            let mut findings = vec![Finding::good("configuration", "it is read, and has no mistakes")];
            let exposed = Exposed::find(&source, &config);
            findings
                .extend(exposed.map(|Exposed { said, fix }| Finding::warning("configuration", said, fix)));
            findings.extend(crate::program::runtime()?.block_on(examine(&config)));
            findings
        }
        Err(mistakes) => mistakes
            .lines()
            .map(|mistake| Finding::wrong("configuration", mistake, "correct the file, or the flags"))
            .collect(),
    };
    crate::console::print(&match flags.format {
        Format::Text => findings.iter().map(Finding::text).collect(),
        Format::Json => finding::json(&findings),
    })?;
    Ok(if findings.iter().any(Finding::is_wrong) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn examine(config: &Config) -> Vec<Finding> {
    let (stored, mut findings) = identity::examine(config);
    findings.extend(files::examine(config));
    findings.extend(server::examine(config, stored.as_ref()).await);
    findings
}
