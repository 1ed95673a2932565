//! Joining, renewing and outputs over real TLS, and the abuse of all three.

mod abuse;
#[path = "../harness/mod.rs"]
mod harness;
mod shares;
mod ssh_server;

use access::SystemRole;
use access::resource::Kind;
use api::status::{Class, Problem};
use api::v1;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::join_service_client::JoinServiceClient;
use auth::catalog::layout;
use auth::enrol::host::Host;
use auth::enrol::host_names::Owner;
use harness::{Auth, Joiner, confirm, generation, instance, key, output, renew};
use identity::Credentials;
use identity::verify::ssh::{HostContext, UserContext, host, user};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeSet;
use store::{Clock as _, Txn};

async fn sign_output(channel: tonic::transport::Channel, roles: &[&str]) -> Result<(), Problem> {
    output(channel, roles, 0).await.map(drop)
}

#[tokio::test]
async fn a_bot_joins_once_and_gets_outputs() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    let told = auth.events("cert.create").await;
    let first = told.iter().find(|event| event["identity"]["bot_name"] == "ci").expect("an event");
    assert_eq!((&first["requested_by"], &first["user"]), (&json!("bot-ci"), &json!("bot-ci")), "{first}");
    assert_eq!(generation(&own), Some(1));
    let life = own.expires().duration_since(Timestamp::now());
    assert!(life <= SignedDuration::from_hours(1) && life > SignedDuration::from_mins(59), "{life}");
    let output = output(auth.member(&own), &[], 0).await.expect("gets an output");
    let identity = output.identity().user().expect("a user");
    assert_eq!(identity.name.as_str(), "bot-ci");
    assert_eq!(identity.impersonator.as_ref().map(|name| name.as_str()), Some("bot-ci"));
    assert_eq!(identity.roles, [harness::role_name("ops")]);
    assert!(identity.disallow_reissue && !identity.renewable);
    assert_eq!((generation(&output), instance(&output)), (None, instance(&own)));
    let login = access::Login::new("root").expect("a login");
    let context =
        UserContext { trust: &output.trust, now: Timestamp::now(), peer: None, login: Some(&login) };
    user(output.ssh_certificate.blob(), &context).expect("a node accepts it");
    assert_eq!(auth.events("bot.join").await.len(), 1);
    assert_eq!(
        auth.events("cert.create").await.len(),
        3,
        "the bot's own, its output's, and none more than auth's"
    );
}

#[tokio::test]
async fn a_node_joins_and_is_called_by_its_names() {
    let auth = Auth::start().await;
    let joiner = Joiner::node("web-1");
    let node = auth.join(&joiner).await.expect("joins");
    let names = ["web-1.example.com", "web-1"];
    let context = HostContext { trust: &node.trust, now: Timestamp::now(), names: &names };
    host(node.ssh_certificate.blob(), &context).expect("clients accept it");
    assert_eq!(auth.events("instance.join").await[0]["node_name"], "web-1");
    // The same attempt again is a retry; the token is good for others still.
    auth.join(&joiner).await.expect("is a retry");
    auth.join(&Joiner::node("web-2")).await.expect("joins");
    assert_eq!(auth.events("instance.join").await.len(), 3);
}

async fn renew_host(
    auth: &Auth,
    credentials: &Credentials,
    host: v1::HostDetails,
) -> Result<Credentials, Problem> {
    let key = key();
    let request = v1::RenewHostRequest { public_key: key.spki_der(), host: Some(host) };
    let answer = CertificateServiceClient::new(auth.member(credentials)).renew_host(request).await;
    let message = answer.map_err(|status| Problem::of(&status))?.into_inner().credentials;
    Ok(api::convert::credentials(key, message.expect("some")).expect("they fit"))
}

#[tokio::test]
async fn a_host_renews_as_itself_only() {
    let auth = Auth::start().await;
    let joiner = Joiner::node("web-1");
    let node = auth.join(&joiner).await.expect("joins");
    let details = joiner.host.clone().expect("a host");
    let ask = |credentials: &Credentials, host: v1::HostDetails| {
        let credentials = credentials.clone();
        let auth = &auth;
        async move { renew_host(auth, &credentials, host).await }
    };
    let second = ask(&node, details.clone()).await.expect("renews");
    // The answer was lost: the first certificate is good for another try.
    let third = ask(&node, details.clone()).await.expect("renews again");
    ask(&third, details.clone()).await.expect("renews");
    let stale = ask(&second, details.clone()).await.expect_err("is neither the newest nor the one before");
    assert_eq!(stale.code, "certificate_stale");
    let other = v1::HostDetails { host_id: uuid::Uuid::new_v4().to_string(), ..details.clone() };
    assert_eq!(ask(&third, other).await.expect_err("another host").code, "other_host");
    auth.join(&Joiner::node("db-1")).await.expect("joins");
    let renamed = v1::HostDetails { hostname: "db-1".to_owned(), ..details };
    assert_eq!(ask(&third, renamed).await.expect_err("another's name").code, "host_name_taken");
}

