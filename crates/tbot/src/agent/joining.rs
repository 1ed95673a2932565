//! Joining: possession of a key is proven, and by what else the method wants that this is the bot.
//!
//! Key and attempt are stored before anything is sent, so that a retry, also after a kill, is the same attempt. The key
//! that method `bound_keypair` keeps is stored before it is bound, and so is the one that is offered in its place; its join
//! state is stored together with the certificates that it came with: whatever of the two is lost, both are.

use super::AgentError;
use super::front::refuse_auth;
use super::member::{address, credentials, fresh_key, token_hash};
use super::platform::aws::Aws;
use super::platform::azure::Machine;
use super::storage::{BoundKey, Pending, PendingJoin, Storage, Stored};
use super::{platform, tpm};
use crate::config::{Config, FirstTrust, Method, Onboarding, TokenSource};
use access::name::SystemRole;
use access::resource::token::Provider;
use access::{ClusterName, HostPort};
use api::v1;
use api::v1::join_service_client::JoinServiceClient;
use api::v1::{ChallengeRequest, JoinRequest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use identity::credentials::Credentials;
use identity::key::SubjectKey;
use jiff::Timestamp;
use join::bound_keypair::Showing;
use join::iam;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tonic::transport::Channel;
use transport::rpc;
use transport::tls::ServerTrust;
use zeroize::Zeroizing;

pub(super) const DOING: &str = "joining the cluster";

/// What joining needs, each time.
pub struct Joiner {
    server: crate::config::Server,
    addr: HostPort,
    onboarding: Onboarding,
    storage: Arc<Storage>,
    ttl: Duration,
}

/// An identity that is in force, over which one joins again.
pub struct Over {
    /// Connected with it.
    pub channel: Channel,
    /// The instance that it is.
    pub instance: String,
}

/// Where one joins, and what is known of it.
struct Server {
    channel: Channel,
    /// The cluster that was joined before.
    known: Option<ClusterName>,
    /// The cluster that its certificate is of.
    witness: Arc<OnceLock<ClusterName>>,
}

impl Server {
    /// The cluster for which a platform may be asked to vouch. Whoever answers could name anybody else, and get an ID token
    /// that is good there.
    fn cluster(&self, told: String, addr: &HostPort) -> Result<ClusterName, AgentError> {
        let unusable = |reason: String| AgentError::Unusable { what: "the cluster's name", reason };
        let told = ClusterName::new(told).map_err(AgentError::unusable("the cluster's name"))?;
        match self.known.as_ref().or(self.witness.get()) {
            Some(proven) if *proven == told => Ok(told),
            Some(proven) => Err(unusable(format!("the server calls itself {told}, and is of {proven}"))),
            None if told.as_str() == addr.host() => Ok(told),
            None => Err(unusable(format!(
                "nothing proves that the server is of {told}: set onboarding.ca_pins, which tctl status shows, or reach it \
                 by that name"
            ))),
        }
    }
}

fn own_cluster(credentials: &Credentials) -> ClusterName {
    credentials.trust.cluster.clone()
}

impl Joiner {
    /// As configured.
    pub fn new(config: &Config, storage: Arc<Storage>) -> Result<Self, AgentError> {
        let (server, onboarding) = (config.server.clone(), config.onboarding.clone());
        let addr = address(&server)?;
        Ok(Self { server, addr, onboarding, storage, ttl: config.certificate_ttl })
    }

    /// Whether one joins again in place of renewals.
    pub fn joins_again(&self) -> bool {
        self.onboarding.method != Method::Token
    }

    /// The token to join with.
    pub fn token(&self) -> Result<Zeroizing<String>, AgentError> {
        required_token(&self.onboarding)
    }

    /// Joins, and stores what came of it.
    pub async fn join(
        &self,
        stored: &Stored,
        token: &str,
        over: Option<Over>,
        now: Timestamp,
    ) -> Result<Credentials, AgentError> {
        let hash = token_hash(token);
        // What was prepared for a renewal of one instance is no attempt to join as another.
        let mark = over.as_ref().map_or(hash.clone(), |over| format!("{hash}@{}", over.instance));
        let bound = self.bound(stored, &hash)?;
        let pending = attempt(stored, mark, bound.is_some())?;
        let prepared = Stored {
            credentials: stored.credentials.clone(),
            token_hash: stored.token_hash.clone(),
            pending: None,
            bound: bound.clone(),
        };
        self.storage.prepare(now, &prepared, &pending)?;
        let trust = first_trust(&self.onboarding.trust)?;
        if over.is_none() {
            refuse_auth(&self.server, &trust).await?;
        }
        let (trust, witness) = trust.witnessed();
        let channel = match over {
            Some(over) => over.channel,
            None => rpc::connect_join(&self.addr, trust),
        };
        let server = Server { channel, known: stored.credentials.as_ref().map(own_cluster), witness };
        let answer = self.ask(server, token, &pending, bound.as_ref()).await?;
        let credentials = credentials(pending.key, answer.credentials)?;
        let bound = bound.map(|bound| {
            let offered = pending.offered.filter(|_| answer.key_accepted);
            BoundKey { key: offered.unwrap_or(bound.key), state: answer.join_state }
        });
        self.storage.commit(now, &credentials, Some(&hash), bound.as_ref())?;
        Ok(credentials)
    }

    async fn ask(
        &self,
        server: Server,
        token: &str,
        pending: &Pending,
        bound: Option<&BoundKey>,
    ) -> Result<v1::JoinResponse, AgentError> {
        let begun = match &self.onboarding.method {
            Method::Tpm { device, algorithm } => Some(tpm::begin_apart(device, *algorithm).await?),
            _ => None,
        };
        let mut client = JoinServiceClient::new(server.channel.clone());
        let challenge = client.challenge(ChallengeRequest {}).await.map_err(AgentError::call(DOING))?;
        let v1::ChallengeResponse { challenge, cluster } = challenge.into_inner();
        let (mut signs, mut attests) = (None, None);
        let id_token = match &self.onboarding.method {
            Method::Platform { provider: Provider::Iam, .. } => {
                signs = Some(Aws(platform::environment).credentials().await?);
                String::new()
            }
            Method::Platform { provider, variable } => {
                let cluster = server.cluster(cluster, &self.addr)?;
                platform::id_token(*provider, variable.as_deref(), &cluster).await?.to_string()
            }
            // An access token is worth something elsewhere: who is not proven to be the cluster is shown none.
            Method::Azure { client_id } => {
                server.cluster(cluster, &self.addr)?;
                attests = Some(client_id.as_deref());
                String::new()
            }
            Method::Token | Method::BoundKeypair { .. } | Method::Tpm { .. } => String::new(),
        };
        let public_key = pending.key.spki_der();
        let attempt = pending.join.as_ref().map(|join| join.attempt.clone()).unwrap_or_default();
        let claim = join::Claim {
            token,
            role: SystemRole::Bot,
            attempt: &attempt,
            public_key: &public_key,
            challenge: &challenge,
        };
        let signature =
            pending.key.sign(&join::prove(&claim)).map_err(AgentError::unusable("the new key"))?;
        let bound_keypair =
            bound.map(|bound| self.shown(&claim, bound, pending.offered.as_ref())).transpose()?;
        let aws = signs.map(|(credentials, endpoint)| signed(&claim, &credentials, endpoint));
        let azure = match attests {
            Some(client_id) => {
                let machine = Machine::new(platform::environment);
                Some(machine.attest(&join::azure::nonce(&claim), client_id).await?)
            }
            None => None,
        };
        let mut request = JoinRequest {
            aws,
            token: token.to_owned(),
            role: SystemRole::Bot.as_str().to_owned(),
            public_key: public_key.clone(),
            attempt: attempt.clone(),
            challenge: challenge.clone(),
            signature,
            ttl_seconds: self.ttl.as_secs(),
            host: None,
            bound_keypair,
            id_token,
            tpm: None,
            azure,
        };
        if let Some(begun) = begun {
            request.tpm = Some(tpm::shown(&mut client, &request, begun).await?);
        }
        Ok(client.join(request).await.map_err(AgentError::call(DOING))?.into_inner())
    }

    /// The key that is kept, or the one that will be; its state belongs to the token that gave it.
    fn bound(&self, stored: &Stored, hash: &str) -> Result<Option<BoundKey>, AgentError> {
        let Method::BoundKeypair { .. } = self.onboarding.method else { return Ok(None) };
        let same_token = stored.token_hash.as_deref() == Some(hash);
        Ok(Some(match &stored.bound {
            Some(bound) if same_token => bound.clone(),
            Some(bound) => BoundKey { key: bound.key.clone(), state: vec![] },
            None => BoundKey { key: fresh_key()?, state: vec![] },
        }))
    }

    fn shown(
        &self,
        claim: &join::Claim<'_>,
        bound: &BoundKey,
        offered: Option<&SubjectKey>,
    ) -> Result<v1::BoundKeypair, AgentError> {
        let next_public_key = offered.map(SubjectKey::spki_der).unwrap_or_default();
        let secret = self.registration_secret(bound)?;
        let public_key = bound.key.spki_der();
        let showing = Showing {
            public_key: &public_key,
            join_state: &bound.state,
            registration_secret: secret.as_deref().map_or("", String::as_str),
            next_public_key: &next_public_key,
        };
        let statement = join::bound_keypair::prove(claim, &showing);
        let sign = |key: &SubjectKey| key.sign(&statement).map_err(AgentError::unusable("the bound key"));
        Ok(v1::BoundKeypair {
            signature: sign(&bound.key)?,
            next_signature: offered.map(sign).transpose()?.unwrap_or_default(),
            join_state: bound.state.clone(),
            registration_secret: showing.registration_secret.to_owned(),
            public_key,
            next_public_key,
        })
    }

    /// The secret is for binding the key. Who has a join state has done that, and needs it only for a token that was made
    /// again: then it may be gone.
    fn registration_secret(&self, bound: &BoundKey) -> Result<Option<Zeroizing<String>>, AgentError> {
        let Method::BoundKeypair { registration_secret: Some(source) } = &self.onboarding.method else {
            return Ok(None);
        };
        match read("the registration secret", "onboarding.bound_keypair.registration_secret", source) {
            Err(_) if !bound.state.is_empty() => Ok(None),
            secret => secret.map(Some),
        }
    }
}

/// What auth needs to ask AWS who this is.
fn signed(
    claim: &join::Claim<'_>,
    credentials: &iam::Credentials,
    endpoint: iam::Endpoint,
) -> v1::AwsRequest {
    let (date, signature) = iam::prove(claim, endpoint, credentials, Timestamp::now());
    v1::AwsRequest {
        host: endpoint.host(),
        date,
        access_key_id: credentials.access_key_id.clone(),
        session_token: credentials.session_token.as_deref().cloned().unwrap_or_default(),
        signature: signature.to_vec(),
    }
}

/// The attempt that was prepared with this mark, or a new one. `offers` says that a key goes with it.
fn attempt(stored: &Stored, mark: String, offers: bool) -> Result<Pending, AgentError> {
    if let Some(Pending { key, join: Some(join), offered }) = &stored.pending
        && join.token_hash == mark
    {
        return Ok(Pending { key: key.clone(), join: Some(join.clone()), offered: offered.clone() });
    }
    let mut attempt = vec![0; join::Attempt::LEN];
    SystemRandom::new().fill(&mut attempt).map_err(AgentError::unusable("the system's randomness"))?;
    let offered = if offers { Some(fresh_key()?) } else { None };
    Ok(Pending { key: fresh_key()?, join: Some(PendingJoin { attempt, token_hash: mark }), offered })
}

/// The token of a method with which one joins again and again.
pub fn required_token(onboarding: &Onboarding) -> Result<Zeroizing<String>, AgentError> {
    let missing = || AgentError::Unusable {
        what: "the configuration",
        reason: "onboarding.token is missing".to_owned(),
    };
    token(onboarding, false)?.ok_or_else(missing)
}

/// The token, if one is configured. A file that is gone does not matter to an instance that has joined.
pub fn token(onboarding: &Onboarding, joined: bool) -> Result<Option<Zeroizing<String>>, AgentError> {
    let Some(source) = &onboarding.token else { return Ok(None) };
    match read("the join token", "onboarding.token", source) {
        Err(error) if joined => {
            tracing::warn!(%error, "going on with the stored identity");
            Ok(None)
        }
        token => token.map(Some),
    }
}

fn read(
    what: &'static str,
    key: &'static str,
    source: &TokenSource,
) -> Result<Zeroizing<String>, AgentError> {
    let path = match source {
        TokenSource::Literal(text) => return Ok(text.clone()),
        TokenSource::File(path) => path,
    };
    let wrong = |reason: String| AgentError::Token { what, key, path: path.clone(), reason };
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| wrong(error.to_string()))?;
    match text.trim() {
        "" => Err(wrong("it is empty".to_owned())),
        text => Ok(Zeroizing::new(text.to_owned())),
    }
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

#[cfg(test)]
mod tests {
    use super::{ClusterName, HostPort, OnceLock, Server, ServerTrust, rpc};
    use std::sync::Arc;

    /// An ID token for somebody else's audience would be worth something there.
    #[tokio::test]
    async fn a_platform_vouches_for_the_cluster_that_was_proven_and_for_no_other() {
        let name = |text: &str| ClusterName::new(text).expect("a name");
        let addr = HostPort::parse("proxy.example.com:443", 443).expect("an address");
        let told = |known: Option<&str>, proven: Option<&str>, told: &str| {
            let witness = Arc::new(proven.map(name).map_or_else(OnceLock::new, OnceLock::from));
            let channel = rpc::connect_join(&addr, ServerTrust::system());
            Server { channel, known: known.map(name), witness }.cluster(told.to_owned(), &addr)
        };
        for (known, proven) in [(Some("a.example"), None), (None, Some("a.example"))] {
            told(known, proven, "a.example").expect("is proven");
            let refused = told(known, proven, "sts.amazonaws.com").expect_err("is somebody else");
            assert!(
                refused.to_string().contains("calls itself sts.amazonaws.com, and is of a.example"),
                "{refused}"
            );
        }
        told(None, None, "proxy.example.com").expect("its certificate is for that name");
        let refused = told(None, None, "sts.amazonaws.com").expect_err("nothing proves it");
        assert!(refused.to_string().contains("set onboarding.ca_pins"), "{refused}");
    }
}
