//! Membership: joining, renewing, confirming. Each step can be repeated after a kill at any point.

use super::AgentError;
use super::storage::{Pending, PendingJoin, Storage, Stored};
use crate::config::{Config, FirstTrust, Server, TokenSource};
use access::HostPort;
use access::name::SystemRole;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::join_service_client::JoinServiceClient;
use api::v1::{ChallengeRequest, ConfirmRenewalRequest, JoinRequest, RenewBotRequest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use identity::Subject;
use identity::credentials::Credentials;
use identity::key::SubjectKey;
use jiff::Timestamp;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::transport::Channel;
use transport::rpc;
use transport::tls::{LiveCredentials, ServerTrust};
use zeroize::Zeroizing;

/// One instance of a bot, joined.
pub struct Member {
    storage: Arc<Storage>,
    token_hash: Option<String>,
    live: LiveCredentials,
    auth: HostPort,
    /// Connected as the identity in force: one made before a renewal goes on showing the generation before, and using
    /// that again looks like a copy.
    channel: Mutex<Channel>,
    ttl: Duration,
    /// Whose certificates were found to live shorter than asked; each is told once.
    shortened: Mutex<HashSet<String>>,
}

const OWN: &str = "the bot's own identity";
/// Where the limit of the bot's own identity comes from.
const BOT_CAP: &str =
    "the limit is max_session_ttl of the bot's own role (12h unless set), and 24h in any case";
/// What the clock of the issuer may be off, and the time an answer takes.
const SLACK: Duration = Duration::from_secs(60);

impl Member {
    /// Uses the stored identity while it lasts, else joins with the configured token.
    pub async fn establish(
        config: &Config,
        storage: Arc<Storage>,
        now: Timestamp,
    ) -> Result<Self, AgentError> {
        let stored = storage.load()?;
        let token = configured_token(config, stored.credentials.is_some())?;
        let hash = token.as_ref().map(|token| token_hash(token));
        let replaced = hash.is_some() && stored.token_hash.is_some() && hash != stored.token_hash;
        let valid = stored.credentials.as_ref().filter(|credentials| credentials.expires() > now);
        match (valid, token) {
            (Some(credentials), token) => {
                let member =
                    Self::new(config, Arc::clone(&storage), credentials.clone(), stored.token_hash.clone())?;
                match token.filter(|_| replaced) {
                    None => Ok(member),
                    Some(token) => member.renewed_or_joined(config, &stored, &token, now).await,
                }
            }
            (None, Some(_)) if !replaced && stored.credentials.is_some() && hash == stored.token_hash => {
                Err(expired(&storage, &stored))
            }
            (_, Some(token)) => Self::joined(config, storage, &stored, &token, now).await,
            (_, None) if stored.credentials.is_some() => Err(expired(&storage, &stored)),
            (_, None) => Err(AgentError::NoIdentity { storage: storage.place() }),
        }
    }

    /// Another token than the one that this instance came from is for when it cannot go on, not before: a spent or
    /// mistyped one must not cost a healthy instance its identity.
    async fn renewed_or_joined(
        self,
        config: &Config,
        stored: &Stored,
        token: &str,
        now: Timestamp,
    ) -> Result<Self, AgentError> {
        let valid_until = self.credentials().expires();
        match self.renew(now).await {
            Err(error) if !error.may_pass() => {
                tracing::warn!(%error, "the stored identity cannot be renewed; joining with the configured token");
                let joined = Self::joined(config, self.storage, stored, token, now).await;
                // Both say what to do, and the first is why.
                joined.map_err(|joining| match joining.may_pass() {
                    true => joining,
                    false => AgentError::Several(vec![Arc::new(error), Arc::new(joining)]),
                })
            }
            _ => {
                tracing::warn!(
                    storage = self.storage.place(), %valid_until,
                    "the configured token is not used: the stored identity, which came from another one, is valid"
                );
                Ok(self)
            }
        }
    }

    async fn joined(
        config: &Config,
        storage: Arc<Storage>,
        stored: &Stored,
        token: &str,
        now: Timestamp,
    ) -> Result<Self, AgentError> {
        let credentials = join(config, &storage, stored, token, now).await?;
        let member = Self::new(config, storage, credentials, Some(token_hash(token)))?;
        member.compare_life((OWN, BOT_CAP), &member.credentials(), member.ttl, now);
        Ok(member)
    }

    fn new(
        config: &Config,
        storage: Arc<Storage>,
        credentials: Credentials,
        token_hash: Option<String>,
    ) -> Result<Self, AgentError> {
        let live = LiveCredentials::new(credentials).map_err(AgentError::unusable("the identity"))?;
        let auth = address(&config.server)?;
        let channel = Mutex::new(rpc::connect_auth(&auth, &live));
        let shortened = Mutex::default();
        Ok(Self { storage, token_hash, live, auth, channel, ttl: config.certificate_ttl, shortened })
    }

    /// Warns, once for each, when `certificate` is valid for less time than was asked for; `cap` says who decides.
    pub fn compare_life(
        &self,
        (whose, cap): (&str, &str),
        certificate: &Credentials,
        asked: Duration,
        now: Timestamp,
    ) {
        let given = Duration::try_from(certificate.expires().duration_since(now)).unwrap_or_default();
        if given + SLACK >= asked {
            return;
        }
        let mut told = self.shortened.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(whose.to_owned()) {
            let (asked, given) = (in_minutes(asked), in_minutes(given));
            tracing::warn!(%asked, %given, "{whose} is valid for {given}, not for the {asked} of certificate_ttl: {cap}");
        }
    }

    /// The channel to auth, as this instance.
    pub fn channel(&self) -> Channel {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The identity in force.
    pub fn credentials(&self) -> Credentials {
        let current = self.live.current().expect("a member has credentials from its first moment");
        current.credentials().clone()
    }

    /// The next generation: prepared, stored, confirmed.
    pub async fn renew(&self, now: Timestamp) -> Result<(), AgentError> {
        let mut stored = self.storage.load()?;
        let pending = match stored.pending.take().filter(|pending| pending.join.is_none()) {
            Some(pending) => pending,
            None => {
                let pending = Pending { key: fresh_key()?, join: None };
                stored.credentials = Some(self.credentials());
                stored.token_hash.clone_from(&self.token_hash);
                self.storage.prepare(now, &stored, &pending)?;
                pending
            }
        };
        let request = RenewBotRequest { public_key: pending.key.spki_der(), ttl_seconds: self.ttl.as_secs() };
        let mut client = CertificateServiceClient::new(self.channel());
        let doing = "renewing the bot's identity";
        let answer = client.renew_bot(request).await.map_err(AgentError::call(doing))?.into_inner();
        let credentials = credentials(pending.key, answer.credentials)?;
        self.storage.commit(now, &credentials, self.token_hash.as_deref())?;
        self.compare_life((OWN, BOT_CAP), &credentials, self.ttl, now);
        self.live.replace(credentials).map_err(AgentError::unusable("the renewed identity"))?;
        // From here on the new identity is in force on this side; if this call is lost, the first use confirms.
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) =
            rpc::connect_auth(&self.auth, &self.live);
        let mut client = CertificateServiceClient::new(self.channel());
        let confirmed = client.confirm_renewal(ConfirmRenewalRequest {}).await;
        confirmed.map(drop).map_err(AgentError::call("confirming the renewed identity"))
    }
}

/// As people write durations, to the minute.
fn in_minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = (seconds + 30) / 60;
    match (minutes / 60, minutes % 60) {
        _ if seconds < 60 => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    }
}

