//! Machines that a cloud vouches for, with real counterparts: moto for AWS STS, which verifies signatures, and
//! oauth2-mock-server for Google and Azure, whose documents OpenSSL signs; the agent is the real one.

mod azure;
#[path = "../harness/mod.rs"]
mod harness;

use access::HostPort;
use api::status::{Class, Problem};
use api::v1;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::join_service_client::JoinServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use harness::{Auth, Joiner, instance};
use join::iam::Credentials;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use testkit::metadata::Asked;
use testkit::namespace::{is_own_network, ran_in_own_network};
use testkit::sts::STS;
use testkit::{Issuer, Metadata, Outcome, Sts};
use zeroize::Zeroizing;

/// A cluster that finds `name` on this machine, and a bot.
async fn cluster(root: &[u8], name: &str, port: u16) -> Auth {
    cluster_with(root, &[name], port).await
}

async fn cluster_with(root: &[u8], names: &[&str], port: u16) -> Auth {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let address = |name: &str, port| HostPort::new(name, port).expect("an address");
    let reach = names.iter().map(|name| (address(name, 443), address("127.0.0.1", port))).collect();
    let roots = vec![root.to_vec()];
    let auth = Auth::start_in(directory, Arc::default(), |config| {
        (config.issuer_roots, config.reach) = (roots, reach);
    });
    let auth = auth.await.expect("starts");
    auth.bot("ci").await;
    auth
}

async fn token(auth: &Auth, method: &str, more: &Value) {
    let mut token = json!({"kind": "token", "version": "v2", "metadata": {"name": "machines"}, "spec":
        {"roles": ["Bot"], "bot_name": "ci", "join_method": method}});
    for (name, value) in more.as_object().expect("an object") {
        token["spec"][name] = value.clone();
    }
    let request = v1::UpsertRequest { json: token.to_string() };
    ResourceServiceClient::new(auth.admin()).upsert(request).await.expect("is made");
}

async fn explained(auth: &Auth, hint: &str) -> v1::ExplainJoinResponse {
    let (_, attempt) = hint.trim().rsplit_once(' ').expect("the hint ends with the attempt");
    let request = v1::ExplainJoinRequest { attempt: attempt.to_owned() };
    ClusterServiceClient::new(auth.admin()).explain_join(request).await.expect("is explained").into_inner()
}

fn credentials(of: &Value) -> Arc<Credentials> {
    let text = |name: &str| of[name].as_str().map(str::to_owned);
    Arc::new(Credentials {
        access_key_id: text("AccessKeyId").expect("an id"),
        secret_key: Zeroizing::new(text("SecretAccessKey").expect("a key")),
        session_token: text("SessionToken").map(Zeroizing::new),
    })
}

fn machine(of: &Value) -> Joiner {
    Joiner { aws: Some(credentials(of)), ..Joiner::bot("machines") }
}

/// The agent of a machine.
struct Agent {
    directory: tempfile::TempDir,
    config: PathBuf,
}

impl Agent {
    fn new(auth: &Auth, method: &str) -> Self {
        Self::with(auth, method, "")
    }

    /// With more in the section of joining.
    fn with(auth: &Auth, method: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (at, config) = (directory.path().display().to_string(), directory.path().join("tbot.yaml"));
        let (addr, pin) = (&auth.addr, &auth.pins[0]);
        let text = format!(
            "version: v2\nauth_server: {addr}\n\
             onboarding: {{join_method: {method}, token: machines, ca_pins: [\"{pin}\"]{more}}}\n\
             storage: {{type: directory, path: {at}/storage}}\n\
             outputs:\n- type: identity\n  destination: {{type: directory, path: {at}/output}}\n  ssh_config: off\n"
        );
        std::fs::write(&config, text).expect("written");
        Self { directory, config }
    }

    /// Runs it once with these variables.
    async fn run(&self, variables: &[(&str, &str)]) -> Outcome {
        let mut tbot: Command = testkit::programs::command(testkit::programs::ours("tbot"));
        tbot.args(["start", "-c"]).arg(&self.config).arg("--oneshot");
        tbot.envs(variables.iter().copied());
        tokio::task::spawn_blocking(move || testkit::run(&mut tbot)).await.expect("runs")
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("output/identity")
    }
}

