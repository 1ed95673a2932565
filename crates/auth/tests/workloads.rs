//! Identities for workloads: who gets which, what is kept of it, and who gets none.

mod harness;

use api::convert;
use api::status::Problem;
use api::v1::output_answer::Answer;
use api::v1::output_request::Kind;
use api::v1::workload_service_client::WorkloadServiceClient;
use api::v1::{self, JwtSvidRequest, X509SvidRequest};
use auth::catalog::layout;
use auth::sealing::Envelope;
use auth::services::resources::Authorities;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::{Auth, Joiner, key, one, output, outputs};
use identity::Credentials;
use identity::key::SubjectKey;
use identity::svid::{WorkloadTrust, X509Svid, verify};
use serde_json::{Value, json};
use std::sync::Arc;
use store::{Clock, Expect, Txn};
use tonic::transport::Channel;

/// A bot that may have SVIDs under `/svc/`, in `*.internal` and 10.0.0.0/8, not those of `/svc/db`.
async fn bot(auth: &Auth) -> Credentials {
    auth.put(json!({"kind": "role", "version": "v7", "metadata": {"name": "web"}, "spec": {
        "options": {"max_session_ttl": "8h"},
        "allow": {"spiffe": [{"path": "/svc/*", "dns_sans": ["*.internal"], "ip_sans": ["10.0.0.0/8"]}]},
        "deny": {"spiffe": [{"path": "/svc/db"}]}}}))
        .await;
    auth.role("ops", "root").await;
    auth.put(json!({"kind": "bot", "version": "v1", "metadata": {"name": "ci"},
        "spec": {"roles": ["web", "ops"], "traits": []}}))
        .await;
    let token = auth.bot_token("ci").await;
    auth.join(&Joiner::bot(&token)).await.expect("joins")
}

fn asked(key: &SubjectKey, path: &str) -> X509SvidRequest {
    X509SvidRequest { public_key: key.spki_der(), path: path.to_owned(), ..Default::default() }
}

async fn x509(channel: Channel, request: X509SvidRequest) -> Result<v1::X509Svid, Problem> {
    match one(channel, Kind::X509Svid(request)).await? {
        Answer::X509Svid(svid) => Ok(svid),
        other => panic!("{other:?}"),
    }
}

async fn jwt(channel: Channel, request: JwtSvidRequest) -> Result<v1::JwtSvid, Problem> {
    match one(channel, Kind::JwtSvid(request)).await? {
        Answer::JwtSvid(svid) => Ok(svid),
        other => panic!("{other:?}"),
    }
}

fn read(svid: &v1::X509Svid, bundle: &WorkloadTrust, now: jiff::Timestamp) -> X509Svid {
    let chain: Vec<_> = svid.certificates.iter().cloned().map(Into::into).collect();
    verify(&chain, bundle, now).expect("verifies")
}

async fn trust(channel: Channel) -> WorkloadTrust {
    let answer = WorkloadServiceClient::new(channel).trust(v1::WorkloadTrustRequest {}).await;
    convert::workload_trust(answer.expect("answers").into_inner()).expect("a bundle")
}

#[tokio::test]
async fn a_bot_gets_what_its_roles_allow_and_every_svid_is_in_the_log() {
    let auth = Auth::start().await;
    let own = bot(&auth).await;
    let channel = auth.member(&own);
    let (a, b) = (key(), key());
    let first = X509SvidRequest {
        dns_sans: vec!["Web.internal".to_owned()],
        ip_sans: vec!["10.1.2.3".to_owned()],
        hint: "internal".to_owned(),
        ..asked(&a, "/svc/web")
    };
    let second =
        X509SvidRequest { ttl_seconds: 24 * 3600, roles: vec!["web".to_owned()], ..asked(&b, "/svc/api/v1") };
    let asked = [first, second].map(Kind::X509Svid).into();
    let (answers, bundle) = outputs(channel.clone(), asked).await.expect("issued");
    let svids: Vec<v1::X509Svid> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(Answer::X509Svid(svid)) => svid,
            other => panic!("{other:?}"),
        })
        .collect();
    let bundle = convert::workload_trust(bundle.expect("a bundle")).expect("a bundle");
    assert_eq!(bundle, trust(channel.clone()).await);
    let now = auth.clock.now();
    let read: Vec<X509Svid> = svids.iter().map(|svid| read(svid, &bundle, now)).collect();
    assert_eq!(svids[0].spiffe_id, "spiffe://example.com/svc/web");
    assert_eq!(read[0].id().to_string(), "spiffe://example.com/svc/web");
    assert_eq!(read[1].id().to_string(), "spiffe://example.com/svc/api/v1");
    assert_eq!([read[0].key(), read[1].key()], [a.public(), b.public()]);
    assert!(read[0].dns().contains("web.internal") && read[1].dns().is_empty());
    let lives = read.iter().map(|svid| svid.valid_before().duration_since(now).as_secs());
    let hours: Vec<i64> = lives.map(|seconds| (seconds + 60) / 3600).collect();
    assert_eq!(hours, [1, 8], "an hour unless asked for, and what the roles allow at most");

    let events = auth.events("spiffe.svid.issued").await;
    let serials: Vec<&Value> = events.iter().map(|event| &event["serial_number"]).collect();
    assert_eq!(serials, [&json!(read[0].serial()), &json!(read[1].serial())]);
    let event = &events[0];
    for (field, value) in [
        ("code", json!("TSPIFFE000I")),
        ("spiffe_id", json!("spiffe://example.com/svc/web")),
        ("svid_type", json!("x509")),
        ("dns_sans", json!(["web.internal"])),
        ("ip_sans", json!(["10.1.2.3"])),
        ("hint", json!("internal")),
        ("bot_name", json!("ci")),
        ("granted_by", json!("web")),
        ("user", json!("bot-ci")),
    ] {
        assert_eq!(event[field], value, "{field} of {event}");
    }
}

