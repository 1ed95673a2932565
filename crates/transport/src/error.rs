//! Why a connection to a server of ours could not be made: each names the address, the reason and the next step.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// A connection that could not be made.
#[derive(Debug, Clone)]
pub struct ConnectError {
    /// The address as it was given.
    pub addr: String,
    /// What went wrong.
    pub problem: Problem,
}

/// What can go wrong between two programs of ours.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Problem {
    /// The name has no address.
    Dns(Arc<io::Error>),
    /// Nothing listens there.
    Refused,
    /// No answer within this time.
    Timeout {
        /// What was waited for.
        waiting_for: &'static str,
        /// How long.
        after: Duration,
    },
    /// The system cannot reach it for another reason.
    Unreachable(Arc<io::Error>),
    /// Something listens that does not speak TLS, or not ours.
    NotTls(String),
    /// The server speaks TLS and none of the protocols that were asked for.
    NoSuchProtocol {
        /// The protocols, by ALPN name.
        wanted: String,
    },
    /// No certificate authority with a wanted pin signed the server's certificate.
    WrongPin {
        /// The pin that a reader would have to expect.
        presented: String,
        /// The pins that were expected.
        expected: Vec<String>,
    },
    /// The server's certificate is not good for this; the reason says why.
    Untrusted {
        /// Stable code.
        code: &'static str,
        /// In words.
        reason: String,
    },
    /// By the local clock, the server's certificate is not valid yet.
    NotValidYet {
        /// Valid from.
        from: Timestamp,
        /// The local clock.
        now: Timestamp,
    },
    /// By the local clock, the server's certificate has expired.
    Expired {
        /// Valid until.
        at: Timestamp,
        /// The local clock.
        now: Timestamp,
    },
    /// The server ended the handshake; its alert says why.
    RefusedUs(String),
    /// The server, or the one behind it, is not there right now.
    Unavailable,
    /// There are no credentials to show yet.
    NoCredentials,
    /// A local file or socket.
    Local(Arc<io::Error>),
    /// The server closed the connection before it said anything that could be judged.
    Closed,
    /// The connection broke.
    Broken(Arc<io::Error>),
}

impl ConnectError {
    /// The error of a problem with `addr`.
    #[must_use]
    pub fn new(addr: impl fmt::Display, problem: Problem) -> Self {
        Self { addr: addr.to_string(), problem }
    }