fn exists(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_of_aws_joins_by_a_request_that_it_signed() {
    let Some(sts) = Sts::start() else { return };
    let auth = cluster(&sts.root, STS, sts.port).await;
    token(
        &auth,
        "iam",
        &json!({"allow": [{"aws_account": "123456789012", "aws_arn": "*:assumed-role/runner/*"}]}),
    )
    .await;
    let joiner = machine(&sts.role);
    let first = auth.join(&joiner).await.expect("joins");
    let again = auth.join(&joiner).await.expect("a lost answer is a retry");
    assert_eq!(instance(&first), instance(&again));
    let joins = auth.events("bot.join").await;
    assert_eq!((&joins[0]["method"], &joins[0]["token_name"]), (&json!("iam"), &json!("machines")));
    assert_eq!(
        joins[0]["attributes"]["aws_arn"],
        json!("\"arn:aws:sts::123456789012:assumed-role/runner/i-0123\"")
    );
    // Another principal of the same account, as it is told to an administrator.
    let refused = auth.join(&machine(&sts.user)).await.expect_err("no rule");
    assert_eq!((refused.class, refused.code.as_str()), (Class::Denied, "join_refused"), "{refused}");
    let told = explained(&auth, &refused.hint).await;
    assert!(told.checks.iter().any(|check| !check.fits && check.found.contains(":user/ci")), "{told:?}");
    // A key that AWS does not know, and a wrong secret.
    for (name, value) in [("AccessKeyId", "AKIAIOSFODNN7EXAMPLE"), ("SecretAccessKey", "guessed")] {
        let mut wrong = sts.user.clone();
        wrong[name] = json!(value);
        let refused = auth.join(&machine(&wrong)).await.expect_err("is not signed");
        assert_eq!(refused.code, "join_refused", "{name}");
        let told = explained(&auth, &refused.hint).await;
        assert!(told.reason.contains("answered 403"), "{name}: {told:?}");
    }
    token(&auth, "iam", &json!({"allow": [{"aws_arn": "arn:aws:iam::123456789012:user/c?"}]})).await;
    auth.join(&machine(&sts.user)).await.expect("a pattern fits");
    // An account of the same number in another part of AWS is somebody else's.
    let other = json!({"aws_account": "123456789012", "aws_partition": "aws-us-gov"});
    token(&auth, "iam", &json!({"allow": [other]})).await;
    let refused = auth.join(&machine(&sts.user)).await.expect_err("is of another partition");
    let told = explained(&auth, &refused.hint).await;
    let check = told.checks.iter().find(|check| check.field == "aws_partition").expect("was looked at");
    assert!(!check.fits && check.wanted == "\"aws-us-gov\"" && check.found == "\"aws\"", "{check:?}");
}

/// Whoever sees the request of another can use nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_signed_for_another_joiner_is_worth_nothing() {
    let Some(sts) = Sts::start() else { return };
    let auth = cluster(&sts.root, STS, sts.port).await;
    token(&auth, "iam", &json!({"allow": [{"aws_account": "123456789012"}]})).await;
    let seen = machine(&sts.user).request(&auth.stranger()).await.expect("a challenge");
    let thief = Joiner::bot("machines").request(&auth.stranger()).await.expect("a challenge");
    let join = async |request: v1::JoinRequest| {
        let answer = JoinServiceClient::new(auth.stranger()).join(request).await;
        answer.map(drop).map_err(|status| Problem::of(&status))
    };
    let replayed = v1::JoinRequest { aws: seen.aws.clone(), ..thief.clone() };
    let refused = join(replayed).await.expect_err("signed for another key");
    let told = explained(&auth, &refused.hint).await;
    assert!(told.reason.contains("AWS does not say who signed"), "{told:?}");
    // What is no request to STS is sent nowhere.
    let asked = sts.asked();
    let aws = seen.aws.clone().expect("signed");
    for (host, date) in [
        ("evil.example.com", aws.date.as_str()),
        ("sts.eu-central-1.amazonaws.com:8443", &aws.date),
        (STS, "20300101T000000Z\r\nx-amz-security-token: x"),
    ] {
        let aws = v1::AwsRequest { host: host.to_owned(), date: date.to_owned(), ..aws.clone() };
        let refused = join(v1::JoinRequest { aws: Some(aws), ..seen.clone() }).await.expect_err("no request");
        assert_eq!(refused.class, Class::Invalid, "{host} {date}: {refused}");
    }
    // An ID token is no signed request, and both together are nothing.
    let both = v1::JoinRequest { id_token: "a.b.c".to_owned(), ..seen.clone() };
    assert_eq!(join(both).await.expect_err("two proofs").class, Class::Invalid);
    assert_eq!(
        join(v1::JoinRequest { aws: None, ..seen.clone() }).await.expect_err("none").class,
        Class::Denied
    );
    assert_eq!(sts.asked(), asked);
    join(seen).await.expect("its own is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sts_that_is_away_or_somebody_else_may_come_back() {
    let Some(sts) = Sts::start() else { return };
    let auth = cluster(b"", STS, sts.port).await;
    token(&auth, "iam", &json!({"allow": [{"aws_account": "123456789012"}]})).await;
    let joiner = machine(&sts.user);
    auth.clock.halt();
    let mut codes = vec![];
    for _ in 0..100 {
        codes.push(auth.join(&joiner).await.expect_err("its certificate is nobody's").code);
    }
    assert_eq!(codes[0], "issuer_unavailable");
    assert!(codes.contains(&"too_many_failures".to_owned()), "who makes auth ask in vain pays for it");
    assert_eq!(sts.asked(), 0);
}

/// Credentials as servers of AWS give them.
fn answer(role: &Value) -> String {
    let answer = json!({"AccessKeyId": role["AccessKeyId"], "SecretAccessKey": role["SecretAccessKey"],
        "Token": role["SessionToken"], "Expiration": "2030-01-01T00:00:00Z"});
    answer.to_string()
}

/// The metadata of a machine, by a session (IMDSv2), and its region with it.
fn machine_of_aws(credentials: String) -> impl Fn(&Asked) -> Option<String> + Send + 'static {
    move |asked| {
        let session = asked.header("x-aws-ec2-metadata-token") == "session";
        Some(match asked.line.as_str() {
            "put /latest/api/token" if !asked.header("x-aws-ec2-metadata-token-ttl-seconds").is_empty() => {
                "session".to_owned()
            }
            "get /latest/meta-data/iam/security-credentials/" if session => "runner".to_owned(),
            "get /latest/meta-data/iam/security-credentials/runner" if session => credentials.clone(),
            "get /latest/meta-data/placement/region" if session => "eu-central-1".to_owned(),
            _ => return None,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_finds_what_aws_gave_the_machine() {
    let Some(sts) = Sts::start() else { return };
    let auth = cluster(&sts.root, STS, sts.port).await;
    token(&auth, "iam", &json!({"allow": [{"aws_account": "123456789012", "aws_arn": "*"}]})).await;
    let region = ("AWS_REGION", "eu-central-1");
    let text = |of: &Value, name: &str| of[name].as_str().expect("a text").to_owned();
    // In its environment.
    let agent = Agent::new(&auth, "iam");
    let (id, secret) = (text(&sts.user, "AccessKeyId"), text(&sts.user, "SecretAccessKey"));
    agent.run(&[region, ("AWS_ACCESS_KEY_ID", &id), ("AWS_SECRET_ACCESS_KEY", &secret)]).await.ok();
    assert!(exists(&agent.output()));
    // By the web identity of a pod, for which STS gives it a role.
    let agent = Agent::new(&auth, "iam");
    let file = agent.directory.path().join("web-identity");
    let (endpoint, root) = (format!("https://localhost:{}/", sts.port), sts.root_file());
    let pod = [
        region,
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().expect("UTF-8")),
        ("AWS_ROLE_ARN", sts.role_arn.as_str()),
        ("AWS_ENDPOINT_URL_STS", endpoint.as_str()),
        ("SSL_CERT_FILE", root.to_str().expect("UTF-8")),
    ];
    let refused = agent.run(&pod).await.refused();
    assert!(refused.contains("web-identity: No such file"), "{refused}");
    std::fs::write(&file, "somebody-else\n").expect("written");
    let refused = agent.run(&pod).await.refused();
    assert!(refused.contains("the role for a web identity") && refused.contains("400"), "{refused}");
    assert!(!refused.contains("somebody-else"), "{refused}");
    std::fs::write(&file, "vouched\n").expect("written");
    agent.run(&pod).await.ok();
    assert!(exists(&agent.output()));
    let joined = auth.events("bot.join").await;
    let arn = joined.last().expect("it has joined")["attributes"]["aws_arn"].to_string();
    assert!(arn.contains(":assumed-role/runner/tbot"), "{arn}");
    // From the server of containers, which wants to be shown a token.
    let temporary = answer(&sts.role);
    let answer = temporary.clone();
    let container = Metadata::serve(move |asked| {
        let good = asked.line == "get /v2/credentials" && asked.header("authorization") == "task-secret";
        good.then(|| answer.clone())
    });
    let agent = Agent::new(&auth, "iam");
    let url = format!("http://{}/v2/credentials", container.host);
    let leads = [region, ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str())];
    let refused = agent.run(&leads).await.refused();
    assert!(refused.contains("the container's credentials") && refused.contains("404"), "{refused}");
    agent.run(&[leads[0], leads[1], ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "task-secret")]).await.ok();
    assert!(exists(&agent.output()));
    // Or a token in a file, which is kept fresh, as pods have it.
    let agent = Agent::new(&auth, "iam");
    let file = agent.directory.path().join("task-token");
    std::fs::write(&file, "task-secret\n").expect("written");
    let named = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().expect("UTF-8"));
    agent.run(&[leads[0], leads[1], named]).await.ok();
    assert!(exists(&agent.output()));
    // From the machine's metadata.
    let machine = Metadata::serve(machine_of_aws(temporary));
    let agent = Agent::new(&auth, "iam");
    let endpoint = format!("http://{}", machine.host);
    agent.run(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]).await.ok();
    assert!(exists(&agent.output()));
    let events = auth.events("bot.join").await;
    assert_eq!(events.iter().filter(|event| event["success"] == true).count(), 5);
    // Without any of them it says where it looked.
    let refused = Agent::new(&auth, "iam").run(&[("AWS_EC2_METADATA_DISABLED", "true")]).await.refused();
    assert!(refused.contains("no credentials of AWS") && refused.contains("instance profile"), "{refused}");
    // Elsewhere than at the machine's own addresses nobody is asked without TLS.
    let elsewhere = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/credentials")];
    let refused = Agent::new(&auth, "iam").run(&elsewhere).await.refused();
    assert!(refused.contains("address of this machine or link"), "{refused}");
}

