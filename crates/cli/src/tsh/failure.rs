//! How refusals of proxies and hosts become what tsh says: `ERROR: reason (code)`, then the next step.

use crate::Failure;
use transport::ConnectError;
use transport::dial::DialError;
use transport::ssh::Ended;
use transport::ssh::client::{OpenError, RequestError};

/// What ssh ends with when the session, and not the command in it, failed: no command of it says so by accident.
const SESSION: u8 = 255;

/// A refusal with a stable code.
pub fn refusal(reason: &str, code: &str) -> Failure {
    match code.is_empty() {
        true => Failure::new(reason),
        false => Failure::new(format!("{reason} ({code})")),
    }
}

/// Of a session, begun or not.
pub fn in_session(failure: Failure) -> Failure {
    Failure { exit: SESSION, ..failure }
}

/// A refusal of a server that was called, or why it could not be called.
pub fn of_call(status: &tonic::Status) -> Failure {
    if let Some(error) = ConnectError::behind(status) {
        return error.clone().into();
    }
    let problem = api::status::Problem::of(status);
    refusal(&problem.reason, &problem.code).hint(problem.hint)
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Denied { code, reason, hint } => refusal(&reason, &code).hint(hint),
            DialError::Connect(error) => error.into(),
            error => Self::new(error.to_string()),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Ended(ended) => Self::from(ended),
            OpenError::Rejected(words) => in_session(Self::new(format!("the host refuses: {words}"))),
            OpenError::Timeout(_) => in_session(Self::new(error.to_string())),
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        in_session(Self::new(error.to_string()))
    }
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        in_session(match ended {
            Ended::Peer(words) if !words.is_empty() => {
                Self::new(format!("the host ended the connection: {words}"))
            }
            ended => Self::new(format!("the connection to the host is lost: {ended}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::Failure;
    use transport::dial::DialError;
    use transport::ssh::Ended;

    #[test]
    fn a_denial_keeps_reason_code_and_next_step() {
        let denial = DialError::Denied {
            code: "host_unknown".into(),
            reason: "no host \"x\"".into(),
            hint: "tsh ls lists the hosts that you may reach".into(),
        };
        let failure = Failure::from(denial);
        assert_eq!(failure.reason, "no host \"x\" (host_unknown)");
        assert_eq!((failure.exit, failure.hint.as_str()), (1, "tsh ls lists the hosts that you may reach"));
    }

    #[test]
    fn a_session_that_breaks_ends_as_with_ssh() {
        let failure = Failure::from(Ended::Peer("locked (locked)".into()));
        assert_eq!(
            (failure.exit, failure.reason.as_str()),
            (255, "the host ended the connection: locked (locked)")
        );
    }
}
