//! Documents for workloads: as ordered, as the standards demand, and for nobody else.

use access::rbac::RoleSet;
use access::rbac::spiffe::{SvidPermit, Wish, check};
use access::resource::Resource;
use access::resource::cert_authority::{CaKind, RotationPhase};
use access::{ClusterName, Traits, UserName};
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca::{Authorities, EnvelopeKey, IssueError, JwtOrder, Retire, X509Order, X509Svid};
use identity::key::{PublicKey, SubjectKey};
use identity::svid::verify;
use identity::verify::x509::{ClientContext, client};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn cluster() -> ClusterName {
    ClusterName::new("c.example").expect("a name")
}

fn authorities(now: Timestamp) -> Authorities {
    Authorities::generate(&cluster(), now).expect("keys")
}

fn key() -> PublicKey {
    SubjectKey::generate(&SystemRandom::new()).expect("a key").public().clone()
}

fn permit(path: &str, dns: &[&str], addresses: &[&str]) -> SvidPermit {
    let value = json!({"kind": "role", "version": "v7", "metadata": {"name": "r"}, "spec": {"allow": {"spiffe": [
        {"path": "*", "dns_sans": ["*"], "ip_sans": ["0.0.0.0/0", "::/0"]}]}}});
    let Ok(Resource::Role(role)) = Resource::from_json(value) else { panic!("a role") };
    let user = UserName::new("bot-ci").expect("a name");
    let wish = Wish {
        path: path.parse().expect("a path"),
        dns: dns.iter().map(|name| name.parse().expect("a name")).collect(),
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
    };
    check(&RoleSet::new(&user, [&*role], &Traits::default()), wish).expect("allowed")
}

fn x509(authorities: &Authorities, permit: &SvidPermit, now: Timestamp) -> X509Svid {
    let order = X509Order { permit, public_key: &key(), lifetime: HOUR };
    authorities.issue_x509_svid(&order, now, &SystemRandom::new()).expect("issued")
}

