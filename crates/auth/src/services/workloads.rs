//! `WorkloadService`: identities for the workloads that a bot instance stands for (SPIFFE).

use super::certificates::svids;
use crate::caller::Caller;
use crate::core::Core;
use api::convert;
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

    fn bundle(&self) -> v1::WorkloadTrust {
        convert::workload_trust_message(self.core.issuer.workload_trust())
    }
}

#[tonic::async_trait]
impl WorkloadService for Workloads {
    async fn issue_x509_svids(
        &self,
        request: Request<v1::IssueX509SvidsRequest>,
    ) -> Result<Response<v1::IssueX509SvidsResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let _inside = self.core.enter(&self.core.renewals, &caller)?;
        let svids = svids::issue_x509(&self.core, &caller, &request.get_ref().svids).await?;
        Ok(Response::new(v1::IssueX509SvidsResponse { svids, trust: Some(self.bundle()) }))
    }

    async fn issue_jwt_svids(
        &self,
        request: Request<v1::IssueJwtSvidsRequest>,
    ) -> Result<Response<v1::IssueJwtSvidsResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let _inside = self.core.enter(&self.core.renewals, &caller)?;
        let svids = svids::issue_jwt(&self.core, &caller, &request.get_ref().svids).await?;
        Ok(Response::new(v1::IssueJwtSvidsResponse { svids, trust: Some(self.bundle()) }))
    }

    async fn trust(
        &self,
        request: Request<v1::WorkloadTrustRequest>,
    ) -> Result<Response<v1::WorkloadTrust>, Status> {
        Caller::of_request(&request)?;
        Ok(Response::new(self.bundle()))
    }
}
