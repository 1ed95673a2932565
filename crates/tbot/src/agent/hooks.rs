//! After a renewal: a program is run, a process gets a signal, a unit is reloaded. What goes wrong here is told, and
//! takes nothing back: the credentials are written.

use super::{pid_file, withhold};
use crate::config::hooks::{Action, Hook};
use crate::config::{Method, Output};
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Does everything that is to be done for `output`, in order; gives what went wrong.
pub async fn run(output: &Output, method: &Method) -> Result<(), String> {
    let mut faults = Vec::new();
    for (nth, hook) in output.on_renew.iter().enumerate() {
        match one(hook, output, method).await {
            Ok(()) => tracing::info!(service = output.name, hook = %hook.action, "done after the renewal"),
            Err(fault) => faults.push(format!("on_renew[{nth}] ({}): {fault}", hook.action)),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// Does what one hook says.
pub(super) async fn one(hook: &Hook, output: &Output, method: &Method) -> Result<(), String> {
    match &hook.action {
        Action::Exec(words) => {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            withhold(&mut command, method);
            program(command, hook.timeout, output).await
        }
        Action::Reload(unit) => {
            let mut command = Command::new("systemctl");
            command.args(["--no-ask-password", "reload", "--", unit]);
            withhold(&mut command, method);
            program(command, hook.timeout, output).await
        }
        Action::Signal { signal, pid_file } => pid_file::tell(pid_file, *signal),
    }
}

/// Runs a program in a process group of its own, so that nothing of it outlives its time. What it prints goes to the log.
async fn program(mut command: Command, timeout: Duration, output: &Output) -> Result<(), String> {
    let log = std::io::stderr().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let destination = output.destination.path().unwrap_or(Path::new(""));
    command
        .env("TBOT_OUTPUT", &output.name)
        .env("TBOT_DESTINATION", destination)
        .stdin(Stdio::null())
        .stdout(log)
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    match tokio::time::timeout(timeout, child.wait()).await {
        Ok(Ok(ended)) if ended.success() => Ok(()),
        Ok(Ok(ended)) => Err(format!("ended with {ended}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
            Err(format!("did not end within {timeout:?} and was killed"))
        }
    }
}
