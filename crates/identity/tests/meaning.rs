//! What goes into a certificate comes out of it, every field, in both encodings and through both verifiers.

mod forge;

use access::SystemRole;
use forge::people::{changed, full_bot, host, person, renewable_bot};
use forge::ssh::Certificate;
use forge::x509::Leaf;
use forge::{Cluster, now, subject_key};
use identity::credentials::{Credentials, CredentialsError};
use identity::ssh::SshCertificate;
use identity::verify::{ssh, x509};
use identity::{Identity, file};
use std::net::IpAddr;

fn peer() -> Option<IpAddr> {
    Some("192.0.2.7".parse().expect("an address"))
}

fn users() -> Vec<Identity> {
    vec![full_bot(), renewable_bot(), person(), changed(person(), |user| user.logins.clear())]
}

#[test]
fn users_survive_ssh() {
    let cluster = Cluster::new();
    for identity in users() {
        let blob = Certificate::of(&identity).sign(&cluster.user);
        let trust = cluster.trust();
        let login = identity.user().and_then(|user| user.logins.first());
        let context = ssh::UserContext { trust: &trust, now: now(), peer: peer(), login };
        let verified = ssh::user(&blob, &context).expect("accepted");
        assert_eq!(*verified.identity(), identity);
        assert_eq!((verified.serial(), verified.valid_before()), (99, forge::later(3600)));
    }
}

#[test]
fn users_survive_x509() {
    let cluster = Cluster::new();
    for identity in users() {
        let key = subject_key();
        let chain = [cluster.user_tls.sign(&Leaf::of(&identity, &key))];
        let trust = cluster.trust();
        let context = x509::ClientContext { trust: &trust, now: now(), peer: peer() };
        let verified = x509::client(&chain, &context).expect("accepted");
        assert_eq!(*verified.identity(), identity);
        assert_eq!((verified.serial(), verified.valid_before()), (99, forge::later(3600)));
        assert_eq!(verified.key(), key.public());
    }
}

#[test]
fn hosts_survive_both() {
    let cluster = Cluster::new();
    let trust = cluster.trust();
    for role in [SystemRole::Auth, SystemRole::Proxy, SystemRole::Node] {
        let identity = host(role);
        let blob = Certificate::of(&identity).sign(&cluster.host);
        for name in ["web-1", "10.0.0.5", forge::people::HOST] {
            let context = ssh::HostContext { trust: &trust, now: now(), names: &[name] };
            assert_eq!(*ssh::host(&blob, &context).expect("accepted").identity(), identity);
        }
        let chain = [cluster.host_tls.sign(&Leaf::of(&identity, &subject_key()))];
        for name in ["web-1", "WEB-1", "10.0.0.5", "2001:db8::5", "::ffff:10.0.0.5"] {
            let context = x509::ServerContext { now: now(), name, role: Some(role) };
            assert_eq!(*x509::server(&chain, &trust, &context).expect("accepted").identity(), identity);
        }
        let context = x509::ClientContext { trust: &trust, now: now(), peer: None };
        assert_eq!(*x509::client(&chain, &context).expect("accepted").identity(), identity);
    }
}

#[test]
fn only_auth_has_the_name_of_auth() {
    let cluster = Cluster::new();
    let trust = cluster.trust();
    let context = x509::ServerContext { now: now(), name: identity::trust::AUTH_SERVER_NAME, role: None };
    let of = |role| {
        let chain = [cluster.host_tls.sign(&Leaf::of(&host(role), &subject_key()))];
        x509::server(&chain, &trust, &context).map(|_| ()).map_err(|refusal| refusal.code())
    };
    assert_eq!(of(SystemRole::Auth), Ok(()));
    assert_eq!(of(SystemRole::Node), Err("wrong_host"));
}

