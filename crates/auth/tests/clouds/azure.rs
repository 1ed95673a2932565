//! Machines of Azure: OpenSSL signs their documents, an issuer signs their access tokens, and a Resource Manager that verifies
//! those tells of them.

use super::harness::{Auth, Joiner, instance};
use super::{Agent, cluster_with, exists, explained, port, token};
use api::status::{Class, Problem};
use api::v1;
use api::v1::join_service_client::JoinServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use testkit::azure::Signer;
use testkit::{AzureSigners, Issuer, Metadata};

const SUBSCRIPTION: &str = "11111111-aaaa-4bbb-8ccc-222222222222";
const OTHER: &str = "99999999-aaaa-4bbb-8ccc-222222222222";
const TENANT: &str = "33333333-aaaa-4bbb-8ccc-444444444444";
const PRINCIPAL: &str = "55555555-aaaa-4bbb-8ccc-666666666666";
const VM: &str = "77777777-aaaa-4bbb-8ccc-888888888888";

/// Azure, and a cluster that finds it.
struct World {
    signers: Arc<AzureSigners>,
    signer: Arc<Signer>,
    issuing: Vec<u8>,
    azure: Arc<Issuer>,
    auth: Auth,
    /// Where the certificate of the issuing authority is.
    pki: Metadata,
}

fn id(subscription: &str, group: &str, name: &str) -> String {
    format!(
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
    )
}

/// A machine, as everybody knows it.
#[derive(Clone)]
struct Vm {
    vm: String,
    subscription: String,
    group: String,
    /// Of its access token, over the usual ones.
    claims: Value,
    /// As the Resource Manager tells of it, over the usual.
    told: Value,
}

fn vm() -> Vm {
    let text = str::to_owned;
    Vm {
        vm: text(VM),
        subscription: text(SUBSCRIPTION),
        group: text("Runners"),
        claims: json!({}),
        told: json!({}),
    }
}

impl Vm {
    fn id(&self) -> String {
        id(&self.subscription, &self.group, "runner-1")
    }
}

impl World {
    async fn start() -> Option<Self> {
        let (signers, azure) = (AzureSigners::new()?, Issuer::azure()?);
        let issuing = signers.issuing();
        let served = issuing.clone();
        let pki = Metadata::serve(move |asked| (asked.line == "get /issuing.crt").then(|| served.clone()));
        let signer = signers.signer(&["metadata.azure.com"], &format!("http://{}/issuing.crt", pki.host));
        let names = ["management.azure.com", "login.microsoftonline.com"];
        let auth = cluster_with(&azure.root, &names, port(&azure)).await;
        let (signers, signer, azure) = (Arc::new(signers), Arc::new(signer), Arc::new(azure));
        let world = Self { signers, signer, issuing, azure, auth, pki };
        world.allow(&json!([{"subscription": SUBSCRIPTION, "resource_groups": ["other", "runners"]}])).await;
        Some(world)
    }

    async fn allow(&self, rules: &Value) {
        let section = json!({"azure": {"attestation_cas": self.signers.root(), "allow": rules}});
        token(&self.auth, "azure", &section).await;
    }

    /// Azure knows this machine.
    fn access_token(&self, vm: &Vm) -> String {
        let mut told = json!({"id": vm.id(), "name": "runner-1", "properties": {"vmId": vm.vm},
            "identity": {"type": "SystemAssigned", "principalId": PRINCIPAL, "tenantId": TENANT}});
        merge(&mut told, &vm.told);
        self.azure.manage(&vm.id(), &told);
        let now = Timestamp::now().as_second();
        let mut claims = json!({"iss": format!("https://sts.windows.net/{TENANT}/"), "tid": TENANT, "oid": PRINCIPAL,
            "aud": "https://management.azure.com/", "iat": now - 300, "nbf": now - 300, "exp": now + 86_400,
            // As Azure writes it here.
            "xms_mirid": vm.id().replace("resourceGroups", "resourcegroups")});
        merge(&mut claims, &vm.claims);
        self.azure.mint(&claims)
    }

