//! A forge: certificates with any content, right or wrong, as nobody's certificate authority would sign them.

#![allow(dead_code, reason = "each test program uses its own part of the forge")]

pub mod people;
pub mod ssh;
pub mod x509;

use access::ClusterName;
use aws_lc_rs::rand::SystemRandom;
use identity::TrustBundle;
use identity::key::SubjectKey;
use jiff::Timestamp;

/// The time of every test.
pub const NOW: i64 = 1_800_000_000;

pub fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

pub fn later(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).expect("a time")
}

pub fn cluster() -> ClusterName {
    ClusterName::new("example.com").expect("a name")
}

pub fn subject_key() -> SubjectKey {
    SubjectKey::generate(&SystemRandom::new()).expect("a key")
}

/// A cluster's authorities with their private keys.
pub struct Cluster {
    pub user: ssh::Signer,
    pub host: ssh::Signer,
    pub user_tls: x509::Authority,
    pub host_tls: x509::Authority,
}

impl Cluster {
    pub fn new() -> Self {
        let name = cluster();
        Self {
            user: ssh::Signer::ed25519(),
            host: ssh::Signer::ed25519(),
            user_tls: x509::Authority::new(name.as_str(), "user"),
            host_tls: x509::Authority::new(name.as_str(), "host"),
        }
    }

    pub fn trust(&self) -> TrustBundle {
        let mut trust = TrustBundle::empty(cluster());
        trust.user.ssh.push(self.user.public());
        trust.user.tls.push(self.user_tls.certificate());
        trust.host.ssh.push(self.host.public());
        trust.host.tls.push(self.host_tls.certificate());
        trust.check().expect("authorities");
        trust
    }
}