#[tokio::test]
async fn what_no_role_allows_is_refused_and_kept() {
    let auth = Auth::start().await;
    let own = bot(&auth).await;
    let channel = auth.member(&own);
    let key = key();
    let with = |path: &str, change: fn(&mut X509SvidRequest)| {
        let mut request = asked(&key, path);
        change(&mut request);
        request
    };
    for (request, code) in [
        (with("/other", |_| {}), "spiffe_not_allowed"),
        (with("/svc/db", |_| {}), "spiffe_denied"),
        (with("/svc/web", |r| r.dns_sans = vec!["web.example".into()]), "spiffe_not_allowed"),
        (with("/svc/web", |r| r.ip_sans = vec!["192.0.2.1".into()]), "spiffe_not_allowed"),
        (with("/svc/web", |r| r.roles = vec!["ops".into()]), "spiffe_not_allowed"),
        (with("/svc/web", |r| r.roles = vec!["editor".into()]), "impersonation_not_allowed"),
        (with("/svc/../db", |_| {}), "svid_refused"),
        (with("svc", |_| {}), "svid_refused"),
        (with("/svc/web", |r| r.dns_sans = vec!["*.internal".into()]), "svid_refused"),
        (with("/svc/web", |r| r.dns_sans = vec!["web.internal".into(); 65]), "svid_refused"),
        (with("/svc/web", |r| r.dns_sans = vec![format!("{}.internal", "w".repeat(5000))]), "svid_refused"),
        (with("/svc/web", |r| r.ip_sans = vec!["::ffff:10.0.0.1".into()]), "svid_refused"),
        (with("/svc/web", |r| r.public_key = vec![1, 2]), "key_refused"),
    ] {
        let asked = format!("{request:?}");
        let both = vec![Kind::X509Svid(self::asked(&key, "/svc/ok")), Kind::X509Svid(request)];
        let (answers, _) = outputs(channel.clone(), both).await.expect("answered");
        assert!(
            matches!(&answers[..], [Ok(_), Err(refused)] if refused.code == code),
            "{asked}: {answers:?}"
        );
        let last = auth.events("spiffe.svid.issued").await.pop().expect("kept");
        assert_eq!((&last["code"], &last["reason"]), (&json!("TSPIFFE000E"), &json!(code)), "{asked}");
    }
    let events = auth.events("spiffe.svid.issued").await;
    let issued = events.iter().filter(|event| event["code"] == "TSPIFFE000I").count();
    assert_eq!((issued, events.len()), (13, 26), "one event each");
    assert!(outputs(channel.clone(), vec![]).await.is_err());
    let many = vec![Kind::X509Svid(asked(&key, "/svc/web")); 65];
    assert!(outputs(channel, many).await.is_err());
}

/// Its certificates for SSH are exchanged for nothing, those of others neither, and a lock cuts.
#[tokio::test]
async fn nobody_but_a_bots_own_identity_asks() {
    let auth = Auth::start().await;
    let own = bot(&auth).await;
    let node = auth.join(&Joiner::node("web-1")).await.expect("joins");
    let ssh = output(auth.member(&own), &[], 0).await.expect("issued");
    let key = key();
    for (who, channel) in [
        ("a stranger", auth.stranger()),
        ("an output", auth.member(&ssh)),
        ("a node", auth.member(&node)),
        ("an administrator", auth.admin()),
    ] {
        x509(channel.clone(), asked(&key, "/svc/web")).await.expect_err(who);
        let request =
            JwtSvidRequest { path: "/svc/web".into(), audience: vec!["x".into()], ..Default::default() };
        jwt(channel, request).await.expect_err(who);
    }
    assert_eq!(trust(auth.member(&node)).await.x509.len(), 1, "whom to trust, members may know");
    auth.lock("l", json!({"role": "web"})).await;
    let refused = x509(auth.member(&own), asked(&key, "/svc/web")).await;
    assert_eq!(refused.expect_err("locked").code, "locked");
}

