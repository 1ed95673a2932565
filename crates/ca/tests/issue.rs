//! Certificates as they leave, and what never leaves.

use access::name::SystemRole;
use access::{ClusterName, HostId, Traits};
use aws_lc_rs::rand::SystemRandom;
use ca::{Authorities, EnvelopeKey, Extra, IssueError, Order, SealError};
use identity::key::SubjectKey;
use identity::verify::ssh::UserContext;
use identity::{BotIdentity, HostIdentity, Identity, Permits, Subject, UserIdentity};
use jiff::Timestamp;
use std::time::Duration;
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn cluster() -> ClusterName {
    ClusterName::new("c.example").expect("a name")
}

fn authorities() -> Authorities {
    Authorities::generate(&cluster(), now()).expect("generated")
}

fn key() -> SubjectKey {
    SubjectKey::generate(&SystemRandom::new()).expect("generated")
}

fn bot() -> Identity {
    let user = UserIdentity {
        name: "bot-example".parse().expect("a name"),
        bot: Some(BotIdentity {
            name: "example".parse().expect("a name"),
            instance: access::InstanceId(Uuid::from_u128(7)),
            generation: Some(3),
            join_token: None,
        }),
        roles: vec!["a".parse().expect("a name"), "b".parse().expect("a name")],
        traits: Traits([("logins".to_owned(), vec!["root".to_owned()])].into()),
        logins: vec!["root".parse().expect("a name"), "deploy".parse().expect("a name")],
        permits: Permits { pty: true, port_forwarding: true, agent_forwarding: false, x11_forwarding: true },
        impersonator: Some("bot-example".parse().expect("a name")),
        renewable: false,
        disallow_reissue: true,
        login_ip: Some([192, 0, 2, 1].into()),
        pinned_ip: Some([192, 0, 2, 1].into()),
    };
    Identity { cluster: cluster(), subject: Subject::User(Box::new(user)) }
}

fn host(names: &[&str]) -> Identity {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let host = HostIdentity { id: HostId(Uuid::from_u128(9)), role: SystemRole::Node, names };
    Identity { cluster: cluster(), subject: Subject::Host(host) }
}

fn issue(
    authorities: &Authorities,
    identity: &Identity,
    lifetime: Duration,
) -> Result<ca::Issued, IssueError> {
    let key = key();
    let order = Order { identity, public_key: key.public(), ssh_public_key: None, lifetime, extra: &[] };
    authorities.issue(&order, now(), &SystemRandom::new())
}

#[test]
fn a_certificate_says_exactly_what_was_ordered() {
    let authorities = authorities();
    for identity in [bot(), host(&["my-host", "my-host.c.example", "127.0.0.1"])] {
        // `issue` itself compares the finished certificates with the order, by the verifiers.
        let issued = issue(&authorities, &identity, HOUR).expect("issued");
        assert_eq!(issued.valid_before, now() + HOUR);
        assert_eq!(issued.valid_after, now() - Duration::from_secs(60));
    }
}

