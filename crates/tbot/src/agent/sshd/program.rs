//! The server's own word on its configuration, the file that is written for it, and its reload.

use super::snippet::{MARK, Snippet};
use super::turn::Turn;
use super::{Fault, REVOKED, allowed};
use crate::agent::{hooks, ssh_host, withhold};
use crate::config::{Method, Output, Sshd};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// It has been given back; as long as this is there, nothing is written for sshd.
pub(super) const UNDONE: &str = "sshd-undone";
/// What is put to the question before it is put in place.
const CANDIDATE: &str = "sshd-candidate.conf";
const WHOLE: &str = "sshd-candidate-whole.conf";
/// sshd reads a few files for its answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// A configuration of sshd that is longer is none.
const LARGEST: u64 = 1 << 20;
/// Somebody whom no configuration knows.
const ANYBODY: &str = "postern-anybody";

/// Writes for one server.
#[derive(Clone, Copy)]
pub struct Installer<'a> {
    /// The service.
    pub output: &'a Output,
    /// What was configured.
    pub sshd: &'a Sshd,
    /// What the agent joined with is nothing to the programs that it starts.
    pub method: &'a Method,
}

/// What `sshd -T` says.
struct Effective(String);

impl Effective {
    fn all<'t>(&'t self, keyword: &str) -> impl Iterator<Item = &'t str> {
        let lines = self.0.lines().filter_map(|line| line.split_once(' '));
        lines.filter(move |(word, _)| *word == keyword).map(|(_, value)| value.trim())
    }

    fn one(&self, keyword: &str) -> Option<&str> {
        self.all(keyword).next().filter(|value| *value != "none")
    }
}

