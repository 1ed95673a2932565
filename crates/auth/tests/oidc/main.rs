//! Jobs that a platform vouches for, with a real issuer (oauth2-mock-server) behind real TLS: its keys found and
//! followed, its tokens verified, the rules of join tokens, and what is told of a refusal to whom.

#[path = "../harness/mod.rs"]
mod harness;

use api::status::{Class, Problem};
use api::v1;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use auth::kubernetes::KubernetesApi;
use harness::{Auth, Joiner, confirm, generation, instance, output, renew};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::sync::Arc;
use store::Clock as _;
use testkit::Issuer;

const CLUSTER: &str = "example.com";

/// A cluster that believes this issuer's web server, and a bot.
async fn cluster(issuer: &Issuer) -> Auth {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let roots = vec![issuer.root.clone()];
    let auth = Auth::start_in(directory, Arc::default(), |config| config.issuer_roots = roots).await;
    let auth = auth.expect("starts");
    auth.bot("ci").await;
    auth
}

async fn token(auth: &Auth, method: &str, section: &Value) {
    let token = json!({"kind": "token", "version": "v2", "metadata": {"name": "jobs"}, "spec":
        {"roles": ["Bot"], "bot_name": "ci", "join_method": method, method: section}});
    let request = v1::UpsertRequest { json: token.to_string() };
    ResourceServiceClient::new(auth.admin()).upsert(request).await.expect("is made");
}

async fn gitlab(issuer: &Issuer) -> Auth {
    let auth = cluster(issuer).await;
    token(
        &auth,
        "gitlab",
        &json!({"domain": issuer.host, "allow": [{"project_path": "us/*", "ref": "main"}]}),
    )
    .await;
    auth
}

fn job() -> Value {
    json!({"aud": CLUSTER, "sub": "project_path:us/app:ref_type:branch:ref:main", "project_path": "us/app", "ref": "main"})
}

fn changed(change: &Value) -> Value {
    let mut job = job();
    for (name, value) in change.as_object().expect("an object") {
        job[name] = value.clone();
    }
    job
}

async fn refused(auth: &Auth, id_token: &str) -> Problem {
    Joiner::job("jobs", id_token).join(auth.stranger()).await.expect_err("is refused")
}

async fn explained(auth: &Auth, problem: &Problem) -> v1::ExplainJoinResponse {
    let (_, attempt) = problem.hint.rsplit_once(' ').expect("the hint ends with the attempt");
    let request = v1::ExplainJoinRequest { attempt: attempt.to_owned() };
    ClusterServiceClient::new(auth.admin()).explain_join(request).await.expect("is explained").into_inner()
}

#[tokio::test]
async fn a_job_joins_renews_by_a_new_id_token_and_stays_the_same_instance() {
    let Some(issuer) = Issuer::start("") else { return };
    let auth = gitlab(&issuer).await;
    let joiner = Joiner::job("jobs", &issuer.mint(&job()));
    let first = auth.join(&joiner).await.expect("joins");
    let again = auth.join(&joiner).await.expect("a lost answer is a retry");
    assert_eq!(instance(&first), instance(&again));
    assert!(!first.identity().user().expect("a user").renewable);
    let out = output(auth.member(&again), &[], 24 * 3600).await.expect("gets an output");
    assert!(out.expires() <= again.expires());
    let next = Joiner { id_token: issuer.mint(&job()), ..joiner.next() };
    let second = next.join(auth.member(&again)).await.expect("renews");
    assert_eq!((instance(&second), generation(&second)), (instance(&first), Some(2)));
    confirm(auth.member(&second)).await.expect("confirms");
    // Another job, and one with the certificate of a generation that was left behind: instances of their own.
    let other = auth.join(&Joiner::job("jobs", &issuer.mint(&job()))).await.expect("the token is reusable");
    let late = Joiner { id_token: issuer.mint(&job()), ..joiner.next() };
    let late = late.join(auth.member(&first)).await.expect("the proof is the platform's");
    assert_ne!(instance(&late), instance(&other));
    assert_eq!(auth.instances("ci").await.len(), 3);
    assert!(auth.core().catalog.view().locks.is_empty(), "nobody is a thief");
    let joins = auth.events("bot.join").await;
    assert!(joins.iter().all(|join| join["method"] == "gitlab" && join["token_name"] == "jobs"));
    assert_eq!(joins[0]["attributes"], json!({"project_path": "\"us/app\"", "ref": "\"main\""}));
    assert_eq!(issuer.asked(), 2, "discovery and keys, once");
}

