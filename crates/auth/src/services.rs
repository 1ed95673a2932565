//! The RPC services, one file each. Who may call is in `rpc_policy`; here is what a call does.

pub mod certificates;
pub mod join;

use crate::core::Core;
use api::v1::certificate_service_server::CertificateServiceServer;
use api::v1::join_service_server::JoinServiceServer;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

/// What strangers may send is small.
const LARGEST_FROM_STRANGERS: usize = 64 * 1024;

/// All services. `shutdown` is when streams are asked to go elsewhere.
pub fn routes(core: &Arc<Core>, _shutdown: &CancellationToken) -> Routes {
    let join = JoinServiceServer::new(join::Join::new(core.clone()));
    let certificates = CertificateServiceServer::new(certificates::Certificates::new(core.clone()));
    Routes::new(join.max_decoding_message_size(LARGEST_FROM_STRANGERS)).add_service(certificates)
}

/// What services do when nobody calls.
pub fn background(_core: &Arc<Core>, _tasks: &TaskTracker, _stop: &CancellationToken) {}