/// A renewal may come through a proxy, whose address is no address of the host.
#[tokio::test]
async fn a_renewal_does_not_move_where_a_host_was_enrolled_from() {
    let auth = Auth::start().await;
    let joiner = Joiner::node("web-1");
    let node = auth.join(&joiner).await.expect("joins");
    let (details, id) = (joiner.host.expect("a host"), node.identity().host().expect("a host").id);
    let key_of_host = Host::key_of(id, SystemRole::Node);
    let key_of_name = layout::host_name(SystemRole::Node, "web-1").expect("a key");
    let catalog = &auth.core().catalog;
    let read = async |key: &store::Key| catalog.read(key).await.expect("reads").expect("is there");
    let mut host = Host::read(&read(&key_of_host).await).expect("a host");
    let joined_from = std::mem::replace(&mut host.from, "10.0.0.1".parse().ok());
    assert_eq!(joined_from, "127.0.0.1".parse().ok());
    catalog.commit(host.put(Txn::new())).await.expect("commits").expect("no conflict");
    renew_host(&auth, &node, details).await.expect("renews");
    assert_eq!(Host::read(&read(&key_of_host).await).expect("a host").from, host.from);
    assert_eq!(Owner::read(&read(&key_of_name).await).expect("an owner").from, host.from);
}

#[tokio::test]
async fn renewals_are_prepared_and_confirmed() {
    let auth = Auth::start().await;
    let first = auth.joined_bot("ci").await;
    let next = key();
    let second = renew(auth.member(&first), &next).await.expect("renews");
    assert_eq!(generation(&second), Some(2));
    let again = renew(auth.member(&first), &next).await.expect("a lost answer is no theft");
    assert_eq!(generation(&again), Some(2));
    // Until it is confirmed, both are good.
    output(auth.member(&first), &[], 0).await.expect("the previous one is good");
    output(auth.member(&again), &[], 0).await.expect("the next one is good");
    confirm(auth.member(&again)).await.expect("confirms");
    confirm(auth.member(&again)).await.expect("confirms twice");
    let stale = output(auth.member(&first), &[], 0).await.expect_err("the previous one is over");
    assert_eq!(stale.code, "generation_stale");
    let third = renew(auth.member(&again), &key()).await.expect("renews");
    assert_eq!(generation(&third), Some(3));
    let instances = auth.instances("ci").await;
    let status = &instances[0].resource.status;
    let generations: Vec<u64> = status.latest_authentications.iter().map(|seen| seen.generation).collect();
    assert_eq!((instances.len(), generations), (1, vec![1, 2, 3]));
}

#[tokio::test]
async fn the_life_of_certificates_has_limits() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let token = auth.bot_token("ci").await;
    let long = Joiner { ttl_seconds: 100 * 3600, ..Joiner::bot(&token) };
    let own = auth.join(&long).await.expect("joins");
    let hours = |credentials: &Credentials| {
        let life = credentials.expires().duration_since(auth.clock.now());
        (life.as_secs() + 1800) / 3600
    };
    assert_eq!(hours(&own), 12);
    let out = output(auth.member(&own), &[], 100 * 3600).await.expect("gets an output");
    assert_eq!(hours(&out), 24);
    let mut node = Joiner::node("web-1");
    node.ttl_seconds = 60;
    assert_eq!(auth.join(&node).await.expect_err("hosts do not choose").class, Class::Invalid);
}

#[tokio::test]
async fn a_role_taken_away_is_gone_at_once() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    output(auth.member(&own), &["ops"], 0).await.expect("gets it");
    // Row L5: past the view, as another auth would do it.
    auth.put(json!({"kind": "bot", "version": "v1", "metadata": {"name": "ci"}, "spec": {"roles": []}}))
        .await;
    let refused = output(auth.member(&own), &["ops"], 0).await.expect_err("has it no longer");
    assert_eq!(refused.code, "impersonation_not_allowed");
    assert_eq!(auth.events("cert.denied").await.len(), 1);
}

async fn sign(
    channel: tonic::transport::Channel,
    user: &str,
    ttl_seconds: u64,
) -> Result<Credentials, Problem> {
    let key = key();
    let request = v1::SignUserRequest { user: user.to_owned(), public_key: key.spki_der(), ttl_seconds };
    let answer = CertificateServiceClient::new(channel).sign_user(request).await;
    let message = answer.map_err(|status| Problem::of(&status))?.into_inner().credentials;
    Ok(api::convert::credentials(key, message.expect("some")).expect("they fit"))
}

#[tokio::test]
async fn an_administrator_signs_for_users() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    for (name, roles) in [("alice", json!(["ops"])), ("nobody", json!([])), ("lost", json!(["no-such-role"]))]
    {
        auth.put(
            json!({"kind": "user", "version": "v2", "metadata": {"name": name}, "spec": {"roles": roles}}),
        )
        .await;
    }
    let alice = sign(auth.admin(), "alice", 0).await.expect("is signed");
    let identity = alice.identity().user().expect("a user");
    assert_eq!((identity.name.as_str(), identity.logins.len()), ("alice", 1));
    assert!(!identity.renewable && identity.bot.is_none());
    assert!(
        alice.expires() > Timestamp::now() + SignedDuration::from_hours(11),
        "the cluster's default is 12 h"
    );
    for (user, code) in
        [("bot-ci", "user_is_bot"), ("nobody", "no_roles"), ("lost", "role_not_found"), ("eve", "not_found")]
    {
        assert_eq!(sign(auth.admin(), user, 0).await.expect_err("refused").code, code, "{user}");
    }
    // Who may not sign does not learn who exists, nor what they are.
    for user in ["alice", "eve", "bot-ci", "lost"] {
        for channel in [auth.member(&alice), auth.member(&own)] {
            assert_eq!(sign(channel, user, 0).await.expect_err("refused").code, "impersonation_not_allowed");
        }
    }
    auth.lock("l", json!({"user": "alice"})).await;
    assert_eq!(sign(auth.admin(), "alice", 0).await.expect_err("locked").code, "locked");
}
