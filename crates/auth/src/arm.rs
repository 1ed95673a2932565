//! Azure's Resource Manager, which says where a machine is.

use crate::web::{Servers, Silent, Web};
use join::azure::{Cloud, Machine, MachineId};
use std::sync::Arc;
use store::Clock;
use transport::https::{FetchError, Question};

/// Asks it with the access tokens of joiners. They are kept nowhere.
pub struct ResourceManager(Servers);

/// Why a machine is not known. The words are for administrators.
pub enum Unknown {
    /// The Resource Manager does not tell the holder of this token.
    Refused(String),
    /// It may another time.
    Away(String),
}

impl ResourceManager {
    /// Nobody has been asked about yet.
    pub fn new(web: Arc<Web>, clock: Arc<dyn Clock>) -> Self {
        Self(Servers::new(web, clock, "the Resource Manager of Azure"))
    }

    /// The machine of this name, as `access_token` may read it.
    pub async fn machine(
        &self,
        cloud: &Cloud,
        id: &MachineId,
        access_token: &str,
    ) -> Result<Machine, Unknown> {
        let url = id.url(cloud);
        let question = Question { bearer: Some(access_token), ..Question::get(&url) };
        match self.0.ask(cloud.management, question).await {
            Ok(answer) => Machine::parse(&answer)
                .ok_or_else(|| Unknown::Away(format!("the answer of {} names no machine", cloud.management))),
            Err(Silent::Asked(error @ FetchError::Status { status: 401, .. })) => Err(Unknown::Refused(
                format!("{error}: the access token is not one of the tenant that the subscription is in"),
            )),
            Err(Silent::Asked(error @ FetchError::Status { status: 403 | 404, .. })) => {
                Err(Unknown::Refused(format!(
                    "{error}: the managed identity needs Microsoft.Compute/virtualMachines/read on its own machine"
                )))
            }
            Err(Silent::Asked(error)) => Err(Unknown::Away(error.to_string())),
            Err(Silent::Unasked(trouble)) => Err(Unknown::Away(trouble)),
        }
    }
}
