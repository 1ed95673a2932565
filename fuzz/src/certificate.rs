//! SSH certificates at the door: the verifier of `identity`, and whether the engine reads the same key in them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use access::Login;
use identity::ssh::{CertificateType, Claims};
use identity::verify::ssh::{self as verifier, HostContext, UserContext};
use identity::{Identity, Subject, TrustBundle};
use jiff::Timestamp;
use ssh::algorithms::KeyAlgorithm;
use ssh::keys::{PublicKey, SigningKey};

use crate::keys::{CERTIFICATE, PLAIN, USER, ed25519};
use crate::wire::Message;

/// The time of every run.
const NOW: i64 = 1_800_000_000;
static USERS: LazyLock<SigningKey> = LazyLock::new(|| ed25519(4));
static HOSTS: LazyLock<SigningKey> = LazyLock::new(|| ed25519(5));
static TRUST: LazyLock<TrustBundle> = LazyLock::new(|| {
    let mut trust = TrustBundle::empty(access::ClusterName::new("example.com").expect("a name"));
    let public = |key: &SigningKey| ssh_key::PublicKey::from_bytes(&key.public().blob()).expect("a key");
    trust.user.ssh.push(public(&USERS));
    trust.host.ssh.push(public(&HOSTS));
    trust
});

/// The first byte says who signs the rest: nobody, the users' authority, the hosts' authority, or a stranger.
pub fn run(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let authority: Option<&SigningKey> = match choice % 4 {
        0 => None,
        1 => Some(&USERS),
        2 => Some(&HOSTS),
        _ => Some(&crate::keys::STRANGER),
    };
    let blob = match authority {
        None => body.to_vec(),
        Some(key) => signed(body, key),
    };
    let now = Timestamp::from_second(NOW).expect("a time");
    let login: Login = "root".parse().expect("a login");
    let (login, peer) = match choice & 4 {
        0 => (None, None),
        _ => (Some(&login), Some("192.0.2.7".parse().expect("an address"))),
    };
    let user = verifier::user(&blob, &UserContext { trust: &TRUST, now, peer, login });
    let names = ["web-1", "10.0.0.5"];
    let host = verifier::host(&blob, &HostContext { trust: &TRUST, now, names: &names });
    assert!(user.is_err() || host.is_err(), "a certificate is good for a user and a host");
    assert!(user.is_err() || choice % 4 < 2, "a user of another authority");
    assert!(host.is_err() || choice % 4 == 0 || choice % 4 == 2, "a host of another authority");
    if let Ok(user) = &user {
        assert!(user.valid_before() > now);
        assert!(login.is_none_or(|login| user.user().logins.contains(login)));
        same_key(&blob, user.key());
        same_meaning(user.identity(), &USERS);
    }
    if let Ok(host) = &host {
        assert!(host.valid_before() > now);
        same_key(&blob, host.key());
        same_meaning(host.identity(), &HOSTS);
    }
}

/// A certificate's parts up to the authority's key, for an hour, over the user's key.
pub fn body(claims: &Claims) -> Vec<u8> {
    let seconds = |at: i64| [0, u32::try_from(at).expect("a time")];
    let list = |map: &BTreeMap<String, String>| {
        map.iter().fold(Message(Vec::new()), |list, (name, value)| {
            let value =
                if value.is_empty() { Vec::new() } else { Message(Vec::new()).string(value.as_bytes()).0 };
            list.string(name.as_bytes()).string(&value)
        })
    };
    let principals = claims.principals.iter();
    let principals = principals.fold(Message(Vec::new()), |list, name| list.string(name.as_bytes()));
    let body = Message(Vec::new()).string(CERTIFICATE.name().as_bytes()).string(&[9; 32]);
    let body = body.raw(&USER.public().blob()[4 + 11..]).number(0).number(99);
    let body = body.number(if claims.kind == CertificateType::User { 1 } else { 2 });
    let body = body.string(claims.key_id.as_bytes()).string(&principals.0);
    let body = seconds(NOW - 60).into_iter().chain(seconds(NOW + 3600)).fold(body, Message::number);
    body.string(&list(&claims.critical_options).0).string(&list(&claims.extensions).0).string(b"").0
}

/// What was understood is written so that the same is understood again.
fn same_meaning(identity: &Identity, authority: &SigningKey) {
    let claims = Claims::of(identity, uuid::Uuid::from_u128(1));
    let blob = signed(&body(&claims), authority);
    let now = Timestamp::from_second(NOW).expect("a time");
    let understood = match &identity.subject {
        Subject::User(user) => {
            let peer = user.pinned_ip;
            let context = UserContext { trust: &TRUST, now, peer, login: None };
            verifier::user(&blob, &context).map(|user| user.identity().clone())
        }
        Subject::Host(host) => {
            let names: Vec<&str> = host.names.iter().map(String::as_str).collect();
            let context = HostContext { trust: &TRUST, now, names: &names };
            verifier::host(&blob, &context).map(|host| host.identity().clone())
        }
    };
    assert_eq!(understood.as_ref().ok(), Some(identity), "{understood:?}");
}

fn signed(body: &[u8], key: &SigningKey) -> Vec<u8> {
    let body = Message(body.to_vec()).string(&key.public().blob()).0;
    let signature = key.sign(PLAIN.scheme, &body).expect("signs");
    Message(body).string(&signature).0
}

/// What the verifier says is certified, and what the engine checks the possession of, must be one key.
fn same_key(blob: &[u8], certified: &ssh_key::PublicKey) {
    let certified = certified.to_bytes().expect("a key");
    let read = |algorithm: KeyAlgorithm| PublicKey::of(algorithm, blob).ok();
    let found = KeyAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.certificate).find_map(read);
    assert_eq!(found.map(|key| key.blob()), Some(certified), "the engine reads another key");
}
