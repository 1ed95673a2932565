//! Becoming a member of the cluster: possession of a key is proven, and by what else the token asks for.
//!
//! Key and attempt are kept before anything is sent, so that a retry, also after a crash, is the same attempt: it gets
//! certificates and spends nothing twice. The bytes of the attempt are those of every service on this data directory: by
//! them auth knows that services which share a host id are one process.

use std::time::Duration;

use access::{HostPort, SystemRole};
use api::convert;
use api::status::Problem;
use api::v1;
use api::v1::join_service_client::JoinServiceClient;
use api::v1::{ChallengeRequest, HostDetails, JoinRequest};
use aws_lc_rs::rand::SystemRandom;
use identity::Credentials;
use identity::key::{KeyError, PublicKey, SubjectKey};
use join::{Claim, TokenHash};
use serde::{Deserialize, Serialize};
use tonic::Status;
use transport::rpc::{Channel, connect_join, within};
use transport::{Backoff, ConnectError};
use zeroize::Zeroizing;

use crate::bound_key::BoundKey;
use crate::config::{JoinSource, Proof, StartError};
use crate::host::CREDENTIALS;
use crate::state::StateDir;
use crate::tpm;

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
    /// Connected with credentials that are in force, over which it joins again.
    pub(crate) over: Option<Channel>,
}

/// What came of it, nothing of which is kept yet.
pub(crate) struct Joined {
    pub(crate) credentials: Credentials,
    pub(crate) bound: Option<BoundKey>,
}

/// An attempt under way.
struct Attempt {
    key: SubjectKey,
    bytes: Vec<u8>,
    /// The key that is shown, and the one that is offered in its place.
    bound: Option<(BoundKey, SubjectKey)>,
}

/// What is kept until the answer is.
#[derive(Serialize, Deserialize)]
struct Pending {
    /// PKCS#8 PEM.
    key: String,
    /// Hash of the token: another token is another attempt.
    token: String,
    /// The key that is offered in place of the bound one, PKCS#8 PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offered: Option<String>,
}

enum Failure {
    /// Trying again may help; the words are for the log and the health of the service.
    Passing(String),
    Lasting(StartError),
}

