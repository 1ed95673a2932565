//! Ends the stream of a stock server when the bot instance that speaks for it is removed, alone or with its bot. Instances are
//! many and in no view; one watch follows all of them.

use crate::catalog::layout;
use crate::core::Core;
use crate::enrol::host::Host;
use access::resource::Kind;
use access::{BotName, HostId, InstanceId, SystemRole};
use api::status::Problem;
use std::sync::Arc;
use std::time::Duration;
use store::{Event, Key, StoreError, WatchError};
use tokio_util::sync::CancellationToken;

/// After the store could not be followed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Until told to stop.
pub async fn follow(core: Arc<Core>, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = tokio::select! {
            () = stop.cancelled() => return,
            error = follow_once(&core, &mut pause) => error,
        };
        match error {
            // Falling behind is no fault: everybody is looked at anew.
            WatchError::Lagged(_) | WatchError::Store(StoreError::Compacted { .. }) => {}
            error => tracing::error!(%error, "removed bot instances cannot be followed; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

async fn follow_once(core: &Core, pause: &mut Duration) -> WatchError {
    let mut watch = match core.catalog.engine.watch(&layout::kind(Kind::BotInstance), None).await {
        Ok(watch) => watch,
        Err(error) => return error.into(),
    };
    // Those that were removed before anybody watched.
    for id in core.presence.online() {
        match speaks_no_more(core, id).await {
            Ok(true) => core.presence.cut(id),
            Ok(false) => {}
            Err(problem) => {
                tracing::warn!(%id, %problem, "who speaks for this host is not known for the moment")
            }
        }
    }
    loop {
        let change = match watch.next().await {
            Ok(change) => change,
            Err(error) => return error,
        };
        *pause = FIRST_PAUSE;
        for event in &change.events {
            if let Event::Delete { key, .. } = event
                && let Some(id) = server_of(key)
                && core.presence.is_online_as(SystemRole::Node, id)
            {
                tracing::info!(%id, "the bot instance that speaks for a stock server was removed");
                core.presence.cut(id);
            }
        }
    }
}

/// The server for which an instance can speak; see [`crate::services::certificates`].
fn server_of(instance: &Key) -> Option<HostId> {
    instance.name().parse().ok().map(|InstanceId(id)| HostId(id))
}

/// Whether a host is a stock server whose bot instance is gone.
async fn speaks_no_more(core: &Core, id: HostId) -> Result<bool, Problem> {
    let Some(entry) = core.catalog.read(&Host::key_of(id, SystemRole::Node)).await? else { return Ok(false) };
    let Some(bot) = keeper_of(&Host::read(&entry)?) else { return Ok(false) };
    Ok(core.catalog.read(&layout::instance(&bot, InstanceId(id.0))).await?.is_none())
}

fn keeper_of(host: &Host) -> Option<BotName> {
    let name = host.process.strip_prefix(crate::services::certificates::KEPT_BY)?;
    BotName::new(name).ok()
}
