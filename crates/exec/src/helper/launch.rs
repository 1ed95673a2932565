//! Step 6, as the user: working directory, environment, and the program that the session is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::defaults;
use super::stdio::Terminal;
use crate::environment::{assemble, is_terminal_name};
use crate::request::SessionRequest;
use crate::status::{Failure, FailureKind};
use crate::sys::accounts::Account;
use crate::sys::process;

const DEFAULT_SHELL: &str = "/bin/sh";

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

/// The session's whole environment; nothing of this process's own is in it.
pub(super) fn environment(
    request: &SessionRequest,
    account: &Account,
    terminal: Option<Terminal>,
) -> BTreeMap<String, String> {
    let mut own: Vec<(String, String)> = [
        ("HOME", account.home.as_str()),
        ("USER", &account.name),
        ("LOGNAME", &account.name),
        ("SHELL", shell(account)),
        ("PATH", &defaults::path(account.uid == 0)),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if let Some(Terminal { name, term }) = terminal {
        own.extend(name.map(|name| ("SSH_TTY".into(), name)));
        if is_terminal_name(&term) {
            own.push(("TERM".into(), term));
        }
    }
    let fallback = vec![("LANG".into(), defaults::language())];
    assemble(own, &request.trusted_env, &request.client_env, fallback)
}

/// Replaces this process with the account's shell: a login shell, or one that runs a command. Returns only the reason
/// why that was not possible.
pub(super) fn execute(
    account: &Account,
    command: Option<&[u8]>,
    environment: BTreeMap<String, String>,
) -> Failure {
    let shell = shell(account);
    let fail = |reason: &str| {
        let detail = format!("shell {shell:?} of account {:?} cannot be run: {reason}", account.name);
        Failure::new(FailureKind::Shell, detail)
    };
    if !shell.starts_with('/') {
        return fail("not an absolute path; set one with usermod --shell");
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
        ErrorKind::NotFound => fail("no such file; install it or set another with usermod --shell"),
        ErrorKind::ArgumentListTooLong => fail("the command or the environment is too long for this system"),
        _ => fail(&error.to_string()),
    }
}

/// As `passwd(5)` says: an empty field means `/bin/sh`.
fn shell(account: &Account) -> &str {
    if account.shell.is_empty() { DEFAULT_SHELL } else { &account.shell }
}
