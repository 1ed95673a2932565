//! Keeps the host's certificate young: renewed about daily, long before it ends, at a start with other names, and when another
//! authority signs hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use access::SystemRole;
use api::convert;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::{HostDetails, RenewHostRequest};
use aws_lc_rs::rand::SystemRandom;
use identity::key::SubjectKey;
use identity::policy::Signed;
use identity::{Credentials, HostIdentity};
use jiff::Timestamp;
use tokio::sync::watch;
use transport::backoff::between_zero_and;
use transport::rpc::{Channel, within};
use transport::tls::Current;
use transport::{Backoff, ConnectError, LiveCredentials};

use crate::config::{JoinSource, StartError};
use crate::host::{CREDENTIALS, check};
use crate::rejoining::Rejoin;
use crate::state::StateDir;

/// How old a certificate gets at most, when nothing fails.
const DAILY: Duration = Duration::from_secs(24 * 3600);
/// Waits are cut into these, because timers do not notice a machine that slept or a clock that was set.
const STEP: Duration = Duration::from_secs(300);
const CALL: Duration = Duration::from_secs(30);
/// Within this time all hosts have begun to ask for certificates of another authority.
const SPREAD: Duration = Duration::from_secs(5);
/// Names that auth gives to hosts that did not ask for them.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(crate) struct Renewer {
    pub(crate) state: StateDir,
    pub(crate) credentials: LiveCredentials,
    pub(crate) channel: Channel,
    pub(crate) host: HostDetails,
    pub(crate) rejoin: Rejoin,
}

