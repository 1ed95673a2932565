//! After a renewal: a program is run, a process gets a signal, a unit is reloaded. What goes wrong here is told, and
//! takes nothing back: the credentials are written.

use super::withhold;
use crate::config::hooks::{Action, Hook};
use crate::config::{Method, Output};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
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

async fn one(hook: &Hook, output: &Output, method: &Method) -> Result<(), String> {
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
        Action::Signal { signal, pid_file } => tell(pid_file, *signal),
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

/// The file must not let its writer have us signal what the writer could not: it belongs to root, to us, or to whom the
/// process belongs.
fn tell(pid_file: &Path, signal: Signal) -> Result<(), String> {
    let system = |error: std::io::Error| error.to_string();
    let found = std::fs::metadata(pid_file).map_err(system)?;
    let text = std::fs::read_to_string(pid_file).map_err(system)?;
    let number = text.trim().parse::<i32>().ok().filter(|number| *number > 1);
    let pid = number.and_then(Pid::from_raw).ok_or("the file holds no process number")?;
    // A unit that hides other processes (ProtectProc=) leaves the first two.
    let process = std::fs::metadata(format!("/proc/{pid}")).ok().map(|process| process.uid());
    let trusted = [Some(0), Some(rustix::process::geteuid().as_raw()), process];
    if !trusted.contains(&Some(found.uid())) || found.mode() & 0o022 != 0 {
        return Err(
            "the file may be written to by others than root, this agent and the process' owner".to_owned()
        );
    }
    kill_process(pid, signal).map_err(|error| format!("process {pid}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::tell;
    use rustix::process::Signal;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_process_is_signalled_by_a_file_that_can_be_believed() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let file = scratch.path().join("pid");
        let refused = |part: &str| {
            let told = tell(&file, Signal::TERM).expect_err("refused");
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        };
        refused("No such file");
        for text in ["", "1", "-4", "0", "x"] {
            std::fs::write(&file, text).expect("written");
            refused("no process number");
        }
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("starts");
        std::fs::write(&file, format!("{}\n", child.id())).expect("written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).expect("ours");
        refused("may be written to by others");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("ours");
        tell(&file, Signal::TERM).expect("told");
        assert_eq!(child.wait().expect("our own child").signal(), Some(15));
        refused("No such process");
    }
}
