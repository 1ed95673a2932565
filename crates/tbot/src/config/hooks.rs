//! What is done after an output was written: checked, so that nothing but running it can go wrong.

use super::{check, file};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use yaml::Report;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const SIGNALS: [(&str, Signal); 7] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
];

/// One thing to do after a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// What.
    pub action: Action,
    /// It is given up after this long.
    pub timeout: Duration,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A program is run, by its absolute path, with arguments.
    Exec(Vec<String>),
    /// The process whose number is in a file gets a signal.
    Signal {
        /// Which.
        signal: Signal,
        /// Where the number is.
        pid_file: PathBuf,
    },
    /// `systemctl reload UNIT`.
    Reload(String),
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // Arguments may be anything, secrets among them.
            Self::Exec(words) => write!(f, "exec {}", words.first().map_or("", String::as_str)),
            Self::Signal { pid_file, .. } => write!(f, "signal to the process of {}", pid_file.display()),
            Self::Reload(unit) => write!(f, "systemctl reload {unit}"),
        }
    }
}

/// The hooks at `key`; those with mistakes are left out, which matters to nobody since the file is refused.
pub(super) fn hooks(key: &str, hooks: &[file::Hook], report: &mut Report<'_>) -> Vec<Hook> {
    let hook = |(nth, hook)| one(&format!("{key}.on_renew[{nth}]"), hook, report);
    hooks.iter().enumerate().filter_map(hook).collect()
}

/// One hook at `key`.
pub(super) fn one(key: &str, hook: &file::Hook, report: &mut Report<'_>) -> Option<Hook> {
    let timeout =
        check::duration(&format!("{key}.timeout"), hook.timeout.as_deref(), DEFAULT_TIMEOUT, report);
    let action = match (&hook.exec, &hook.pid_file, &hook.systemd_reload) {
        (Some(words), None, None) => exec(words).map(Action::Exec).map_err(|text| ("exec", text)),
        (None, Some(pid_file), None) => signal(pid_file, hook.signal.as_deref()),
        (None, None, Some(unit)) => unit_name(unit),
        _ => Err(("", "give one of exec, pid_file (with signal) and systemd_reload".to_owned())),
    };
    let only_with = hook.signal.is_some() && hook.pid_file.is_none();
    if only_with {
        report.mistake(format!("{key}.signal").as_str(), "belongs to pid_file, which is missing");
    }
    match action {
        Ok(action) => Some(Hook { action, timeout: timeout? }),
        Err((below, text)) => {
            let dot = if below.is_empty() { "" } else { "." };
            report.mistake(format!("{key}{dot}{below}").as_str(), text);
            None
        }
    }
}

fn exec(words: &[String]) -> Result<Vec<String>, String> {
    match words.first() {
        Some(program) if Path::new(program).is_absolute() => Ok(words.to_vec()),
        _ => Err("write the absolute path of a program, then its arguments; there is no shell".to_owned()),
    }
}

type Mistake = (&'static str, String);

fn signal(pid_file: &str, signal: Option<&str>) -> Result<Action, Mistake> {
    let pid_file = PathBuf::from(pid_file);
    if !pid_file.is_absolute() {
        return Err(("pid_file", "write an absolute path".to_owned()));
    }
    let given = signal.unwrap_or("HUP").to_ascii_uppercase();
    let name = given.strip_prefix("SIG").unwrap_or(&given);
    match SIGNALS.iter().find(|(known, _)| *known == name) {
        Some((_, signal)) => Ok(Action::Signal { signal: *signal, pid_file }),
        None => {
            let known: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
            Err(("signal", format!("unknown signal; known are {}", known.join(", "))))
        }
    }
}

fn unit_name(unit: &str) -> Result<Action, Mistake> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":_.@\\-".contains(c);
    match !unit.is_empty() && !unit.starts_with('-') && unit.chars().all(plain) {
        true => Ok(Action::Reload(unit.to_owned())),
        false => Err(("systemd_reload", "is not the name of a unit, like nginx.service".to_owned())),
    }
}
