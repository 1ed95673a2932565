//! Identities with every field filled, and plain ones.

use super::cluster;
use access::{InstanceId, Login, SystemRole, Traits};
use identity::{BotIdentity, HostIdentity, Identity, Permits, Subject, UserIdentity};
use std::collections::BTreeMap;

pub const INSTANCE: &str = "0197a8c2-2f44-7b11-9d53-5a61c2f0e001";
pub const HOST: &str = "0197a8c2-2f44-7b11-9d53-5a61c2f0e002";

/// Every optional part of a user set, except `renewable`, which excludes `disallow_reissue`.
pub fn full_bot() -> Identity {
    let instance: InstanceId = INSTANCE.parse().expect("an id");
    let traits = BTreeMap::from([
        ("logins".to_owned(), vec!["root".to_owned(), "deploy".to_owned()]),
        ("env".to_owned(), vec!["späte \"Prüfung\"".to_owned()]),
    ]);
    let user = UserIdentity {
        name: "bot-example".parse().expect("a name"),
        bot: Some(BotIdentity {
            name: "example".parse().expect("a name"),
            instance,
            generation: Some(7),
            join_token: Some("ci-runner".to_owned()),
        }),
        roles: vec!["example-role".parse().expect("a name"), "other".parse().expect("a name")],
        traits: Traits(traits),
        logins: vec!["root".parse().expect("a login"), "deploy".parse().expect("a login")],
        permits: Permits { pty: true, port_forwarding: true, agent_forwarding: true, x11_forwarding: true },
        impersonator: Some("bot-example".parse().expect("a name")),
        renewable: false,
        disallow_reissue: true,
        login_ip: Some("192.0.2.7".parse().expect("an address")),
        pinned_ip: Some("192.0.2.7".parse().expect("an address")),
    };
    Identity { cluster: cluster(), subject: Subject::User(Box::new(user)) }
}

/// A bot's own identity: renewable, and no login at all.
pub fn renewable_bot() -> Identity {
    changed(full_bot(), |user| {
        user.renewable = true;
        user.disallow_reissue = false;
        user.logins.clear();
        user.impersonator = None;
    })
}

/// A person with one login and nothing else.
pub fn person() -> Identity {
    let user = UserIdentity {
        logins: vec!["root".parse().expect("a login")],
        ..UserIdentity::person("alice".parse().expect("a name"), vec!["access".parse().expect("a name")])
    };
    Identity { cluster: cluster(), subject: Subject::User(Box::new(user)) }
}

pub fn host(role: SystemRole) -> Identity {
    let names = ["web-1", "web-1.example.com", "10.0.0.5", "2001:db8::5"];
    let names = names.map(str::to_owned).to_vec();
    let host = HostIdentity { id: HOST.parse().expect("an id"), role, names };
    Identity { cluster: cluster(), subject: Subject::Host(host) }
}

pub fn changed(mut identity: Identity, change: impl FnOnce(&mut UserIdentity)) -> Identity {
    match &mut identity.subject {
        Subject::User(user) => change(user),
        Subject::Host(_) => panic!("a user"),
    }
    identity
}

pub fn login(name: &str) -> Login {
    name.parse().expect("a login")
}