#[test]
fn an_x509_svid_is_one_for_openssl_too() {
    let now = Timestamp::now();
    let authorities = authorities(now);
    let permit = permit("/svc/web", &["web.example", "b.example"], &["10.0.0.1", "2001:db8::1"]);
    let svid = x509(&authorities, &permit, now);
    assert_eq!(svid.id.to_string(), "spiffe://c.example/svc/web");
    let directory = tempfile::tempdir().expect("a directory");
    let (leaf, bundle) = (directory.path().join("svid.pem"), directory.path().join("bundle.pem"));
    std::fs::write(&leaf, identity::pem::certificate(&svid.certificate)).expect("written");
    std::fs::write(&bundle, authorities.workload_trust(1).x509_pem()).expect("written");
    for purpose in ["sslserver", "sslclient"] {
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]).arg(&bundle).arg(&leaf);
        let output = openssl.output().expect("openssl is there");
        assert!(output.status.success(), "{purpose}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = |file| {
        let output = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(file).output();
        let text = String::from_utf8(output.expect("openssl is there").stdout).expect("text");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let told = text(&leaf);
    for part in [
        "X509v3 Key Usage: critical Digital Signature X509v3",
        "X509v3 Basic Constraints: critical CA:FALSE",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "URI:spiffe://c.example/svc/web, DNS:b.example, DNS:web.example, IP Address:10.0.0.1, \
         IP Address:2001:DB8:0:0:0:0:0:1",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    let told = text(&bundle);
    for part in [
        "X509v3 Key Usage: critical Certificate Sign, CRL Sign X509v3",
        "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
        "URI:spiffe://c.example ",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
}

#[test]
fn a_workload_is_no_member_and_a_member_no_workload() {
    let now = Timestamp::now();
    let authorities = authorities(now);
    let trust = authorities.trust_bundle(1);
    let svid = x509(&authorities, &permit("/bot/ci/x", &[], &[]), now);
    let refused = client(&[svid.certificate], &ClientContext { trust: &trust, now, peer: None });
    assert_eq!(refused.expect_err("not a member").code(), "untrusted_ca");
    let workloads = authorities.workload_trust(1);
    assert_eq!(workloads.check(), Ok(()));
    for kind in CaKind::OF_MEMBERS {
        for certificate in &trust.authority(kind).tls {
            assert!(!workloads.x509.contains(certificate), "{kind:?}");
        }
    }
    let other = self::authorities(now);
    let svid = x509(&other, &permit("/a", &[], &[]), now);
    assert_eq!(verify(&[svid.certificate], &workloads, now).expect_err("a stranger").code(), "untrusted_ca");
}

#[test]
fn an_svid_is_good_for_as_long_as_it_says() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let authorities = authorities(now - HOUR);
    let (permit, trust) = (permit("/a", &[], &[]), authorities.workload_trust(1));
    let chain = [x509(&authorities, &permit, now).certificate];
    let at = |seconds| {
        verify(&chain, &trust, now + SignedDuration::from_secs(seconds)).map(|svid| svid.valid_before())
    };
    assert_eq!(at(-60), Ok(now + HOUR));
    assert_eq!(at(3599), Ok(now + HOUR));
    assert_eq!(at(-61).expect_err("early").code(), "not_yet_valid");
    assert_eq!(at(3600).expect_err("late").code(), "expired");
    let key = key();
    for lifetime in
        [Duration::ZERO, Duration::from_millis(999), HOUR * 24 + Duration::from_secs(1), Duration::MAX]
    {
        let order = X509Order { permit: &permit, public_key: &key, lifetime };
        let refused = authorities.issue_x509_svid(&order, now, &SystemRandom::new());
        assert!(matches!(refused, Err(IssueError::Workload(_))), "{lifetime:?}");
        let audience = ["x".to_owned()];
        let order = JwtOrder { permit: &permit, audience: &audience, lifetime, issuer: None };
        assert!(authorities.issue_jwt_svid(&order, now, &SystemRandom::new()).is_err(), "{lifetime:?}");
    }
}

fn part(token: &str, nth: usize) -> Value {
    let part = token.split('.').nth(nth).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

#[test]
fn a_jwt_svid_says_what_the_standard_wants_and_is_in_the_bundle() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let authorities = authorities(now);
    let permit = permit("/svc/web", &[], &[]);
    let audience = ["vault".to_owned(), "https://a.example".to_owned()];
    let issuer = Some("https://proxy.example/workload-identity");
    let order = JwtOrder { permit: &permit, audience: &audience, lifetime: HOUR, issuer };
    let svid = authorities.issue_jwt_svid(&order, now, &SystemRandom::new()).expect("issued");
    let bundle = authorities.workload_trust(7).bundle();
    let keys = bundle["keys"].as_array().expect("keys");
    let uses: Vec<&str> = keys.iter().filter_map(|key| key["use"].as_str()).collect();
    assert_eq!(uses, ["x509-svid", "jwt-svid"]);
    assert_eq!((&bundle["spiffe_sequence"], &bundle["spiffe_refresh_hint"]), (&json!(7), &json!(300)));
    assert_eq!(part(&svid.token, 0), json!({"alg": "ES256", "typ": "JWT", "kid": keys[1]["kid"]}));
    let claims = json!({"sub": "spiffe://c.example/svc/web", "aud": audience, "iat": 1_800_000_000,
        "exp": 1_800_003_600, "jti": svid.jti, "iss": issuer});
    assert_eq!(part(&svid.token, 1), claims);
    assert_eq!(svid.valid_before, now + HOUR);
    let long = "x".repeat(513);
    let audiences = [vec![], vec![String::new()], vec![long], vec!["x".to_owned(); 33]];
    for audience in audiences {
        let order = JwtOrder { audience: &audience, ..order };
        assert!(authorities.issue_jwt_svid(&order, now, &SystemRandom::new()).is_err());
    }
}

/// Who was issued something before a rotation is believed until it ends, and nobody shows what is not trusted yet.
#[test]
fn a_rotation_of_the_authority_of_workloads_costs_nobody_an_svid() {
    use RotationPhase::{Init, Standby, UpdateClients, UpdateServers};
    let mut now = Timestamp::from_second(1_800_000_000).expect("a time");
    let mut authorities = authorities(now);
    let permit = permit("/a", &[], &[]);
    let before = authorities.workload_trust(1);
    for phase in [Init, UpdateClients] {
        authorities.rotate(CaKind::Spiffe, phase, now, Retire::WhenUnused).expect("a legal step");
        assert_eq!(
            (authorities.workload_trust(1).x509.len(), authorities.workload_trust(1).jwt.len()),
            (2, 2)
        );
        let chain = [x509(&authorities, &permit, now).certificate];
        verify(&chain, &before, now).expect("those who know the old keys alone still believe it");
    }
    authorities.rotate(CaKind::Spiffe, UpdateServers, now, Retire::WhenUnused).expect("a legal step");
    let chain = [x509(&authorities, &permit, now).certificate];
    assert!(verify(&chain, &before, now).is_err(), "the new keys sign");
    verify(&chain, &authorities.workload_trust(1), now).expect("and are known");
    let early = authorities.rotate(CaKind::Spiffe, Standby, now, Retire::WhenUnused);
    assert!(early.is_err(), "what the old keys signed is in force for a day");
    now += SignedDuration::from_hours(24);
    authorities.rotate(CaKind::Spiffe, Standby, now, Retire::WhenUnused).expect("a legal step");
    assert_eq!(authorities.workload_trust(1).x509.len(), 1);
    assert_eq!(authorities.trust_bundle(1).user.tls.len(), 1, "the others were not touched");
}

#[test]
fn an_authoritys_key_is_certified_for_no_workload() {
    let now = Timestamp::now();
    let authorities = authorities(now);
    let own = authorities.workload_trust(1).jwt[0].key().clone();
    let permit = permit("/a", &[], &[]);
    let order = X509Order { permit: &permit, public_key: &own, lifetime: HOUR };
    let refused = authorities.issue_x509_svid(&order, now, &SystemRandom::new());
    assert!(matches!(refused, Err(IssueError::AuthorityKey)));
}

#[test]
fn what_is_sealed_signs_for_workloads_as_before() {
    let now = Timestamp::now();
    let authorities = authorities(now);
    let envelope = EnvelopeKey::new(&[5; 32]).expect("32 bytes");
    let sealed = authorities.seal(&envelope).expect("sealed");
    let opened = Authorities::open(&sealed, &envelope, &cluster(), now).expect("opened");
    assert!(!opened.has_grown());
    assert_eq!(opened.workload_trust(1), authorities.workload_trust(1));
    let svid = x509(&opened, &permit("/a", &[], &[]), now);
    verify(&[svid.certificate], &authorities.workload_trust(1), now).expect("the same keys");
}
