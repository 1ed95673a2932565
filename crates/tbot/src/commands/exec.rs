//! `tbot exec`: credentials for as long as one command runs, and not a moment longer.
//!
//! Everything it makes is in one private directory, which goes when the command has ended, whatever ended it.

mod environment;
mod relay;
mod workspace;

use crate::agent::services::Agent;
use crate::agent::{AgentError, Source};
use crate::config::{Config, Content, Output, StartFlags};
use crate::destination::{Destination, Directory, Symlinks};
use crate::health::Health;
use crate::program::Global;
use access::RoleName;
use clap::Args;
use relay::Relay;
use std::ffi::OsString;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use workspace::Workspace;

/// tbot itself failed; the command did not run. As with env(1) and timeout(1).
const FAILED: u8 = 125;
/// The command cannot be run.
const CANNOT_RUN: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;
/// How often joining and the first writing are tried.
const ATTEMPTS: u32 = 5;

/// Flags of `tbot exec`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: that of COMMAND; 128 plus the signal's number when a signal ended it; 125 when tbot \
                        itself failed, 126 when COMMAND cannot be run, 127 when it is not there; 2 for wrong usage."
)]
pub struct ExecFlags {
    #[command(flatten)]
    start: StartFlags,
    /// Roles of the credentials; those of the file's output when it has one, else all of the bot's
    #[arg(long, value_delimiter = ',', value_name = "ROLE,...")]
    roles: Vec<RoleName>,
    /// What to run, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Joins, runs the command and gives its exit code.
pub fn run(global: &Global, flags: &ExecFlags) -> Result<ExitCode, String> {
    match attempt(global, flags) {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => {
            global.error(&error);
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn attempt(global: &Global, flags: &ExecFlags) -> Result<u8, String> {
    let start = StartFlags { storage_unless_set: Some("memory://".to_owned()), ..flags.start.clone() };
    if start.destination_dir.is_some() {
        return Err(
            "--destination-dir is for tbot start: exec writes to a private directory of its own".to_owned()
        );
    }
    let (config, _) = Source { path: global.config.clone(), flags: start }.load()?;
    global.log_quietly(config.debug);
    let workspace = Workspace::create().map_err(|error| {
        format!(
            "cannot make a directory for the credentials: {error}; set TMPDIR to one that can be written to"
        )
    })?;
    let (renew, written) = (!config.oneshot, written_by_the_agent(&config));
    let config = for_command(config, &flags.roles, &workspace);
    crate::program::runtime()?.block_on(async {
        let mut relay = Relay::listen().map_err(|error| error.to_string())?;
        let opened = Agent::open(config, Health::default());
        let mut agent = opened.map_err(|error| not_opened(&error, written.as_deref()))?;
        tokio::select! {
            ready = ready(&mut agent) => ready.map_err(|error| error.to_string())?,
            signal = relay.next() => return Ok(killed_by(signal)),
        }
        command(&mut agent, renew, &mut relay, &flags.command, &workspace).await
    })
}

/// The `ssh_config` that an agent with this configuration writes.
fn written_by_the_agent(config: &Config) -> Option<PathBuf> {
    let output = config.outputs.iter().find(|output| output.ssh_config())?;
    output.destination.path().map(|directory| directory.join("ssh_config"))
}

/// An agent that runs with the same storage has what is asked for here.
fn not_opened(error: &AgentError, written: Option<&Path>) -> String {
    match (error, written) {
        (AgentError::InUse(storage), Some(ssh_config)) => format!(
            "{} is in use by a running agent; use what it writes (ssh -F {}), or give exec a token and a storage of its own \
             (--token, --ca-pin, --data-dir memory://)",
            storage.display(),
            ssh_config.display()
        ),
        _ => error.to_string(),
    }
}

/// The configuration with one output for SSH: into the workspace. SVIDs and the files of SSH hosts are written into directories in it, by the names
/// of their outputs; sockets stay with the agent that runs all the time.
fn for_command(mut config: Config, roles: &[RoleName], workspace: &Workspace) -> Config {
    let inside = |output: Output| {
        let path = workspace.path().join(&output.name);
        let destination = Destination::Directory(Directory::new(path, Symlinks::TrySecure));
        Output { destination, on_renew: Vec::new(), ..output }
    };
    let of_ssh = |output: &Output| matches!(output.content, Content::Identity { .. });
    let (mut identities, others): (Vec<_>, Vec<_>) = config.outputs.drain(..).partition(of_ssh);
    let svids = others
        .into_iter()
        .filter(|output| matches!(output.content, Content::Svid(_) | Content::SshHost { .. }))
        .map(inside);
    let only = if identities.len() == 1 { identities.pop() } else { None };
    let mut output = only.unwrap_or_else(|| Output {
        name: String::new(),
        destination: Destination::Memory(crate::destination::Memory::default()),
        roles: Vec::new(),
        content: Content::IDENTITY,
        certificate_ttl: config.certificate_ttl,
        renewal_interval: config.renewal_interval,
        on_renew: Vec::new(),
    });
    output.name = "exec".to_owned();
    if let Content::Identity { ssh_config, .. } = &mut output.content {
        *ssh_config = true;
    }
    output.on_renew.clear();
    output.destination = Destination::Directory(Directory::new(workspace.path(), Symlinks::TrySecure));
    if !roles.is_empty() {
        output.roles = roles.to_vec();
    }
    config.outputs = std::iter::once(output).chain(svids).collect();
    config
}

/// Joined, and everything written.
async fn ready(agent: &mut Agent) -> Result<(), Arc<AgentError>> {
    for attempt in 1.. {
        let error = match agent.once().await {
            Ok(()) => break,
            Err(error) if attempt == ATTEMPTS || !error.may_pass() => return Err(error),
            Err(error) => error,
        };
        let pause = error.asked_pause().unwrap_or_default().max(Duration::from_secs(1 << (attempt - 1)));
        tracing::warn!(%error, retry_in = ?pause, "no credentials yet");
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Runs the command to its end; renews meanwhile, and passes on what others tell this process.
async fn command(
    agent: &mut Agent,
    renew: bool,
    relay: &mut Relay,
    words: &[OsString],
    workspace: &Workspace,
) -> Result<u8, String> {
    let mut command = tokio::process::Command::new(&words[0]);
    command.args(&words[1..]);
    environment::set(&mut command, workspace, &agent.config().onboarding.method);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let name = words[0].to_string_lossy();
            crate::console::error(&format!("cannot run {name:?}: {error}"));
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(if missing { NOT_FOUND } else { CANNOT_RUN });
        }
    };
    let pid = child.id();
    let mut renewing = std::pin::pin!(renewing(agent, renew));
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map(code).map_err(|error| error.to_string()),
            signal = relay.next() => relay::pass_on(pid, signal),
            never = &mut renewing => match never {},
        }
    }
}

/// Never ends.
async fn renewing(agent: &mut Agent, renew: bool) -> std::convert::Infallible {
    if !renew {
        return forever().await;
    }
    loop {
        tokio::time::sleep(agent.pause()).await;
        agent.round().await;
    }
}

fn forever() -> impl Future<Output = std::convert::Infallible> {
    std::future::pending()
}

/// As shells have it.
fn code(ended: ExitStatus) -> u8 {
    let code = ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(FAILED)
}

fn killed_by(signal: rustix::process::Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(FAILED)
}
