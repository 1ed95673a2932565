//! The RPC services, one file each. Who may call is in `rpc_policy`; here is what a call does.

pub mod audit;
#[cfg(test)]
mod bench;
pub mod bots;
pub mod certificates;
mod change;
pub mod cluster;
pub mod inventory;
pub mod join;
pub mod resources;
mod rights;
mod shelf;
pub mod workloads;

use crate::core::Core;
use crate::policy::{self, Policies};
use api::v1::audit_service_server::AuditServiceServer;
use api::v1::bot_service_server::BotServiceServer;
use api::v1::certificate_service_server::CertificateServiceServer;
use api::v1::cluster_service_server::ClusterServiceServer;
use api::v1::inventory_service_server::InventoryServiceServer;
use api::v1::join_service_server::JoinServiceServer;
use api::v1::resource_service_server::ResourceServiceServer;
use api::v1::workload_service_server::WorkloadServiceServer;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

/// What strangers may send is small.
const LARGEST_FROM_STRANGERS: usize = 64 * 1024;
/// What hosts say of themselves is small too.
const LARGEST_REPORT: usize = 256 * 1024;

/// All services. `shutdown` is when streams are asked to go elsewhere.
pub fn routes(core: &Arc<Core>, shutdown: &CancellationToken) -> Routes {
    let join = JoinServiceServer::new(join::Join::new(core.clone()));
    let inventory = inventory::Inventory::new(core.clone(), inventory::Pace::default(), shutdown.clone());
    let audit = audit::Audit::new(core.catalog.clone(), shutdown.clone());
    let (catalog, tokens) = (core.catalog.clone(), core.tokens.clone());
    let resources =
        resources::Resources::new(catalog.clone(), tokens.clone(), core.clone(), core.presence.clone());
    let bots = bots::Bots::new(catalog, tokens, core.presence.clone());
    Routes::new(join.max_decoding_message_size(LARGEST_FROM_STRANGERS))
        .add_service(CertificateServiceServer::new(certificates::Certificates::new(core.clone())))
        .add_service(WorkloadServiceServer::new(workloads::Workloads::new(core.clone())))
        .add_service(ClusterServiceServer::new(cluster::Cluster::new(core.clone(), shutdown.clone())))
        .add_service(InventoryServiceServer::new(inventory).max_decoding_message_size(LARGEST_REPORT))
        .add_service(AuditServiceServer::new(audit))
        .add_service(ResourceServiceServer::new(resources))
        .add_service(BotServiceServer::new(bots))
}

/// What services do when nobody calls.
pub fn background(core: &Arc<Core>, tasks: &TaskTracker, stop: &CancellationToken) {
    tasks.spawn(Policies::follow(core.clone(), policy::Pace::default(), stop.clone()));
    tasks.spawn(inventory::removed::follow(core.clone(), stop.clone()));
    tasks.spawn(core.presence.clone().keep(core.catalog.clone(), stop.clone()));
}