#[tokio::test]
async fn jwt_svids_are_for_their_audience() {
    let auth = Auth::start().await;
    let own = bot(&auth).await;
    let channel = auth.member(&own);
    let request = |path: &str, audience: &[&str]| JwtSvidRequest {
        path: path.to_owned(),
        audience: audience.iter().map(ToString::to_string).collect(),
        ttl_seconds: 300,
        ..Default::default()
    };
    let svid = jwt(channel.clone(), request("/svc/web", &["vault", "db"])).await.expect("issued");
    assert_eq!(issuer(&svid), None, "none is configured");
    assert_eq!(svid.spiffe_id, "spiffe://example.com/svc/web");
    let left = svid.expires - auth.clock.now().as_second();
    assert!((240..=300).contains(&left), "{left}");
    let event = auth.events("spiffe.svid.issued").await.pop().expect("kept");
    assert_eq!((&event["svid_type"], &event["audiences"]), (&json!("jwt"), &json!(["vault", "db"])));
    assert!(!event.to_string().contains(svid.token.as_str()), "the token is a secret");
    let refused = jwt(channel.clone(), request("/svc/db", &["x"])).await;
    assert_eq!(refused.expect_err("denied").code, "spiffe_denied");
    let refused = jwt(channel, request("/svc/web", &[])).await;
    assert_eq!(refused.expect_err("for nobody").code, "certificate_refused");
}

/// What a token says of who issued it.
fn issuer(svid: &v1::JwtSvid) -> Option<String> {
    let claims = svid.token.split('.').nth(1).expect("claims");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["iss"].as_str().map(str::to_owned)
}

/// Whichever proxies are connected: none of them has a say in it.
#[tokio::test]
async fn the_issuer_is_the_configured_one() {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let auth = Auth::start_in(directory, Arc::default(), |config| {
        config.workload_issuer = Some("https://id.example.com".parse().expect("an issuer"));
    });
    let auth = auth.await.expect("starts");
    let own = bot(&auth).await;
    let request =
        JwtSvidRequest { path: "/svc/web".into(), audience: vec!["x".into()], ..Default::default() };
    let svid = jwt(auth.member(&own), request).await.expect("issued");
    assert_eq!(issuer(&svid).as_deref(), Some("https://id.example.com"));
    let told = WorkloadServiceClient::new(auth.admin()).trust(v1::WorkloadTrustRequest {}).await;
    assert_eq!(told.expect("answers").into_inner().jwt_issuer, "https://id.example.com");
}