    fn joiner(&self, vm: &Vm) -> Joiner {
        let access_token = self.access_token(vm);
        let (signers, signer, issuing) =
            (Arc::clone(&self.signers), Arc::clone(&self.signer), self.issuing.clone());
        let vm = vm.clone();
        let attest = move |nonce: &str| v1::AzureAttestation {
            document: signers.attest(&signer, document(&vm, nonce).as_bytes()),
            certificates: vec![issuing.clone()],
            access_token: access_token.clone(),
        };
        Joiner { azure: Some(Arc::new(attest)), ..Joiner::bot("machines") }
    }

    /// What an administrator is told of why this one is refused.
    async fn refused(&self, what: &str, joiner: &Joiner) -> v1::ExplainJoinResponse {
        let refused = self.auth.join(joiner).await.expect_err(what);
        assert_eq!(
            (refused.class, refused.code.as_str()),
            (Class::Denied, "join_refused"),
            "{what}: {refused}"
        );
        explained(&self.auth, &refused.hint).await
    }
}

fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().expect("an object") {
        into[name] = value.clone();
    }
}

fn document(vm: &Vm, nonce: &str) -> String {
    let time = |at: Timestamp| at.strftime("%m/%d/%y %H:%M:%S -0000").to_string();
    let now = Timestamp::now();
    let times = json!({"createdOn": time(now), "expiresOn": time(now + SignedDuration::from_hours(6))});
    json!({"licenseType": "", "nonce": nonce, "sku": "22_04-lts", "subscriptionId": vm.subscription, "vmId": vm.vm,
        "timeStamp": times})
    .to_string()
}

