//! Membership: joining, renewing, confirming. Each step can be repeated after a kill at any point.

use super::AgentError;
use super::joining::{self, Joiner, Over};
use super::report::Instance;
use super::ssh_host::signed_by;
use super::storage::{Pending, Storage, Stored};
use crate::config::{Config, Method, Server};
use access::HostPort;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::{ConfirmRenewalRequest, RenewBotRequest};
use aws_lc_rs::rand::SystemRandom;
use identity::credentials::Credentials;
use identity::key::SubjectKey;
use identity::{Subject, TrustBundle};
use jiff::Timestamp;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::transport::Channel;
use transport::rpc;
use transport::tls::LiveCredentials;

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
    joiner: Joiner,
    is_new: bool,
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
        if config.onboarding.method != Method::Token {
            return Self::rejoining(config, storage, stored, now).await;
        }
        let token = joining::token(&config.onboarding, stored.credentials.is_some())?;
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

    /// By a method with which one joins again at any time: uses the stored identity while it lasts.
    async fn rejoining(
        config: &Config,
        storage: Arc<Storage>,
        stored: Stored,
        now: Timestamp,
    ) -> Result<Self, AgentError> {
        let token = joining::required_token(&config.onboarding)?;
        let same = stored.token_hash.as_ref().is_none_or(|hash| *hash == token_hash(&token));
        match stored.credentials.clone().filter(|credentials| same && credentials.expires() > now) {
            Some(credentials) => Self::new(config, storage, credentials, stored.token_hash),
            None => Self::joined(config, storage, &stored, &token, now).await,
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
                // Both say what to do, and the first is why. A lock has to be lifted, whatever the token.
                joined.map_err(|joining| match joining.may_pass() {
                    true => joining,
                    false if error.is_locked() => error,
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
        let joiner = Joiner::new(config, Arc::clone(&storage))?;
        let credentials = joiner.join(stored, token, None, now).await?;
        let mut member = Self::new(config, storage, credentials, Some(token_hash(token)))?;
        member.is_new = true;
        member.answered().await;
        member.compare_life((OWN, BOT_CAP), member.credentials().expires(), member.ttl, now);
        Ok(member)
    }

    fn new(
        config: &Config,
        storage: Arc<Storage>,
        credentials: Credentials,
        token_hash: Option<String>,
    ) -> Result<Self, AgentError> {
        let live = LiveCredentials::new(credentials).map_err(AgentError::unusable("the identity"))?;
        let joiner = Joiner::new(config, Arc::clone(&storage))?;
        let auth = address(&config.server)?;
        let channel = Mutex::new(rpc::connect_auth(&auth, &live));
        let shortened = Mutex::default();
        let ttl = config.certificate_ttl;
        Ok(Self { storage, token_hash, live, auth, channel, ttl, shortened, joiner, is_new: false })
    }

    /// Warns, once for each, when a certificate that ends at `expires` is valid for less time than was asked for; `cap` says who decides.
    pub fn compare_life(
        &self,
        (whose, cap): (&str, &str),
        expires: Timestamp,
        asked: Duration,
        now: Timestamp,
    ) {
        let given = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
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

    /// Nothing is to be asked for some time: the connection is given up, and made again when it is needed.
    pub fn rest(&self) {
        let resting = rpc::connect_auth(&self.auth, &self.live);
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = resting;
    }

    /// The identity in force.
    pub fn credentials(&self) -> Credentials {
        let current = self.live.current().expect("a member has credentials from its first moment");
        current.credentials().clone()
    }

    /// Whether it joined just now, so that nothing is to be renewed.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The next generation: prepared, stored, confirmed.
    pub async fn renew(&self, now: Timestamp) -> Result<(), AgentError> {
        if self.joiner.joins_again() {
            return self.rejoin(now).await;
        }
        let mut stored = self.storage.load()?;
        let pending = match stored.pending.take().filter(|pending| pending.join.is_none()) {
            Some(pending) => pending,
            None => {
                let pending = Pending { key: fresh_key()?, join: None, offered: None };
                stored.credentials = Some(self.credentials());
                stored.token_hash.clone_from(&self.token_hash);
                self.storage.prepare(now, &stored, &pending)?;
                pending
            }
        };
        let request = RenewBotRequest { public_key: pending.key.spki_der(), ttl_seconds: self.ttl.as_secs() };
        let doing = "renewing the bot's identity";
        // The old connection ends with the call: the next one is another identity's, and nobody needs both.
        let answer = CertificateServiceClient::new(self.channel()).renew_bot(request).await;
        let answer = answer.map_err(AgentError::call(doing))?.into_inner();
        let credentials = credentials(pending.key, answer.credentials)?;
        self.storage.commit(now, &credentials, self.token_hash.as_deref(), None)?;
        self.take(credentials, now)?;
        self.confirm().await
    }

    /// Joins again: with the identity in force as long as it is valid, so that this stays the same instance; after that,
    /// and where the cluster knows the instance no longer, as a stranger with its proof.
    async fn rejoin(&self, now: Timestamp) -> Result<(), AgentError> {
        let mut stored = self.storage.load()?;
        stored.credentials.get_or_insert_with(|| self.credentials());
        let token = self.joiner.token()?;
        if self.credentials().expires() > now {
            let over = Over {
                channel: self.channel(),
                instance: self.instance().map(|own| own.id).unwrap_or_default(),
            };
            match self.joiner.join(&stored, &token, Some(over), now).await {
                Err(AgentError::Cluster { problem, .. }) if problem.code == "instance_unknown" => {
                    tracing::warn!(%problem, "the cluster does not know this instance; joining as a new one");
                    stored = self.storage.load()?;
                }
                joined => {
                    self.take(joined?, now)?;
                    return self.confirm().await;
                }
            }
        }
        let credentials = self.joiner.join(&stored, &token, None, now).await?;
        self.take(credentials, now)?;
        self.answered().await;
        Ok(())
    }

    /// Tells the cluster that the answer to a join has arrived and is stored, so that nobody can repeat the attempt. Where it
    /// cannot be told, the next renewal says so.
    async fn answered(&self) {
        if self.joiner.joins_again()
            && let Err(error) = self.confirm().await
        {
            tracing::debug!(%error, "the cluster was not told that its answer has arrived");
        }
    }

    /// Believes another trust bundle from now on, and after a restart. Gives whether it says so of the agent's own signer.
    pub fn trust(&self, trust: &TrustBundle, now: Timestamp) -> Result<bool, AgentError> {
        let mut credentials = self.credentials();
        if credentials.trust.cluster != trust.cluster {
            let reason = format!("it is of cluster {}", trust.cluster);
            return Err(AgentError::Unusable { what: "the news of trust", reason });
        }
        credentials.trust = trust.clone();
        let covered = signed_by(&credentials.ssh_certificate, &trust.user);
        let mut stored = self.storage.load()?;
        stored.credentials = Some(credentials.clone());
        self.storage.keep_stored(now, &stored)?;
        self.live.replace(credentials).map_err(AgentError::unusable("the identity"))?;
        Ok(covered)
    }

    /// Who it is in the cluster.
    pub fn instance(&self) -> Option<Instance> {
        let credentials = self.credentials();
        let bot = credentials.identity().user()?.bot.as_ref()?;
        let cluster = credentials.trust.cluster.to_string();
        Some(Instance { cluster, bot: bot.name.to_string(), id: bot.instance.to_string() })
    }

    /// From here on the new identity is in force on this side.
    fn take(&self, credentials: Credentials, now: Timestamp) -> Result<(), AgentError> {
        self.compare_life((OWN, BOT_CAP), credentials.expires(), self.ttl, now);
        self.live.replace(credentials).map_err(AgentError::unusable("the renewed identity"))?;
        self.rest();
        Ok(())
    }

    /// Says that the new identity is stored. If this call is lost, its first use says so.
    async fn confirm(&self) -> Result<(), AgentError> {
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

/// What is stored in place of a token, to know it again.
pub fn token_hash(token: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()))
}

/// The address that was configured; checked when the configuration was.
pub fn address(server: &Server) -> Result<HostPort, AgentError> {
    HostPort::parse(server.address(), 0).map_err(AgentError::unusable("the server's address"))
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
