//! Where the checked configuration meets the services: the only place that names all of them.

use tokio_util::sync::CancellationToken;
use transport::health::ServiceHealth;

use crate::{
    config::Config,
    run::{
        metrics::Metrics,
        reload::Reload,
        supervise::{Service, ServiceError},
    },
};

/// What services are given to live in.
#[expect(dead_code, reason = "taken up by each service when it is assembled here")]
pub(crate) struct Surroundings<'s> {
    pub(crate) config: &'s Config,
    /// One for each enabled service, by name.
    pub(crate) health: &'s [ServiceHealth],
    pub(crate) metrics: &'s Metrics,
    /// Cancelled when services shall take nothing new and let open sessions end.
    pub(crate) drain: &'s CancellationToken,
}

/// Binds the ports of the enabled services and makes them ready to run.
///
/// # Errors
/// When a service cannot start, with the reason and the next step.
pub(crate) async fn assemble(
    surroundings: &Surroundings<'_>,
) -> Result<(Vec<Service>, Vec<Reload>), ServiceError> {
    let names = surroundings.config.services.names().join(", ");
    Err(format!("services {names} are not part of this build").into())
}