async fn join(
    config: &Config,
    storage: &Storage,
    stored: &Stored,
    token: &str,
    now: Timestamp,
) -> Result<Credentials, AgentError> {
    let hash = token_hash(token);
    let (key, attempt) = match &stored.pending {
        Some(Pending { key, join: Some(join) }) if join.token_hash == hash => {
            (key.clone(), join.attempt.clone())
        }
        _ => (fresh_key()?, fresh_attempt()?),
    };
    let pending =
        Pending { key, join: Some(PendingJoin { attempt: attempt.clone(), token_hash: hash.clone() }) };
    storage.prepare(now, stored, &pending)?;

    let channel = rpc::connect_join(&address(&config.server)?, first_trust(&config.onboarding.trust)?);
    let mut client = JoinServiceClient::new(channel);
    let doing = "joining the cluster";
    let challenge =
        client.challenge(ChallengeRequest {}).await.map_err(AgentError::call(doing))?.into_inner().challenge;
    let public_key = pending.key.spki_der();
    let claim = join::Claim {
        token,
        role: SystemRole::Bot,
        attempt: &attempt,
        public_key: &public_key,
        challenge: &challenge,
    };
    let signature = pending.key.sign(&join::prove(&claim)).map_err(AgentError::unusable("the new key"))?;
    let request = JoinRequest {
        token: token.to_owned(),
        role: SystemRole::Bot.as_str().to_owned(),
        public_key,
        attempt,
        challenge,
        signature,
        ttl_seconds: config.certificate_ttl.as_secs(),
        host: None,
    };
    let answer = client.join(request).await.map_err(AgentError::call(doing))?.into_inner();
    let credentials = credentials(pending.key, answer.credentials)?;
    storage.commit(now, &credentials, Some(&hash))?;
    Ok(credentials)
}

