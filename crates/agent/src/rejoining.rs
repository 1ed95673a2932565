//! What a running host does when its certificate has expired, which takes an outage longer than the certificate's life:
//! it joins again where it has something to join with, and otherwise says what a human must do.

use std::time::Duration;

use access::{HostId, HostPort, SystemRole};
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::{ConfirmRenewalRequest, HostDetails};
use identity::Credentials;
use identity::key::PublicKey;
use transport::LiveCredentials;
use transport::backoff::between_zero_and;
use transport::rpc::{Channel, connect_auth, within};

use crate::config::{JoinSource, StartError};
use crate::host::check;
use crate::joining::Joiner;
use crate::renewal::reason;
use crate::state::StateDir;

/// Between tries that will fail the same way unless somebody does something: an hour, and up to a half of it.
const REST: Duration = Duration::from_secs(3600);
const CALL: Duration = Duration::from_secs(20);

/// The way back in.
#[derive(Debug, Clone)]
pub(crate) struct Rejoin {
    pub(crate) role: SystemRole,
    pub(crate) auth: HostPort,
    pub(crate) source: Option<JoinSource>,
    /// The key for SSH, if that is another one.
    pub(crate) ssh_key: Option<PublicKey>,
}

impl Rejoin {
    /// Joins again with what there is, and keeps the credentials.
    pub(crate) async fn join(
        &self,
        state: &StateDir,
        host: &HostDetails,
        host_id: HostId,
        source: &JoinSource,
        over: Option<Channel>,
        waiting: impl FnMut(&str),
    ) -> Result<Credentials, StartError> {
        let (role, is_renewal) = (self.role, over.is_some());
        let joiner = Joiner {
            state,
            role,
            auth: &self.auth,
            source,
            host: host.clone(),
            ssh_key: self.ssh_key.as_ref(),
            over,
        };
        let joined = joiner.join(waiting).await?;
        check(&joined.credentials, host_id, role).map_err(StartError::BadCredentials)?;
        joiner.keep(&joined)?;
        let credentials = joined.credentials;
        if !is_renewal {
            tracing::info!(%role, %host_id, cluster = %credentials.identity().cluster, "joined the cluster");
        }
        if source.joins_again() {
            self.answered(&credentials).await;
        }
        Ok(credentials)
    }

    /// Tells auth that its answer is kept, so that nobody can repeat the attempt. Where it cannot be told, the next renewal
    /// says so.
    async fn answered(&self, credentials: &Credentials) {
        let Ok(live) = LiveCredentials::new(credentials.clone()) else { return };
        let mut client = CertificateServiceClient::new(connect_auth(&self.auth, &live));
        if let Err(status) = client.confirm_renewal(within(CALL, ConfirmRenewalRequest {})).await {
            tracing::debug!(reason = reason(&status), "auth was not told that its answer has arrived");
        }
    }

    /// Until there are credentials that are good, whoever sees to it.
    pub(crate) async fn run(&self, state: &StateDir, host: &HostDetails, live: &LiveCredentials) {
        loop {
            match self.once(state, host, live).await {
                Ok(()) => return,
                Err(error) => tracing::error!(
                    %error,
                    "this host is out of its cluster: nobody can log in, and no policy reaches it, until it has \
                     joined again; give it a token and restart it"
                ),
            }
            tokio::time::sleep(REST + between_zero_and(REST / 2)).await;
        }
    }

    pub(crate) async fn once(
        &self,
        state: &StateDir,
        host: &HostDetails,
        live: &LiveCredentials,
    ) -> Result<(), StartError> {
        let bad = |reason: &str| StartError::BadCredentials(reason.to_owned());
        let old = live.current().ok_or_else(|| bad("there are none"))?;
        let role = self.role;
        let Some(source) = &self.source else {
            return Err(StartError::Expired { role, at: old.credentials().expires() });
        };
        let id = old.credentials().identity().host().ok_or_else(|| bad("they are no host's"))?.id;
        tracing::warn!(%role, "the host certificate has expired; joining again");
        let fresh = self.join(state, host, id, source, None, |_| {}).await?;
        if fresh.identity().cluster != old.credentials().identity().cluster {
            return Err(bad("they are of another cluster"));
        }
        live.replace(fresh).map_err(|error| bad(&error.to_string()))
    }
}
