//! What a running host does when its certificate has expired, which takes an outage longer than the certificate's life:
//! it joins again where it has something to join with, and otherwise says what a human must do.

use std::time::Duration;

use access::{HostId, HostPort, SystemRole};
use api::v1::HostDetails;
use identity::Credentials;
use identity::key::PublicKey;
use transport::LiveCredentials;
use transport::backoff::between_zero_and;

use crate::config::{JoinSource, StartError};
use crate::host::{CREDENTIALS, check};
use crate::joining::Joiner;
use crate::state::StateDir;

/// Between tries that will fail the same way unless somebody does something: an hour, and up to a half of it.
const REST: Duration = Duration::from_secs(3600);

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
        waiting: impl FnMut(&str),
    ) -> Result<Credentials, StartError> {
        let role = self.role;
        let joiner = Joiner {
            state,
            role,
            auth: &self.auth,
            source,
            host: host.clone(),
            ssh_key: self.ssh_key.as_ref(),
        };
        let credentials = joiner.join(waiting).await?;
        check(&credentials, host_id, role).map_err(StartError::BadCredentials)?;
        let text = identity::file::encode(&credentials)?;
        state.write(CREDENTIALS, text.as_bytes())?;
        joiner.done()?;
        tracing::info!(%role, %host_id, cluster = %credentials.identity().cluster, "joined the cluster");
        Ok(credentials)
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
        let fresh = self.join(state, host, id, source, |_| {}).await?;
        if fresh.identity().cluster != old.credentials().identity().cluster {
            return Err(bad("they are of another cluster"));
        }
        live.replace(fresh).map_err(|error| bad(&error.to_string()))
    }
}
