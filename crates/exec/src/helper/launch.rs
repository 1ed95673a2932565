//! Step 6, as the user: working directory, environment, and the program that the session is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::stdio::Terminal;
use super::{defaults, user_file};
use crate::environment::{Sources, assemble, is_terminal_name};
use crate::request::SessionRequest;
use crate::status::{Failure, FailureKind};
use crate::sys::accounts::Account;
use crate::sys::process;

const DEFAULT_SHELL: &str = "/bin/sh";
/// Where mail arrives, as the C library's `_PATH_MAILDIR` has it.
const MAIL: &str = "/var/mail";
const MISSING: &str = "no such file; install it or set another with usermod --shell";
const RELATIVE: &str = "not an absolute path; set one with usermod --shell";

/// Goes to the user's home, or to `/` after saying so on the session's standard error.
pub(super) fn enter_home(account: &Account) {
    if std::env::set_current_dir(&account.home).is_ok() {
        return;
    }
    // The session may have nobody left to read this; that must not end it.
    let _ = writeln!(
        io::stderr(),
        "Could not set shell's cwd to home directory {:?}, defaulting to \"/\"",
        account.home
    );
    let _ = std::env::set_current_dir("/");
}

/// The session's whole environment; nothing of this process's own is in it. `modules` is what PAM sets.
pub(super) fn environment(
    request: &SessionRequest,
    account: &Account,
    terminal: Option<&Terminal>,
    modules: Vec<(String, String)>,
) -> BTreeMap<String, String> {
    let mut own = pairs([
        ("HOME", account.home.as_str()),
        ("USER", &account.name),
        ("LOGNAME", &account.name),
        ("SHELL", shell(account)),
    ]);
    if let Some(Terminal { name, term }) = terminal {
        own.extend(name.clone().map(|name| ("SSH_TTY".into(), name)));
        if is_terminal_name(term) {
            own.push(("TERM".into(), term.clone()));
        }
    }
    let mut defaults = pairs([("PATH", &defaults::path(account.uid == 0))]);
    if request.pam.is_none() {
        // A module's task where there are any.
        defaults.push(("MAIL".into(), format!("{MAIL}/{}", account.name)));
    }
    let user = if request.user_env { user_file::read(Path::new(&account.home)) } else { Vec::new() };
    let fallback = pairs([("LANG", &defaults::language())]);
    assemble(&Sources {
        own,
        node: &request.trusted_env,
        modules,
        defaults,
        client: &request.client_env,
        user,
        fallback,
    })
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Whether the account's shell looks as if it could be executed, asked while the node still listens.
pub(super) fn check_shell(account: &Account) -> Result<(), Failure> {
    let shell = shell(account);
    match access(shell, Access::EXEC_OK) {
        Err(Errno::NOENT) => Err(cannot_run(account, MISSING)),
        Err(error) => Err(cannot_run(account, &io::Error::from(error).to_string())),
        Ok(()) if !shell.starts_with('/') => Err(cannot_run(account, RELATIVE)),
        Ok(()) => Ok(()),
    }
}

/// Replaces this process with the account's shell: a login shell, or one that runs a command. Returns only the reason
/// why that was not possible.
pub(super) fn execute(
    account: &Account,
    command: Option<&[u8]>,
    environment: BTreeMap<String, String>,
) -> Failure {
    let shell = shell(account);
    let fail = |reason: &str| cannot_run(account, reason);
    if !shell.starts_with('/') {
        return fail(RELATIVE);
    }
    let name = shell.rsplit('/').next().unwrap_or(shell);
    let mut program = Command::new(shell);
    program.env_clear().envs(environment);
    match command {
        None => program.arg0(format!("-{name}")),
        Some(command) => program.arg0(name).arg("-c").arg(OsStr::from_bytes(command)),
    };
    if let Err(error) = process::keep_descriptors_from_exec() {
        return fail(&error.to_string());
    }
    let error = program.exec();
    match error.kind() {
        ErrorKind::NotFound => fail(MISSING),
        ErrorKind::ArgumentListTooLong => fail("the command or the environment is too long for this system"),
        _ => fail(&error.to_string()),
    }
}

fn cannot_run(account: &Account, reason: &str) -> Failure {
    let detail = format!("shell {:?} of account {:?} cannot be run: {reason}", shell(account), account.name);
    Failure::new(FailureKind::Shell, detail)
}

/// As `passwd(5)` says: an empty field means `/bin/sh`.
pub(super) fn shell(account: &Account) -> &str {
    if account.shell.is_empty() { DEFAULT_SHELL } else { &account.shell }
}
