//! A stock OpenSSH server that the agent looks after: checked, so that what is written for sshd means what is written here.

use super::{Content, Hook, file, hooks};
use access::{HostPort, Login, NodeName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use yaml::Report;

const SNIPPET: &str = "/etc/ssh/sshd_config.d/10-postern.conf";
const CONFIG: &str = "/etc/ssh/sshd_config";
const PROGRAM: &str = "/usr/sbin/sshd";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sshd {
    /// The name by which clients call it; the machine's where it is not set.
    pub hostname: Option<NodeName>,
    /// Further names and addresses.
    pub principals: Vec<String>,
    /// Where a proxy reaches it.
    pub address: Option<HostPort>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The accounts that can be logged in to; empty for every one that a certificate names.
    pub accounts: Vec<Login>,
    /// Whether it is in the cluster's inventory.
    pub register: bool,
    /// What is written for it.
    pub snippet: PathBuf,
    /// What it runs with.
    pub config: PathBuf,
    /// What it is.
    pub program: PathBuf,
    /// How it is told that something is new.
    pub reload: Hook,
}

/// What an output for an SSH server is, or mistakes.
pub(super) fn content(key: &str, output: &file::Output, report: &mut Report<'_>) -> Option<Content> {
    if output.kind == file::OutputKind::Sshd {
        return checked(key, output, report).map(|sshd| Content::Sshd(Box::new(sshd)));
    }
    if output.principals.is_empty() {
        let text = "missing; list the names and addresses by which clients call the server";
        report.mistake(format!("{key}.principals").as_str(), text);
    }
    Some(Content::SshHost { principals: output.principals.clone() })
}

/// The server of an output, or mistakes.
fn checked(key: &str, output: &file::Output, report: &mut Report<'_>) -> Option<Sshd> {
    let key = format!("{key}.sshd");
    let file = output.sshd.clone().unwrap_or_default();
    let directory = match &output.destination {
        Some(file::Destination::Path(path)) => Some(path.as_str()),
        Some(file::Destination::Settings(settings)) => settings.path.as_deref(),
        // That it is missing is told already.
        None => Some("/"),
    };
    match directory {
        Some(directory) if is_plain(directory) => {}
        Some(_) => report.mistake(
            key.trim_end_matches(".sshd"),
            "the destination has to be an absolute path of letters, digits, '/', '.', '_' and '-', as it stands in sshd's \
             configuration",
        ),
        None => report.mistake(key.trim_end_matches(".sshd"), "sshd reads files: the destination must be a directory"),
    }
    let reload = match &file.reload {
        Some(reload) => hooks::one(&format!("{key}.reload"), reload, report),
        None => {
            let text =
                "missing; write {systemd_reload: ssh.service}, or {pid_file: /run/sshd.pid} without systemd";
            report.mistake(format!("{key}.reload").as_str(), text);
            None
        }
    };
    let hostname = match &file.hostname {
        Some(name) => Some(report.take(format!("{key}.hostname").as_str(), name.parse())?),
        None => None,
    };
    let address = match &file.address {
        Some(text) => Some(report.take(format!("{key}.address").as_str(), HostPort::parse(text, 22))?),
        None => None,
    };
    let account = |(nth, account): (usize, &String)| {
        let key = format!("{key}.accounts[{nth}]");
        let login: Login = report.take(key.as_str(), account.parse())?;
        match is_account(login.as_str()) {
            true => Some(login),
            false => {
                report.mistake(key.as_str(), "is not a plain account name, as sshd would have to match it");
                None
            }
        }
    };
    let accounts = file.accounts.iter().enumerate().filter_map(account).collect();
    let mut path = |field: &str, given: &Option<String>, default: &str| {
        let text = given.as_deref().unwrap_or(default);
        match is_plain(text) {
            true => Some(PathBuf::from(text)),
            false => {
                let text = "write an absolute path of letters, digits, '/', '.', '_' and '-'";
                report.mistake(format!("{key}.{field}").as_str(), text);
                None
            }
        }
    };
    let (snippet, config) = (path("snippet", &file.snippet, SNIPPET), path("config", &file.config, CONFIG));
    let program = path("program", &file.program, PROGRAM);
    Some(Sshd {
        hostname,
        principals: output.principals.clone(),
        address,
        labels: file.labels,
        accounts,
        register: file.register.unwrap_or(true),
        snippet: snippet?,
        config: config?,
        program: program?,
        reload: reload?,
    })
}

/// Nothing that sshd would expand, match or cut.
fn is_plain(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    Path::new(path).is_absolute() && path.chars().all(plain)
}

/// Whether a name can stand in `Match User` and means itself there.
pub fn is_account(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@+$\\".contains(c);
    !name.is_empty() && name.len() <= 256 && name.chars().all(plain)
}