/// Everything that one agent has, and what is refused is refused alone: two host certificates, which each take names, beside what
/// is an event only.
#[tokio::test]
async fn outputs_of_every_kind_come_in_one_call() {
    let auth = Auth::start().await;
    bot(&auth).await;
    auth.put(json!({"kind": "role", "version": "v7", "metadata": {"name": "hosts"},
        "spec": {"allow": {"rules": [{"resources": ["host_cert"], "verbs": ["create"]}]}}}))
        .await;
    auth.put(json!({"kind": "bot", "version": "v1", "metadata": {"name": "all"},
        "spec": {"roles": ["web", "ops", "hosts"], "traits": []}}))
        .await;
    let own = auth.join(&Joiner::bot(&auth.bot_token("all").await)).await.expect("joins");
    let key = key();
    let certificate = |roles: &[&str]| {
        let roles = roles.iter().map(ToString::to_string).collect();
        Kind::Certificate(v1::CertificateRequest { public_key: key.spki_der(), roles, ttl_seconds: 60 })
    };
    let host = |name: &str| {
        let principals = vec![name.to_owned()];
        Kind::Host(v1::HostRequest { public_key: key.spki_der(), principals, ..Default::default() })
    };
    let token = |audience: &[&str]| {
        let audience = audience.iter().map(ToString::to_string).collect();
        Kind::JwtSvid(JwtSvidRequest { path: "/svc/web".into(), audience, ..Default::default() })
    };
    let x509 = |path: &str| Kind::X509Svid(asked(&key, path));
    let asked = vec![
        host("a.example.org"),
        certificate(&["ops"]),
        x509("/svc/db"),
        token(&["vault"]),
        certificate(&["nobody-has-it"]),
        host("example.com"),
        x509("/svc/web"),
        token(&[]),
        host("b.example.org"),
    ];
    let (answers, trust) = outputs(auth.member(&own), asked).await.expect("answered");
    let told: Vec<&str> = answers
        .iter()
        .map(|answer| match answer {
            Ok(Answer::Certificate(_)) => "certificate",
            Ok(Answer::Host(_)) => "host",
            Ok(Answer::X509Svid(_)) => "x509",
            Ok(Answer::JwtSvid(_)) => "jwt",
            Ok(Answer::Refused(_)) => "told above",
            Err(problem) => problem.code.as_str(),
        })
        .collect();
    let expected = [
        "host",
        "certificate",
        "spiffe_denied",
        "jwt",
        "role_not_found",
        "host_name_reserved",
        "x509",
        "certificate_refused",
        "host",
    ];
    assert_eq!(told, expected, "{answers:?}");
    assert!(trust.is_some());
    let count = async |kind: &str, code: &str| {
        let events = auth.events(kind).await;
        events.iter().filter(|event| event["code"] == code && event["user"] == "bot-all").count()
    };
    assert_eq!(count("spiffe.svid.issued", "TSPIFFE000I").await, 2);
    assert_eq!(count("spiffe.svid.issued", "TSPIFFE000E").await, 2);
    let denied = auth.events("cert.denied").await;
    assert_eq!(denied.len(), 2, "{denied:?}");
    let created = auth.events("cert.create").await;
    // Its own certificate, by which it renews, is no output.
    let is_output =
        |event: &&Value| event["requested_by"] == "bot-all" && event["identity"]["renewable"] != true;
    let of_outputs = created.iter().filter(is_output).count();
    assert_eq!(of_outputs, 3, "{created:?}");

    // Who may have nothing hears it once.
    auth.lock("l", json!({"user": "bot-all"})).await;
    let refused = outputs(auth.member(&own), vec![certificate(&[]), x509("/svc/web")]).await;
    assert_eq!(refused.expect_err("locked").code, "locked");
}

/// A cluster that was made before there were workloads gets their authority with the next start, once.
#[tokio::test]
async fn an_older_cluster_gets_the_authority_once() {
    let auth = Auth::start().await;
    let pins = auth.pins.clone();
    let (directory, clock) = auth.stop().await;
    let envelope = Envelope::open(&directory.path().join("data")).expect("a key");
    let key = envelope.derive("authorities");
    let store = harness::store_in(directory.path());
    let entry = store.read(&layout::authorities()).await.expect("reads").expect("is there");
    let expected = Expect::Revision(entry.revision);
    let txn = Txn::new().expect(layout::authorities(), expected);
    let txn = txn.put(layout::authorities(), without_workloads(&entry.value, key.as_ref()));
    store.commit(txn).await.expect("commits").expect("no conflict");
    drop(store);
    let auth = Auth::start_in(directory, clock, |_| {}).await.expect("starts");
    assert_eq!(auth.pins, pins, "the others are the same");
    let first = trust(auth.admin()).await;
    let (directory, clock) = auth.stop().await;
    let auth = Auth::start_in(directory, clock, |_| {}).await.expect("starts");
    assert_eq!(trust(auth.admin()).await, first);
    let shown = auth.core().resources();
    let kinds: Vec<&str> = shown.iter().map(|authority| authority.spec.kind.as_str()).collect();
    assert_eq!(kinds, ["host", "user", "openssh", "spiffe"]);
}

/// What is sealed, without its fourth authority.
fn without_workloads(sealed: &[u8], key: &[u8]) -> Vec<u8> {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
    let (magic, rest) = sealed.split_at(8);
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().expect("a nonce");
    let (cipher, mut body) = (RandomizedNonceKey::new(&AES_256_GCM, key).expect("32 bytes"), body.to_vec());
    let label = || Aad::from([magic, b"example.com"].concat());
    let plain =
        cipher.open_in_place(Nonce::assume_unique_for_key(*nonce), label(), &mut body).expect("opens");
    let mut stored: Value = serde_json::from_slice(plain).expect("JSON");
    let authorities = stored["authorities"].as_array_mut().expect("a list");
    authorities.retain(|authority| authority["kind"] != "spiffe");
    assert_eq!(authorities.len(), 3);
    let mut plain = stored.to_string().into_bytes();
    let nonce = cipher.seal_in_place_append_tag(label(), &mut plain).expect("seals");
    [magic, nonce.as_ref(), &plain].concat()
}
