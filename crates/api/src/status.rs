//! One form for every refusal and failure on the wire: a class, a stable code, the reason and the next step.
//!
//! Services map their reasons to a [`Problem`] once; programs read it back and choose words and exit code. What is
//! said here reaches strangers: no secrets, and the same words for "unknown" and "not yours".

use crate::v1;
use prost::Message;
use std::fmt;
use std::time::Duration;
use tonic::{Code, Status};

/// What kind of refusal it is; decides the gRPC status and whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The request makes no sense, whoever sends it.
    Invalid,
    /// The caller has not shown who it is.
    Unauthenticated,
    /// The caller may not.
    Denied,
    /// The thing is not there.
    NotFound,
    /// The thing is there already.
    Exists,
    /// Somebody was faster; read again.
    Conflict,
    /// Not in the present state of the thing.
    Precondition,
    /// Too much or too often.
    Exhausted,
    /// Not now; the same request may succeed later.
    Unavailable,
    /// A fault of the server.
    Internal,
}

impl Class {
    const ALL: [(Class, Code); 10] = [
        (Self::Invalid, Code::InvalidArgument),
        (Self::Unauthenticated, Code::Unauthenticated),
        (Self::Denied, Code::PermissionDenied),
        (Self::NotFound, Code::NotFound),
        (Self::Exists, Code::AlreadyExists),
        (Self::Conflict, Code::Aborted),
        (Self::Precondition, Code::FailedPrecondition),
        (Self::Exhausted, Code::ResourceExhausted),
        (Self::Unavailable, Code::Unavailable),
        (Self::Internal, Code::Internal),
    ];

    /// Whether the same request may succeed later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Conflict | Self::Exhausted | Self::Unavailable)
    }

    fn wire(self) -> Code {
        Self::ALL.iter().find(|(class, _)| *class == self).map_or(Code::Internal, |(_, code)| *code)
    }

    fn from_wire(code: Code) -> Self {
        match code {
            // What tonic itself says of deadlines and broken connections.
            Code::Cancelled | Code::DeadlineExceeded | Code::Unknown => Self::Unavailable,
            // And of messages that are larger than it was told to read.
            Code::OutOfRange => Self::Invalid,
            code => {
                Self::ALL.iter().find(|(_, wire)| *wire == code).map_or(Self::Internal, |(class, _)| *class)
            }
        }
    }
}

/// A refusal or a failure as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub class: Class,
    /// Stable; for programs, logs and audit.
    pub code: String,
    /// Names the thing and the reason.
    pub reason: String,
    /// The next step; may be empty.
    pub hint: String,
    /// When to come back: not sooner. Only servers that have too much to do say it.
    pub again_in: Option<Duration>,
}

/// What gRPC clients read in milliseconds (gRFC A6), and proxies in between in seconds (RFC 9110, section 10.2.3).
const PUSHBACK: &str = "grpc-retry-pushback-ms";
const RETRY_AFTER: &str = "retry-after";

impl Problem {
    /// Without a hint.
    pub fn new(class: Class, code: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { class, code: code.into(), reason: reason.into(), hint: String::new(), again_in: None }
    }

    /// With the time after which to come back.
    #[must_use]
    pub fn again_in(mut self, pause: Duration) -> Self {
        self.again_in = Some(pause);
        self
    }

    /// With the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// What a status of any origin says; one of ours comes back as it was sent.
    pub fn of(status: &Status) -> Self {
        let details = v1::Problem::decode(status.details()).unwrap_or_default();
        let problem = Self::read(status.code(), status.message().to_owned(), details);
        let problem = Self { again_in: problem.again_in.or_else(|| asked_pause(status)), ..problem };
        match ended_waiting(status) {
            true => problem.unanswered(),
            false => problem,
        }
    }

    /// What the client library says of it names nothing.
    fn unanswered(mut self) -> Self {
        self.reason = "the auth service took the call and did not answer in time".to_owned();
        self.hint("it hangs or has too much to do: look at its log, its /readyz and its machine; what was asked for may \
                   still be done, so look before you ask again")
    }

    fn read(wire: Code, reason: String, details: v1::Problem) -> Self {
        let v1::Problem { code, hint, again_in_ms } = details;
        let code = if code.is_empty() { wire.to_string() } else { code };
        let again_in = Some(again_in_ms).filter(|ms| *ms > 0).map(Duration::from_millis);
        Self { class: Class::from_wire(wire), code, reason, hint, again_in }
    }

