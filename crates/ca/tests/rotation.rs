//! Rotation, held against its one rule: whatever was signed is trusted until it expires, whatever steps are taken
//! whenever, unless somebody forces them.

use access::resource::cert_authority::{CaKind, RotationPhase};
use access::{ClusterName, HostId, SystemRole};
use aws_lc_rs::rand::SystemRandom;
use ca::{Authorities, EnvelopeKey, HOST_LIFETIME, Issued, Order, Retire, RotateError};
use identity::key::SubjectKey;
use identity::verify::{MAX_LIFETIME, ssh, x509};
use identity::{HostIdentity, Identity, Refusal, Subject, TrustBundle, UserIdentity};
use jiff::Timestamp;
use proptest::prelude::*;
use std::time::Duration;
use uuid::Uuid;

const HOUR: u64 = 3600;
const PHASES: [RotationPhase; 5] = [
    RotationPhase::Standby,
    RotationPhase::Init,
    RotationPhase::UpdateClients,
    RotationPhase::UpdateServers,
    RotationPhase::Rollback,
];

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn cluster() -> ClusterName {
    ClusterName::new("c.example").expect("a name")
}

fn identity(kind: CaKind) -> Identity {
    let subject = match kind {
        CaKind::Host => Subject::Host(HostIdentity {
            id: HostId(Uuid::from_u128(9)),
            role: SystemRole::Node,
            names: vec!["web".to_owned()],
        }),
        _ => Subject::User(Box::new(UserIdentity {
            logins: vec!["root".parse().expect("a login")],
            ..UserIdentity::person("alice".parse().expect("a name"), vec!["access".parse().expect("a name")])
        })),
    };
    Identity { cluster: cluster(), subject }
}

/// A cluster in which time passes.
struct World {
    kind: CaKind,
    authorities: Authorities,
    now: Timestamp,
    issued: Vec<Issued>,
    key: SubjectKey,
}

impl World {
    fn new(kind: CaKind) -> Self {
        Self {
            kind,
            authorities: Authorities::generate(&cluster(), start()).expect("generated"),
            now: start(),
            issued: Vec::new(),
            key: SubjectKey::generate(&SystemRandom::new()).expect("a key"),
        }
    }

    fn issue(&mut self, lifetime: Duration) {
        let identity = identity(self.kind);
        let order = Order {
            identity: &identity,
            public_key: self.key.public(),
            ssh_public_key: None,
            lifetime,
            extra: &[],
        };
        let issued = self.authorities.issue(&order, self.now, &SystemRandom::new());
        self.issued.push(issued.expect("issued in every phase"));
    }

    fn rotate(&mut self, to: RotationPhase, retire: Retire) -> Result<(), RotateError> {
        self.authorities.rotate(self.kind, to, self.now, retire)
    }

    /// Every certificate that has not expired, by the bundle of this moment.
    fn outcome(&self) -> Result<(), Refusal> {
        let trust = self.authorities.trust_bundle(1);
        let mut in_force = self.issued.iter().filter(|issued| issued.valid_before > self.now);
        in_force.try_for_each(|issued| verify(self.kind, issued, &trust, self.now))
    }
}

fn verify(kind: CaKind, issued: &Issued, trust: &TrustBundle, now: Timestamp) -> Result<(), Refusal> {
    x509::client(&issued.tls_chain, &x509::ClientContext { trust, now, peer: None })?;
    match kind {
        CaKind::Host => {
            ssh::host(issued.ssh.blob(), &ssh::HostContext { trust, now, names: &["web"] }).map(|_| ())
        }
        _ => {
            let context = ssh::UserContext { trust, now, peer: None, login: None };
            ssh::user(issued.ssh.blob(), &context).map(|_| ())
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Issue(u64),
    Wait(u64),
    Rotate(RotationPhase),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (1..HOST_LIFETIME.as_secs() / HOUR).prop_map(Step::Issue),
        2 => (0..15 * 24u64).prop_map(Step::Wait),
        6 => proptest::sample::select(&PHASES[..]).prop_map(Step::Rotate),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_rule_holds_on_every_way(
        kind in proptest::sample::select(&[CaKind::Host, CaKind::User][..]),
        steps in steps(),
    ) {
        let mut world = World::new(kind);
        let envelope = EnvelopeKey::new(&[7; 32]).expect("32 bytes");
        for step in steps {
            match step {
                Step::Issue(hours) => world.issue(Duration::from_secs(hours * HOUR)),
                Step::Wait(hours) => world.now += Duration::from_secs(hours * HOUR),
                Step::Rotate(to) => _ = world.rotate(to, Retire::WhenUnused),
                Step::Restart => {
                    let sealed = world.authorities.seal(&envelope).expect("sealed");
                    world.authorities = Authorities::open(&sealed, &envelope, &cluster(), world.now).expect("opened");
                }
            }
            prop_assert_eq!(world.outcome(), Ok(()));
        }
    }
}

#[test]
fn the_last_step_waits_and_can_be_forced() {
    use RotationPhase::{Init, Rollback, Standby, UpdateClients, UpdateServers};
    let longest = |kind| match kind {
        CaKind::Host => HOST_LIFETIME,
        _ => MAX_LIFETIME.unsigned_abs(),
    };
    for kind in [CaKind::Host, CaKind::User] {
        let mut world = World::new(kind);
        for phase in [Init, UpdateClients, UpdateServers] {
            world.issue(Duration::from_secs(HOUR));
            world.rotate(phase, Retire::WhenUnused).expect("a legal step");
        }
        let until = start() + longest(kind);
        let waits = RotateError::StillInUse { until };
        assert_eq!(world.rotate(Standby, Retire::WhenUnused), Err(waits));
        world.now = until;
        world.rotate(Standby, Retire::WhenUnused).expect("nothing is in force any more");

        let mut world = World::new(kind);
        let before = world.authorities.trust_bundle(0);
        world.issue(Duration::from_secs(HOUR));
        for phase in [Init, UpdateClients, UpdateServers] {
            world.rotate(phase, Retire::WhenUnused).expect("a legal step");
        }
        world.rotate(Standby, Retire::AtOnce).expect("forced");
        assert_eq!(world.outcome().expect_err("dropped with its key").code(), "untrusted_ca");
        let after = world.authorities.trust_bundle(0);
        assert_ne!(after.authority(kind), before.authority(kind));
        assert_eq!(after.openssh, before.openssh, "the others were not touched");

        // New keys that never signed are dropped at once.
        let mut world = World::new(kind);
        let before = world.authorities.trust_bundle(0);
        for phase in [Init, Rollback, Standby] {
            world.rotate(phase, Retire::WhenUnused).expect("a legal step");
        }
        assert_eq!(world.authorities.trust_bundle(0), before);
    }
}