fn has(told: &v1::ExplainJoinResponse, field: &str) -> bool {
    told.checks.iter().any(|check| !check.fits && check.field == field)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_azure_joins_by_what_azure_signed_for_it() {
    let Some(world) = World::start().await else { return };
    let joiner = world.joiner(&vm());
    let first = world.auth.join(&joiner).await.expect("joins");
    let again = world.auth.join(&joiner).await.expect("a lost answer is a retry");
    assert_eq!(instance(&first), instance(&again));
    let joins = world.auth.events("bot.join").await;
    assert_eq!(joins[0]["method"], json!("azure"));
    let attributes = json!({"subscription": format!("{SUBSCRIPTION:?}"), "resource_groups": "\"Runners\"",
        "vm_id": format!("{VM:?}")});
    assert_eq!(joins[0]["attributes"], attributes);
    // An identity that was assigned to the machine.
    let own = id(SUBSCRIPTION, "identities", "x")
        .replace("Microsoft.Compute/virtualMachines", "Microsoft.ManagedIdentity/userAssignedIdentities");
    let mut assigned = vm();
    assigned.claims = json!({"xms_mirid": own, "xms_az_rid": assigned.id()});
    assigned.told = json!({"identity": {"type": "UserAssigned", "userAssignedIdentities": {own: {"principalId": PRINCIPAL}}}});
    world.auth.join(&world.joiner(&assigned)).await.expect("joins too");
    // The whole subscription, in capitals.
    world.allow(&json!([{"subscription": SUBSCRIPTION.to_uppercase()}])).await;
    world.auth.join(&world.joiner(&Vm { group: "elsewhere".to_owned(), ..vm() })).await.expect("joins");
    // The access token is nowhere.
    let secret = world.access_token(&vm());
    let secret = secret.rsplit('.').next().expect("a signature");
    let logged = format!("{:?}", world.auth.events("bot.join").await);
    assert!(!logged.contains(secret) && !logged.contains("eyJ"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_no_rule_is_about_is_told_nothing_and_costs_nothing() {
    let Some(world) = World::start().await else { return };
    let told = world
        .refused("another subscription", &world.joiner(&Vm { subscription: OTHER.to_owned(), ..vm() }))
        .await;
    assert!(has(&told, "subscription") && told.reason.contains("Azure was not asked"), "{told:?}");
    assert_eq!((world.azure.looked(), world.azure.asked()), (0, 0));
    let told =
        world.refused("another group", &world.joiner(&Vm { group: "theirs".to_owned(), ..vm() })).await;
    assert!(has(&told, "resource_groups"), "{told:?}");
    assert!(told.checks.iter().any(|check| check.found.contains("theirs")), "{told:?}");
    assert_eq!(told.method, "azure");
    // Without authorities of one's own there are those of Azure.
    token(&world.auth, "azure", &json!({"azure": {"allow": [{"subscription": SUBSCRIPTION}]}})).await;
    let told = world.refused("signed by somebody else", &world.joiner(&vm())).await;
    assert!(told.reason.contains("leads to no authority of Azure"), "{told:?}");
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let token = json!({"kind": "token", "version": "v2", "metadata": {"name": "bad"}, "spec": {"roles": ["Bot"],
        "bot_name": "ci", "join_method": "azure",
        "azure": {"attestation_cas": text, "allow": [{"subscription": SUBSCRIPTION}]}}});
    let request = v1::UpsertRequest { json: token.to_string() };
    let refused = ResourceServiceClient::new(world.auth.admin()).upsert(request).await.expect_err("is none");
    assert!(refused.message().contains("attestation_cas"), "{refused}");
}

/// What one machine was given is of no use to another, and none of the two proofs without the other.
#[tokio::test(flavor = "multi_thread")]
async fn document_and_access_token_are_of_one_machine_and_one_attempt() {
    let Some(world) = World::start().await else { return };
    let good = world.joiner(&vm());
    let with = |claims: Value| world.joiner(&Vm { claims, ..vm() });
    let now = Timestamp::now().as_second();
    let theirs = id(OTHER, "runners", "runner-1");
    let cases: [(&str, &str, Value); 11] = [
        ("for somebody else", "aud", json!({"aud": "https://graph.microsoft.com"})),
        ("for this cluster", "aud", json!({"aud": "example.com"})),
        ("of a tenant that says to be another", "iss", json!({"tid": OTHER})),
        ("of another issuer", "iss", json!({"iss": format!("https://login.example.com/{TENANT}/")})),
        ("of no tenant", "tid", json!({"tid": "common"})),
        ("over", "exp", json!({"exp": now - 60})),
        ("good for ever", "exp", json!({"exp": now + 10 * 86_400})),
        ("of no machine", "xms_mirid", json!({"xms_mirid": null})),
        ("of a path", "xms_mirid", json!({"xms_mirid": format!("{}/../x", vm().id())})),
        ("of a machine of others", "subscription", json!({"xms_mirid": theirs})),
        (
            "of a foreign tenant",
            "oid",
            json!({"iss": format!("https://sts.windows.net/{OTHER}/"), "tid": OTHER, "oid": OTHER}),
        ),
    ];
    for (what, field, claims) in cases {
        let told = world.refused(what, &with(claims)).await;
        assert!(has(&told, field), "{what}: {told:?}");
    }
    // The principal of the machine, and a tenant that the machine is not of.
    let tenant = json!({"iss": format!("https://sts.windows.net/{OTHER}/"), "tid": OTHER});
    let told = world.refused("of a foreign tenant", &with(tenant)).await;
    assert!(has(&told, "tid"), "{told:?}");
    // Another machine of the same group: its token, with this one's document.
    let elsewhere = json!({"properties": {"vmId": OTHER}});
    let told = world.refused("another machine", &world.joiner(&Vm { told: elsewhere, ..vm() })).await;
    assert!(has(&told, "vmId"), "{told:?}");
    let moved = json!({"id": id(SUBSCRIPTION, "theirs", "runner-1")});
    let told = world.refused("another name", &world.joiner(&Vm { told: moved, ..vm() })).await;
    assert!(has(&told, "resource id"), "{told:?}");
    // Who may not read it is told what is missing.
    let told = world.refused("no right", &world.joiner(&Vm { told: json!({"status": 403}), ..vm() })).await;
    assert!(told.reason.contains("Microsoft.Compute/virtualMachines/read"), "{told:?}");
    world.auth.join(&world.joiner(&vm())).await.expect("as it should be");

    // What was seen of another's join.
    let join = async |request: v1::JoinRequest| {
        let answer = JoinServiceClient::new(world.auth.stranger()).join(request).await;
        answer.map(drop).map_err(|status| Problem::of(&status))
    };
    let seen = good.request(&world.auth.stranger()).await.expect("a challenge");
    let thief = good.next().request(&world.auth.stranger()).await.expect("a challenge");
    let replayed = v1::JoinRequest { azure: seen.azure.clone(), ..thief.clone() };
    let refused = join(replayed).await.expect_err("attested for another key");
    let told = explained(&world.auth, &refused.hint).await;
    assert!(told.reason.contains("its nonce is not the one of this attempt"), "{told:?}");
    // What is none at all.
    let shown = seen.azure.clone().expect("it is shown");
    let huge = vec![0x30; 17 * 1024];
    for azure in [
        v1::AzureAttestation { document: vec![], ..shown.clone() },
        v1::AzureAttestation { document: huge, ..shown.clone() },
        v1::AzureAttestation { certificates: vec![vec![]; 5], ..shown.clone() },
        v1::AzureAttestation { access_token: String::new(), ..shown.clone() },
    ] {
        let refused = join(v1::JoinRequest { azure: Some(azure), ..seen.clone() }).await.expect_err("none");
        assert_eq!(refused.class, Class::Invalid, "{refused}");
    }
    let (asked, looked) = (world.azure.asked(), world.azure.looked());
    for document in [vec![0x30, 0x80, 0, 0], b"MII".to_vec(), shown.document[1..].to_vec()] {
        let azure = v1::AzureAttestation { document, ..shown.clone() };
        let refused = join(v1::JoinRequest { azure: Some(azure), ..seen.clone() }).await.expect_err("none");
        assert_eq!(refused.code, "join_refused");
    }
    for access_token in ["a.b.c", "e30.e30."] {
        let azure = v1::AzureAttestation { access_token: access_token.to_owned(), ..shown.clone() };
        let refused = join(v1::JoinRequest { azure: Some(azure), ..seen.clone() }).await.expect_err("none");
        assert_eq!(refused.code, "join_refused");
    }
    assert_eq!((world.azure.asked(), world.azure.looked()), (asked, looked), "nobody was asked");
    // An ID token is no document, and both together are nothing.
    let both = v1::JoinRequest { id_token: "a.b.c".to_owned(), ..seen.clone() };
    assert_eq!(join(both).await.expect_err("two proofs").class, Class::Invalid);
    let token = v1::JoinRequest { azure: None, id_token: shown.access_token, ..seen.clone() };
    assert_eq!(join(token).await.expect_err("no document").class, Class::Denied);
    join(seen).await.expect("its own is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_may_come_back_and_is_paid_for() {
    let Some(world) = World::start().await else { return };
    // Without the certificate in between, and with an authority that was given in its place.
    let joiner = world.joiner(&vm());
    let attest = Arc::clone(joiner.azure.as_ref().expect("a machine"));
    let alone = move |nonce: &str| v1::AzureAttestation { certificates: vec![], ..attest(nonce) };
    let alone = Joiner { azure: Some(Arc::new(alone)), ..joiner.clone() };
    let told = world.refused("nothing leads to the root", &alone).await;
    assert!(told.reason.contains("UnknownIssuer"), "{told:?}");
    let text = identity::pem::encode(identity::pem::CERTIFICATE, &world.issuing).to_string();
    let section = json!({"attestation_cas": text, "allow": [{"subscription": SUBSCRIPTION}]});
    token(&world.auth, "azure", &json!({"azure": section})).await;
    world.auth.join(&alone).await.expect("joins");
    // Azure has new keys, and then no answers.
    world.azure.renew("RS256", "second");
    world.auth.clock.advance(SignedDuration::from_secs(11));
    world.auth.join(&world.joiner(&vm()).next()).await.expect("the new key is found");
    let busy = Vm { told: json!({"status": 503}), ..vm() };
    world.auth.clock.halt();
    let mut codes = vec![];
    for _ in 0..100 {
        codes.push(world.auth.join(&world.joiner(&busy)).await.expect_err("no answer").code);
    }
    assert_eq!(codes[0], "issuer_unavailable");
    assert!(codes.contains(&"too_many_failures".to_owned()), "who makes auth ask in vain pays for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_finds_what_azure_gave_the_machine() {
    let Some(world) = World::start().await else { return };
    let access_token = world.access_token(&vm());
    let (signers, signer) = (Arc::clone(&world.signers), Arc::clone(&world.signer));
    let stale = Mutex::new(true);
    let service = Metadata::serve(move |asked| {
        let (path, query) = asked.line.strip_prefix("get ")?.split_once('?')?;
        if asked.header("metadata") != "true" || !query.contains("api-version=") {
            return None;
        }
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        match path {
            "/metadata/instance/compute/azEnvironment" => Some("AzurePublicCloud".to_owned()),
            "/metadata/identity/oauth2/token" => {
                let known = value("client_id").is_none_or(|id| id == OTHER);
                let good = known && value("resource") == Some("https://management.azure.com/");
                good.then(|| json!({"access_token": access_token, "token_type": "Bearer"}).to_string())
            }
            "/metadata/attested/document" => {
                // The first is one that it has made before.
                let before = std::mem::take(&mut *stale.lock().expect("not poisoned"));
                let nonce = if before { "1234567890" } else { value("nonce")? };
                assert!(nonce.len() <= 32);
                let signed = signers.attest(&signer, document(&vm(), nonce).as_bytes());
                Some(json!({"encoding": "pkcs7", "signature": STANDARD.encode(signed)}).to_string())
            }
            _ => None,
        }
    });
    let host = format!("http://{}", service.host);
    let at = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str())];
    let agent = Agent::new(&world.auth, "azure");
    agent.run(&at).await.ok();
    assert!(exists(&agent.output()));
    assert_eq!(world.pki.asked().len(), 1, "it fetches what leads to an authority");
    // It stays who it is, and says which identity is meant.
    agent.run(&at).await.ok();
    assert_eq!(world.auth.instances("ci").await.len(), 1);
    let named = Agent::with(&world.auth, "azure", &format!(", azure: {{client_id: {OTHER}}}"));
    named.run(&at).await.ok();
    let unknown = Agent::with(&world.auth, "azure", &format!(", azure: {{client_id: {VM}}}"));
    let refused = unknown.run(&at).await.refused();
    assert!(refused.contains("no managed identity with the client id"), "{refused}");
    let wrong = Agent::with(&world.auth, "azure", ", azure: {client_id: \"a&b\"}");
    assert!(wrong.run(&at).await.refused().contains("onboarding.azure.client_id"));
    // Elsewhere than on a machine of Azure.
    let nobody = Metadata::serve(|_| None::<String>);
    let host = format!("http://{}", nobody.host);
    let at = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str())];
    let refused = Agent::new(&world.auth, "azure").run(&at).await.refused();
    assert!(refused.contains("run tbot on a machine of Azure"), "{refused}");
    let at = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://192.0.2.1")];
    let refused = Agent::new(&world.auth, "azure").run(&at).await.refused();
    assert!(refused.contains("address of this machine or link"), "{refused}");
}
