//! What a program says when it cannot do what was asked: one sentence, the next step, an exit code.

use access::HostPort;
use api::status::{Class, Problem};
use std::fmt;
use tonic::Status;
use transport::ConnectError;

/// The program was used in a way that makes no sense.
pub const USAGE: u8 = 2;

/// Why a command failed; printed as `ERROR: ...` on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Names the thing and the reason.
    pub reason: String,
    /// The next step; may be empty.
    pub hint: String,
    /// The exit code of the program.
    pub exit: u8,
    /// The kind of refusal, where a server refused.
    pub class: Option<Class>,
    /// Whether an address was found and no service of ours answered there, as with a wrong port.
    pub unreached: bool,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: String::new(), exit: 1, class: None, unreached: false }
    }

    /// A failure of whoever typed the command.
    pub fn usage(reason: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new(reason) }
    }

    /// With the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Tells of the ports that were tried because `address` names none, where one of them may be the mistake.
    #[must_use]
    pub fn assumed(mut self, address: Option<&str>, ports: &[u16]) -> Self {
        let port_is_missing = |text: &str| {
            let port = |assumed| HostPort::parse(text, assumed).map(|address| address.port());
            port(1).is_ok_and(|one| port(2).is_ok_and(|two| one != two))
        };
        if let Some(address) = address.filter(|address| self.unreached && port_is_missing(address)) {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let tried = format!("{address} names no port, assumed {}", ports.join(", then "));
            self.hint = format!("{tried}; {}", self.hint);
        }
        self
    }

    /// Said of something, for example of one document among many.
    #[must_use]
    pub fn about(mut self, thing: &str) -> Self {
        self.reason = format!("{thing}: {}", self.reason);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        match self.hint.is_empty() {
            true => Ok(()),
            false => write!(f, "\n  {}", self.hint),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let Problem { class, code: _, reason, hint, again_in: _ } = problem;
        Self { class: Some(class), ..Self::new(reason) }.hint(hint)
    }
}

/// A call that never left says where the connection failed; one that was refused says why.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match ConnectError::behind(&status) {
            Some(error) => Self::from(error.clone()),
            None => Problem::of(&status).into(),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let (words, hint) = (error.to_string(), error.hint());
        // The words end with the hint, which has its own line here.
        let reason = words.strip_suffix(&hint).and_then(|words| words.strip_suffix("; "));
        let unreached = !matches!(error.problem, transport::Problem::Dns(_) | transport::Problem::Local(_));
        Self { unreached, ..Self::new(reason.unwrap_or(&words)) }.hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Failure, Problem};
    use tonic::Status;

    #[test]
    fn a_refusal_of_a_server_keeps_reason_and_hint() {
        let problem = Problem::new(Class::Exists, "exists", "role \"x\" already exists").hint("use --force");
        let failure = Failure::from(Status::from(problem));
        assert_eq!(failure.to_string(), "role \"x\" already exists\n  use --force");
        assert_eq!((failure.exit, failure.class), (1, Some(Class::Exists)));
    }

    #[test]
    fn a_call_that_never_left_says_where_it_failed() {
        let error = transport::ConnectError::new("p:3080", transport::Problem::Refused);
        let failure = Failure::from(Status::from_error(Box::new(error)));
        let (reason, hint) = ("cannot connect to p:3080: connection refused", "nothing listens there: ");
        assert!(failure.reason == reason && failure.hint.starts_with(hint), "{failure}");
    }

    #[test]
    fn an_address_without_a_port_is_told_which_was_assumed() {
        let failed = |problem| Failure::from(transport::ConnectError::new("p:3080", problem));
        for (address, told) in [
            (Some("p"), Some("p names no port, assumed 3080, then 443; nothing listens there")),
            (Some("::1"), Some("::1 names no port, ")),
            (Some("p:3080"), None),
            (Some("[::1]:3080"), None),
            (None, None),
        ] {
            let hint = failed(transport::Problem::Refused).assumed(address, &[3080, 443]).hint;
            let expected = told.unwrap_or("nothing listens there");
            assert!(hint.starts_with(expected), "{address:?}: {hint}");
        }
        let unknown = transport::Problem::Dns(std::io::Error::other("no such name").into());
        assert!(!failed(unknown).assumed(Some("p"), &[3080]).hint.contains("names no port"));
        assert!(
            !Failure::new("role \"x\" not found").assumed(Some("p"), &[3080]).hint.contains("names no port")
        );
    }
}