impl Renewer {
    /// Renews for ever. The host authority that signs signed the policies that are heard, too.
    pub(crate) async fn run(self, mut policies: watch::Receiver<Option<Arc<Signed>>>) {
        let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(600));
        // Looked at once for each start: whether auth writes a name differently is not for a loop to find out.
        let mut at_once =
            self.credentials.current().is_some_and(|current| self.renamed(current.credentials()));
        loop {
            let Some(current) = self.credentials.current() else { return };
            if !at_once {
                tokio::select! {
                    () = until(due(current.credentials())) => {}
                    () = another_signer(&mut policies, current.credentials()) => at_once = true,
                }
            }
            if current.credentials().expires() <= Timestamp::now() {
                self.rejoin.run(&self.state, &self.host, &self.credentials).await;
                at_once = false;
                continue;
            }
            match self.renew(current.credentials()).await {
                Ok(()) => {
                    at_once = false;
                    backoff.reset();
                }
                Err(reason) => {
                    let expires = current.credentials().expires();
                    tracing::warn!(reason, %expires, "cannot renew the host certificate; trying again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// The credentials, once their SSH certificate is about the key that this host's SSH server has: one of an earlier
    /// run may be about another, and is renewed before anybody is shown it. `waiting` hears why it takes long.
    pub(crate) async fn with_the_right_ssh_key(
        &self,
        waiting: impl Fn(&str),
    ) -> Result<Arc<Current>, StartError> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            let current = self.credentials.current();
            let current = current.ok_or_else(|| StartError::BadCredentials("there are none".to_owned()))?;
            let held = current.credentials();
            if held.ssh_key() == self.rejoin.ssh_key.as_ref().unwrap_or(held.key.public()) {
                return Ok(current);
            }
            tracing::info!("the host certificate is about another SSH key: renewing it");
            if let Err(reason) = self.renew(held).await {
                waiting(&format!("has no certificate for its SSH host key yet: {reason}"));
                tracing::warn!(reason, "cannot renew the host certificate; trying again");
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }

    /// Whether the certificate has other names than the configuration.
    fn renamed(&self, held: &Credentials) -> bool {
        let identity = held.identity();
        let Some(host) = identity.host() else { return false };
        let (wanted, has) = (wanted(&self.host, host, identity.cluster.as_str()), names(host, &host.names));
        let differ = wanted != has;
        if differ {
            tracing::info!(
                ?wanted,
                ?has,
                "the configuration has other names than the host certificate: renewing it"
            );
        }
        differ
    }

    pub(crate) async fn renew(&self, old: &Credentials) -> Result<(), String> {
        match self.rejoin.source.as_ref().filter(|source| source.joins_again()) {
            Some(source) => self.join_again(old, source).await,
            None => self.renew_by_certificate(old).await,
        }
    }

    /// The holder of a bound key shows it each time, over the credentials that it has.
    async fn join_again(&self, old: &Credentials, source: &JoinSource) -> Result<(), String> {
        let host = old.identity().host().ok_or("the old credentials are no host's")?;
        let over = Some(self.channel.clone());
        let joining = self.rejoin.join(&self.state, &self.host, host.id, source, over, |_| {});
        // Its own tries end with the certificate: without one it comes back in another way.
        let left = Duration::try_from(old.expires().duration_since(Timestamp::now())).unwrap_or_default();
        let joined = tokio::time::timeout(left, joining).await.map_err(|_| "the certificate has ended")?;
        self.take(joined.map_err(|error| error.to_string())?)
    }

    async fn renew_by_certificate(&self, old: &Credentials) -> Result<(), String> {
        let key = SubjectKey::generate(&SystemRandom::new()).map_err(|error| error.to_string())?;
        let request = RenewHostRequest { public_key: key.spki_der(), host: Some(self.host.clone()) };
        let mut client = CertificateServiceClient::new(self.channel.clone());
        let answer = client.renew_host(within(CALL, request)).await.map_err(|status| reason(&status))?;
        let message = answer.into_inner().credentials.ok_or("auth sent no credentials")?;
        let fresh = convert::host_credentials(key, self.rejoin.ssh_key.as_ref(), message)
            .map_err(|error| error.to_string())?;
        let host = old.identity().host().ok_or("the old credentials are no host's")?;
        check(&fresh, host.id, host.role)?;
        let text = identity::file::encode(&fresh).map_err(|error| error.to_string())?;
        self.state.write(CREDENTIALS, text.as_bytes()).map_err(|error| error.to_string())?;
        self.take(fresh)
    }

    fn take(&self, fresh: Credentials) -> Result<(), String> {
        let expires = fresh.expires();
        self.credentials.replace(fresh).map_err(|error| error.to_string())?;
        tracing::info!(%expires, "renewed the host certificate");
        Ok(())
    }
}

/// What went wrong with a call, in words.
pub(crate) fn reason(status: &tonic::Status) -> String {
    match ConnectError::behind(status) {
        Some(error) => error.to_string(),
        None => api::status::Problem::of(status).to_string(),
    }
}

/// The names that a certificate for `details` has.
fn wanted(details: &HostDetails, host: &HostIdentity, cluster: &str) -> BTreeSet<String> {
    let mut wanted = details.principals.clone();
    if host.role == SystemRole::Node || wanted.is_empty() {
        wanted.extend([details.hostname.clone(), format!("{}.{cluster}", details.hostname)]);
    }
    names(host, &wanted)
}

/// Names as they are compared: without those that every certificate of the host has.
fn names(host: &HostIdentity, names: &[String]) -> BTreeSet<String> {
    let id = host.id.to_string();
    let names = names.iter().map(|name| match name.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.to_ascii_lowercase(),
    });
    names.filter(|name| !LOOPBACK.contains(&name.as_str()) && !name.starts_with(&id)).collect()
}

/// After a day or a third of the certificate's life, whichever is shorter, less up to a tenth of that.
fn due(credentials: &Credentials) -> Timestamp {
    let life = credentials.expires().duration_since(credentials.valid_after());
    let life = Duration::try_from(life).unwrap_or_default();
    let age = DAILY.min(life / 3);
    credentials.valid_after() + (age - between_zero_and(age / 10))
}

/// Returns when a policy comes that another authority signed than the one of these credentials: everybody trusts that one by
/// now, and the one before will be trusted no more some day.
async fn another_signer(policies: &mut watch::Receiver<Option<Arc<Signed>>>, held: &Credentials) {
    let signer = held.ssh_certificate.raw().signature_key;
    while policies.changed().await.is_ok() {
        if policies.borrow_and_update().as_ref().is_some_and(|signed| !signed.is_by(signer)) {
            tracing::info!("another authority signs hosts now: renewing the host certificate");
            return tokio::time::sleep(between_zero_and(SPREAD)).await;
        }
    }
    std::future::pending().await
}

async fn until(due: Timestamp) {
    while let Ok(left) = Duration::try_from(due.duration_since(Timestamp::now())) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(STEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{names, wanted};
    use access::SystemRole;
    use api::v1::HostDetails;
    use identity::HostIdentity;

    #[test]
    fn names_are_compared_as_auth_writes_them() {
        let id = "11111111-2222-4333-8444-555555555555";
        let same = |role, principals: &[&str], held: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let host = HostIdentity { id: id.parse().expect("an id"), role, names: list(held) };
            let details = HostDetails {
                host_id: id.into(),
                hostname: "Web-1".into(),
                principals: list(principals),
                ..HostDetails::default()
            };
            wanted(&details, &host, "example.com") == names(&host, &host.names)
        };
        let (node, proxy) = (SystemRole::Node, SystemRole::Proxy);
        for (role, principals, held, expected) in [
            (node, &[][..], &["web-1", "web-1.example.com"][..], true),
            (node, &[], &["web-2", "web-2.example.com"], false),
            (node, &["10.0.0.1", "0:0::1"], &["10.0.0.1", "web-1", "web-1.example.com"], true),
            (node, &["10.0.0.1"], &["web-1.example.com", "web-1"], false),
            (node, &[], &["10.0.0.1", "web-1.example.com", "web-1"], false),
            (node, &[id], &["web-1.example.com", "web-1", id], true),
            (proxy, &["Edge.example.org"], &["edge.example.org", "localhost", "127.0.0.1", "::1"], true),
            (proxy, &["edge.example.org"], &["old.example.org", "localhost"], false),
            (proxy, &[], &["web-1", "web-1.example.com", "localhost"], true),
        ] {
            assert_eq!(same(role, principals, held), expected, "{role} {principals:?} {held:?}");
        }
    }
}
