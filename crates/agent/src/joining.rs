//! Becoming a member of the cluster: possession of a key is proven, a token is spent on it.
//!
//! Key and attempt are kept before anything is sent, so that a retry, also after a crash, is the same attempt: it gets
//! certificates and spends nothing twice. The bytes of the attempt are those of every service on this data directory: by
//! them auth knows that services which share a host id are one process.

use std::time::Duration;

use access::{HostPort, SystemRole};
use api::convert;
use api::status::Problem;
use api::v1::join_service_client::JoinServiceClient;
use api::v1::{ChallengeRequest, HostDetails, JoinRequest};
use aws_lc_rs::rand::SystemRandom;
use identity::Credentials;
use identity::key::{PublicKey, SubjectKey};
use join::{Claim, TokenHash};
use serde::{Deserialize, Serialize};
use tonic::Status;
use transport::rpc::{Channel, connect_join, within};
use transport::{Backoff, ConnectError};

use crate::config::{JoinSource, StartError};
use crate::state::{StateDir, StateError};

const FILE: &str = "join.json";
/// For one question and its answer.
const CALL: Duration = Duration::from_secs(20);

/// Everything that joining needs.
pub(crate) struct Joiner<'a> {
    pub(crate) state: &'a StateDir,
    pub(crate) role: SystemRole,
    pub(crate) auth: &'a HostPort,
    pub(crate) source: &'a JoinSource,
    pub(crate) host: HostDetails,
    /// The key for SSH, if that is another one.
    pub(crate) ssh_key: Option<&'a PublicKey>,
}

/// What is kept until the answer is.
#[derive(Serialize, Deserialize)]
struct Pending {
    /// PKCS#8 PEM.
    key: String,
    /// Hash of the token: another token is another attempt.
    token: String,
}

enum Failure {
    /// Trying again may help; the words are for the log and the health of the service.
    Passing(String),
    Lasting(StartError),
}

impl Joiner<'_> {
    /// Tries until it is a member, or until trying makes no sense. `waiting` hears why it takes long.
    pub(crate) async fn join(&self, mut waiting: impl FnMut(&str)) -> Result<Credentials, StartError> {
        let (key, attempt) = self.pending()?;
        let channel = connect_join(self.auth, self.source.trust.clone());
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            match self.ask(channel.clone(), &key, &attempt).await {
                Ok(credentials) => return Ok(credentials),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(reason)) => {
                    waiting(&reason);
                    tracing::warn!(role = %self.role, reason, "cannot join yet; trying again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Once the credentials are kept, the attempt need not be.
    pub(crate) fn done(&self) -> Result<(), StateError> {
        self.state.remove(FILE)
    }

    async fn ask(&self, channel: Channel, key: &SubjectKey, attempt: &[u8]) -> Result<Credentials, Failure> {
        let mut client = JoinServiceClient::new(channel);
        let challenge = client.challenge(within(CALL, ChallengeRequest {})).await;
        let challenge = challenge.map_err(|status| self.failure(&status))?.into_inner().challenge;
        let public_key = key.spki_der();
        let claim = Claim {
            token: &self.source.token,
            role: self.role,
            attempt,
            public_key: &public_key,
            challenge: &challenge,
        };
        let signature = key.sign(&join::prove(&claim)).map_err(|error| Failure::Lasting(error.into()))?;
        let request = JoinRequest {
            token: self.source.token.to_string(),
            role: self.role.as_str().to_owned(),
            attempt: attempt.to_vec(),
            public_key: public_key.clone(),
            challenge: challenge.clone(),
            signature,
            ttl_seconds: 0,
            host: Some(self.host.clone()),
            bound_keypair: None,
            id_token: String::new(),
            aws: None,
        };
        let answer = client.join(within(CALL, request)).await.map_err(|status| self.failure(&status))?;
        let bad = |reason: String| Failure::Lasting(StartError::BadCredentials(reason));
        let message = answer.into_inner().credentials.ok_or_else(|| bad("there are none".to_owned()))?;
        let made = convert::host_credentials(key.clone(), self.ssh_key, message);
        made.map_err(|error| bad(error.to_string()))
    }

    fn failure(&self, status: &Status) -> Failure {
        if let Some(error) = ConnectError::behind(status) {
            return match error.is_passing() {
                true => Failure::Passing(error.to_string()),
                false => Failure::Lasting(error.clone().into()),
            };
        }
        let problem = Problem::of(status);
        let stale = ["challenge_expired", "challenge_foreign"].contains(&problem.code.as_str());
        match problem.class.is_transient() || stale {
            true => Failure::Passing(problem.to_string()),
            false => Failure::Lasting(StartError::Refused { role: self.role, problem }),
        }
    }

    /// The attempt under way, or a new one, kept before it is used.
    fn pending(&self) -> Result<(SubjectKey, Vec<u8>), StartError> {
        let token = TokenHash::of(&self.source.token).to_string();
        let kept = self.state.read(FILE)?.and_then(|bytes| serde_json::from_slice::<Pending>(&bytes).ok());
        let kept = kept.filter(|pending| pending.token == token);
        let attempt = self.state.attempt()?;
        if let Some(key) = kept.and_then(|pending| SubjectKey::from_pem(&pending.key).ok()) {
            return Ok((key, attempt));
        }
        let key = SubjectKey::generate(&SystemRandom::new())?;
        let pending = Pending { key: key.to_pem()?.to_string(), token };
        let bytes = zeroize::Zeroizing::new(serde_json::to_vec(&pending).unwrap_or_default());
        self.state.write(FILE, &bytes)?;
        Ok((key, attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::{FILE, Joiner};
    use crate::config::JoinSource;
    use crate::state::StateDir;
    use access::{HostPort, SystemRole};
    use api::v1::HostDetails;
    use std::os::unix::fs::PermissionsExt;
    use transport::ServerTrust;

    #[test]
    fn an_attempt_is_kept_before_it_is_used_and_belongs_to_its_token() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(directory.path(), SystemRole::Node).expect("opens");
        let auth = HostPort::new("127.0.0.1", 1).expect("an address");
        let pending = |token: &str| {
            let source = JoinSource {
                token: zeroize::Zeroizing::new(token.to_owned()),
                trust: ServerTrust::default(),
            };
            let host = HostDetails::default();
            let (role, auth, source) = (SystemRole::Node, &auth, &source);
            let joiner = Joiner { state: &state, role, auth, source, host, ssh_key: None };
            let (key, attempt) = joiner.pending().expect("an attempt");
            (key.public().fingerprint(), attempt)
        };
        let first = pending("one");
        assert_eq!(pending("one"), first, "a retry, also of another process");
        let mode = std::fs::metadata(state.path(FILE)).expect("kept").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let kept = String::from_utf8(state.read(FILE).expect("read").expect("kept")).expect("text");
        assert!(!kept.contains("\"one\""), "the token itself is not kept");
        assert_ne!(pending("two"), first, "another token is another attempt");
        state.write(FILE, b"torn").expect("written");
        assert_ne!(pending("one"), first);
    }
}
