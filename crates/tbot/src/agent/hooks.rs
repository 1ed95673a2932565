//! After a renewal: a program is run, a process gets a signal, a unit is reloaded. What goes wrong here is told, and
//! takes nothing back: the credentials are written.

use super::tail::Tail;
use super::{pid_file, withhold};
use crate::config::hooks::{Action, Hook};
use crate::config::{Method, Output};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Command;

/// What a program printed is waited for this long when the program has ended. What it has started may hold its output for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What came of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The output that was renewed.
    pub output: String,
    /// Which of its hooks.
    pub nth: usize,
    /// What was done, without arguments.
    pub action: String,
    /// Why it failed.
    pub fault: Option<String>,
    /// The end of what a program printed that failed.
    pub tail: String,
    /// How long it took.
    pub took: Duration,
}

/// The hooks of one output as they are configured, and what the programs among them are told.
pub struct Hooks {
    setting: Setting,
    hooks: Vec<Hook>,
}

/// What a hook has to do with.
struct Setting {
    output: String,
    destination: PathBuf,
    /// What the agent joined with is nothing to programs.
    method: Method,
}

impl Setting {
    fn of(output: &Output, method: &Method) -> Self {
        let destination = output.destination.path().unwrap_or(Path::new("")).to_owned();
        Self { output: output.name.clone(), destination, method: method.clone() }
    }
}

impl Hooks {
    /// Those of `output`.
    pub fn of(output: &Output, method: &Method) -> Self {
        Self { setting: Setting::of(output, method), hooks: output.on_renew.clone() }
    }

    /// Does everything, in order; gives what came of each.
    pub async fn run(&self) -> Vec<Ran> {
        let mut all = Vec::new();
        let name = &self.setting.output;
        for (nth, hook) in self.hooks.iter().enumerate() {
            let (began, tail) = (Instant::now(), Arc::default());
            let fault = one(hook, &self.setting, &tail).await.err();
            if fault.is_none() {
                tracing::info!(service = name, hook = %hook.action, "done after the renewal");
            }
            let tail = if fault.is_some() { last_words(&tail).line() } else { String::new() };
            let (output, action, took) = (name.clone(), hook.action.to_string(), began.elapsed());
            all.push(Ran { output, nth, action, fault, tail, took });
        }
        all
    }
}

/// What went wrong, in one text.
pub fn outcome(all: &[Ran]) -> Result<(), String> {
    let told = |ran: &Ran| Some(format!("on_renew[{}] ({}): {}", ran.nth, ran.action, ran.fault.as_ref()?));
    let faults: Vec<String> = all.iter().filter_map(told).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// Does what one hook says, of which nobody wants to hear more than whether it worked.
pub(super) async fn alone(hook: &Hook, output: &Output, method: &Method) -> Result<(), String> {
    one(hook, &Setting::of(output, method), &Arc::default()).await
}

type LastWords = Arc<Mutex<Tail>>;

fn last_words(tail: &LastWords) -> std::sync::MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn one(hook: &Hook, setting: &Setting, tail: &LastWords) -> Result<(), String> {
    match &hook.action {
        Action::Exec(words) => {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            withhold(&mut command, &setting.method);
            program(command, hook.timeout, setting, tail).await
        }
        Action::Reload(unit) => {
            let mut command = Command::new("systemctl");
            command.args(["--no-ask-password", "reload", "--", unit]);
            withhold(&mut command, &setting.method);
            program(command, hook.timeout, setting, tail).await
        }
        Action::Signal { signal, pid_file } => pid_file::tell(pid_file, *signal),
    }
}

/// Runs a program in a process group of its own, so that nothing of it outlives its time. What it prints goes to the log.
async fn program(
    mut command: Command,
    timeout: Duration,
    setting: &Setting,
    tail: &LastWords,
) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let (printed, out) = std::io::pipe().map_err(words)?;
    let printed = pipe::Receiver::from_owned_fd(printed.into()).map_err(words)?;
    command
        .env("TBOT_OUTPUT", &setting.output)
        .env("TBOT_DESTINATION", &setting.destination)
        .stdin(Stdio::null())
        .stdout(out.try_clone().map_err(words)?)
        .stderr(out)
        .process_group(0)
        .kill_on_drop(true);
    let spawned = command.spawn();
    // Its ends of the pipe go with it; else the pipe would never end.
    drop(command);
    let mut child = spawned.map_err(|error| format!("cannot be run: {error}"))?;
    let listening = tokio::spawn(pass_on(printed, Arc::clone(tail)));
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let outcome = match tokio::time::timeout(timeout, child.wait()).await {
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
    };
    // What goes on in the background goes on printing to the log.
    let _ = tokio::time::timeout(LAST_WORDS, listening).await;
    outcome
}

/// Into the log, until nobody prints any more.
async fn pass_on(mut printed: pipe::Receiver, tail: LastWords) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = printed.read(&mut buffer).await {
        last_words(&tail).push(&buffer[..read]);
        // Without a log there is nobody to tell.
        let _ = std::io::stderr().write_all(&buffer[..read]);
    }
}
