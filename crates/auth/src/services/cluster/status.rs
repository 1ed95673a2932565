//! How the cluster is, for people.

use crate::catalog::layout;
use crate::core::Core;
use access::SystemRole;
use access::resource::Kind;
use access::resource::cert_authority::{CaKind, Rotation, RotationPhase};
use api::status::Problem;
use api::v1::{AuthorityStatus, StatusResponse};
use identity::Pin;

/// Answers `tctl status`.
pub(super) async fn of(core: &Core) -> Result<StatusResponse, Problem> {
    let nodes = core.catalog.all(layout::kind(Kind::Node)).await?.len();
    let instances = core.catalog.all(layout::kind(Kind::BotInstance)).await?.len();
    let authority = |kind: CaKind| AuthorityStatus {
        kind: kind.as_str().to_owned(),
        rotation: rotation(&core.issuer.rotation(kind)),
    };
    Ok(StatusResponse {
        cluster: core.cluster.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ca_pins: core.issuer.trust().pins().iter().map(Pin::to_string).collect(),
        authorities: CaKind::ALL.into_iter().map(authority).collect(),
        health: health(core),
        nodes_online: number(core.presence.nodes_online().len()),
        nodes_known: number(nodes),
        proxies_online: number(core.presence.count(SystemRole::Proxy)),
        bot_instances: number(instances),
        proxy_addrs: core.presence.proxy_addrs(),
    })
}

fn health(core: &Core) -> String {
    let Some(issued) = core.policies.current() else {
        return "degraded: no policy has been issued; the reason is in the log of the auth service"
            .to_owned();
    };
    if let Some(trouble) = core.catalog.writes.trouble() {
        return format!("degraded: {trouble}");
    }
    if let Err(damaged) = core.catalog.view().intact() {
        return format!("degraded: {damaged}");
    }
    match core.presence.behind(issued.revision).len() {
        0 => "ok".to_owned(),
        1 => "ok; 1 host has not confirmed the newest policy yet".to_owned(),
        hosts => format!("ok; {hosts} hosts have not confirmed the newest policy yet"),
    }
}

/// In the words of the fact sheet of server access, section 3.4.
fn rotation(rotation: &Rotation) -> String {
    let Rotation { phase, last_rotated } = rotation;
    let phase = match phase {
        RotationPhase::Standby => {
            return match last_rotated {
                Some(time) => format!("rotated {}", time.strftime("%b %-d %Y %H:%M:%S UTC")),
                None => "never updated".to_owned(),
            };
        }
        RotationPhase::Init => "initialized",
        RotationPhase::UpdateClients => "rotating clients",
        RotationPhase::UpdateServers => "rotating servers",
        RotationPhase::Rollback => "rolling back",
    };
    format!("{phase} (mode: manual)")
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::rotation;
    use access::resource::cert_authority::{Rotation, RotationPhase};

    #[test]
    fn rotations_are_worded_as_people_know_them() {
        let time = "2030-01-02T15:04:05Z".parse().ok();
        let table = [
            (RotationPhase::Standby, None, "never updated"),
            (RotationPhase::Standby, time, "rotated Jan 2 2030 15:04:05 UTC"),
            (RotationPhase::Init, None, "initialized (mode: manual)"),
            (RotationPhase::UpdateServers, time, "rotating servers (mode: manual)"),
        ];
        for (phase, last_rotated, expected) in table {
            assert_eq!(rotation(&Rotation { phase, last_rotated }), expected);
        }
    }
}
