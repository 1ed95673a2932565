//! The second state: the helper is started, or it is said why not.

use std::time::Duration;

use exec::{Launch, SessionRequest};
use transport::ssh::server::Requests;
use transport::ssh::{Reader, Writer};

use super::Scope;
use super::running::Running;
use crate::audit::{EXEC_FAILED, Event, Kind, SESSION_START, SUBSYSTEM_FAILED};
use crate::launcher::LaunchError;

/// How long a client may take to hear why nothing runs.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The status of a command that could not be started, as OpenSSH has it.
const CANNOT_LAUNCH: u32 = 255;

/// Everything that is needed to start.
pub(super) struct Prepared {
    pub(super) scope: Scope,
    pub(super) requests: Requests,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) pty: Option<exec::Pty>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) launch: Launch,
}

/// A session that does not run, and what its client hears instead.
pub(super) struct Failed {
    writer: Writer,
    words: String,
    status: u32,
}

/// What runs, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Shell,
    Command(String),
    Sftp,
}

impl Prepared {
    /// Starts it. The client has already been told that it will; what goes wrong now it reads on standard error.
    pub(super) async fn launch(self) -> Result<Running, Failed> {
        let connection = &self.scope.connection;
        let launched = connection.shared.launcher.launch(&connection.admission(), self.request()).await;
        let launched = match launched {
            Ok(launched) => launched,
            Err(error) => {
                if matches!(error, LaunchError::Busy) {
                    connection.shared.metrics.refuse("node_busy");
                }
                return Err(self.not_started(error.code(), &error.to_string()));
            }
        };
        tracing::debug!(sid = %self.scope.id, pid = launched.started.pid, "a session runs");
        let what = self.what();
        self.scope.emit(self.started_event(&what));
        let Self { scope, requests, reader, writer, pty, .. } = self;
        Ok(Running { scope, requests, reader, writer, launched, what, interactive: pty.is_some() })
    }

    fn what(&self) -> What {
        match &self.launch {
            Launch::LoginShell => What::Shell,
            Launch::Command(command) => What::Command(String::from_utf8_lossy(command).into_owned()),
            // No request of a client leads to the other.
            Launch::Sftp | Launch::Sockets => What::Sftp,
        }
    }

    fn request(&self) -> SessionRequest {
        let connection = &self.scope.connection;
        let admission = connection.admission();
        let mut request = SessionRequest::new(admission.permit().login().as_str(), self.launch.clone());
        request.client_env.clone_from(&self.variables);
        request.trusted_env = self.trusted_variables();
        request.pty.clone_from(&self.pty);
        request.limits = connection.shared.config.session_limits.clone();
        request.peer = Some(connection.peer.ip().to_canonical());
        request.user_env = connection.shared.config.user_env;
        request
    }

    /// What the node vouches for (fact sheet, section 5.3).
    fn trusted_variables(&self) -> Vec<(String, String)> {
        let connection = &self.scope.connection;
        let (peer, local) = (connection.peer, connection.local);
        let (from, to) = (peer.ip().to_canonical(), local.ip().to_canonical());
        let own = [
            ("SSH_CLIENT", format!("{from} {} {}", peer.port(), local.port())),
            ("SSH_CONNECTION", format!("{from} {} {to} {}", peer.port(), local.port())),
            ("SSH_SESSION_ID", self.scope.id.to_string()),
            ("SSH_TELEPORT_HOST_UUID", connection.shared.host.id.to_string()),
            ("SSH_TELEPORT_CLUSTER_NAME", connection.shared.policy().cluster.to_string()),
            ("SSH_TELEPORT_USER", connection.admission().user().name.to_string()),
        ];
        own.map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .chain(self.scope.offers.variables())
            .collect()
    }

    fn started_event(&self, what: &What) -> Event {
        let event = self
            .scope
            .event(SESSION_START)
            .with("session_recording", "off")
            .with("interactive", self.pty.is_some())
            .with("initial_command", what.commands());
        match &self.pty {
            Some(pty) => event.with("size", format!("{}:{}", pty.size.columns, pty.size.rows)),
            None => event,
        }
    }

    fn not_started(self, code: &str, reason: &str) -> Failed {
        let admission = self.scope.connection.admission();
        tracing::warn!(login = %admission.permit().login(), code, reason, "a session could not be started");
        let what = self.what();
        if let Some(kind) = what.failed_kind() {
            let event = what.name_in(self.scope.event(kind)).denied(code, reason, None);
            self.scope.emit(event.with("exitCode", CANNOT_LAUNCH.to_string()).with("exitError", reason));
        }
        Failed {
            writer: self.writer,
            words: format!("Failed to launch: {reason} ({code}).\r\n"),
            status: CANNOT_LAUNCH,
        }
    }
}

impl What {
    fn commands(&self) -> Vec<String> {
        match self {
            Self::Shell => Vec::new(),
            Self::Command(command) => vec![command.clone()],
            Self::Sftp => vec!["sftp".to_owned()],
        }
    }

    fn failed_kind(&self) -> Option<Kind> {
        match self {
            Self::Shell => None,
            Self::Command(_) => Some(EXEC_FAILED),
            Self::Sftp => Some(SUBSYSTEM_FAILED),
        }
    }

    /// The command or the subsystem, under the field that belongs to its event.
    pub(super) fn name_in(&self, event: Event) -> Event {
        match self {
            Self::Shell => event,
            Self::Command(command) => event.with("command", command.as_str()),
            Self::Sftp => event.with("name", "sftp"),
        }
    }
}

impl Failed {
    pub(super) fn forbidden(writer: Writer, reason: &str) -> Self {
        Self { writer, words: format!("{reason}\r\n"), status: 1 }
    }

    pub(super) async fn conclude(self) {
        let Self { writer, words, status } = self;
        let last = async {
            let _ = writer.stderr(words.into()).await;
            let _ = writer.exit_status(status).await;
            let _ = writer.eof().await;
        };
        let _ = tokio::time::timeout(LAST_WORDS, last).await;
    }
}
