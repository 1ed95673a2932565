//! `tbot sshd`: takes away what a service of type `sshd` wrote for the server, or lets the agent write it again.

use crate::agent::Source;
use crate::agent::sshd::Installer;
use crate::config::{Content, StartFlags};
use crate::program::Global;
use clap::Args;
use std::process::ExitCode;

/// Flags of `tbot sshd`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SshdFlags {
    /// Remove what was written for sshd and reload it; the agent writes nothing for it from then on
    #[arg(long)]
    undo: bool,
    /// Let the agent look after it again, from its next renewal on
    #[arg(long)]
    redo: bool,
}

/// Does it for every such service of the configuration.
pub fn run(global: &Global, flags: &SshdFlags) -> Result<ExitCode, String> {
    if global.config.is_none() {
        return Err("name the configuration file of the agent with -c".to_owned());
    }
    let source = Source { path: global.config.clone(), flags: StartFlags::default() };
    let (config, _) = source.load()?;
    let method = &config.onboarding.method;
    let servers = config.outputs.iter().filter_map(|output| match &output.content {
        Content::Sshd(sshd) => Some(Installer { output, sshd, method }),
        _ => None,
    });
    let servers: Vec<Installer<'_>> = servers.collect();
    if servers.is_empty() {
        return Err("the configuration has no service of type sshd".to_owned());
    }
    crate::program::runtime()?.block_on(async {
        for server in servers {
            let (name, snippet) = (&server.output.name, server.sshd.snippet.display());
            let said = match flags.undo {
                true if server.undo().await.map_err(|fault| fault.to_string())? => {
                    format!("{name}: {snippet} is removed and sshd reloaded; remove the service from the configuration\n")
                }
                true => format!("{name}: {snippet} is not there; nothing is written for sshd from now on\n"),
                false => {
                    server.redo().map_err(|fault| fault.to_string())?;
                    format!("{name}: the agent looks after sshd again; to hurry it: kill -USR1, or restart it\n")
                }
            };
            crate::console::print(&said)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