#[test]
fn an_identity_file_comes_back() {
    let cluster = Cluster::new();
    let key = subject_key();
    let identity = full_bot();
    let credentials = credentials(&cluster, &identity, &key).expect("a set");
    let text = file::encode(&credentials).expect("a file");
    let again = file::decode(&text).expect("the same");
    assert_eq!(*again.identity(), identity);
    assert_eq!(again.key.public(), key.public());
    assert_eq!(again.ssh_certificate, credentials.ssh_certificate);
    assert_eq!(again.tls_chain, credentials.tls_chain);
    assert_eq!(again.trust.host, credentials.trust.host);
    assert_eq!((again.expires(), again.valid_after()), (forge::later(3600), forge::later(-60)));
    // The order of the parts does not matter, nor do lines around them, except that the key comes before others.
    let lines: Vec<&str> = text.lines().collect();
    let authority = lines.iter().position(|line| line.starts_with("@cert-authority")).expect("a line");
    let moved = format!("noise\n{}\r\n{}", lines[authority], text.as_str());
    assert_eq!(*file::decode(&moved).expect("the same").identity(), identity);
    let cut = &text[..text.len() - 10];
    assert!(file::decode(cut).is_err());
}

#[test]
fn parts_of_different_renewals_do_not_make_a_set() {
    let cluster = Cluster::new();
    let (key, other) = (subject_key(), subject_key());
    let right = credentials(&cluster, &person(), &key).expect("a set");
    let foreign = credentials(&cluster, &full_bot(), &key).expect("a set");
    let of = |key, ssh: &Credentials, tls: &Credentials| {
        Credentials::new(key, ssh.ssh_certificate.clone(), tls.tls_chain.clone(), cluster.trust()).err()
    };
    let another = credentials(&cluster, &person(), &other).expect("a set");
    assert_eq!(of(other, &right, &right), Some(CredentialsError::OtherKey { certificate: "TLS" }));
    assert_eq!(of(key.clone(), &another, &right), Some(CredentialsError::OtherKey { certificate: "SSH" }));
    assert_eq!(of(key, &foreign, &right), Some(CredentialsError::OtherIdentity));
}

#[test]
fn a_host_may_keep_its_key_for_ssh_elsewhere_and_nobody_else_may() {
    let cluster = Cluster::new();
    let (key, elsewhere) = (subject_key(), subject_key());
    let host = host(SystemRole::Node);
    let apart = |identity: &Identity, ssh: &identity::key::SubjectKey| {
        let ssh = credentials(&cluster, identity, ssh).expect("a set").ssh_certificate;
        let chain = vec![cluster.user_tls.sign(&Leaf::of(identity, &key))];
        (key.clone(), ssh, chain, cluster.trust())
    };
    let (tls, ssh, chain, trust) = apart(&host, &elsewhere);
    let refused = Credentials::new(tls, ssh, chain, trust).err();
    assert_eq!(refused, Some(CredentialsError::OtherKey { certificate: "SSH" }));
    let (tls, ssh, chain, trust) = apart(&host, &elsewhere);
    let set = Credentials::of_host(tls, ssh, chain, trust).expect("a set");
    assert_eq!((set.ssh_key(), set.one_key_serves_both()), (elsewhere.public(), false));
    let text = file::encode(&set).expect("a file");
    assert_eq!(file::decode_host(&text).expect("a set").ssh_key(), elsewhere.public());
    let refused = file::decode(&text).expect_err("is no set for a client");
    assert!(matches!(refused, file::FileError::Credentials(CredentialsError::OtherKey { .. })));
    let (tls, ssh, chain, trust) = apart(&person(), &elsewhere);
    let refused = Credentials::of_host(tls, ssh, chain, trust).err();
    assert_eq!(refused, Some(CredentialsError::OtherKey { certificate: "SSH" }));
    let (tls, ssh, chain, trust) = apart(&person(), &key);
    assert!(Credentials::of_host(tls, ssh, chain, trust).expect("a set").one_key_serves_both());
}

#[test]
fn a_trust_bundle_survives_json() {
    let trust = Cluster::new().trust();
    let json = serde_json::to_string(&trust).expect("JSON");
    assert_eq!(serde_json::from_str::<identity::TrustBundle>(&json).expect("a bundle"), trust);
}

fn credentials(
    cluster: &Cluster,
    identity: &Identity,
    key: &identity::key::SubjectKey,
) -> Result<Credentials, CredentialsError> {
    let mut certificate = Certificate::of(identity);
    let public = key.ssh_public().to_bytes().expect("a blob");
    let algorithm = 4 + "ecdsa-sha2-nistp256".len();
    certificate.subject = public[algorithm..].to_vec();
    let ssh = SshCertificate::from_blob(&certificate.sign(&cluster.user)).expect("a certificate");
    let tls = cluster.user_tls.sign(&Leaf::of(identity, key));
    Credentials::new(key.clone(), ssh, vec![tls], cluster.trust())
}
