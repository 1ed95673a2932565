//! The exit code of a session: the remote command's.

use std::process::ExitCode;
use transport::ssh::ExitSignal;

/// How a session ended that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The command ended with this status.
    Status(u32),
    /// A signal ended the command.
    Signal(ExitSignal),
    /// A signal to tsh ended the session; its number.
    Interrupted(i32),
}

impl Exit {
    /// As ssh does it: the status of the command; 255 when a signal ended it there; 128 and the number when one did here.
    pub fn code(&self) -> u8 {
        match self {
            // Only eight bits reach a parent; what does not fit must not look like success.
            Self::Status(status) => u8::try_from(*status).unwrap_or(255),
            Self::Signal(_) => 255,
            Self::Interrupted(number) => u8::try_from(128 + number).unwrap_or(255),
        }
    }

    /// What to say beside the code.
    pub fn words(&self) -> Option<String> {
        let Self::Signal(signal) = self else { return None };
        let core = if signal.core_dumped { " (core dumped)" } else { "" };
        let message = if signal.message.is_empty() { String::new() } else { format!(": {}", signal.message) };
        Some(format!("the remote command was ended by SIG{}{core}{message}", signal.name))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;
    use transport::ssh::ExitSignal;

    #[test]
    fn codes() {
        let killed = ExitSignal { name: "KILL".into(), core_dumped: false, message: String::new() };
        for (exit, code) in [
            (Exit::Status(0), 0),
            (Exit::Status(7), 7),
            (Exit::Status(255), 255),
            (Exit::Status(256), 255),
            (Exit::Status(u32::MAX), 255),
            (Exit::Signal(killed.clone()), 255),
            (Exit::Interrupted(2), 130),
            (Exit::Interrupted(15), 143),
        ] {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
        assert_eq!(Exit::Signal(killed).words().as_deref(), Some("the remote command was ended by SIGKILL"));
        assert_eq!(Exit::Status(1).words(), None);
    }
}