#[tokio::test]
async fn an_attempt_that_a_platform_vouched_for_is_nothing_without_it() {
    let Some(issuer) = Issuer::start("") else { return };
    let auth = gitlab(&issuer).await;
    let joiner = Joiner::job("jobs", &issuer.mint(&job()));
    let first = auth.join(&joiner).await.expect("joins");
    let refused = renew(auth.member(&first), &harness::key()).await.expect_err("by the platform alone");
    assert_eq!(refused.code, "not_renewable");
    // The same key and the same attempt, in the way of method token; then without the join token, too.
    let alone = Joiner { id_token: String::new(), ..joiner };
    for _ in 0..2 {
        assert_eq!(auth.join(&alone).await.expect_err("nobody vouches").code, "token_invalid");
        let request = v1::DeleteRequest { kind: "token".to_owned(), name: "jobs".to_owned() };
        let _ = ResourceServiceClient::new(auth.admin()).delete(request).await;
    }
    let joins = auth.events("bot.join").await;
    assert!(joins.iter().filter(|join| join["success"] == true).all(|join| join["method"] == "gitlab"));
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_found_and_an_old_one_is_over() {
    let Some(issuer) = Issuer::start("") else { return };
    let auth = gitlab(&issuer).await;
    let old = issuer.mint(&job());
    auth.join(&Joiner::job("jobs", &old)).await.expect("joins");
    for (algorithm, id) in [("ES256", "second"), ("PS256", "third"), ("EdDSA", "fourth")] {
        issuer.renew(algorithm, id);
        auth.clock.advance(SignedDuration::from_secs(10));
        let token = issuer.mint(&job());
        auth.join(&Joiner::job("jobs", &token))
            .await
            .unwrap_or_else(|problem| panic!("{algorithm}: {problem}"));
    }
    let over = refused(&auth, &old).await;
    let told = explained(&auth, &over).await;
    assert!(told.reason.contains("no key \"first\""), "{told:?}");
    // Strangers do not make auth ask again and again.
    let asked = issuer.asked();
    for n in 0..5 {
        refused(&auth, &issuer.mint_with(&job(), &json!({"kid": format!("unknown-{n}")}))).await;
    }
    assert!(issuer.asked() <= asked + 2, "at most once in ten seconds");
    // An algorithm that nobody should use any more.
    issuer.renew("RS512", "fifth");
    auth.clock.advance(SignedDuration::from_secs(10));
    let told = explained(&auth, &refused(&auth, &issuer.mint(&job())).await).await;
    assert!(told.reason.contains("\"RS512\" is not accepted"), "{told:?}");
}

#[tokio::test]
async fn what_is_wrong_is_told_to_administrators_alone() {
    let Some(issuer) = Issuer::start("") else { return };
    let auth = gitlab(&issuer).await;
    let now = auth.clock.now().as_second();
    let elsewhere = Issuer::start("").expect("as the first");
    let mut words = std::collections::BTreeSet::new();
    for (id_token, field, found) in [
        (issuer.mint(&changed(&json!({"aud": "other.example.com"}))), "aud", "other.example.com"),
        (issuer.mint(&changed(&json!({"iss": "https://gitlab.com"}))), "iss", "gitlab.com"),
        (issuer.mint(&changed(&json!({"exp": now - 60, "iat": now - 120}))), "exp", ""),
        (issuer.mint(&changed(&json!({"nbf": now + 60}))), "nbf", ""),
        (issuer.mint(&changed(&json!({"exp": now + 48 * 3600}))), "exp", ""),
        (elsewhere.mint_with(&job(), &json!({"kid": "first"})), "ID token", "signature is wrong"),
        ("not.a.token".to_owned(), "ID token", "no signed ID token"),
        (issuer.mint(&changed(&json!({"project_path": "them/app"}))), "project_path", "them/app"),
        (issuer.mint(&changed(&json!({"ref": null}))), "ref", "missing"),
    ] {
        let problem = refused(&auth, &id_token).await;
        assert_eq!((problem.class, problem.code.as_str()), (Class::Denied, "join_refused"), "{problem}");
        words.insert(problem.reason.clone());
        let told = explained(&auth, &problem).await;
        let wrong: Vec<_> = told.checks.iter().filter(|check| !check.fits).collect();
        assert!(
            wrong.iter().any(|check| check.field == field && check.found.contains(found)),
            "{field}: {told:?}"
        );
    }
    // There is no such token, it is of another method: the same words.
    let id_token = issuer.mint(&job());
    for token in ["no-such-token".to_owned(), auth.bot_token("ci").await] {
        let problem = Joiner::job(&token, &id_token).join(auth.stranger()).await.expect_err("is refused");
        words.insert(problem.reason);
    }
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(auth.instances("ci").await.is_empty());
    let failed = auth.events("bot.join").await;
    assert!(failed.iter().all(|event| event["attempt"].as_str().is_some_and(|attempt| attempt.len() == 16)));
    // Who may not read tokens is told nothing.
    let own = auth.join(&Joiner::job("jobs", &id_token)).await.expect("joins");
    let request = v1::ExplainJoinRequest { attempt: "0".repeat(16) };
    let denied =
        ClusterServiceClient::new(auth.member(&own)).explain_join(request).await.expect_err("denied");
    assert_eq!(Problem::of(&denied).class, Class::Denied);
}

#[tokio::test]
async fn each_host_that_can_be_ones_own_is_asked_for_its_keys() {
    let rule = json!({"sub": "s"});
    for (method, prefix, claims) in [
        ("github", "/_services/token", json!({"aud": CLUSTER, "sub": "s"})),
        ("spacelift", "", json!({"spaceId": "root"})),
        (
            "terraform_cloud",
            "",
            json!({"aud": CLUSTER, "terraform_organization_name": "o", "terraform_workspace_name": "w"}),
        ),
        (
            "bitbucket",
            "/2.0/workspaces/us/pipelines-config/identity/oidc",
            json!({"aud": "ari:x", "workspaceUuid": "{w}"}),
        ),
    ] {
        let Some(issuer) = Issuer::start(prefix) else { return };
        let auth = cluster(&issuer).await;
        let host = &issuer.host;
        let section = match method {
            "github" => json!({"enterprise_server_host": host, "allow": [rule]}),
            "spacelift" => json!({"hostname": host, "allow": [{"space_id": "root"}]}),
            "terraform_cloud" => {
                json!({"hostname": host, "allow": [{"organization_name": "o", "workspace_name": "w"}]})
            }
            _ => {
                json!({"audience": "ari:x", "identity_provider_url": format!("https://{host}{prefix}"), "allow": [{"workspace_uuid": "{w}"}]})
            }
        };
        token(&auth, method, &section).await;
        let mut claims = claims;
        if method == "spacelift" {
            claims["aud"] = json!(host);
        }
        let joined = auth.join(&Joiner::job("jobs", &issuer.mint(&claims))).await;
        joined.unwrap_or_else(|problem| panic!("{method}: {problem}"));
    }
}

#[tokio::test]
async fn keys_may_be_given_and_then_nobody_is_asked() {
    let Some(issuer) = Issuer::start("") else { return };
    let auth = cluster(&issuer).await;
    let keys = issuer.keys().to_string();
    token(
        &auth,
        "gitlab",
        &json!({"domain": issuer.host, "static_jwks": keys, "allow": [{"project_path": "us/app"}]}),
    )
    .await;
    auth.join(&Joiner::job("jobs", &issuer.mint(&job()))).await.expect("joins");
    let section = json!({"type": "static_jwks", "static_jwks": {"jwks": keys}, "allow": [{"service_account": "ci:runner"}]});
    token(&auth, "kubernetes", &section).await;
    let pod = |change: &Value| {
        let now = auth.clock.now().as_second();
        let mut claims = json!({"iss": "https://kubernetes.default.svc.cluster.local", "aud": [CLUSTER], "exp": now + 600,
            "sub": "system:serviceaccount:ci:runner", "kubernetes.io": {"namespace": "ci", "pod": {"name": "runner-1"}}});
        for (name, value) in change.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        Joiner::job("jobs", &issuer.mint(&claims))
    };
    auth.join(&pod(&json!({}))).await.expect("joins");
    for change in [
        json!({"sub": "system:serviceaccount:ci:other"}),
        json!({"kubernetes.io": {"namespace": "ci"}}),
        json!({"aud": ["https://kubernetes.default.svc"]}),
        json!({"exp": auth.clock.now().as_second() + 3600}),
    ] {
        let problem = auth.join(&pod(&change)).await.expect_err("is refused");
        assert_eq!(problem.code, "join_refused", "{change}");
    }
    assert_eq!(issuer.asked(), 0);
}

#[tokio::test]
async fn an_issuer_that_is_away_may_come_back_and_one_nobody_believes_is_not_asked() {
    let Some(issuer) = Issuer::start("") else { return };
    let auth = gitlab(&issuer).await;
    let id_token = issuer.mint(&job());
    auth.join(&Joiner::job("jobs", &id_token)).await.expect("joins");
    let host = issuer.host.clone();
    drop(issuer);
    // Its keys are good for a while without it.
    auth.clock.advance(SignedDuration::from_mins(20));
    auth.join(&Joiner::job("jobs", &id_token)).await.expect("joins");
    let (directory, _) = auth.stop().await;
    let auth = Auth::start_in(directory, Arc::default(), |_| {}).await.expect("starts");
    let away = refused(&auth, &id_token).await;
    assert_eq!((away.class, away.code.as_str()), (Class::Unavailable, "issuer_unavailable"), "{away}");
    let other = Issuer::start("").expect("as the first");
    token(&auth, "gitlab", &json!({"domain": other.host, "allow": [{"project_path": "us/app"}]})).await;
    let away = refused(&auth, &other.mint(&job())).await;
    assert_eq!(away.code, "issuer_unavailable", "its certificate is of no authority that is believed");
    assert_eq!(other.asked(), 0);
    assert_ne!(host, other.host);
}

/// A pod may be a node: its service account is proven each time that it joins, a retry included.
#[tokio::test]
async fn a_node_joins_as_the_service_account_that_it_runs_as() {
    let Some(issuer) = Issuer::start("") else { return };
    let auth = cluster(&issuer).await;
    let section = json!({"type": "static_jwks", "static_jwks": {"jwks": issuer.keys().to_string()},
        "allow": [{"service_account": "infra:gate"}]});
    let token = json!({"kind": "token", "version": "v2", "metadata": {"name": "gates"}, "spec":
        {"roles": ["Node", "Proxy"], "join_method": "kubernetes", "kubernetes": section}});
    let request = v1::UpsertRequest { json: token.to_string() };
    ResourceServiceClient::new(auth.admin()).upsert(request).await.expect("is made");
    let id_token = |account: &str| {
        let now = auth.clock.now().as_second();
        issuer.mint(
            &json!({"iss": "https://kubernetes.default.svc.cluster.local", "aud": [CLUSTER], "exp": now + 600,
            "sub": format!("system:serviceaccount:infra:{account}"),
            "kubernetes.io": {"namespace": "infra", "pod": {"name": "gate-1"}}}),
        )
    };
    let pod =
        |role, account: &str| Joiner { id_token: id_token(account), ..Joiner::host("gates", role, "gate-1") };
    let other = pod("Node", "other").join(auth.stranger()).await.expect_err("no rule lets it in");
    assert_eq!(other.code, "join_refused");
    let node = pod("Node", "gate");
    node.join(auth.stranger()).await.expect("joins");
    node.join(auth.stranger()).await.expect("a lost answer is a retry");
    let unproven = Joiner { id_token: String::new(), ..node.clone() };
    assert_eq!(unproven.join(auth.stranger()).await.expect_err("shows nothing").code, "token_invalid");
    let foreign = Joiner { id_token: id_token("other"), ..node };
    assert_eq!(foreign.join(auth.stranger()).await.expect_err("is another").code, "join_refused");
    let proxy = Joiner { id_token: id_token("gate"), ..Joiner::host("gates", "Proxy", "gate-2") };
    proxy.join(auth.stranger()).await.expect("joins");
    let joins = auth.events("instance.join").await;
    let fitting = joins.iter().filter(|event| event["attributes"]["service_account"] == "infra:gate");
    assert!(fitting.clone().all(|event| event["method"] == "kubernetes" && event["token_name"] == "gates"));
    assert_eq!(fitting.count(), 3);
    for platform in ["github", "gitlab"] {
        let mut token = token.clone();
        token["spec"]["join_method"] = json!(platform);
        token["spec"]["kubernetes"] = json!(null);
        token["spec"][platform] = json!({"allow": [{"repository": "us/app", "project_path": "us/app"}]});
        let request = v1::UpsertRequest { json: token.to_string() };
        ResourceServiceClient::new(auth.admin()).upsert(request).await.expect_err("vouches for jobs");
    }
}

/// With a stand-in for the API of Kubernetes that speaks TokenReview.
#[tokio::test]
async fn pods_of_the_cluster_that_auth_runs_in_are_asked_about_there() {
    let Some(issuer) = Issuer::start("") else { return };
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let own = directory.path().join("own-token");
    std::fs::write(&own, "reviewer-secret\n").expect("written");
    let api = KubernetesApi {
        url: format!("https://{}", issuer.host),
        token: own.clone(),
        authority: issuer.root_file(),
    };
    let auth = Auth::start_in(directory, Arc::default(), |config| config.kubernetes = Some(api)).await;
    let auth = auth.expect("starts");
    auth.bot("ci").await;
    token(&auth, "kubernetes", &json!({"allow": [{"service_account": "ci:runner"}]})).await;
    let pod = |account: &str, pod: Value| {
        let own = json!({"namespace": "ci", "pod": pod});
        let claims = json!({"sub": format!("system:serviceaccount:{account}"), "aud": [CLUSTER], "kubernetes.io": own});
        Joiner::job("jobs", &issuer.mint(&claims))
    };
    let running = json!({"name": "runner-1"});
    auth.join(&pod("ci:runner", running.clone())).await.expect("joins");
    let forged = Issuer::start("").expect("as the first");
    let forged = Joiner::job(
        "jobs",
        &forged.mint(&json!({"sub": "system:serviceaccount:ci:runner", "aud": [CLUSTER]})),
    );
    let elsewhere = json!({"sub": "system:serviceaccount:ci:runner", "aud": "https://kubernetes.default.svc",
        "kubernetes.io": {"namespace": "ci", "pod": running}});
    let elsewhere = Joiner::job("jobs", &issuer.mint(&elsewhere));
    let asked = issuer.reviewed();
    for (joiner, field) in [
        (pod("ci:other", running.clone()), "service_account"),
        (pod("ci:runner", Value::Null), "extra"),
        (forged, "authenticated"),
        (elsewhere, "aud"),
        (Joiner::job("jobs", "not.a.token"), "ID token"),
        (Joiner::job("jobs", &"a".repeat(20_000)), "ID token"),
    ] {
        let problem = auth.join(&joiner).await.expect_err("is refused");
        assert_eq!(problem.code, "join_refused", "{field}: {problem}");
        let told = explained(&auth, &problem).await;
        assert!(told.checks.iter().any(|check| !check.fits && check.field == field), "{field}: {told:?}");
    }
    assert_eq!(
        issuer.reviewed(),
        asked + 2,
        "the API is asked about what may be true, and about nothing else"
    );
    // Auth's own rights there are gone, which may pass.
    std::fs::write(&own, "another").expect("written");
    let joiner = pod("ci:runner", running);
    let away = auth.join(&joiner).await.expect_err("is refused");
    assert_eq!((away.class, away.code.as_str()), (Class::Unavailable, "issuer_unavailable"), "{away}");
    // Who makes auth ask again and again is stopped, as whoever fails again and again is.
    auth.clock.halt();
    let mut codes = vec![];
    for _ in 0..100 {
        codes.push(auth.join(&joiner).await.expect_err("is refused").code);
    }
    assert!(codes.contains(&"too_many_failures".to_owned()), "{codes:?}");
}

#[tokio::test]
async fn pods_of_another_cluster_join_by_keys_that_are_fetched() {
    let Some(issuer) = Issuer::start("/id/EXAMPLE") else { return };
    let auth = cluster(&issuer).await;
    let remote = json!({"issuer": format!("https://{}/id/EXAMPLE", issuer.host)});
    let section = json!({"type": "oidc", "oidc": remote, "allow": [{"service_account": "ci:runner"}]});
    token(&auth, "kubernetes", &section).await;
    let pod = |change: &Value| {
        let mut claims = json!({"aud": [CLUSTER], "exp": auth.clock.now().as_second() + 600,
            "sub": "system:serviceaccount:ci:runner", "kubernetes.io": {"pod": {"name": "runner-1"}}});
        for (name, value) in change.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        Joiner::job("jobs", &issuer.mint(&claims))
    };
    auth.join(&pod(&json!({}))).await.expect("joins");
    issuer.renew("ES256", "second");
    auth.clock.advance(SignedDuration::from_secs(11));
    auth.join(&pod(&json!({}))).await.expect("new keys are found");
    for (field, change) in [
        ("iss", json!({"iss": "https://kubernetes.default.svc"})),
        ("aud", json!({"aud": ["https://kubernetes.default.svc"]})),
        ("kubernetes.io", json!({"kubernetes.io": {"namespace": "ci"}})),
        ("exp", json!({"exp": auth.clock.now().as_second() + 7200})),
        ("service_account", json!({"sub": "system:serviceaccount:ci:other"})),
    ] {
        let refused = auth.join(&pod(&change)).await.expect_err("is refused");
        let told = explained(&auth, &refused).await;
        assert!(told.checks.iter().any(|check| !check.fits && check.field == field), "{field}: {told:?}");
    }
}

/// Who needs no new keys does not wait for who does, and who goes away takes the answer from nobody.
#[tokio::test]
async fn an_issuer_that_hangs_holds_up_those_alone_who_need_its_answer() {
    let Some(issuer) = Issuer::start("") else { return };
    let auth = gitlab(&issuer).await;
    let known = issuer.mint(&job());
    auth.join(&Joiner::job("jobs", &known)).await.expect("joins");
    auth.clock.halt();
    auth.clock.advance(SignedDuration::from_secs(11));
    issuer.renew("ES256", "second");
    let new = Joiner::job("jobs", &issuer.mint(&job()));
    let asked = issuer.asked();
    issuer.hold();
    let waiting = tokio::spawn({
        let (new, channel) = (new.clone(), auth.stranger());
        async move { new.join(channel).await }
    });
    let asks = async {
        while issuer.asked() == asked {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(testkit::wait::DEADLINE, asks).await.expect("auth asks for new keys");
    auth.join(&Joiner::job("jobs", &known)).await.expect("its key is known");
    assert!(!waiting.is_finished());
    waiting.abort();
    issuer.release();
    // The clock stands, so a second question would be too early: the answer to the first is what counts.
    auth.join(&new).await.expect("joins by the new key");
    assert_eq!(issuer.asked(), asked + 2, "discovery and keys, once");
}

/// A lock on a token acts on those who came in by it, at auth and in what they show others.
#[tokio::test]
async fn a_lock_on_the_token_stops_the_instances_that_joined_with_it() {
    let Some(issuer) = Issuer::start("") else { return };
    let auth = gitlab(&issuer).await;
    let own = auth.join(&Joiner::job("jobs", &issuer.mint(&job()))).await.expect("joins");
    let other = auth.join(&Joiner::bot(&auth.bot_token("ci").await)).await.expect("joins");
    let shown = output(auth.member(&own), &[], 3600).await.expect("an output");
    for credentials in [&own, &shown] {
        let bot = credentials.identity().user().and_then(|user| user.bot.clone()).expect("a bot");
        assert_eq!(bot.join_token.as_deref(), Some("jobs"), "nodes and proxies see what a lock may hit");
    }
    let bot = other.identity().user().and_then(|user| user.bot.clone()).expect("a bot");
    assert_eq!(bot.join_token, None, "a name that is a secret stands in no certificate");
    auth.lock("stolen", json!({"join_token": "jobs"})).await;
    let refused = output(auth.member(&own), &[], 3600).await.expect_err("is locked");
    assert_eq!(refused.code, "locked", "{refused}");
    assert_eq!(confirm(auth.member(&own)).await.expect_err("is locked").code, "locked");
    let next = Joiner::job("jobs", &issuer.mint(&job())).join(auth.member(&own)).await;
    assert_eq!(next.expect_err("is locked").code, "locked");
    output(auth.member(&other), &[], 3600).await.expect("came in by another token");
}
