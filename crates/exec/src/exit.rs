//! How a session ends, and the signal names of RFC 4254 (section 6.9 and 6.10).

use rustix::process::{Signal, WaitIdStatus};

/// How the first process of a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code: `exit-status`.
    Code(u8),
    /// A signal killed it: `exit-signal`.
    Signal {
        /// The signal's name without `SIG`; one outside the RFC's list is `SIG@openssh.com`, which clients know.
        name: &'static str,
        /// Whether a core image was written.
        core_dumped: bool,
    },
}

/// A signal that a client may send to a session: exactly those of the RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSignal(Signal);

const NAMES: [(&str, Signal); 13] = [
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("FPE", Signal::FPE),
    ("HUP", Signal::HUP),
    ("ILL", Signal::ILL),
    ("INT", Signal::INT),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("QUIT", Signal::QUIT),
    ("SEGV", Signal::SEGV),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
];
const OTHER: &str = "SIG@openssh.com";

impl SessionSignal {
    /// What a terminal sends when it goes away.
    pub const HUP: Self = Self(Signal::HUP);
    /// What no process survives.
    pub const KILL: Self = Self(Signal::KILL);
    /// A request to end.
    pub const TERM: Self = Self(Signal::TERM);

    /// The signal of this RFC 4254 name (without `SIG`); unknown names are no signal.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| Self(*signal))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, signal)| *signal == self.0).map_or(OTHER, |(name, _)| name)
    }

    pub(crate) fn raw(self) -> Signal {
        self.0
    }
}

impl Exit {
    /// The code of a session that could not be started or whose end is not known.
    pub const FAILED: Self = Self::Code(255);

    /// An end by the signal of this name; one that is not in the RFC's list is the one for all others.
    pub fn by_signal(name: &str, core_dumped: bool) -> Self {
        let name = NAMES.iter().find(|(known, _)| *known == name).map_or(OTHER, |(name, _)| name);
        Self::Signal { name, core_dumped }
    }

    pub(crate) fn from_wait(status: &WaitIdStatus) -> Self {
        if let Some(code) = status.exit_status() {
            return Self::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
        }
        let number = status.terminating_signal();
        let name =
            NAMES.iter().find(|(_, signal)| Some(signal.as_raw()) == number).map_or(OTHER, |(name, _)| name);
        Self::Signal { name, core_dumped: status.dumped() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    use super::*;

    #[expect(clippy::zombie_processes, reason = "waited for by number below")]
    fn end_of(script: &str) -> Exit {
        let child = Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().expect("a shell");
        let status = waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED).expect("wait");
        Exit::from_wait(&status.expect("an end"))
    }

    #[test]
    fn ends_have_the_names_of_the_rfc() {
        assert_eq!(end_of("exit 0"), Exit::Code(0));
        assert_eq!(end_of("exit 255"), Exit::Code(255));
        for name in ["HUP", "INT", "KILL", "PIPE", "TERM", "USR1", "USR2", "ALRM"] {
            assert_eq!(end_of(&format!("kill -{name} $$")), Exit::Signal { name, core_dumped: false });
        }
        assert_eq!(end_of("kill -PROF $$"), Exit::Signal { name: OTHER, core_dumped: false });
    }

    #[test]
    fn only_the_rfc_s_names_are_signals() {
        for (name, signal) in NAMES {
            assert_eq!(SessionSignal::from_name(name), Some(SessionSignal(signal)));
        }
        for name in ["", "STOP", "SIGTERM", "term", "9", "TERM\0"] {
            assert_eq!(SessionSignal::from_name(name), None, "{name:?}");
        }
    }
}
