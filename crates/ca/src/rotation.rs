//! Changing an authority's keys while everybody goes on working (fact sheet, section 3.4).
//!
//! The rule that holds in every phase: whoever signs is trusted, and has been trusted since the phase before. A step
//! forward is made by an administrator, or by auth when all who follow the cluster have acknowledged the last one.

use access::resource::cert_authority::{CaKind, RotationPhase};

/// A step that does not follow from the present phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rotation cannot go from {from:?} to {to:?}")]
pub struct IllegalStep {
    /// The present phase.
    pub from: RotationPhase,
    /// The one asked for.
    pub to: RotationPhase,
}

/// What a step does to the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// New keys are made and trusted; the old ones sign.
    Begin,
    /// Only who signs what may change, and that follows from the phase.
    None,
    /// The old keys are dropped.
    Complete,
    /// The new keys are dropped.
    Discard,
}

pub(crate) fn step(from: RotationPhase, to: RotationPhase) -> Result<Change, IllegalStep> {
    use RotationPhase::{Init, Rollback, Standby, UpdateClients, UpdateServers};
    match (from, to) {
        (Standby, Init) => Ok(Change::Begin),
        (Init, UpdateClients) | (UpdateClients, UpdateServers) => Ok(Change::None),
        (UpdateServers, Standby) => Ok(Change::Complete),
        (Init | UpdateClients | UpdateServers, Rollback) => Ok(Change::None),
        (Rollback, Standby) => Ok(Change::Discard),
        _ => Err(IllegalStep { from, to }),
    }
}

/// Whether the new keys sign in this phase: clients change first, servers when every client trusts the new keys.
pub(crate) fn new_keys_sign(kind: CaKind, phase: RotationPhase) -> bool {
    match phase {
        RotationPhase::UpdateServers => true,
        // Workloads are servers and clients at once: all of them trust the new keys before any shows what they signed.
        RotationPhase::UpdateClients => !matches!(kind, CaKind::Host | CaKind::Spiffe),
        RotationPhase::Standby | RotationPhase::Init | RotationPhase::Rollback => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, new_keys_sign, step};
    use RotationPhase::{Init, Rollback, Standby, UpdateClients, UpdateServers};
    use access::resource::cert_authority::{CaKind, RotationPhase};

    const PHASES: [RotationPhase; 5] = [Standby, Init, UpdateClients, UpdateServers, Rollback];

    #[test]
    fn only_the_steps_of_the_sheet_exist() {
        let legal: Vec<_> = PHASES
            .iter()
            .flat_map(|from| PHASES.iter().map(move |to| (*from, *to)))
            .filter(|(from, to)| step(*from, *to).is_ok())
            .collect();
        assert_eq!(
            legal,
            [
                (Standby, Init),
                (Init, UpdateClients),
                (Init, Rollback),
                (UpdateClients, UpdateServers),
                (UpdateClients, Rollback),
                (UpdateServers, Standby),
                (UpdateServers, Rollback),
                (Rollback, Standby),
            ]
        );
    }

    #[test]
    fn nobody_signs_with_keys_that_were_not_trusted_a_phase_before() {
        for kind in CaKind::ALL {
            for (from, to) in PHASES.iter().flat_map(|from| PHASES.iter().map(move |to| (*from, *to))) {
                let Ok(change) = step(from, to) else { continue };
                let new_trusted_before = !matches!(from, Standby);
                assert!(!new_keys_sign(kind, to) || new_trusted_before, "{from:?} -> {to:?}");
                // What is dropped no longer signs in the phase before or after.
                if change == Change::Complete {
                    assert!(
                        new_keys_sign(kind, from),
                        "{kind:?}: the old keys signed until they were dropped"
                    );
                }
                if change == Change::Discard {
                    assert!(!new_keys_sign(kind, from));
                }
            }
        }
    }
}
