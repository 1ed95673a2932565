//! `tbot install systemd`: a unit that may do what this configuration needs, and nothing else.

mod unit;

use crate::accounts;
use crate::agent::Source;
use crate::config::{Config, Content, Output, StartFlags};
use crate::program::Global;
use clap::{Args, Subcommand};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use unit::Unit;

/// What `tbot install` has.
#[derive(Debug, Subcommand)]
pub enum Install {
    /// Print or write a hardened systemd unit that runs the agent
    Systemd(SystemdFlags),
}

/// Flags of `tbot install systemd`.
#[derive(Debug, Args)]
pub struct SystemdFlags {
    /// Name of the unit, without .service
    #[arg(long, default_value = "tbot")]
    name: String,
    /// The user that the agent runs as; teleport unless set, and root where it looks after sshd
    #[arg(long)]
    user: Option<String>,
    /// Its group; teleport unless set, and root where it looks after sshd
    #[arg(long)]
    group: Option<String>,
    /// Where units are
    #[arg(long, default_value = "/etc/systemd/system", value_name = "DIR")]
    systemd_directory: PathBuf,
    /// Write it; without this it is only printed
    #[arg(long)]
    write: bool,
    /// Replace a unit that is different
    #[arg(long)]
    force: bool,
}

impl Install {
    /// Prints or writes it.
    pub fn run(&self, global: &Global) -> Result<ExitCode, String> {
        let Self::Systemd(flags) = self;
        systemd(global, flags).map(|()| ExitCode::SUCCESS)
    }
}

fn systemd(global: &Global, flags: &SystemdFlags) -> Result<(), String> {
    let Some(config) = &global.config else {
        return Err(
            "give the configuration that the unit is for with -c; tbot configure writes one".to_owned()
        );
    };
    let path = std::fs::canonicalize(config).map_err(|error| format!("{}: {error}", config.display()))?;
    let (checked, _) = Source { path: Some(path.clone()), flags: StartFlags::default() }.load()?;
    let (user, group) = run_as(flags, &checked)?;
    for (flag, word) in [("name", flags.name.as_str()), ("user", user), ("group", group)] {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if word.is_empty() || word.starts_with('-') || !word.chars().all(plain) {
            return Err(format!("--{flag} {word:?} has letters, digits, '-', '_' and '.' only"));
        }
    }
    if checked.oneshot {
        return Err(
            "the configuration says oneshot: true, and a unit is for an agent that goes on; remove it"
                .to_owned(),
        );
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let unit = Unit { program: &program, config_file: &path, config: &checked, user, group };
    let text = unit.render()?;
    let target = flags.systemd_directory.join(format!("{}.service", flags.name));
    if !flags.write {
        crate::console::print(&text)?;
        eprintln!("Nothing was written. --write writes this to {}", target.display());
        return Ok(());
    }
    write(&target, &text, flags.force)?;
    for problem in problems(&unit) {
        eprintln!("{problem}");
    }
    for (directory, mode) in unit.to_be_made() {
        eprintln!(
            "{} is missing, and the unit will not start without it: install -d -m {mode} -o {user} -g {group} {0}",
            directory.display(),
        );
    }
    for directory in unit.to_be_made_for_sshd() {
        eprintln!(
            "{} is missing, and the unit will not start without it: install -d -m 0755 {0}",
            directory.display()
        );
    }
    Ok(())
}

/// What keeps the agent from running as its user, each with the command that mends it.
fn problems(unit: &Unit<'_>) -> Vec<String> {
    let Unit { user, group, .. } = unit;
    let mut problems = Vec::new();
    let is_missing = |name: &str, what: &str| {
        format!("the {what} {name} does not exist, and the unit will not start without it")
    };
    let (account, has_group) = (accounts::user(user).ok(), accounts::group(group).is_ok());
    if !has_group && (user != group || account.is_some()) {
        problems.push(format!("{}: groupadd --system {group}", is_missing(group, "group")));
    }
    let Some(account) = account else {
        let its_group = if user == group && !has_group { "-U".to_owned() } else { format!("-g {group}") };
        let mend = format!("useradd --system {its_group} -M -s /usr/sbin/nologin {user}");
        problems.push(format!("{}: {mend}", is_missing(user, "user")));
        return problems;
    };
    problems.extend(unit.of_others(account.uid).into_iter().map(|(directory, owner)| {
        let shown = directory.display();
        format!(
            "{shown} belongs to uid {owner}, and the agent runs as {user}: chown -R {user}:{group} {shown}"
        )
    }));
    problems
}

/// The user and the group that the agent runs as.
fn run_as<'a>(flags: &'a SystemdFlags, config: &Config) -> Result<(&'a str, &'a str), String> {
    let of_sshd = |output: &&Output| matches!(output.content, Content::Sshd(_));
    let of_sshd = config.outputs.iter().find(of_sshd);
    let default = if of_sshd.is_some() { "root" } else { "teleport" };
    let user = flags.user.as_deref().unwrap_or(default);
    match of_sshd {
        Some(output) if user != "root" => Err(format!(
            "the service {} looks after sshd, whose configuration and keys are root's; leave --user out",
            output.name
        )),
        _ => Ok((user, flags.group.as_deref().unwrap_or(default))),
    }
}

fn write(target: &Path, text: &str, force: bool) -> Result<(), String> {
    match std::fs::read_to_string(target) {
        Ok(present) if present == text => return crate::console::print("No changes\n"),
        Ok(_) if !force => {
            return Err(format!(
                "{} exists and is different; compare it with what is printed without --write, then give --force",
                target.display()
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("cannot read {}: {error}", target.display())),
    }
    replace(target, text).map_err(|error| format!("cannot write {}: {error}", target.display()))?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    crate::console::print(&format!(
        "Wrote {}. Start it: systemctl daemon-reload && systemctl enable --now {name}\n",
        target.display()
    ))
}

/// In one step, so that systemd never reads half of it.
fn replace(target: &Path, text: &str) -> std::io::Result<()> {
    let beside = target.with_extension("service.new");
    let _ = std::fs::remove_file(&beside);
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o644).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, target)
}
