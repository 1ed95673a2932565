use super::*;
use access::resource::Resource;
use access::resource::token::Method;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;
use std::sync::OnceLock;

const CLUSTER: &str = "example.com";
const NOW: i64 = 1_700_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a valid time")
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer with a key of each kind.
struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

/// Keys are dear to make, so there is one.
fn issuer() -> &'static Issuer {
    static ISSUER: OnceLock<Issuer> = OnceLock::new();
    ISSUER.get_or_init(|| Issuer {
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("generates"),
        p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("generates"),
        ed25519: Ed25519KeyPair::generate().expect("generates"),
    })
}

impl Issuer {
    fn jwks(&self) -> Jwks {
        let (x, y) = self.p256.public_key().as_ref()[1..].split_at(32);
        // RSAPublicKey (RFC 8017, appendix A.1.1) of 2048 bits: two headers and a zero, the modulus, the exponent.
        let (n, e) = (&self.rsa.public_key().as_ref()[9..265], [1, 0, 1]);
        let keys = json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "use": "sig", "n": b64(n), "e": b64(e)},
            {"kty": "EC", "kid": "ec", "crv": "P-256", "alg": "ES256", "x": b64(x), "y": b64(y)},
            {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": b64(self.ed25519.public_key())},
            {"kty": "RSA", "kid": "encryption", "use": "enc", "n": b64(n), "e": b64(e)},
            {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
            {"kty": "new"},
        ]});
        Jwks::parse(keys.to_string().as_bytes()).expect("a key set")
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let random = SystemRandom::new();
        let rsa = |padding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &random, signed.as_bytes(), &mut signature).expect("signs");
            signature
        };
        let signature = match header["alg"].as_str() {
            Some("RS256") => rsa(&RSA_PKCS1_SHA256),
            Some("PS256") => rsa(&RSA_PSS_SHA256),
            Some("ES256") => self.p256.sign(&random, signed.as_bytes()).expect("signs").as_ref().to_vec(),
            Some("EdDSA") => self.ed25519.sign(signed.as_bytes()).as_ref().to_vec(),
            // With the public key as the shared secret, as old libraries took it.
            Some("HS256") => {
                let key =
                    aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.p256.public_key().as_ref());
                aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            _ => vec![],
        };
        format!("{signed}.{}", b64(signature))
    }
}