impl Joiner<'_> {
    /// Tries until it is a member, or until trying makes no sense. `waiting` hears why it takes long.
    pub(crate) async fn join(&self, mut waiting: impl FnMut(&str)) -> Result<Joined, StartError> {
        let attempt = self.pending()?;
        let channel = match &self.over {
            Some(channel) => channel.clone(),
            None => connect_join(self.auth, self.source.trust.clone()),
        };
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            match self.ask(channel.clone(), &attempt).await {
                Ok(joined) => return Ok(joined),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(reason)) => {
                    waiting(&reason);
                    tracing::warn!(role = %self.role, reason, "cannot join yet; trying again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Keeps what came of it, in an order in which a crash costs nothing: with the join state alone, and with the attempt,
    /// the next try is a retry; credentials without their join state would look like a copy when they end.
    pub(crate) fn keep(&self, joined: &Joined) -> Result<(), StartError> {
        if let Some(bound) = &joined.bound {
            bound.keep(self.state)?;
        }
        let text = identity::file::encode(&joined.credentials)?;
        self.state.write(CREDENTIALS, text.as_bytes())?;
        Ok(self.state.remove(FILE)?)
    }

    async fn ask(&self, channel: Channel, attempt: &Attempt) -> Result<Joined, Failure> {
        let key = &attempt.key;
        let passing = |error: String| Failure::Passing(format!("the TPM: {error}"));
        let begun = match &self.source.proof {
            Proof::Tpm { device, algorithm } => Some(tpm::begin(device, *algorithm).await.map_err(passing)?),
            _ => None,
        };
        let mut client = JoinServiceClient::new(channel);
        let challenge = client.challenge(within(CALL, ChallengeRequest {})).await;
        let challenge = challenge.map_err(|status| self.failure(&status))?.into_inner().challenge;
        let public_key = key.spki_der();
        let claim = Claim {
            token: &self.source.token,
            role: self.role,
            attempt: &attempt.bytes,
            public_key: &public_key,
            challenge: &challenge,
        };
        let lasting = |error: KeyError| Failure::Lasting(error.into());
        let signature = key.sign(&join::prove(&claim)).map_err(lasting)?;
        let bound = attempt.bound.as_ref();
        let bound_keypair = bound.map(|(bound, next)| bound.shown(&claim, self.secret(), next)).transpose();
        let mut request = JoinRequest {
            token: self.source.token.to_string(),
            role: self.role.as_str().to_owned(),
            attempt: attempt.bytes.clone(),
            public_key: public_key.clone(),
            challenge: challenge.clone(),
            signature,
            ttl_seconds: 0,
            host: Some(self.host.clone()),
            bound_keypair: bound_keypair.map_err(lasting)?,
            id_token: self.id_token().map_err(Failure::Lasting)?,
            tpm: None,
            aws: None,
            azure: None,
        };
        if let Some((talk, keys)) = begun {
            let question = convert::tpm_question(&request, keys.clone());
            let answer = client.tpm_challenge(within(CALL, question)).await;
            let answer = answer.map_err(|status| self.failure(&status))?.into_inner();
            let secret = tpm::opened(talk, answer).await.map_err(passing)?;
            request.tpm = Some(v1::Tpm { keys: Some(keys), secret });
        }
        let answer = client.join(within(CALL, request)).await.map_err(|status| self.failure(&status))?;
        let bad = |reason: String| Failure::Lasting(StartError::BadCredentials(reason));
        let answer = answer.into_inner();
        let message = answer.credentials.ok_or_else(|| bad("there are none".to_owned()))?;
        let made = convert::host_credentials(key.clone(), self.ssh_key, message);
        let credentials = made.map_err(|error| bad(error.to_string()))?;
        let bound = bound.map(|(bound, next)| {
            let key = if answer.key_accepted { next } else { bound.key() };
            BoundKey::new(key.clone(), answer.join_state, &self.source.token)
        });
        Ok(Joined { credentials, bound })
    }

    fn secret(&self) -> &str {
        match &self.source.proof {
            Proof::BoundKey { secret: Some(secret) } => secret,
            _ => "",
        }
    }

    fn id_token(&self) -> Result<String, StartError> {
        let Proof::Kubernetes(path) = &self.source.proof else { return Ok(String::new()) };
        let read = std::fs::read_to_string(path);
        let wrong =
            |error: std::io::Error| StartError::IdToken { path: path.clone(), reason: error.to_string() };
        read.map(|text| text.trim().to_owned()).map_err(wrong)
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
    fn pending(&self) -> Result<Attempt, StartError> {
        let token = TokenHash::of(&self.source.token).to_string();
        let kept = self.state.read(FILE)?.and_then(|bytes| serde_json::from_slice::<Pending>(&bytes).ok());
        let kept = kept.filter(|pending| pending.token == token);
        let bytes = self.state.attempt()?;
        let is_bound = matches!(self.source.proof, Proof::BoundKey { .. });
        let bound = match is_bound {
            true => Some(BoundKey::of(self.state, &self.source.token)?),
            false => None,
        };
        let readable = |pem: String| SubjectKey::from_pem(&Zeroizing::new(pem)).ok();
        if let Some(pending) = kept
            && let Some(key) = readable(pending.key)
        {
            match (bound.clone(), pending.offered.and_then(readable)) {
                (None, _) => return Ok(Attempt { key, bytes, bound: None }),
                (Some(bound), Some(next)) => return Ok(Attempt { key, bytes, bound: Some((bound, next)) }),
                (Some(_), None) => {}
            }
        }
        let random = SystemRandom::new();
        let key = SubjectKey::generate(&random)?;
        let next = if is_bound { Some(SubjectKey::generate(&random)?) } else { None };
        let offered = next.as_ref().map(|next| next.to_pem().map(|pem| pem.to_string())).transpose()?;
        let pending = Pending { key: key.to_pem()?.to_string(), token, offered };
        let content = Zeroizing::new(serde_json::to_vec(&pending).unwrap_or_default());
        self.state.write(FILE, &content)?;
        Ok(Attempt { key, bytes, bound: bound.zip(next) })
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
            let source = JoinSource::token(zeroize::Zeroizing::new(token.to_owned()), ServerTrust::default());
            let host = HostDetails::default();
            let (role, auth, source) = (SystemRole::Node, &auth, &source);
            let joiner = Joiner { state: &state, role, auth, source, host, ssh_key: None, over: None };
            let attempt = joiner.pending().expect("an attempt");
            (attempt.key.public().fingerprint(), attempt.bytes)
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
