//! What can go wrong with an agent, in words for whoever runs it.

use super::sshd::Fault;
use crate::destination::DestinationError;
use api::status::{Class, Problem};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use transport::ConnectError;

/// A failure of the agent; whether it may pass decides between trying again and giving up.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file could not be written or read.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// A stock OpenSSH server was left as it was.
    #[error("sshd is left as it was: {0}")]
    Sshd(Fault),
    /// Another agent runs on the same storage.
    #[error("{} is in use by another tbot; stop that one, or give this one its own storage", .0.display())]
    InUse(PathBuf),
    /// Nobody to be and no way to become somebody.
    #[error(
        "no existing identity found in {storage} and no join token configured; \
         get one with `tctl bots instances add <bot>` and set onboarding.token"
    )]
    NoIdentity {
        /// Where it was looked for.
        storage: String,
    },
    /// The stored identity is no longer valid and there is no new token.
    #[error(
        "the identity in {storage} expired at {expired} and the configured token was spent on it; \
         get a new token with `tctl bots instances add {bot}` and set onboarding.token"
    )]
    Expired {
        /// Where it was found.
        storage: String,
        /// When it ended.
        expired: jiff::Timestamp,
        /// The bot's name.
        bot: String,
    },
    /// The file of a token or secret cannot be read, or is empty.
    #[error(
        "cannot read {what} from {}: {reason}; {key} names the file: \
         put it there, readable for the user that runs tbot",
        path.display()
    )]
    Token {
        /// What is in it.
        what: &'static str,
        /// The key in the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason, or "it is empty".
        reason: String,
    },
    /// The platform gives no ID token.
    #[error("join method {method}: the platform gave no ID token ({reason}); {advice}")]
    NoIdToken {
        /// The join method.
        method: &'static str,
        /// What is missing.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The file of authorities cannot be read.
    #[error(
        "cannot use onboarding.ca_path {}: {reason}; give a PEM file with the cluster's CA, or ca_pins instead",
        path.display()
    )]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The cluster said no, or could not answer.
    #[error("{doing}: {problem}")]
    Cluster {
        /// What was asked for.
        doing: &'static str,
        /// The answer.
        problem: Box<Problem>,
    },
    /// The server could not be reached, or is not who it should be.
    #[error("{doing}: {source}")]
    Connect {
        /// What was asked for.
        doing: &'static str,
        /// Why.
        source: Box<ConnectError>,
    },
    /// What the cluster gave, or what was stored, cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Unusable {
        /// The thing.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// Two of the configured directories are one.
    #[error("{} is the directory of {other} by another path; give each its own", path.display())]
    SameDirectory {
        /// As the second one names it.
        path: PathBuf,
        /// Whose it is already.
        other: String,
    },
    /// A socket for workloads cannot be opened.
    #[error("the socket {} for workloads cannot be opened: {error}", path.display())]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// The system's reason, or ours.
        error: std::io::Error,
    },
    /// What is configured as a proxy is none.
    #[error(
        "{addr} is an auth service, and is configured as proxy_server; set auth_server to it, or proxy_server to the proxy's \
         address"
    )]
    NotAProxy {
        /// As it was configured.
        addr: String,
    },
    /// There is no valid identity to ask with.
    #[error("the agent's own identity is not valid; see the service \"identity\" for the reason")]
    NoMember,
    /// Several things are wrong at once.
    #[error("{}", lines(.0))]
    Several(Vec<Arc<AgentError>>),
    /// An output could not be written.
    #[error("output {name}: {source}")]
    Output {
        /// The output's name.
        name: String,
        /// Why.
        source: Arc<AgentError>,
    },
    /// An output asks for another cluster.
    #[error(
        "the output {destination} asks for cluster {wanted:?}, but this bot belongs to {cluster:?}; remove `cluster`"
    )]
    OtherCluster {
        /// The output.
        destination: String,
        /// What it asks for.
        wanted: String,
        /// Where the bot is.
        cluster: String,
    },
}

fn lines(errors: &[Arc<AgentError>]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl AgentError {
    /// One error of one or more.
    pub fn several(mut errors: Vec<Arc<Self>>) -> Result<(), Arc<Self>> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Arc::new(Self::Several(errors))),
        }
    }

    /// How long the server asked to be left alone.
    pub fn asked_pause(&self) -> Option<Duration> {
        match self {
            Self::Cluster { problem, .. } => problem.again_in,
            Self::Output { source, .. } => source.asked_pause(),
            Self::Several(errors) => {
                let pauses: Option<Vec<_>> = errors.iter().map(|error| error.asked_pause()).collect();
                pauses?.into_iter().max()
            }
            _ => None,
        }
    }

    /// Whether the server did not look at it yet, and says when it will: that is no failure.
    pub fn is_put_off(&self) -> bool {
        self.asked_pause().is_some() && self.may_pass()
    }

    /// Whether a lock is in the way, or has been set because of this very call.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Cluster { problem, .. } if ["locked", "generation_mismatch"].contains(&problem.code.as_str()))
    }

    /// From a failed call.
    pub fn call(doing: &'static str) -> impl FnOnce(tonic::Status) -> Self {
        move |status| match ConnectError::behind(&status) {
            Some(error) => Self::Connect { doing, source: Box::new(error.clone()) },
            None => Self::Cluster { doing, problem: Box::new(Problem::of(&status)) },
        }
    }

    /// From something unusable.
    pub fn unusable<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Unusable { what, reason: error.to_string() }
    }

    /// Whether the same attempt may succeed later without anybody doing anything here.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Destination(_) | Self::Unusable { .. } | Self::Socket { .. } | Self::NoMember => true,
            Self::Cluster { problem, .. } => problem.class.is_transient() || problem.class == Class::Internal,
            Self::Connect { source, .. } => source.is_passing(),
            Self::Sshd(fault) => fault.may_pass(),
            Self::Several(errors) => errors.iter().all(|error| error.may_pass()),
            Self::Output { source, .. } => source.may_pass(),
            Self::InUse(_)
            | Self::SameDirectory { .. }
            | Self::NoIdentity { .. }
            | Self::Expired { .. }
            | Self::Token { .. }
            | Self::NoIdToken { .. }
            | Self::CaFile { .. }
            | Self::NotAProxy { .. }
            | Self::OtherCluster { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AgentError;
    use api::status::{Class, Problem};
    use transport::ConnectError;

    #[test]
    fn each_says_the_next_step_once() {
        let refused = ConnectError::new("p:3080", transport::Problem::Refused);
        let step = refused.hint();
        let error = AgentError::Connect { doing: "joining the cluster", source: Box::new(refused) };
        assert_eq!(error.to_string().matches(&step).count(), 1, "{error}");
        let problem = Problem::new(Class::Denied, "code", "no").hint("ask");
        let error = AgentError::Cluster { doing: "joining the cluster", problem: Box::new(problem) };
        assert_eq!(error.to_string(), "joining the cluster: no; ask");
    }

    #[test]
    fn who_is_told_to_come_back_has_not_failed() {
        let refused = |class| Problem::new(class, "busy", "too many");
        let error = |problem| AgentError::Cluster { doing: "asking", problem: Box::new(problem) };
        assert!(!error(refused(Class::Exhausted)).is_put_off());
        let pause = std::time::Duration::from_secs(7);
        let put_off = error(refused(Class::Exhausted).again_in(pause));
        assert!(put_off.is_put_off());
        assert_eq!(put_off.asked_pause(), Some(pause));
        assert!(!error(refused(Class::Denied).again_in(pause)).is_put_off(), "a no is a no");
    }
}
