//! A cluster's authorities and what they sign, for tests that need real certificates.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::time::Duration;

use access::{ClusterName, SystemRole};
use aws_lc_rs::rand::SystemRandom;
use ca::{Authorities, Order};
use identity::key::SubjectKey;
use identity::{Credentials, HostIdentity, Identity, Subject, UserIdentity};
use jiff::{SignedDuration, Timestamp};
use transport::LiveCredentials;

pub struct Cluster {
    pub authorities: Authorities,
}

impl Cluster {
    pub fn new() -> Self {
        let name = ClusterName::new("example.com").expect("a name");
        // Old enough for certificates of the past.
        let born = Timestamp::now() - SignedDuration::from_hours(24 * 60);
        Self { authorities: Authorities::generate(&name, born).expect("authorities") }
    }

    pub fn pin(&self) -> identity::Pin {
        self.authorities.trust_bundle(1).pins()[0]
    }

    /// A host with these names; auth's certificates have the name that its clients ask for by themselves.
    pub fn host(&self, role: SystemRole, names: &[&str]) -> LiveCredentials {
        LiveCredentials::new(self.host_at(role, names, Timestamp::now())).expect("usable")
    }

    /// The same, issued at another time, for an hour.
    pub fn host_at(&self, role: SystemRole, names: &[&str], at: Timestamp) -> Credentials {
        let names = names.iter().copied().map(str::to_owned).collect();
        let id = "11111111-2222-4333-8444-555555555555".parse().expect("an id");
        self.issue(Subject::Host(HostIdentity { id, role, names }), at)
    }

    pub fn user(&self, name: &str) -> LiveCredentials {
        LiveCredentials::new(self.user_at(name, Timestamp::now())).expect("usable")
    }

    pub fn user_at(&self, name: &str, at: Timestamp) -> Credentials {
        let user = UserIdentity {
            logins: vec!["root".parse().expect("a login")],
            ..UserIdentity::person(name.parse().expect("a name"), vec!["access".parse().expect("a name")])
        };
        self.issue(Subject::User(Box::new(user)), at)
    }

    fn issue(&self, subject: Subject, at: Timestamp) -> Credentials {
        let rng = SystemRandom::new();
        let key = SubjectKey::generate(&rng).expect("a key");
        let identity = Identity { cluster: self.authorities.cluster().clone(), subject };
        let lifetime = Duration::from_secs(3600);
        let order = Order {
            identity: &identity,
            public_key: key.public(),
            ssh_public_key: None,
            lifetime,
            extra: &[],
        };
        let issued = self.authorities.issue(&order, at, &rng).expect("issued");
        let trust = self.authorities.trust_bundle(1);
        Credentials::new(key, issued.ssh, issued.tls_chain, trust).expect("credentials")
    }
}