/// At the addresses that AWS has for it, which no variable of the environment names.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_finds_aws_where_it_always_is() {
    let test = "the_agent_finds_aws_where_it_always_is";
    if tokio::task::spawn_blocking(|| ran_in_own_network(test)).await.expect("runs") {
        return;
    }
    for address in ["169.254.170.2/32", "169.254.169.254/32"] {
        let added = Command::new("ip").args(["addr", "add", address, "dev", "lo"]).status();
        if !is_own_network() || !added.is_ok_and(|added| added.success()) {
            eprintln!("SKIPPED: there is no network of its own");
            return;
        }
    }
    let Some(sts) = Sts::start() else { return };
    let auth = cluster(&sts.root, STS, sts.port).await;
    token(&auth, "iam", &json!({"allow": [{"aws_account": "123456789012"}]})).await;
    let answer = answer(&sts.role);
    let tasks = Metadata::serve_at("169.254.170.2:80", {
        let answer = answer.clone();
        move |asked| (asked.line == "get /v2/credentials/7").then(|| answer.clone())
    });
    let agent = Agent::new(&auth, "iam");
    let region = ("AWS_REGION", "eu-central-1");
    agent.run(&[region, ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/7")]).await.ok();
    assert!(exists(&agent.output()));
    testkit::until("the question to be noted", || (tasks.asked().len() == 1).then_some(()));
    let machines = Metadata::serve_at("169.254.169.254:80", machine_of_aws(answer));
    let agent = Agent::new(&auth, "iam");
    agent.run(&[]).await.ok();
    assert!(exists(&agent.output()));
    testkit::until("session, role, credentials, region", || (machines.asked().len() == 4).then_some(()));
}

const GOOGLE: &str = "accounts.google.com";

fn port(issuer: &Issuer) -> u16 {
    issuer.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

/// What Google says of a machine (`format=full`).
fn instance_claims() -> Value {
    json!({"aud": "example.com", "azp": "1122334455", "sub": "1122334455",
        "email": "runner@my-project.iam.gserviceaccount.com", "email_verified": true,
        "google": {"compute_engine": {"project_id": "my-project", "project_number": 42, "zone": "us-west1-b",
            "instance_id": "7", "instance_name": "runner-1"}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_google_joins_by_the_id_token_of_its_metadata_server() {
    let Some(google) = Issuer::named(GOOGLE) else { return };
    let auth = cluster(&google.root, GOOGLE, port(&google)).await;
    let rule = json!({"project_ids": ["other", "my-project"], "locations": ["us-west1"],
        "service_accounts": ["runner@my-project.iam.gserviceaccount.com"]});
    token(&auth, "gcp", &json!({"gcp": {"allow": [rule]}})).await;
    let minted = google.mint(&instance_claims());
    let server = Metadata::serve(move |asked| {
        let path =
            "/computeMetadata/v1/instance/service-accounts/default/identity?audience=example.com&format=full";
        let good = asked.line == format!("get {path}") && asked.header("metadata-flavor") == "Google";
        good.then(|| minted.clone())
    });
    let agent = Agent::new(&auth, "gcp");
    agent.run(&[("GCE_METADATA_HOST", &server.host)]).await.ok();
    assert!(exists(&agent.output()));
    let joins = auth.events("bot.join").await;
    assert_eq!(joins[0]["attributes"]["project_ids"], json!("\"my-project\""));
    // Each claim on its own.
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut claims = instance_claims();
        change(&mut claims);
        Joiner::job("machines", &google.mint(&claims))
    };
    let of =
        |claims: &mut Value, name: &str, value: &str| claims["google"]["compute_engine"][name] = json!(value);
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Change<'_>); 8] = [
        ("project_ids", &|claims| of(claims, "project_id", "their-project")),
        ("project_ids", &|claims| claims["google"] = json!(null)),
        ("locations", &|claims| of(claims, "zone", "us-west2-b")),
        ("locations", &|claims| of(claims, "zone", "us-west1-b-x")),
        ("service_accounts", &|claims| claims["email"] = json!("other@my-project.iam.gserviceaccount.com")),
        ("email_verified", &|claims| claims["email_verified"] = json!(false)),
        ("email_verified", &|claims| drop(claims.as_object_mut().expect("claims").remove("email_verified"))),
        ("aud", &|claims| claims["aud"] = json!("https://example.com")),
    ];
    for (field, change) in cases {
        let refused = auth.join(&changed(change)).await.expect_err("is refused");
        assert_eq!(refused.code, "join_refused", "{field}: {refused}");
        let told = explained(&auth, &refused.hint).await;
        assert!(told.checks.iter().any(|check| !check.fits && check.field == field), "{field}: {told:?}");
    }
    // A machine without a service account, and somewhere that is no machine of Google's.
    let nobody = Metadata::serve(|_| None::<String>);
    let refused = Agent::new(&auth, "gcp").run(&[("GCE_METADATA_HOST", &nobody.host)]).await.refused();
    assert!(refused.contains("has no service account"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_of_env0_joins_by_its_id_token() {
    let (name, itself) = ("login.app.env0.com", "https://login.app.env0.com/");
    let Some(env0) = Issuer::calling_itself(itself, name) else { return };
    let auth = cluster(&env0.root, name, port(&env0)).await;
    token(&auth, "env0", &json!({"env0": {"allow": [{"organization_id": "o", "project_name": "prod"}]}}))
        .await;
    let claims = |project: &str| {
        json!({"iss": itself, "aud": ["https://prod.env0.com"], "apiKeyType": "oidc", "organizationId": "o",
            "projectName": project})
    };
    let run = async |id_token: &str| Agent::new(&auth, "env0").run(&[("ENV0_OIDC_TOKEN", id_token)]).await;
    run(&env0.mint(&claims("prod"))).await.ok();
    let refused = run(&env0.mint(&claims("test"))).await.refused();
    let told = explained(&auth, &refused).await;
    assert!(told.checks.iter().any(|check| !check.fits && check.field == "project_name"), "{told:?}");
    let refused = Agent::new(&auth, "env0").run(&[]).await.refused();
    assert!(refused.contains("ENV0_OIDC_TOKEN is not set"), "{refused}");
}