    fn pause_ms(&self) -> u64 {
        self.again_in.map_or(0, |pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

/// A refusal of one of several things that were asked for in one call.
impl From<Problem> for v1::Refused {
    fn from(problem: Problem) -> Self {
        let again_in_ms = problem.pause_ms();
        let Problem { class, code, reason, hint, again_in: _ } = problem;
        let details = v1::Problem { code, hint, again_in_ms };
        Self { status: class.wire().into(), reason, problem: Some(details) }
    }
}

impl From<v1::Refused> for Problem {
    fn from(refused: v1::Refused) -> Self {
        let v1::Refused { status, reason, problem } = refused;
        Self::read(Code::from_i32(status), reason, problem.unwrap_or_default())
    }
}

/// Whether the client gave up.
fn ended_waiting(status: &Status) -> bool {
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// As anybody else says it.
fn asked_pause(status: &Status) -> Option<Duration> {
    let number = |key| status.metadata().get(key)?.to_str().ok()?.trim().parse::<u64>().ok();
    let milliseconds = number(PUSHBACK).map(Duration::from_millis);
    milliseconds.or_else(|| number(RETRY_AFTER).map(Duration::from_secs))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        match self.hint.is_empty() {
            true => Ok(()),
            false => write!(f, "; {}", self.hint),
        }
    }
}

impl std::error::Error for Problem {}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let pause = problem.pause_ms();
        let Problem { class, code, reason, hint, again_in: _ } = problem;
        let details = v1::Problem { code, hint, again_in_ms: pause }.encode_to_vec();
        let mut status = Status::with_details(class.wire(), reason, details.into());
        if pause > 0 {
            status.metadata_mut().insert(PUSHBACK, pause.into());
            status.metadata_mut().insert(RETRY_AFTER, pause.div_ceil(1000).into());
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, PUSHBACK, Problem, RETRY_AFTER};
    use std::time::Duration;
    use tonic::Status;

    #[test]
    fn every_class_survives_the_wire() {
        for (class, _) in Class::ALL {
            let problem = Problem::new(class, "some_code", "role \"x\" not found").hint("create it");
            assert_eq!(Problem::of(&Status::from(problem.clone())), problem);
            let put_off = problem.again_in(Duration::from_millis(1500));
            assert_eq!(Problem::from(crate::v1::Refused::from(put_off.clone())), put_off);
        }
    }

    #[test]
    fn a_server_may_ask_for_time() {
        let busy = Problem::new(Class::Exhausted, "busy", "too many").again_in(Duration::from_millis(1500));
        let status = Status::from(busy.clone());
        let told =
            |key: &str| status.metadata().get(key).and_then(|value| value.to_str().ok().map(str::to_owned));
        assert_eq!((told(PUSHBACK).as_deref(), told(RETRY_AFTER).as_deref()), (Some("1500"), Some("2")));
        assert_eq!(Problem::of(&status), busy);
        let mut foreign = Status::resource_exhausted("too many");
        assert_eq!(Problem::of(&foreign).again_in, None);
        foreign.metadata_mut().insert(RETRY_AFTER, "7".parse().expect("ASCII"));
        assert_eq!(Problem::of(&foreign).again_in, Some(Duration::from_secs(7)));
        foreign.metadata_mut().insert(PUSHBACK, "20".parse().expect("ASCII"));
        assert_eq!(Problem::of(&foreign).again_in, Some(Duration::from_millis(20)));
    }

    #[test]
    fn who_waited_in_vain_hears_for_whom_and_what_to_look_at() {
        let problem = Problem::of(&Status::from_error(Box::new(tonic::TimeoutExpired(()))));
        assert_eq!(problem.class, Class::Unavailable);
        assert!(problem.reason.contains("the auth service took the call and did not answer"), "{problem}");
        assert!(problem.hint.contains("look at its log"), "{problem}");
    }

    #[test]
    fn foreign_statuses_are_read_too() {
        for (status, class) in [
            (Status::deadline_exceeded("too late"), Class::Unavailable),
            (Status::out_of_range("too large"), Class::Invalid),
            (Status::unimplemented("no"), Class::Internal),
            (Status::with_details(tonic::Code::NotFound, "x", vec![0xff; 9].into()), Class::NotFound),
        ] {
            let problem = Problem::of(&status);
            assert_eq!((problem.class, problem.reason.as_str()), (class, status.message()));
            assert!(!problem.code.is_empty());
        }
    }
}