#[test]
fn a_host_may_have_one_key_for_tls_and_another_for_ssh() {
    use identity::verify::ssh::HostContext;
    use identity::verify::x509::ClientContext;
    let (authorities, tls, ssh) = (authorities(), key(), key());
    let identity = host(&["my-host"]);
    let mut order = Order {
        identity: &identity,
        public_key: tls.public(),
        ssh_public_key: Some(ssh.public()),
        lifetime: HOUR,
        extra: &[],
    };
    let issued = authorities.issue(&order, now(), &SystemRandom::new()).expect("issued");
    let trust = authorities.trust_bundle(1);
    let context = HostContext { trust: &trust, now: now(), names: &["my-host"] };
    let shown = identity::verify::ssh::host(issued.ssh.blob(), &context).expect("accepted");
    assert_eq!(shown.key().key_data(), ssh.ssh_public().key_data());
    let context = ClientContext { trust: &trust, now: now(), peer: None };
    let shown = identity::verify::x509::client(&issued.tls_chain, &context).expect("accepted");
    assert_eq!(shown.key(), tls.public());
    let user = bot();
    order.identity = &user;
    let refused = authorities.issue(&order, now(), &SystemRandom::new());
    assert!(matches!(refused, Err(IssueError::TwoKeys)));
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[test]
fn openssh_reads_it() {
    let issued = issue(&authorities(), &bot(), HOUR).expect("issued");
    let file = tempfile::NamedTempFile::with_suffix("-cert.pub").expect("a file");
    std::fs::write(file.path(), issued.ssh.line()).expect("written");
    let listing = std::process::Command::new("ssh-keygen").arg("-L").arg("-f").arg(file.path()).output();
    // Where tests are run to be believed, a tool that is missing must not look like one that agrees.
    let must = std::env::var_os("CI").is_some() || is_root();
    let listing = match listing {
        Ok(listing) => listing,
        Err(error) if must => panic!("ssh-keygen is needed (openssh-client): {error}"),
        Err(_) => return eprintln!("SKIPPED: no ssh-keygen"),
    };
    let text = String::from_utf8_lossy(&listing.stdout);
    for part in [
        "user certificate",
        "bot-example",
        "root",
        "deploy",
        "source-address 192.0.2.1/32",
        "permit-pty",
        "generation",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn only_the_right_authority_of_the_right_cluster_vouches() {
    let issued = issue(&authorities(), &bot(), HOUR).expect("issued");
    let stranger = authorities().trust_bundle(1);
    let context =
        UserContext { trust: &stranger, now: now(), peer: Some([192, 0, 2, 1].into()), login: None };
    let refused = identity::verify::ssh::user(issued.ssh.blob(), &context).expect_err("refused");
    assert_eq!(refused.code(), "untrusted_ca");
}

#[test]
fn what_is_never_issued() {
    let authorities = authorities();
    let mut stranger = bot();
    stranger.cluster = ClusterName::new("d.example").expect("a name");
    assert!(matches!(issue(&authorities, &stranger, HOUR), Err(IssueError::OtherCluster { .. })));
    for lifetime in [Duration::ZERO, Duration::from_secs(32 * 24 * 3600), Duration::MAX] {
        assert!(
            matches!(issue(&authorities, &bot(), lifetime), Err(IssueError::Lifetime(_))),
            "{lifetime:?}"
        );
    }
    for name in ["*", "a,b", "A", "a b", "a\n", "", "*.c.example"] {
        assert!(
            matches!(issue(&authorities, &host(&[name]), HOUR), Err(IssueError::Identity(_))),
            "{name:?}"
        );
    }
    let mut nobody = bot();
    if let Subject::User(user) = &mut nobody.subject {
        user.roles.clear();
    }
    assert!(matches!(issue(&authorities, &nobody, HOUR), Err(IssueError::Identity(_))));
    let (key, bot) = (key(), bot());
    let order = Order {
        identity: &bot,
        public_key: key.public(),
        ssh_public_key: None,
        lifetime: HOUR,
        extra: &[Extra { name: "teleport-roles".into(), value: "{}".into() }],
    };
    let refused = authorities.issue(&order, now(), &SystemRandom::new());
    assert!(matches!(refused, Err(IssueError::ReservedExtension(_))));
}

#[test]
fn a_host_has_a_week_at_most() {
    let week = ca::HOST_LIFETIME;
    issue(&authorities(), &host(&["a"]), week).expect("issued");
    let longer = week + Duration::from_secs(1);
    assert!(matches!(issue(&authorities(), &host(&["a"]), longer), Err(IssueError::Lifetime(_))));
}

/// Row J7: nobody gets a certificate over an authority's key.
#[test]
fn an_authoritys_key_is_not_certified() {
    let authorities = authorities();
    let trust = authorities.trust_bundle(1);
    for authority in [&trust.host.tls[0], &trust.user.tls[0]] {
        let spki = authority.windows(26).position(|window| window.starts_with(&[0x30, 0x59, 0x30, 0x13]));
        let spki = &authority[spki.expect("a P-256 key")..][..91];
        let key = identity::key::PublicKey::from_spki_der(spki).expect("a key");
        let bot = bot();
        let order =
            Order { identity: &bot, public_key: &key, ssh_public_key: None, lifetime: HOUR, extra: &[] };
        let refused = authorities.issue(&order, now(), &SystemRandom::new());
        assert!(matches!(refused, Err(IssueError::AuthorityKey)));
        let (node, own) = (host(&["my-host"]), self::key());
        let (public_key, ssh_public_key) = (own.public(), Some(&key));
        let order = Order { identity: &node, public_key, ssh_public_key, lifetime: HOUR, extra: &[] };
        let refused = authorities.issue(&order, now(), &SystemRandom::new());
        assert!(matches!(refused, Err(IssueError::AuthorityKey)), "for SSH neither");
    }
}

#[test]
fn somebody_without_logins_is_nobody_to_sshd() {
    let mut nobody = bot();
    if let Subject::User(user) = &mut nobody.subject {
        user.logins.clear();
    }
    let issued = issue(&authorities(), &nobody, HOUR).expect("issued");
    let raw = issued.ssh.raw();
    assert_eq!(raw.principals.len(), 1);
    assert!(raw.principals[0].starts_with("-teleport-nologin-"));
}

/// The statement that this crate signs is the one that `identity` opens.
#[test]
fn a_signed_policy_opens() {
    use identity::policy::{self, Policy};
    let authorities = authorities();
    let trust = authorities.trust_bundle(4);
    let policy = Policy {
        cluster: cluster(),
        revision: 4,
        issued_at: now(),
        trust: trust.clone(),
        roles: vec![],
        locks: vec![],
        networking: Default::default(),
        recording: Default::default(),
        auth_preference: Default::default(),
    };
    let payload = policy.to_json();
    let signature = authorities.sign_policy(&payload).expect("signed");
    assert_eq!(policy::open(&payload, &signature, &trust).map(|opened| opened.policy), Ok(policy));
    let stranger = self::authorities().trust_bundle(4);
    assert!(policy::open(&payload, &signature, &stranger).is_err());
}

#[test]
fn sealed_authorities_open_only_with_their_key_and_sign_as_before() {
    let authorities = authorities();
    let envelope = EnvelopeKey::new(&[5; 32]).expect("32 bytes");
    let sealed = authorities.seal(&envelope).expect("sealed");
    let opened = Authorities::open(&sealed, &envelope, &cluster(), now()).expect("opened");
    assert_eq!(opened.trust_bundle(1), authorities.trust_bundle(1));
    issue(&opened, &bot(), HOUR).expect("issued");
    let other = EnvelopeKey::new(&[6; 32]).expect("32 bytes");
    assert_eq!(Authorities::open(&sealed, &other, &cluster(), now()).err(), Some(SealError::Refused));
    let d = ClusterName::new("d.example").expect("a name");
    assert_eq!(Authorities::open(&sealed, &envelope, &d, now()).err(), Some(SealError::Refused));
}
