//! What a command finds in its environment.

use super::workspace::Workspace;
use crate::agent::withhold;
use crate::config::Method;
use std::path::Path;
use tokio::process::Command;

/// The path of a Unix socket has at most 107 bytes. OpenSSH writes 40 for `%C`, and 17 more while it makes the socket.
const LONGEST_SOCKET_DIRECTORY: usize = 107 - 40 - 17 - ".m-".len() - 1;

/// Sets it. What the agent joined with is nothing to the command.
pub(super) fn set(command: &mut Command, workspace: &Workspace, method: &Method) {
    let config = workspace.path().join("ssh_config");
    let given = std::env::var("ANSIBLE_SSH_ARGS").ok();
    command
        .env("TBOT_DESTINATION", workspace.path())
        .env("SSH_CONFIG", &config)
        .env("GIT_SSH_COMMAND", format!("ssh -F {}", quoted(&config)))
        .env("ANSIBLE_SSH_ARGS", ansible(&config, workspace.path(), given.as_deref()));
    withhold(command, method);
}

/// Connections are shared, by sockets in the workspace, unless whoever calls says otherwise.
fn ansible(config: &Path, workspace: &Path, given: Option<&str>) -> String {
    let fits = workspace.as_os_str().len() <= LONGEST_SOCKET_DIRECTORY;
    let more = match given {
        Some(given) => given.to_owned(),
        None if fits => format!(
            "-o ControlMaster=auto -o ControlPersist=60s -o ControlPath={}",
            quoted(&workspace.join(".m-%C"))
        ),
        None => String::new(),
    };
    format!("-F {} {more}", quoted(config)).trim_end().to_owned()
}

/// For shells, and for what splits words like them.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::ansible;
    use std::path::Path;

    #[test]
    fn what_the_caller_says_of_ansible_stays() {
        let (short, long) = (Path::new("/tmp/tbot-1"), "/x".repeat(40));
        let config = short.join("ssh_config");
        let shared = "-o ControlMaster=auto -o ControlPersist=60s -o ControlPath=/tmp/tbot-1/.m-%C";
        assert_eq!(ansible(&config, short, None), format!("-F /tmp/tbot-1/ssh_config {shared}"));
        assert_eq!(ansible(&config, short, Some("-C")), "-F /tmp/tbot-1/ssh_config -C");
        assert_eq!(ansible(&config, Path::new(&long), None), "-F /tmp/tbot-1/ssh_config");
        assert_eq!(ansible(Path::new("/a b/c"), Path::new(&long), None), "-F '/a b/c'");
    }
}
