//! `WorkloadService`: whom to trust for workloads (SPIFFE). Their identities are outputs of bots.

use crate::caller::Caller;
use crate::core::Core;
use api::v1;
use api::v1::workload_service_server::WorkloadService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
pub struct Workloads {
    core: Arc<Core>,
}

impl Workloads {
    /// Over a running auth.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl WorkloadService for Workloads {
    async fn trust(
        &self,
        request: Request<v1::WorkloadTrustRequest>,
    ) -> Result<Response<v1::WorkloadTrust>, Status> {
        Caller::of_request(&request)?;
        Ok(Response::new(self.core.workload_trust()))
    }
}