impl Installer<'_> {
    /// An error while the server has been given back.
    pub fn refuse_undone(&self) -> Result<(), Fault> {
        match self.output.destination.kept(UNDONE).map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(_) => Err(Fault::lasting(
                "sshd was given back by tbot sshd --undo; tbot sshd --redo takes it on again",
            )),
        }
    }

    /// Writes the configuration if it would be another one. Gives whether it did; whatever fails leaves things as they were.
    pub async fn install(&self, refused: &BTreeSet<&str>) -> Result<bool, Fault> {
        let directory = self.directory()?;
        let present = self.present()?;
        let accounts = allowed(&self.sshd.accounts, refused);
        let tested = match self.sshd.accounts.is_empty() {
            true => Some(ANYBODY),
            false => accounts.first().copied(),
        };
        let effective = self.effective(&self.sshd.config, tested).await?;
        if present.is_none() {
            refuse_conflicts(&effective, &self.sshd.config)?;
        }
        let host_keys: Vec<PathBuf> = effective.all("hostkey").map(PathBuf::from).collect();
        let mut others: Vec<PathBuf> = Vec::new();
        for key in host_keys {
            if !key.starts_with(directory) && !others.contains(&key) && key.exists() {
                others.push(key);
            }
        }
        let listed = (!self.sshd.accounts.is_empty()).then_some(accounts.as_slice());
        let service = &self.output.name;
        let text = Snippet { service, directory, host_keys: &others, accounts: listed, refused }.render();
        if present.as_ref() == Some(&text) {
            return Ok(false);
        }
        self.question(directory, &text, tested).await?;
        let _turn = Turn::take(directory).await?;
        // It may have been given back meanwhile.
        self.refuse_undone()?;
        self.write(&text)?;
        let in_force = match self.effective(&self.sshd.config, tested).await {
            Ok(effective) => self.refuse_foreign(&effective, tested),
            Err(error) => Err(error),
        };
        if let Err(error) = in_force {
            self.put_back(present.as_deref())?;
            return Err(error);
        }
        tracing::info!(service, snippet = %self.sshd.snippet.display(), "configuration for sshd written");
        Ok(true)
    }

    /// Reloads the server, if all of its configuration is good.
    pub async fn reload(&self) -> Result<(), Fault> {
        self.check(&self.sshd.config).await?;
        hooks::alone(&self.sshd.reload, self.output, self.method)
            .await
            .map_err(|error| format!("cannot be reloaded ({}): {error}", self.sshd.reload.action).into())
    }

    /// Takes away what was written for sshd, and keeps it away. Gives whether there was anything. What is wrong with the files
    /// beside it does not keep it in place.
    pub async fn undo(&self) -> Result<bool, Fault> {
        self.present()?;
        let marked = self.output.destination.keep(UNDONE, b"").map_err(|error| error.to_string());
        let turn = Turn::take(self.directory()?).await;
        let present = self.present()?;
        let mut outcome = Ok(present.is_some());
        if let Some(text) = &present {
            self.take_away(text).await?;
            outcome = self.reload().await.map(|()| true);
        }
        let Err(fault) = marked.and(turn.as_ref().map_err(String::clone)) else { return outcome };
        let reload = outcome.err().map_or_else(String::new, |error| format!("; sshd {error}"));
        Err(Fault::from(format!(
            "{} is taken away, but a running agent would write it again: {fault}; stop the agent, or remove the service from \
             its configuration{reload}",
            self.sshd.snippet.display()
        )))
    }

    /// Without it, unless sshd refuses its configuration then: whoever is not rid of it goes on as before.
    async fn take_away(&self, text: &str) -> Result<(), Fault> {
        let removed = std::fs::remove_file(&self.sshd.snippet).map_err(|error| self.system("remove", &error));
        let refusal = match removed {
            Ok(()) => {
                let Err(error) = self.check(&self.sshd.config).await else { return Ok(()) };
                self.put_back(Some(text))?;
                format!("without what tbot wrote, {error}; it was put back")
            }
            Err(error) => error,
        };
        self.forget(UNDONE)?;
        Err(refusal.into())
    }

    /// Lets the agent look after it again.
    pub fn redo(&self) -> Result<(), Fault> {
        self.forget(UNDONE)
    }

    /// Removes a mark beside the files.
    pub(super) fn forget(&self, mark: &str) -> Result<(), Fault> {
        let mark = self.directory()?.join(mark);
        match std::fs::remove_file(&mark) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {error}", mark.display()).into())
            }
            _ => Ok(()),
        }
    }

    fn directory(&self) -> Result<&Path, String> {
        self.output.destination.path().ok_or_else(|| "the destination is no directory".to_owned())
    }

    /// What stands where the configuration is written, which must be ours.
    fn present(&self) -> Result<Option<String>, Fault> {
        let path = &self.sshd.snippet;
        let found = match std::fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.system("read", &error).into()),
        };
        let foreign = || {
            Fault::lasting(format!(
                "{} was not written by tbot; move it away, or choose another path for sshd.snippet",
                path.display()
            ))
        };
        if !found.is_file() || found.len() > LARGEST {
            return Err(foreign());
        }
        let text = std::fs::read_to_string(path).map_err(|error| self.system("read", &error))?;
        if text.starts_with(MARK) { Ok(Some(text)) } else { Err(foreign()) }
    }

    /// Asks sshd what it makes of its configuration with this text above it.
    async fn question(&self, directory: &Path, text: &str, tested: Option<&str>) -> Result<(), Fault> {
        let (candidate, whole) = (directory.join(CANDIDATE), directory.join(WHOLE));
        let includes = format!("Include {}\nInclude {}\n", candidate.display(), self.sshd.config.display());
        let keep = |name: &str, text: &str| self.output.destination.keep(name, text.as_bytes());
        keep(CANDIDATE, text).and_then(|()| keep(WHOLE, &includes)).map_err(|error| error.to_string())?;
        let answer = match self.check(&whole).await {
            Ok(()) => {
                self.effective(&whole, tested).await.and_then(|found| self.refuse_foreign(&found, tested))
            }
            Err(error) => Err(error),
        };
        for path in [candidate, whole] {
            let _ = std::fs::remove_file(path);
        }
        answer
    }

    /// Whether what counts is what was written.
    fn refuse_foreign(&self, effective: &Effective, tested: Option<&str>) -> Result<(), Fault> {
        let directory = self.directory()?;
        let mut wanted = vec![("revokedkeys", REVOKED)];
        // Where nobody may log in, nobody's authorities count.
        wanted.extend(tested.map(|_| ("trustedusercakeys", ssh_host::USER_AUTHORITIES)));
        for (keyword, name) in wanted {
            let (found, ours) = (effective.one(keyword), directory.join(name));
            if found.map(Path::new) != Some(ours.as_path()) {
                let config = self.sshd.config.display();
                let above = self.sshd.snippet.parent().unwrap_or(Path::new("/")).display();
                return Err(Fault::lasting(match found {
                    Some(found) => {
                        format!("{config} sets {keyword} to {found} before tbot can; remove that line")
                    }
                    None => format!(
                        "{config} does not include {}; write `Include {above}/*.conf` at its top",
                        self.sshd.snippet.display()
                    ),
                }));
            }
        }
        Ok(())
    }

    fn write(&self, text: &str) -> Result<(), String> {
        let path = &self.sshd.snippet;
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(format!("{} is not the path of a file", path.display()));
        };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(above);
        made.map_err(|error| self.system("make the directory of", &error))?;
        // No pattern for `*.conf` finds it.
        let beside = above.join(format!(".{}.new", name.to_string_lossy()));
        let _ = std::fs::remove_file(&beside);
        let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside);
        let written = written.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, path)?;
            std::fs::File::open(above)?.sync_all()
        });
        written.map_err(|error| {
            let _ = std::fs::remove_file(&beside);
            self.system("write", &error)
        })
    }

    fn put_back(&self, before: Option<&str>) -> Result<(), String> {
        match before {
            Some(text) => self.write(text),
            None => std::fs::remove_file(&self.sshd.snippet).map_err(|error| self.system("remove", &error)),
        }
    }

    fn system(&self, action: &str, error: &std::io::Error) -> String {
        format!("cannot {action} {}: {error}", self.sshd.snippet.display())
    }

    async fn check(&self, config: &Path) -> Result<(), Fault> {
        self.ask(config, &["-t"]).await.map(drop)
    }

    /// The settings for a login to this account.
    async fn effective(&self, config: &Path, account: Option<&str>) -> Result<Effective, Fault> {
        let account = account.unwrap_or(ANYBODY);
        let login = format!("user={account},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22");
        self.ask(config, &["-T", "-C", &login]).await.map(Effective)
    }

    async fn ask(&self, config: &Path, arguments: &[&str]) -> Result<String, Fault> {
        let program = self.sshd.program.display();
        let mut command = Command::new(&self.sshd.program);
        command.arg("-f").arg(config).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        withhold(&mut command, self.method);
        let output = match tokio::time::timeout(DEADLINE, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => {
                return Err(Fault::lasting(format!("{program} cannot be run: {error}; set sshd.program")));
            }
            Err(_) => return Err(format!("{program} did not answer within {DEADLINE:?}").into()),
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said: String = String::from_utf8_lossy(&output.stderr).chars().take(500).collect();
        Err(Fault::lasting(format!(
            "sshd refuses {}: {}; correct that, and check it with `{program} -t -f {}`",
            config.display(),
            in_one_line(&said),
            self.sshd.config.display()
        )))
    }
}

fn in_one_line(said: &str) -> String {
    let lines = said.split(['\r', '\n']).map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(", ")
}

/// What somebody configured must not stop counting because tbot comes first.
fn refuse_conflicts(effective: &Effective, config: &Path) -> Result<(), Fault> {
    for keyword in ["trustedusercakeys", "revokedkeys"] {
        if let Some(found) = effective.one(keyword) {
            return Err(Fault::lasting(format!(
                "{} sets {keyword} to {found} already, and tbot's would take its place; remove it, or use type: ssh_host \
                 and write the configuration yourself",
                config.display()
            )));
        }
    }
    Ok(())
}