/// Puts a key and what the cluster gave for it together.
pub fn credentials(key: SubjectKey, given: Option<api::v1::Credentials>) -> Result<Credentials, AgentError> {
    let given = given.ok_or_else(|| AgentError::Unusable {
        what: "the cluster's answer",
        reason: "it has no certificates".into(),
    })?;
    api::convert::credentials(key, given).map_err(AgentError::unusable("the cluster's answer"))
}

/// A key for one certificate.
pub fn fresh_key() -> Result<SubjectKey, AgentError> {
    SubjectKey::generate(&SystemRandom::new()).map_err(AgentError::unusable("a new key"))
}

fn fresh_attempt() -> Result<Vec<u8>, AgentError> {
    let mut attempt = vec![0; join::Attempt::LEN];
    SystemRandom::new().fill(&mut attempt).map_err(AgentError::unusable("the system's randomness"))?;
    Ok(attempt)
}

fn token_hash(token: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()))
}

/// The address that was configured; checked when the configuration was.
pub fn address(server: &Server) -> Result<HostPort, AgentError> {
    HostPort::parse(server.address(), 0).map_err(AgentError::unusable("the server's address"))
}

/// Whom to believe before there is an identity.
pub fn first_trust(trust: &FirstTrust) -> Result<ServerTrust, AgentError> {
    match trust {
        FirstTrust::Pins(pins) => Ok(ServerTrust::pins(pins.clone())),
        FirstTrust::System => Ok(ServerTrust::system()),
        FirstTrust::CaFile(path) => {
            let wrong = |reason: String| AgentError::CaFile { path: path.clone(), reason };
            let pem = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            let blocks = identity::pem::blocks(&pem).map_err(|error| wrong(error.to_string()))?;
            let certificates = blocks.iter().filter(|block| block.label == identity::pem::CERTIFICATE);
            let pins: Result<Vec<_>, _> =
                certificates.map(|block| identity::trust::Pin::of(&block.der.as_slice().into())).collect();
            match pins {
                Ok(pins) if pins.is_empty() => Err(wrong("it holds no certificate".to_owned())),
                Ok(pins) => Ok(ServerTrust::pins(pins)),
                Err(error) => Err(wrong(error.to_string())),
            }
        }
    }
}

/// The token, if one is configured. A file that is gone does not matter to an instance that has joined.
fn configured_token(config: &Config, joined: bool) -> Result<Option<Zeroizing<String>>, AgentError> {
    let path = match &config.onboarding.token {
        None => return Ok(None),
        Some(TokenSource::Literal(token)) => return Ok(Some(token.clone())),
        Some(TokenSource::File(path)) => path,
    };
    let wrong = |reason: String| AgentError::Token { path: path.clone(), reason };
    let read = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| wrong(error.to_string()));
    let token = read.and_then(|text| match text.trim() {
        "" => Err(wrong("it is empty".to_owned())),
        token => Ok(Zeroizing::new(token.to_owned())),
    });
    match token {
        Ok(token) => Ok(Some(token)),
        Err(error) if joined => {
            tracing::warn!(%error, "going on with the stored identity");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn expired(storage: &Storage, stored: &Stored) -> AgentError {
    let credentials = stored.credentials.as_ref();
    let bot = credentials.and_then(|credentials| match &credentials.identity().subject {
        Subject::User(user) => user.bot.as_ref().map(|bot| bot.name.to_string()),
        Subject::Host(_) => None,
    });
    let expired = credentials.map_or(Timestamp::UNIX_EPOCH, Credentials::expires);
    AgentError::Expired { storage: storage.place(), expired, bot: bot.unwrap_or_else(|| "<bot>".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::in_minutes;
    use std::time::Duration;

    #[test]
    fn durations_are_told_to_the_minute() {
        for (seconds, text) in
            [(7, "7s"), (60, "1m"), (3599, "1h"), (5400, "1h30m"), (43_199, "12h"), (86_400, "24h")]
        {
            assert_eq!(in_minutes(Duration::from_secs(seconds)), text);
        }
    }
}
