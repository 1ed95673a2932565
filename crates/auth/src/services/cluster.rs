//! `ClusterService`: who is who, whom to trust, which nodes there are, and why a login is refused.

mod explain;
mod joins;
mod nodes;
mod status;

use crate::caller::Caller;
use crate::core::Core;
use crate::rpc_policy;
use crate::streams::Streams;
use api::convert;
use api::status::{Class, Problem};
use api::v1;
use api::v1::cluster_service_server::ClusterService;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// How often one may follow the cluster's trust at once: its agents do so once each.
const WATCHING: usize = 16;
/// Who follows it more often may try again in so long.
const AGAIN: Duration = Duration::from_secs(30);

/// The service.
pub struct Cluster {
    core: Arc<Core>,
    shutdown: CancellationToken,
    watching: Streams,
}

impl Cluster {
    /// Over a running auth; its streams end with `shutdown`.
    pub fn new(core: Arc<Core>, shutdown: CancellationToken) -> Self {
        Self { core, shutdown, watching: Streams::new(WATCHING) }
    }

    /// `known` is the revision that the caller has. The stream ends with the caller's connection, or when a lock hits him.
    fn watch(
        &self,
        caller: Caller,
        known: i64,
    ) -> Result<ReceiverStream<Result<v1::TrustBundle, Status>>, Problem> {
        let Some(lasting) = self.watching.begin(caller.spender()) else {
            let reason = format!("{} follows the cluster's trust {WATCHING} times already", caller.name());
            return Err(Problem::new(Class::Exhausted, "too_many_streams", reason).again_in(AGAIN));
        };
        let (out, stream) = mpsc::channel(2);
        let (catalog, mut views) = (self.core.catalog.clone(), self.core.catalog.changes());
        let (mut trust, shutdown) = (self.core.issuer.trust_changes(), self.shutdown.clone());
        if trust.borrow().revision != known {
            trust.mark_changed();
        }
        tokio::spawn(async move {
            let _lasting = lasting;
            loop {
                tokio::select! {
                    () = out.closed() => return,
                    changed = views.changed() => {
                        let locked = rpc_policy::refuse_locked(&catalog, "", &caller).err();
                        if let Some(problem) = locked {
                            let _ = out.try_send(Err(problem.into()));
                            return;
                        }
                        match changed {
                            Ok(()) => continue,
                            Err(_) => return,
                        }
                    }
                    () = shutdown.cancelled() => {
                        let stopping = Problem::new(Class::Unavailable, "stopping", "the auth service is stopping");
                        // A reader that does not read misses nothing but the reason.
                        let _ = out.try_send(Err(stopping.hint("connect again").into()));
                        return;
                    }
                    changed = trust.changed() => if changed.is_err() { return },
                }
                let bundle = convert::trust_message(&trust.borrow_and_update().clone());
                // Whoever does not read holds up nobody: only the newest bundle waits.
                if out.send(Ok(bundle)).await.is_err() {
                    return;
                }
            }
        });
        Ok(ReceiverStream::new(stream))
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        Ok(Response::new(v1::PingResponse {
            cluster: self.core.cluster.to_string(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: caller.name(),
            proxy_addrs: self.core.presence.proxy_addrs(),
            server_time_ms: self.core.now().as_millisecond(),
        }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Caller::of_request(&request)?;
        Ok(Response::new(status::of(&self.core).await?))
    }

    async fn trust(&self, request: Request<v1::TrustRequest>) -> Result<Response<v1::TrustBundle>, Status> {
        Caller::of_request(&request)?;
        Ok(Response::new(convert::trust_message(&self.core.issuer.trust())))
    }

    type WatchTrustStream = ReceiverStream<Result<v1::TrustBundle, Status>>;

    async fn watch_trust(
        &self,
        request: Request<v1::TrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        let caller = Caller::of_request(&request)?;
        Ok(Response::new(self.watch(caller, request.get_ref().revision)?))
    }

    async fn explain_ssh(
        &self,
        request: Request<v1::ExplainSshRequest>,
    ) -> Result<Response<v1::ExplainSshResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        Ok(Response::new(explain::explain(&self.core, &caller, request.get_ref()).await?))
    }

    async fn explain_join(
        &self,
        request: Request<v1::ExplainJoinRequest>,
    ) -> Result<Response<v1::ExplainJoinResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        Ok(Response::new(joins::explain(&self.core, &caller, request.get_ref()).await?))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        Ok(Response::new(v1::ListNodesResponse { json: nodes::list(&self.core, &caller).await? }))
    }
}
