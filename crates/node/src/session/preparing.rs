//! The first state: terminal, variables, and at last what to run.

use std::sync::Arc;

use exec::{Launch, TerminalModes};
use transport::ssh::server::{Channel, Pty, Request, Requests};
use transport::ssh::{Reader, WindowSize, Writer};

use super::Scope;
use super::launching::{Failed, Prepared};
use crate::audit::{SCP_DISALLOWED, SFTP_DISALLOWED};

/// Variables that a client may set; any other is refused, and the helper looks at these once more.
const VARIABLES: [&str; 7] =
    ["LANG", "LANGUAGE", "COLORTERM", "NO_COLOR", "CLICOLOR", "GIT_PROTOCOL", "TERM"];
/// The most variables of one session.
const MOST_VARIABLES: usize = 64;

/// What is known of the session so far.
struct Preparing {
    scope: Scope,
    requests: Requests,
    reader: Reader,
    writer: Writer,
    pty: Option<exec::Pty>,
    variables: Vec<(String, String)>,
}

/// Takes requests until one says what to run, or what must not be. Nothing when the client went away or the connection
/// is cut before.
pub(super) async fn prepare(scope: Scope, channel: Channel) -> Option<Result<Prepared, Failed>> {
    let Channel { requests, reader, writer } = channel;
    let mut preparing = Preparing { scope, requests, reader, writer, pty: None, variables: Vec::new() };
    let connection = Arc::clone(&preparing.scope.connection);
    loop {
        let request = tokio::select! {
            request = preparing.requests.next() => request?,
            _ = connection.cut.thrown() => return None,
        };
        let choice = tokio::select! {
            choice = preparing.take(request) => choice,
            _ = connection.cut.thrown() => return None,
        };
        match choice {
            Some(Choice::Run(launch)) => return Some(Ok(preparing.into_prepared(launch))),
            Some(Choice::Forbidden(command)) => return Some(Err(preparing.into_forbidden(command))),
            None => {}
        }
    }
}

/// The request after which nothing else can be asked for.
enum Choice {
    Run(Launch),
    Forbidden(Vec<u8>),
}

impl Preparing {
    async fn take(&mut self, request: Request) -> Option<Choice> {
        match request {
            Request::Pty { pty, reply } => match self.set_terminal(pty) {
                true => reply.accept(),
                false => reply.refuse(),
            },
            Request::Env { name, value, reply } => match self.set_variable(name, value) {
                true => reply.accept(),
                false => reply.refuse(),
            },
            Request::WindowChange(size) => {
                if let Some(pty) = &mut self.pty {
                    pty.size = window(size);
                }
            }
            Request::Shell(reply) => {
                reply.accept();
                return Some(Choice::Run(Launch::LoginShell));
            }
            Request::Exec { command, reply } => {
                reply.accept();
                return Some(self.command(command.into()));
            }
            Request::Subsystem { name, reply } => match self.subsystem(&name) {
                Some(launch) => {
                    reply.accept();
                    return Some(Choice::Run(launch));
                }
                None => reply.refuse(),
            },
            // Nothing runs yet that could get a signal.
            Request::Signal(_) => {}
            // A client that is told no can go on.
            Request::AgentForward(reply) => match self.scope.offer_agent().await {
                true => reply.accept(),
                false => reply.refuse(),
            },
            Request::X11 { display, reply } => match self.scope.offer_display(display).await {
                true => reply.accept(),
                false => reply.refuse(),
            },
        }
        None
    }

    fn set_terminal(&mut self, pty: Pty) -> bool {
        let allowed = self.scope.connection.admission().user().permits.pty && self.pty.is_none();
        if allowed {
            let Pty { term, size, modes } = pty;
            self.pty = Some(exec::Pty { term, size: window(size), modes: TerminalModes::parse(&modes) });
        }
        allowed
    }

    fn set_variable(&mut self, name: String, value: String) -> bool {
        let listed = VARIABLES.contains(&name.as_str()) || name.starts_with("LC_");
        let allowed = listed
            && exec::environment::client_may_set(&name, &value)
            && self.variables.len() < MOST_VARIABLES;
        if allowed {
            self.variables.push((name, value));
        }
        allowed
    }

    fn may_copy(&self) -> bool {
        let connection = &self.scope.connection;
        connection.shared.config.file_copy && connection.admission().permit().options().file_copy()
    }

    fn command(&self, command: Vec<u8>) -> Choice {
        match self.may_copy() || !copies(&command) {
            true => Choice::Run(Launch::Command(command)),
            false => Choice::Forbidden(command),
        }
    }

    fn subsystem(&self, name: &str) -> Option<Launch> {
        if name != "sftp" {
            tracing::debug!(name, "refused an unknown subsystem");
            return None;
        }
        if !self.may_copy() {
            self.scope.emit(self.scope.event(SFTP_DISALLOWED).with("success", false));
            return None;
        }
        Some(Launch::Sftp)
    }

    fn into_prepared(self, launch: Launch) -> Prepared {
        let Self { scope, requests, reader, writer, pty, variables } = self;
        // A terminal would garble the protocol.
        let pty = pty.filter(|_| launch != Launch::Sftp);
        Prepared { scope, requests, reader, writer, pty, variables, launch }
    }

    fn into_forbidden(self, command: Vec<u8>) -> Failed {
        let command = String::from_utf8_lossy(&command).into_owned();
        self.scope.emit(self.scope.event(SCP_DISALLOWED).with("command", command).with("success", false));
        Failed::forbidden(self.writer, "file transfer is not allowed here (file_copy_not_allowed)")
    }
}

/// Whether a command is a file transfer. The word of a client that wants to be understood; one that does not can copy
/// files with `cat`, and nothing here can keep it from that.
fn copies(command: &[u8]) -> bool {
    let text = String::from_utf8_lossy(command);
    let first = text.split_whitespace().next().unwrap_or_default();
    matches!(first.rsplit('/').next().unwrap_or_default(), "scp" | "sftp-server" | "internal-sftp")
}

pub(super) fn window(size: WindowSize) -> exec::WindowSize {
    let WindowSize { columns, rows, width_pixels, height_pixels } = size;
    exec::WindowSize::from_wire(columns, rows, width_pixels, height_pixels)
}

#[cfg(test)]
mod tests {
    use super::copies;

    #[test]
    fn transfers_are_known_by_their_first_word() {
        for command in ["scp -t /tmp", "/usr/bin/scp -f x", " scp", "/usr/lib/openssh/sftp-server"] {
            assert!(copies(command.as_bytes()), "{command}");
        }
        for command in ["", "ls scp", "scpx", "echo scp", "cat x"] {
            assert!(!copies(command.as_bytes()), "{command}");
        }
    }
}