    /// What went wrong.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Finds the connection error behind `error`, such as a `tonic::Status` of a call that never left.
    #[must_use]
    pub fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // io::Error hides what it wraps from source(); look inside.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(found) = inner.and_then(|inner| inner.downcast_ref::<Self>()) {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// Whether the same attempt may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        use Problem::{Broken, Closed, Dns, Refused, Timeout, Unavailable, Unreachable};
        matches!(
            self.problem,
            Dns(_) | Refused | Timeout { .. } | Unreachable(_) | Unavailable | Closed | Broken(_)
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.problem {
            Problem::Dns(_) => "check the name and this machine's resolver".to_owned(),
            Problem::Refused => {
                "nothing listens there: check the port and that the server is running".to_owned()
            }
            Problem::Timeout { .. } | Problem::Unreachable(_) => {
                "check the address, the network and firewalls in between".to_owned()
            }
            Problem::NotTls(_) => "check that the port is the one of a Postern service".to_owned(),
            Problem::NoSuchProtocol { .. } => {
                "check that the port is the proxy's or the auth service's, and their versions".to_owned()
            }
            Problem::WrongPin { .. } => {
                "this is another cluster, its CA has been rotated, or somebody is in \
                 between; compare with 'CA pin' in the output of tctl status"
                    .to_owned()
            }
            Problem::Untrusted { .. } => {
                "join with the cluster's CA pin, which tctl status prints, or check the address".to_owned()
            }
            Problem::NotValidYet { .. } => {
                "set this machine's clock, which seems to be behind (or the server's is ahead)".to_owned()
            }
            Problem::Expired { .. } => {
                "if this machine's clock is right, the server must renew its certificate: see its log"
                    .to_owned()
            }
            Problem::RefusedUs(_) => "the server's log and the audit log (tctl events ls) say why".to_owned(),
            Problem::Unavailable => "the auth service behind it may be down: see the proxy's log".to_owned(),
            Problem::NoCredentials => "join the cluster first".to_owned(),
            Problem::Local(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "run this as root or as the service's user".to_owned()
            }
            Problem::Local(_) => "check the path and that the auth service runs on this machine".to_owned(),
            Problem::Closed => {
                "it, or the server behind a load balancer, may be restarting: try again, and if that does not help \
                 check that the port is the one of a Postern service"
                    .to_owned()
            }
            Problem::Broken(_) => "try again; the server's log may say why".to_owned(),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, problem } = self;
        match problem {
            Problem::Dns(error) => write!(f, "cannot resolve {addr}: {error}"),
            Problem::Refused => write!(f, "cannot connect to {addr}: connection refused"),
            Problem::Timeout { waiting_for, after } => {
                write!(f, "cannot connect to {addr}: no {waiting_for} within {after:?}")
            }
            Problem::Unreachable(error) | Problem::Local(error) => {
                write!(f, "cannot connect to {addr}: {error}")
            }
            Problem::NotTls(what) => write!(f, "the server at {addr} does not speak TLS as expected: {what}"),
            Problem::NoSuchProtocol { wanted } => {
                write!(f, "the server at {addr} does not offer the protocol {wanted}")
            }
            Problem::WrongPin { presented, expected } => write!(
                f,
                "wrong pin: the server at {addr} presented CA {presented}, expected {}",
                expected.join(" or ")
            ),
            Problem::Untrusted { code, reason } => {
                write!(f, "the server at {addr} is not trusted: {reason} ({code})")
            }
            Problem::NotValidYet { from, now } => write!(
                f,
                "the certificate of the server at {addr} is not valid before {from} and the local clock says {now:.0}"
            ),
            Problem::Expired { at, now } => write!(
                f,
                "the certificate of the server at {addr} expired at {at} and the local clock says {now:.0}"
            ),
            Problem::RefusedUs(alert) => write!(f, "the server at {addr} refused the connection: {alert}"),
            Problem::Unavailable => write!(f, "the server at {addr} cannot serve this now"),
            Problem::NoCredentials => write!(f, "cannot connect to {addr}: there are no credentials yet"),
            Problem::Closed => write!(f, "the server at {addr} closed the connection"),
            Problem::Broken(error) => write!(f, "the connection to {addr} broke: {error}"),
        }?;
        write!(f, "; {}", self.hint())
    }
}

impl Error for ConnectError {}

#[cfg(test)]
mod tests {
    use super::{ConnectError, Problem};
    use std::io;

    #[test]
    fn is_found_behind_other_errors() {
        let error = ConnectError::new("p:1", Problem::Refused);
        let hidden = tonic::Status::from_error(Box::new(io::Error::other(error)));
        let found = ConnectError::behind(&hidden).expect("found");
        assert!(matches!(found.problem, Problem::Refused) && found.is_passing());
        assert!(ConnectError::behind(&io::Error::other("else")).is_none());
    }

    #[test]
    fn says_address_reason_and_next_step() {
        let pin = Problem::WrongPin { presented: "sha256:aa".into(), expected: vec!["sha256:bb".into()] };
        let text = ConnectError::new("p:3080", pin).to_string();
        assert!(
            text.starts_with("wrong pin: the server at p:3080 presented CA sha256:aa, expected sha256:bb; "),
            "{text}"
        );
        let at = |text: &str| text.parse().expect("timestamp");
        let clock =
            Problem::NotValidYet { from: at("2026-11-22T10:00:00Z"), now: at("2026-11-22T09:00:00.5Z") };
        let text = ConnectError::new("p:3080", clock).to_string();
        assert!(
            text.contains("is not valid before") && text.contains("clock says 2026-11-22T09:00:00Z"),
            "{text}"
        );
        assert!(text.contains("set this machine's clock"), "{text}");
    }
}
