//! The last state: for the record.

use exec::Exit;
use jiff::Timestamp;

use super::Scope;
use super::launching::What;
use crate::audit::{EXEC, EXEC_FAILED, Event, SESSION_END, SUBSYSTEM, SUBSYSTEM_FAILED};

/// A session that is over.
pub(super) struct Ended {
    pub(super) scope: Scope,
    pub(super) what: What,
    pub(super) interactive: bool,
    pub(super) started: Timestamp,
    pub(super) how: How,
    /// How its first process ended, where that is known.
    pub(super) exit: Option<Exit>,
}

/// Who ended a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// It ended by itself.
    Normal,
    /// The client went away.
    Gone,
    /// The node cut it off, in these words.
    Cut(String),
    /// The node could not serve it.
    Broken(String),
}

impl Ended {
    pub(super) fn conclude(self) {
        let Self { scope, what, interactive, started, how, exit } = &self;
        let kind = match (what, exit) {
            (What::Shell, _) => None,
            (What::Command(_), Some(Exit::Code(0))) => Some(EXEC),
            (What::Command(_), _) => Some(EXEC_FAILED),
            (What::Sftp, Some(Exit::Code(0))) => Some(SUBSYSTEM),
            (What::Sftp, _) => Some(SUBSYSTEM_FAILED),
        };
        if let Some(kind) = kind {
            scope.emit(self.outcome(what.name_in(scope.event(kind))));
        }
        let event = scope
            .event(SESSION_END)
            .with("interactive", *interactive)
            .with("enhanced_recording", false)
            .with("participants", vec![scope.connection.admission().user().name.to_string()])
            .with("session_start", started.to_string())
            .with("session_stop", Timestamp::now().to_string());
        scope.emit(match how {
            How::Normal => event,
            How::Gone => event.with("reason", "the client went away"),
            How::Cut(reason) | How::Broken(reason) => event.with("reason", reason.as_str()),
        });
    }

    fn outcome(&self, event: Event) -> Event {
        match &self.exit {
            Some(Exit::Code(code)) => event.with("exitCode", code.to_string()),
            Some(Exit::Signal { name, .. }) => {
                event.with("exitCode", "255").with("exitError", format!("signal: {name}"))
            }
            None if self.how == How::Gone => event.with("exitCode", "255").with("exitError", "still running"),
            None => event.with("exitCode", "255").with("exitError", "unknown"),
        }
    }
}