fn settings(method: &str, section: &Value) -> Oidc {
    let value = json!({"kind": "token", "version": "v2", "metadata": {"name": "t"}, "spec":
        {"roles": ["Bot"], "bot_name": "ci", "join_method": method, method: section}});
    match Resource::from_json(value) {
        Ok(Resource::Token(token)) => match token.spec.method {
            Method::Oidc(oidc) => *oidc,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn gitlab() -> Oidc {
    settings("gitlab", &json!({"allow": [{"project_path": "us/app"}]}))
}

fn claims() -> Value {
    json!({"iss": "https://gitlab.com", "aud": CLUSTER, "sub": "project_path:us/app", "project_path": "us/app",
        "iat": NOW - 5, "nbf": NOW - 10, "exp": NOW + 300})
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn check(header: &Value, claims: &Value) -> Result<Claims, Unverified> {
    verify(&issuer().token(header, claims), &issuer().jwks(), &gitlab(), CLUSTER, now())
}

#[test]
fn every_accepted_algorithm_is_verified_by_its_own_kind_of_key() {
    for (algorithm, kid) in [("RS256", "rsa"), ("PS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        check(&json!({"alg": algorithm, "kid": kid, "typ": "JWT"}), &claims()).expect(algorithm);
        check(&json!({"alg": algorithm}), &claims()).expect("a token need not name its key");
        for other in ["rsa", "ec", "ed"].into_iter().filter(|other| *other != kid) {
            let refused = check(&json!({"alg": algorithm, "kid": other}), &claims()).expect_err(other);
            assert_eq!(refused, Unverified::UnknownKey(other.to_owned()));
        }
        for strange in ["encryption", "secret", "../../etc/passwd", ""] {
            let refused = check(&json!({"alg": algorithm, "kid": strange}), &claims()).expect_err(strange);
            assert!(refused.may_be_rotation(), "{strange}");
        }
    }
}

/// Row J9 of the abuse tests: what is not signed by the issuer, by tricks of all ages.
#[test]
fn j9_nothing_else_is_a_signature() {
    for algorithm in ["none", "None", "NONE", "", "HS256", "HS512", "RS1", "ES384"] {
        let refused = check(&json!({"alg": algorithm}), &claims()).expect_err(algorithm);
        assert_eq!(refused, Unverified::Algorithm(algorithm.to_owned()));
    }
    let evil = json!({"alg": "ES256", "kid": "theirs", "jku": "https://evil.example/keys", "x5u": "https://evil.example"});
    assert_eq!(check(&evil, &claims()), Err(Unverified::UnknownKey("theirs".to_owned())));
    let critical = check(&json!({"alg": "ES256", "crit": ["b64"], "b64": false}), &claims());
    assert!(matches!(critical, Err(Unverified::Malformed(_))));
    let good = issuer().token(&json!({"alg": "ES256", "kid": "ec"}), &claims());
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (header, _) = signed.split_once('.').expect("three parts");
    let forged =
        format!("{header}.{}.{signature}", b64(with(&json!({"project_path": "them/app"})).to_string()));
    let long = format!("{}.{}", "A".repeat(1 << 20), good);
    for (token, expected) in [
        (forged.as_str(), Unverified::Signature),
        (&format!("{signed}."), Unverified::Signature),
        (signed, Unverified::Malformed("")),
        (&format!("{good}="), Unverified::Malformed("")),
        (&format!(" {good}"), Unverified::Malformed("")),
        ("", Unverified::Malformed("")),
        ("..", Unverified::Malformed("")),
        (&long, Unverified::Malformed("")),
    ] {
        let refused = verify(token, &issuer().jwks(), &gitlab(), CLUSTER, now()).expect_err("is refused");
        assert_eq!(std::mem::discriminant(&refused), std::mem::discriminant(&expected), "{refused}");
    }
}

#[test]
fn issuer_audience_and_times_must_be_right() {
    let header = json!({"alg": "ES256", "kid": "ec"});
    for fine in [
        json!({"aud": ["other", CLUSTER]}),
        json!({"nbf": null}),
        json!({"exp": NOW - 9}),
        json!({"iat": NOW + 10, "nbf": NOW + 10}),
        json!({"exp": NOW as f64 + 60.5}),
    ] {
        check(&header, &with(&fine)).unwrap_or_else(|refused| panic!("{fine}: {refused}"));
    }
    for (change, claim) in [
        (json!({"iss": "https://gitlab.com/"}), "iss"),
        (json!({"iss": "https://gitlab.example.com"}), "iss"),
        (json!({"iss": null}), "iss"),
        (json!({"aud": "other"}), "aud"),
        (json!({"aud": ["other"]}), "aud"),
        (json!({"aud": {"x": CLUSTER}}), "aud"),
        (json!({"aud": null}), "aud"),
        (json!({"exp": NOW - 10}), "exp"),
        (json!({"exp": null}), "exp"),
        (json!({"exp": "soon"}), "exp"),
        (json!({"exp": 1e300}), "exp"),
        (json!({"exp": -1}), "exp"),
        (json!({"iat": null}), "iat"),
        (json!({"iat": NOW + 11, "nbf": NOW}), "iat"),
        (json!({"nbf": NOW + 11}), "nbf"),
        (json!({"nbf": "x"}), "nbf"),
        (json!({"exp": NOW + 24 * 3600}), "exp"),
    ] {
        match check(&header, &with(&change)) {
            Err(Unverified::Claim { claim: found, .. }) => assert_eq!(found, claim, "{change}"),
            other => panic!("{change}: {other:?}"),
        }
    }
}

/// For each platform: a section, the claims of one of its jobs, and changes to the claims that no rule fits.
fn platforms() -> Vec<(&'static str, Value, Value, Value, Vec<Value>)> {
    let org = "c3b8a3d2-0000-4000-8000-000000000000";
    vec![
        (
            "github",
            json!({"enterprise_server_host": "github.example.com:8443",
                "allow": [{"repository": "us/app", "environment": "prod"}]}),
            json!({"iss": "https://github.example.com:8443/_services/token", "aud": CLUSTER}),
            json!({"repository": "us/app", "environment": "prod"}),
            vec![
                json!({"repository": "us/app2"}),
                json!({"environment": "Prod"}),
                json!({"environment": null}),
                json!({"repository": ["us/app"]}),
            ],
        ),
        (
            "github",
            json!({"enterprise_slug": "acme", "allow": [{"sub": "repo:us/*"}, {"repository_owner": "us", "ref": "refs/heads/main"}]}),
            json!({"iss": "https://token.actions.githubusercontent.com/acme", "aud": CLUSTER}),
            json!({"sub": "repo:us/app:ref:refs/heads/main", "repository_owner": "us", "ref": "refs/heads/main"}),
            // No patterns here: the first rule never fits.
            vec![json!({"ref": "refs/heads/x"})],
        ),
        (
            "gitlab",
            json!({"domain": "gitlab.example.com", "allow": [{"project_path": "us/*", "ref_protected": true, "ref": "release-?"}]}),
            json!({"iss": "https://gitlab.example.com", "aud": CLUSTER}),
            json!({"project_path": "us/app", "ref_protected": "true", "ref": "release-1"}),
            vec![
                json!({"project_path": "them/us/app"}),
                json!({"ref_protected": "false"}),
                json!({"ref": "release-10"}),
            ],
        ),
        (
            "circleci",
            json!({"organization_id": org, "allow": [{"project_id": "p1", "context_id": "c2"}]}),
            json!({"iss": format!("https://oidc.circleci.com/org/{org}"), "aud": org}),
            json!({"oidc.circleci.com/project-id": "p1", "oidc.circleci.com/context-ids": ["c1", "c2"]}),
            vec![
                json!({"oidc.circleci.com/context-ids": ["c1"]}),
                json!({"oidc.circleci.com/context-ids": "c2"}),
                json!({"oidc.circleci.com/project-id": "p"}),
            ],
        ),
        (
            "spacelift",
            json!({"hostname": "acme.app.spacelift.io", "enable_glob_matching": true, "allow": [{"space_id": "root-*", "scope": "write"}]}),
            json!({"iss": "https://acme.app.spacelift.io", "aud": "acme.app.spacelift.io"}),
            json!({"spaceId": "root-1", "scope": "write"}),
            vec![json!({"scope": "read"}), json!({"spaceId": "legacy"})],
        ),
        (
            "spacelift",
            json!({"hostname": "acme.app.spacelift.io", "allow": [{"caller_id": "stack-*"}, {"caller_id": "stack-1", "caller_type": "stack"}]}),
            json!({"iss": "https://acme.app.spacelift.io", "aud": "acme.app.spacelift.io"}),
            json!({"callerId": "stack-1", "callerType": "stack"}),
            vec![json!({"callerId": "stack-2"}), json!({"callerType": "module"})],
        ),
        (
            "terraform_cloud",
            json!({"audience": "postern", "allow": [{"organization_name": "acme", "workspace_name": "prod", "run_phase": "apply"}]}),
            json!({"iss": "https://app.terraform.io", "aud": "postern"}),
            json!({"terraform_organization_name": "acme", "terraform_workspace_name": "prod", "terraform_run_phase": "apply"}),
            vec![json!({"terraform_run_phase": "plan"}), json!({"terraform_organization_name": "evil"})],
        ),
        (
            "bitbucket",
            json!({"audience": "ari:cloud:bitbucket::workspace/x",
                "identity_provider_url": "https://api.bitbucket.org/2.0/workspaces/us/pipelines-config/identity/oidc",
                "allow": [{"workspace_uuid": "{w}", "branch_name": "main"}]}),
            json!({"iss": "https://api.bitbucket.org/2.0/workspaces/us/pipelines-config/identity/oidc",
                "aud": ["ari:cloud:bitbucket::workspace/x"]}),
            json!({"workspaceUuid": "{w}", "branchName": "main"}),
            vec![json!({"branchName": "dev"}), json!({"workspaceUuid": null})],
        ),
        (
            "azure_devops",
            json!({"organization_id": org, "allow": [{"project_name": "app", "pipeline_name": "deploy"}]}),
            json!({"iss": format!("https://vstoken.dev.azure.com/{org}"), "aud": "api://AzureADTokenExchange"}),
            json!({"sub": "p://acme/app/deploy"}),
            vec![
                json!({"sub": "p://acme/app2/deploy"}),
                json!({"sub": "p://acme/x/app/deploy"}),
                json!({"sub": "sc://acme/app/deploy"}),
            ],
        ),
        (
            "env0",
            json!({"allow": [{"organization_id": org, "project_name": "prod", "deployment_type": "deploy"},
                {"organization_id": org, "env0_tag": "trusted"}]}),
            json!({"iss": "https://login.app.env0.com/", "aud": ["https://prod.env0.com"], "apiKeyType": "oidc"}),
            json!({"organizationId": org, "projectName": "prod", "deploymentType": "deploy"}),
            vec![
                json!({"organizationId": "c3b8a3d2-0000-4000-8000-000000000001"}),
                json!({"deploymentType": "prPlan"}),
                json!({"projectName": null, "https://env0.com/projectName": "prod"}),
            ],
        ),
        (
            "kubernetes",
            json!({"type": "static_jwks", "static_jwks": {"jwks": {"keys": [{"kty": "new"}]}}, "allow": [{"service_account": "ci:runner"}]}),
            json!({"iss": "https://kubernetes.default.svc", "aud": [CLUSTER]}),
            json!({"sub": "system:serviceaccount:ci:runner", "kubernetes.io": {"pod": {"name": "p"}}}),
            vec![
                json!({"sub": "system:serviceaccount:ci:runner2"}),
                json!({"sub": "ci:runner"}),
                json!({"sub": "system:serviceaccount:ci:runner:x"}),
            ],
        ),
    ]
}

#[test]
fn each_platforms_jobs_join_by_their_rules_and_no_others() {
    let header = json!({"alg": "ES256", "kid": "ec"});
    for (method, section, names, job, others) in platforms() {
        let oidc = settings(method, &section);
        let verdict = |changes: &[&Value]| {
            let all = changes.iter().fold(claims(), |mut claims, change| {
                for (name, value) in change.as_object().expect("an object") {
                    claims[name] = value.clone();
                }
                claims
            });
            let token = issuer().token(&header, &all);
            let claims = verify(&token, &issuer().jwks(), &oidc, CLUSTER, now());
            judge(&oidc, &claims.unwrap_or_else(|refused| panic!("{method}: {refused}")))
        };
        let nothing = json!({"project_path": null, "sub": null});
        let allowed = verdict(&[&nothing, &names, &job]);
        assert!(allowed.rule.is_some(), "{method}: {allowed:?}");
        for other in others {
            let refused = verdict(&[&nothing, &names, &job, &other]);
            assert_eq!(refused.rule, None, "{method}: {other}");
            assert!(refused.checks.iter().any(|check| !check.fits), "{method}: {other}");
        }
        let elsewhere = json!({"iss": "https://issuer.example.com"});
        if oidc.issuer().is_some() {
            let token = issuer().token(&header, &with(&elsewhere));
            assert!(verify(&token, &issuer().jwks(), &oidc, CLUSTER, now()).is_err(), "{method}");
        }
    }
}

#[test]
fn a_deployment_of_env0_shows_a_token_that_was_made_for_it() {
    let oidc = settings("env0", &json!({"allow": [{"organization_id": "o"}]}));
    let good = json!({"iss": "https://login.app.env0.com/", "aud": "https://prod.env0.com", "apiKeyType": "oidc",
        "exp": NOW + 86_400, "iat": NOW, "nbf": null});
    let check = |oidc: &Oidc, name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        let token = issuer().token(&json!({"alg": "RS256", "kid": "rsa"}), &claims);
        verify(&token, &issuer().jwks(), oidc, CLUSTER, now()).is_ok()
    };
    assert!(check(&oidc, "sub", json!("auth0|x")));
    for (name, value) in [
        ("apiKeyType", json!("personal")),
        ("apiKeyType", Value::Null),
        ("aud", json!(CLUSTER)),
        ("aud", json!("https://app.env0.com")),
        ("iss", json!("https://login.app.env0.com")),
    ] {
        assert!(!check(&oidc, name, value.clone()), "{name}: {value}");
    }
    let section = json!({"audience": "https://app.env0.com", "allow": [{"organization_id": "o"}]});
    assert!(check(&settings("env0", &section), "aud", json!("https://app.env0.com")));
}

#[test]
fn an_access_token_of_azure_says_which_machine_its_identity_is_of() {
    use crate::azure::{Cloud, MachineId};
    let (tenant, principal) =
        ("33333333-AAAA-4bbb-8ccc-444444444444", "55555555-aaaa-4bbb-8ccc-666666666666");
    let machine = |kind: &str| {
        format!(
            "/subscriptions/11111111-aaaa-4bbb-8ccc-222222222222/resourcegroups/ci_(1)/providers/{kind}/runner-1"
        )
    };
    let vm = machine("Microsoft.Compute/virtualMachines");
    let own = machine("Microsoft.ManagedIdentity/userAssignedIdentities");
    // As Azure dates them.
    let good = json!({"aud": "https://management.azure.com/", "iss": format!("https://sts.windows.net/{}/", tenant.to_lowercase()),
        "tid": tenant, "oid": principal, "iat": NOW - 300, "nbf": NOW - 300, "exp": NOW + 86_400, "xms_mirid": vm});
    let check = |cloud: usize, header: Value, changes: Value| {
        let mut claims = good.clone();
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let token = issuer().token(&header, &claims);
        verify_managed_identity(&token, &issuer().jwks(), &Cloud::ALL[cloud], now())
    };
    let rsa = || json!({"alg": "RS256", "kid": "rsa"});
    for changes in [
        json!({}),
        json!({"aud": "https://management.azure.com"}),
        json!({"xms_mirid": own, "xms_az_rid": vm}),
    ] {
        let identity = check(0, rsa(), changes).expect("is one");
        assert_eq!((identity.tenant, identity.principal.as_str()), (tenant.to_lowercase(), principal));
        let url = identity.machine.url(&Cloud::ALL[0]);
        assert!(
            url.starts_with(
                "https://management.azure.com/subscriptions/11111111-aaaa-4bbb-8ccc-222222222222/"
            )
        );
        assert_eq!(identity.machine.resource_group, "ci_(1)");
    }
    for (claim, changes) in [
        ("aud", json!({"aud": "https://management.azure.com.evil.example/"})),
        ("aud", json!({"aud": "https://vault.azure.net"})),
        ("iss", json!({"iss": "https://sts.windows.net/common/"})),
        ("iss", json!({"tid": principal})),
        ("tid", json!({"tid": "x/../y", "iss": "https://sts.windows.net/x/../y/"})),
        ("oid", json!({"oid": null})),
        ("exp", json!({"exp": NOW - 11})),
        ("exp", json!({"exp": NOW + 3 * 86_400})),
        ("nbf", json!({"nbf": NOW + 60})),
        ("xms_mirid", json!({"xms_mirid": own})),
        ("xms_az_rid", json!({"xms_az_rid": own})),
    ] {
        let refused = check(0, rsa(), changes);
        assert!(
            matches!(refused, Err(Unverified::Claim { claim: found, .. }) if found == claim),
            "{claim}: {refused:?}"
        );
    }
    // Another cloud's Resource Manager, and what is no signature.
    assert!(matches!(check(1, rsa(), json!({})), Err(Unverified::Claim { claim: "aud", .. })));
    for algorithm in ["none", "HS256"] {
        let refused = check(0, json!({"alg": algorithm, "kid": "ec"}), json!({}));
        assert!(matches!(refused, Err(Unverified::Algorithm(_))), "{refused:?}");
    }
    for wrong in [
        "",
        "/",
        "/subscriptions/11111111-aaaa-4bbb-8ccc-222222222222",
        &vm[1..],
        &format!("{vm}/"),
        &format!("{vm}/extensions"),
        &vm.replace("runner-1", ".."),
        &vm.replace("runner-1", ""),
        &vm.replace("runner-1", "a?b"),
        &vm.replace("runner-1", "a#b"),
        &vm.replace("runner-1", "a%2fb"),
        &vm.replace("ci_(1)", "."),
        &vm.replace("Microsoft.Compute", "Microsoft.Compute.x"),
        &vm.replace("11111111-", "1111-1111"),
        &machine("Microsoft.Compute/virtualMachineScaleSets"),
    ] {
        assert_eq!(MachineId::parse(wrong), None, "{wrong}");
    }
    assert!(MachineId::parse(&vm.to_uppercase()).is_some());
}

#[test]
fn a_service_account_needs_a_pod_and_a_short_life() {
    let (_, section, _, _, _) = platforms().pop().expect("the last one");
    let oidc = settings("kubernetes", &section);
    let check = |changes: &Value| {
        let token = issuer().token(&json!({"alg": "RS256", "kid": "rsa"}), &with(changes));
        verify(&token, &issuer().jwks(), &oidc, CLUSTER, now()).map(drop)
    };
    let pod = json!({"pod": {"name": "runner-1", "uid": "u"}});
    assert_eq!(check(&json!({"kubernetes.io": pod})), Ok(()));
    for change in [
        json!({}),
        json!({"kubernetes.io": {"serviceaccount": {"name": "runner"}}}),
        json!({"kubernetes.io": {"pod": {"name": ""}}}),
        json!({"kubernetes.io": pod, "exp": NOW + 1801}),
    ] {
        assert!(matches!(check(&change), Err(Unverified::Claim { .. })), "{change}");
    }
}

/// Whoever makes an account with somebody else's address has an ID token that names it.
#[test]
fn an_address_counts_once_google_has_verified_it() {
    let oidc =
        settings("gcp", &json!({"allow": [{"project_ids": ["p"], "service_accounts": ["ci@p.example"]}]}));
    let of_machine = json!({"iss": "https://accounts.google.com", "email": "ci@p.example",
        "google": {"compute_engine": {"project_id": "p"}}});
    let check = |verified: Value| {
        let mut all = with(&of_machine);
        match verified {
            Value::Null => {}
            verified => all["email_verified"] = verified,
        }
        let token = issuer().token(&json!({"alg": "ES256", "kid": "ec"}), &all);
        verify(&token, &issuer().jwks(), &oidc, CLUSTER, now())
    };
    let claims = check(json!(true)).expect("is verified");
    assert_eq!(judge(&oidc, &claims).rule, Some(0));
    for (wrong, shown) in [
        (Value::Null, "missing"),
        (json!(false), "false"),
        (json!("true"), "\"true\""),
        (json!(1), "1"),
        (json!([true]), "[true]"),
    ] {
        let Err(Unverified::Claim { claim, found, .. }) = check(wrong) else { panic!("{shown} is refused") };
        assert_eq!((claim, found.as_str()), ("email_verified", shown));
    }
}

#[test]
fn key_sets_are_bounded_and_useful() {
    for (json, expected) in [
        (String::new(), KeySetError::Malformed),
        ("[]".to_owned(), KeySetError::Malformed),
        (r#"{"keys": 1}"#.to_owned(), KeySetError::Malformed),
        (r#"{"keys": []}"#.to_owned(), KeySetError::NoKey),
        (r#"{"keys": [{"kty": "oct", "k": "eA"}, {"kty": "EC", "crv": "P-256", "x": "eA", "y": "eA"}, 7]}"#.to_owned(), KeySetError::NoKey),
        (format!(r#"{{"keys": [{}1]}}"#, "1,".repeat(64)), KeySetError::TooLarge),
        (" ".repeat(64 * 1024 + 1), KeySetError::TooLarge),
    ] {
        let shown: String = json.chars().take(60).collect();
        assert_eq!(Jwks::parse(json.as_bytes()), Err(expected), "{shown}");
    }
}

/// The claims of a JWT-SVID with these changes.
fn svid_with(changes: Value) -> Value {
    let mut claims =
        json!({"sub": "spiffe://example.com/svc/web", "aud": ["vault"], "iat": NOW - 10, "exp": NOW + 290});
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn svid(claims: &Value) -> Result<String, Unverified> {
    let token = issuer().token(&json!({"alg": "ES256", "kid": "ec"}), claims);
    let cluster = access::ClusterName::new(CLUSTER).expect("a name");
    verify_svid(&token, &issuer().jwks(), &cluster, "vault", now()).map(|(id, _)| id.to_string())
}

#[test]
fn a_jwt_svid_is_of_this_cluster_for_its_audience_and_ends() {
    let id = "spiffe://example.com/svc/web";
    for fine in
        [json!({}), json!({"aud": "vault"}), json!({"aud": ["x", "vault"]}), json!({"iss": "anybody"})]
    {
        assert_eq!(svid(&svid_with(fine.clone())), Ok(id.to_owned()), "{fine}");
    }
    for (change, claim) in [
        (json!({"sub": null}), "sub"),
        (json!({"sub": "web"}), "sub"),
        (json!({"sub": "spiffe://example.com"}), "sub"),
        (json!({"sub": "spiffe://other.example/svc/web"}), "sub"),
        (json!({"aud": null}), "aud"),
        (json!({"aud": ["db"]}), "aud"),
        (json!({"aud": {"vault": 1}}), "aud"),
        (json!({"exp": null}), "exp"),
        (json!({"exp": NOW - 10}), "exp"),
        (json!({"exp": NOW + 24 * 3600}), "exp"),
        (json!({"nbf": NOW + 11}), "nbf"),
    ] {
        match svid(&svid_with(change.clone())) {
            Err(Unverified::Claim { claim: said, .. }) => assert_eq!(said, claim, "{change}"),
            other => panic!("{change}: {other:?}"),
        }
    }
    let good = issuer().token(&json!({"alg": "ES256", "kid": "ec"}), &svid_with(json!({})));
    let cluster = access::ClusterName::new(CLUSTER).expect("a name");
    let strange = issuer().token(&json!({"alg": "HS256", "kid": "ec"}), &svid_with(json!({})));
    for token in ["", "a.b.c", &good[..good.len() - 4], strange.as_str()] {
        assert!(verify_svid(token, &issuer().jwks(), &cluster, "vault", now()).is_err(), "{token}");
    }
    assert!(verify_svid(&good, &issuer().jwks(), &cluster, "", now()).is_err(), "for nobody");
}

proptest! {
    #[test]
    fn no_token_panics(token in "[A-Za-z0-9_.=-]{0,300}") {
        prop_assert!(verify(&token, &issuer().jwks(), &gitlab(), CLUSTER, now()).is_err());
    }

    #[test]
    fn no_parts_panic(header in any::<String>(), claims in any::<String>(), signature in any::<Vec<u8>>()) {
        let token = format!("{}.{}.{}", b64(header), b64(claims), b64(signature));
        prop_assert!(verify(&token, &issuer().jwks(), &gitlab(), CLUSTER, now()).is_err());
    }

    #[test]
    fn no_key_set_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Jwks::parse(&bytes);
    }
}
