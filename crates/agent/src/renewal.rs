//! Keeps the host's certificate young: renewed about daily, long before it ends.

use std::time::Duration;

use api::convert;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::{HostDetails, RenewHostRequest};
use aws_lc_rs::rand::SystemRandom;
use identity::Credentials;
use identity::key::SubjectKey;
use jiff::Timestamp;
use transport::backoff::between_zero_and;
use transport::rpc::{Channel, within};
use transport::{Backoff, ConnectError, LiveCredentials};

use crate::host::{CREDENTIALS, check};
use crate::state::StateDir;

/// How old a certificate gets at most, when nothing fails.
const DAILY: Duration = Duration::from_secs(24 * 3600);
/// Waits are cut into these, because timers do not notice a machine that slept or a clock that was set.
const STEP: Duration = Duration::from_secs(300);
const CALL: Duration = Duration::from_secs(30);

pub(crate) struct Renewer {
    pub(crate) state: StateDir,
    pub(crate) credentials: LiveCredentials,
    pub(crate) channel: Channel,
    pub(crate) host: HostDetails,
}

impl Renewer {
    /// Renews for ever.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(600));
        loop {
            let Some(current) = self.credentials.current() else { return };
            until(due(current.credentials())).await;
            match self.renew(current.credentials()).await {
                Ok(()) => backoff.reset(),
                Err(reason) => {
                    let expires = current.credentials().expires();
                    tracing::warn!(reason, %expires, "cannot renew the host certificate; trying again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    pub(crate) async fn renew(&self, old: &Credentials) -> Result<(), String> {
        let key = SubjectKey::generate(&SystemRandom::new()).map_err(|error| error.to_string())?;
        let request = RenewHostRequest { public_key: key.spki_der(), host: Some(self.host.clone()) };
        let mut client = CertificateServiceClient::new(self.channel.clone());
        let answer = client.renew_host(within(CALL, request)).await.map_err(|status| reason(&status))?;
        let message = answer.into_inner().credentials.ok_or("auth sent no credentials")?;
        let fresh = convert::credentials(key, message).map_err(|error| error.to_string())?;
        let host = old.identity().host().ok_or("the old credentials are no host's")?;
        check(&fresh, host.id, host.role)?;
        let text = identity::file::encode(&fresh).map_err(|error| error.to_string())?;
        self.state.write(CREDENTIALS, text.as_bytes()).map_err(|error| error.to_string())?;
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

/// After a day or a third of the certificate's life, whichever is shorter, less up to a tenth of that.
fn due(credentials: &Credentials) -> Timestamp {
    let life = credentials.expires().duration_since(credentials.valid_after());
    let life = Duration::try_from(life).unwrap_or_default();
    let age = DAILY.min(life / 3);
    credentials.valid_after() + (age - between_zero_and(age / 10))
}

async fn until(due: Timestamp) {
    while let Ok(left) = Duration::try_from(due.duration_since(Timestamp::now())) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(STEP)).await;
    }
}
