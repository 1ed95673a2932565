//! The join service for strangers, passed on to auth over the proxy's own channel.

use std::net::SocketAddr;
use std::time::Duration;

use api::status::{Class, Problem};
use api::v1::join_service_client::JoinServiceClient;
use api::v1::join_service_server::JoinService;
use api::v1::{
    ChallengeRequest, ChallengeResponse, JoinRequest, JoinResponse, TpmChallengeRequest, TpmChallengeResponse,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};
use transport::rpc::{Channel, FORWARDED_FOR, within};
use transport::{ConnectError, Peer};

const CALL: Duration = Duration::from_secs(20);
/// Joiners come back after this when auth is away.
const AWAY: Duration = Duration::from_secs(5);

/// Passes calls on, with the stranger's address.
#[derive(Debug, Clone)]
pub(crate) struct JoinForward {
    auth: JoinServiceClient<Channel>,
}

/// The longest call of a joiner; nothing in it is long.
pub(crate) const LARGEST_CALL: usize = 64 * 1024;

impl JoinForward {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { auth: JoinServiceClient::new(channel) }
    }
}

#[tonic::async_trait]
impl JoinService for JoinForward {
    async fn challenge(
        &self,
        request: Request<ChallengeRequest>,
    ) -> Result<Response<ChallengeResponse>, Status> {
        self.auth.clone().challenge(forwarded(request)?).await.map_err(answer)
    }

    async fn tpm_challenge(
        &self,
        request: Request<TpmChallengeRequest>,
    ) -> Result<Response<TpmChallengeResponse>, Status> {
        self.auth.clone().tpm_challenge(forwarded(request)?).await.map_err(answer)
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        self.auth.clone().join(forwarded(request)?).await.map_err(answer)
    }
}

/// The same message with nothing else of the stranger's but its address.
fn forwarded<T>(request: Request<T>) -> Result<Request<T>, Status> {
    let peer: Option<SocketAddr> = request.extensions().get::<Peer>().and_then(|peer| peer.addr);
    let addr = peer.ok_or_else(|| Status::internal("the address of the caller is not known"))?;
    let addr: MetadataValue<Ascii> =
        addr.to_string().parse().map_err(|_| Status::internal("the address of the caller is no text"))?;
    let mut forwarded = within(CALL, request.into_inner());
    forwarded.metadata_mut().insert(FORWARDED_FOR, addr);
    Ok(forwarded)
}

/// Auth's own words pass; why it cannot be reached is for the proxy's log.
fn answer(status: Status) -> Status {
    match ConnectError::behind(&status) {
        None => Problem::of(&status).into(),
        Some(error) => {
            tracing::warn!(%error, "a joiner could not be served");
            let problem =
                Problem::new(Class::Unavailable, "auth_unavailable", "the auth service is not there now");
            problem.hint("try again later").again_in(AWAY).into()
        }
    }
}
