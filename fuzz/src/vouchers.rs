//! What joiners show for a platform to vouch for them, and what platforms answer: ID tokens, key sets, reviews of tokens,
//! particulars of requests to AWS, attested documents and machines of Azure.

use std::sync::LazyLock;

use access::SystemRole;
use access::resource::Resource;
use access::resource::token::{Method, Oidc};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use join::oidc::{self, Jwks, review};
use join::{Claim, azure, iam};
use serde_json::{Value, json};

pub const CLUSTER: &str = "example.com";
pub const NOW: i64 = 1_700_000_000;

/// The issuer's key, the same in every run.
static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("a key"));
static KEYS: LazyLock<Jwks> = LazyLock::new(|| Jwks::parse(key_set().as_bytes()).expect("a key set"));
static SETTINGS: LazyLock<Vec<Oidc>> = LazyLock::new(|| {
    let keys = key_set();
    [
        ("gitlab", json!({"allow": [{"project_path": "us/*", "ref_protected": "true"}]})),
        ("circleci", json!({"organization_id": "o", "allow": [{"context_id": "c"}]})),
        ("azure_devops", json!({"organization_id": "o", "allow": [{"project_name": "p"}]})),
        ("gcp", json!({"allow": [{"project_ids": ["p"], "locations": ["us-west1"]}]})),
        (
            "kubernetes",
            json!({"type": "static_jwks", "static_jwks": {"jwks": keys}, "allow": [{"service_account": "ci:runner"}]}),
        ),
    ]
    .map(|(method, section)| settings(method, &section))
    .into()
});

pub fn key_set() -> String {
    let x = URL_SAFE_NO_PAD.encode(KEY.public_key());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]}).to_string()
}

/// The token of the issuer with these bytes as its claims.
pub fn minted(claims: &[u8]) -> String {
    let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"EdDSA","kid":"k"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(KEY.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

pub fn run(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let now = Timestamp::from_second(NOW).expect("a time");
    let text = String::from_utf8_lossy(data);
    let settings = &SETTINGS[usize::from(choice >> 3) % SETTINGS.len()];
    match choice % 8 {
        0 => {
            if let Ok(keys) = Jwks::parse(data) {
                // Of another issuer, or of this one.
                let _ = oidc::verify(&minted(b"{}"), &keys, settings, CLUSTER, now);
            }
        }
        1 => {
            let verified = oidc::verify(&text, &KEYS, settings, CLUSTER, now);
            assert!(verified.is_err(), "only the issuer signs: {text}");
        }
        2 => {
            if let Ok(claims) = oidc::verify(&minted(data), &KEYS, settings, CLUSTER, now) {
                let said: Value = serde_json::from_slice(data).expect("it was read");
                assert!(said["exp"].as_f64().is_some_and(|exp| exp > (NOW - 10) as f64));
                assert_eq!(claims.text("iss"), settings.issuer().as_deref().or(claims.text("iss")));
                let verdict = oidc::judge(settings, &claims);
                let fits =
                    |rule| verdict.checks.iter().filter(|check| check.rule == rule).all(|check| check.fits);
                assert!(verdict.rule.is_none_or(fits));
            }
        }
        3 => {
            if let Ok(claimed) = review::claimed(&text, CLUSTER, now) {
                let _ = claimed.verdict(settings);
            }
        }
        4 => {
            if let Ok(claims) = review::reviewed(data, CLUSTER) {
                assert!(claims.text("sub").is_some_and(|sub| sub.starts_with("system:serviceaccount:")));
            }
        }
        5 => {
            let signature = [7; 32];
            let good = iam::Shown {
                host: "sts.eu-central-1.amazonaws.com",
                date: "20300131T235959Z",
                access_key_id: "AKIDEXAMPLEEXAMPLE",
                session_token: "",
                signature: &signature,
            };
            if let Some(claims) = iam::verify(&claim(), &good).expect("is one").caller(data) {
                let account = claims.text("Account").expect("it has one");
                let fits = |arn: &str| arn.starts_with("arn:aws:") && arn.contains(account);
                assert!(claims.text("Arn").is_some_and(fits));
            }
            request(&text);
        }
        6 => attested(data, now),
        _ => machine(data),
    }
}

/// No document is signed by anybody here; what the joiner finds in it is a certificate and an address at most.
fn attested(data: &[u8], now: Timestamp) {
    let verified = azure::Attested::verify(data, &[data.to_vec()], &[], "nonce", now);
    assert!(verified.is_err(), "only Azure signs");
    if let Some(signer) = azure::signer(data) {
        assert!(data.windows(signer.len()).any(|window| window == signer));
        address(&signer);
    }
    address(data);
    let _ = azure::stated_nonce(data);
}

fn address(certificate: &[u8]) {
    if let Some(url) = azure::issuer_url(certificate) {
        assert!(url.starts_with("http://") && url.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

/// Whatever a machine is called, nobody else than the Resource Manager is asked about it, and nothing else.
fn machine(data: &[u8]) {
    let _ = azure::Machine::parse(data);
    if let Some(id) = azure::MachineId::parse(&String::from_utf8_lossy(data)) {
        let url = id.url(&azure::Cloud::ALL[0]);
        assert!(url.starts_with("https://management.azure.com/subscriptions/"));
        assert!(
            url.split('/').count() == 11 && !url.contains("/..") && url.matches('?').count() == 1,
            "{url}"
        );
        assert_eq!(azure::MachineId::parse(&id.to_string()), Some(id));
    }
}

/// Whatever is shown, nothing else than STS is asked, and no header has a line of its own.
fn request(text: &str) {
    let mut parts = text.split('\n');
    let mut next = || parts.next().unwrap_or_default();
    let (host, date, access_key_id, session_token) = (next(), next(), next(), next());
    let signature = [7; 32];
    let shown = iam::Shown { host, date, access_key_id, session_token, signature: &signature };
    if let Ok(request) = iam::verify(&claim(), &shown) {
        assert!(request.url.ends_with(".amazonaws.com/") || request.url.ends_with(".amazonaws.com.cn/"));
        assert!(request.url.starts_with("https://sts"));
        assert!(
            request.headers.iter().all(|(_, value)| value.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        );
    }
}

fn claim() -> Claim<'static> {
    Claim {
        token: "machines",
        role: SystemRole::Bot,
        attempt: &[1; 32],
        public_key: &[2; 91],
        challenge: &[3; 57],
    }
}

fn settings(method: &str, section: &Value) -> Oidc {
    let token = json!({"kind": "token", "version": "v2", "metadata": {"name": "t"}, "spec":
        {"roles": ["Bot"], "bot_name": "ci", "join_method": method, method: section}});
    match Resource::from_json(token) {
        Ok(Resource::Token(token)) => match token.spec.method {
            Method::Oidc(oidc) => *oidc,
            other => panic!("not of a platform: {other:?}"),
        },
        other => panic!("not a token: {other:?}"),
    }
}
