//! The second state: the helper is started, or it is said why not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use exec::{Launch, SessionRequest, SpawnError};
use tokio::sync::OwnedSemaphorePermit;
use transport::ssh::server::Requests;
use transport::ssh::{Reader, Writer};

use super::Scope;
use super::running::Running;
use crate::audit::{EXEC_FAILED, Event, Kind, SESSION_START, SUBSYSTEM_FAILED};

/// How long the host's name services may take to find the account.
const PATIENCE: Duration = Duration::from_secs(20);
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
        let request = self.request();
        let helper: PathBuf = self.scope.connection.shared.config.session_exec.clone();
        let Some(place) = self.place().await else {
            self.scope.connection.shared.metrics.refuse("node_busy");
            let words = "this node is starting too many sessions; try again later";
            return Err(self.not_started("node_busy", words));
        };
        let start = move || {
            let _place = place;
            exec::spawn(&helper, &request)?.started(PATIENCE)
        };
        let started = match tokio::task::spawn_blocking(start).await {
            Ok(started) => started,
            Err(_) => {
                return Err(self.not_started("node_error", "the node failed while starting the session"));
            }
        };
        let process = match started {
            Ok(process) => process,
            Err(error) => return Err(self.not_started(code(&error), &error.to_string())),
        };
        let what = self.what();
        self.scope.emit(self.started_event(&what));
        let Self { scope, requests, reader, writer, pty, .. } = self;
        Ok(Running { scope, requests, reader, writer, process, what, interactive: pty.is_some() })
    }

    fn what(&self) -> What {
        match &self.launch {
            Launch::LoginShell => What::Shell,
            Launch::Command(command) => What::Command(String::from_utf8_lossy(command).into_owned()),
            Launch::Sftp => What::Sftp,
        }
    }

    fn request(&self) -> SessionRequest {
        let connection = &self.scope.connection;
        let mut request =
            SessionRequest::new(connection.admission().permit().login().as_str(), self.launch.clone());
        request.client_env.clone_from(&self.variables);
        request.trusted_env = self.trusted_variables();
        request.pty.clone_from(&self.pty);
        request.limits = connection.shared.config.session_limits.clone();
        request
    }

    /// What the node vouches for (fact sheet, section 5.3).
    fn trusted_variables(&self) -> Vec<(String, String)> {
        let connection = &self.scope.connection;
        let (peer, local) = (connection.peer, connection.local);
        let (from, to) = (peer.ip().to_canonical(), local.ip().to_canonical());
        [
            ("SSH_CLIENT", format!("{from} {} {}", peer.port(), local.port())),
            ("SSH_CONNECTION", format!("{from} {} {to} {}", peer.port(), local.port())),
            ("SSH_SESSION_ID", self.scope.id.to_string()),
            ("SSH_TELEPORT_HOST_UUID", connection.shared.host.id.to_string()),
            ("SSH_TELEPORT_CLUSTER_NAME", connection.shared.policy().cluster.to_string()),
            ("SSH_TELEPORT_USER", connection.admission().user().name.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
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

    /// Launches must not take all threads that the runtime has for what blocks: the end of a locked session needs one too.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let shared = &self.scope.connection.shared;
        let place = Arc::clone(&shared.launches).acquire_owned();
        tokio::time::timeout(shared.config.limits.launch_wait, place).await.ok()?.ok()
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

fn code(error: &SpawnError) -> &'static str {
    match error {
        SpawnError::Failed(failure) => failure.kind.name(),
        SpawnError::Request(_) => "bad_request",
        SpawnError::Io { .. } => "node_error",
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
