//! One form for every refusal and failure on the wire: a class, a stable code, the reason and the next step.
//!
//! Services map their reasons to a [`Problem`] once; programs read it back and choose words and exit code. What is
//! said here reaches strangers: no secrets, and the same words for "unknown" and "not yours".

use crate::v1;
use prost::Message;
use std::fmt;
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
}

impl Problem {
    /// Without a hint.
    pub fn new(class: Class, code: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { class, code: code.into(), reason: reason.into(), hint: String::new() }
    }

    /// With the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// What a status of any origin says; one of ours comes back as it was sent.
    pub fn of(status: &Status) -> Self {
        let class = Class::from_wire(status.code());
        let details = v1::Problem::decode(status.details()).unwrap_or_default();
        let code = match details.code.is_empty() {
            true => status.code().to_string(),
            false => details.code,
        };
        Self { class, code, reason: status.message().to_owned(), hint: details.hint }
    }
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
        let Problem { class, code, reason, hint } = problem;
        let details = v1::Problem { code, hint }.encode_to_vec();
        Status::with_details(class.wire(), reason, details.into())
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Problem};
    use tonic::Status;

    #[test]
    fn every_class_survives_the_wire() {
        for (class, _) in Class::ALL {
            let problem = Problem::new(class, "some_code", "role \"x\" not found").hint("create it");
            assert_eq!(Problem::of(&Status::from(problem.clone())), problem);
        }
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
