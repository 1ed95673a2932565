//! Nodes and proxies with a key that is bound to a token.

use super::{TOKEN, get, host_token, recovery, started_for_host, upsert};
use crate::harness::{Auth, Joiner, confirm};
use access::HostId;
use api::status::Problem;
use api::v1;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use identity::Credentials;
use jiff::SignedDuration;
use serde_json::json;

fn host_id(credentials: &Credentials) -> HostId {
    credentials.identity().host().expect("a host").id
}

/// The same machine after it has lost everything but its key and its join state.
fn bare(joiner: &Joiner) -> Joiner {
    let bound = joiner.bound.clone();
    Joiner { bound, ..Joiner::host(TOKEN, joiner.role, "web-1") }
}

async fn renewed_by_certificate(auth: &Auth, own: &Credentials, joiner: &Joiner) -> Result<(), Problem> {
    let request = v1::RenewHostRequest { public_key: joiner.key.spki_der(), host: joiner.host.clone() };
    let answer = CertificateServiceClient::new(auth.member(own)).renew_host(request).await;
    answer.map(drop).map_err(|status| Problem::of(&status))
}

#[tokio::test]
async fn a_node_comes_back_after_an_outage_longer_than_its_certificate() {
    let (auth, mut node) = started_for_host("Node", recovery(3, "standard")).await;
    let first = node.join_and_keep(auth.stranger()).await.expect("joins");
    auth.clock.advance(SignedDuration::from_hours(24 * 30));
    let mut later = node.next();
    let second = later.join_and_keep(auth.stranger()).await.expect("comes back");
    assert_eq!(host_id(&second), host_id(&first), "as the host that it was");
    // Not because its certificate has ended, but because it has lost it.
    let third = later.next().join_and_keep(auth.stranger()).await.expect("comes back");
    assert_eq!(host_id(&third), host_id(&first));
    let status = get(&auth, false).await["status"]["bound_keypair"].clone();
    assert_eq!(status["recovery_count"], json!(3));
    assert_eq!(status["bound_host_id"], json!(host_id(&first).to_string()));
    assert!(status.get("join_state").is_none(), "{status}");
    let joins = auth.events("instance.join").await;
    let of_token = joins.iter().filter(|event| event["token_name"] == TOKEN && event["success"] == true);
    let steps: Vec<_> = of_token.filter_map(|event| event["attributes"]["step"].as_str()).collect();
    assert_eq!(steps, ["register", "recover", "recover"]);
}

#[tokio::test]
async fn a_node_that_lost_everything_but_its_key_comes_back_as_often_as_it_may() {
    let (auth, mut node) = started_for_host("Node", recovery(2, "standard")).await;
    let first = node.join_and_keep(auth.stranger()).await.expect("joins");
    let mut again = bare(&node);
    let second = again.join_and_keep(auth.stranger()).await.expect("comes back");
    assert_ne!(host_id(&second), host_id(&first));
    // There is one holder: what it was before is nobody, with whatever certificate.
    let refused = renewed_by_certificate(&auth, &first, &node.next()).await.expect_err("is nobody");
    assert_eq!(refused.code, "host_unknown");
    let refused = bare(&again).join(auth.stranger()).await.expect_err("came back often enough");
    assert_eq!(refused.code, "recovery_limit_reached");
    upsert(auth.admin(), &host_token("Node", &recovery(1, "relaxed"))).await.expect("is changed");
    bare(&again).join(auth.stranger()).await.expect("as often as it likes");
}

#[tokio::test]
async fn a_node_renews_by_its_key_and_stays_the_same_host() {
    let (auth, mut node) = started_for_host("Node", recovery(1, "standard")).await;
    let first = node.join_and_keep(auth.stranger()).await.expect("joins");
    confirm(auth.member(&first)).await.expect("confirms");
    let mut next = node.next();
    next.join_and_keep(auth.member(&first)).await.expect("the answer is lost");
    let second = next.join_and_keep(auth.member(&first)).await.expect("the same again");
    assert_eq!(host_id(&second), host_id(&first));
    let third = next.next().join_and_keep(auth.member(&second)).await.expect("renews");
    assert_eq!(get(&auth, false).await["status"]["bound_keypair"]["recovery_count"], json!(1));
    assert_eq!(host_id(&third), host_id(&first));
    // A copy from before shows a certificate that was left behind, and locks both.
    let copy = next.next().join(auth.member(&first)).await.expect_err("it has renewed twice since");
    assert_eq!(copy.code, "generation_mismatch");
    assert_eq!(next.next().join(auth.member(&third)).await.expect_err("locked").code, "locked");
}

#[tokio::test]
async fn a_proxy_joins_by_a_key_and_nothing_else_by_its_token() {
    let (auth, mut proxy) = started_for_host("Proxy", recovery(2, "standard")).await;
    let own = proxy.join_and_keep(auth.stranger()).await.expect("joins");
    assert_eq!(own.identity().host().expect("a host").role, access::SystemRole::Proxy);
    let node = Joiner { role: "Node", ..proxy.next() };
    assert_eq!(node.join(auth.stranger()).await.expect_err("is for a proxy").code, "join_refused");
    proxy.next().join(auth.stranger()).await.expect("and comes back");
}

#[tokio::test]
async fn a_copied_node_is_noticed_and_both_are_locked() {
    let (auth, mut node) = started_for_host("Node", recovery(9, "standard")).await;
    let own = node.join_and_keep(auth.stranger()).await.expect("joins");
    let thief = Joiner::host("", "Node", "evil-1");
    let mut thief = Joiner { host: thief.host, ..node.next() };
    let stolen = thief.join_and_keep(auth.stranger()).await.expect("has all that the node had");
    // The node is second, over the certificate that it still has.
    let noticed = node.next().join(auth.member(&own)).await.expect_err("the key is in use twice");
    assert_eq!(noticed.code, "generation_mismatch");
    assert_eq!(thief.next().join(auth.stranger()).await.expect_err("locked").code, "locked");
    assert_eq!(
        renewed_by_certificate(&auth, &stolen, &thief.next()).await.expect_err("locked").code,
        "locked"
    );
    let lock = auth.core().catalog.view().locks.values().next().expect("a lock").value.clone();
    let target = (lock.spec.target.join_token.clone(), lock.spec.target.server_id.clone());
    assert_eq!(target, (Some(TOKEN.to_owned()), Some(host_id(&stolen).to_string())));
    assert_eq!(auth.events("cert.generation_mismatch").await[0]["role"], "Node");
}

#[tokio::test]
async fn a_lost_answer_is_a_retry_until_it_was_confirmed() {
    let (auth, mut node) = started_for_host("Node", recovery(1, "standard")).await;
    let thief = node.clone();
    let lost = node.join(auth.stranger()).await.expect("the answer is lost");
    let first = node.join_and_keep(auth.stranger()).await.expect("the same attempt is a retry");
    assert_eq!(host_id(&first), host_id(&lost));
    thief.join(auth.stranger()).await.expect("until it is confirmed");
    confirm(auth.member(&first)).await.expect("confirms");
    let refused = thief.join(auth.stranger()).await.expect_err("is no retry any more");
    assert_eq!(refused.code, "join_state_missing");
}

#[tokio::test]
async fn a_lost_answer_costs_a_node_nothing_however_long_it_was_lost() {
    let (auth, mut node) = started_for_host("Node", recovery(1, "standard")).await;
    let lost = node.join(auth.stranger()).await.expect("the answer is lost");
    auth.clock.advance(SignedDuration::from_hours(24 * 30));
    let first = node.join_and_keep(auth.stranger()).await.expect("the same attempt is a retry");
    assert_eq!(host_id(&first), host_id(&lost));
    assert_eq!(get(&auth, false).await["status"]["bound_keypair"]["recovery_count"], json!(1));
}

#[tokio::test]
async fn the_key_takes_no_other_host_s_id_and_no_lock_is_escaped() {
    let (auth, mut node) = started_for_host("Node", recovery(9, "standard")).await;
    let other = Joiner::node("web-2");
    auth.join(&other).await.expect("joins");
    let taking = Joiner { host: other.host.clone(), ..node.clone() };
    assert_eq!(taking.join(auth.stranger()).await.expect_err("is another's").code, "host_id_taken");
    let own = node.join_and_keep(auth.stranger()).await.expect("joins");
    auth.lock("l", json!({"server_id": host_id(&own).to_string()})).await;
    assert_eq!(bare(&node).join(auth.stranger()).await.expect_err("locked").code, "locked");
}

/// A copy of its certificate would show no join state, and so would never be noticed.
#[tokio::test]
async fn a_node_does_not_renew_by_its_certificate_alone() {
    let (auth, mut node) = started_for_host("Node", recovery(1, "standard")).await;
    let own = node.join_and_keep(auth.stranger()).await.expect("joins");
    let refused = renewed_by_certificate(&auth, &own, &node.next()).await.expect_err("shows no key");
    assert_eq!(refused.code, "not_renewable");
    node.next().join(auth.member(&own)).await.expect("by its key it does");
}

#[tokio::test]
async fn a_key_takes_back_no_id_that_is_another_host_s_by_now() {
    let (auth, mut node) = started_for_host("Node", recovery(9, "standard")).await;
    let own = node.join_and_keep(auth.stranger()).await.expect("joins");
    let request = v1::DeleteRequest { kind: "node".to_owned(), name: host_id(&own).to_string() };
    ResourceServiceClient::new(auth.admin()).delete(request).await.expect("is removed");
    let mut other = Joiner::node("web-2");
    other.host.as_mut().expect("a host").host_id = host_id(&own).to_string();
    let new = auth.join(&other).await.expect("the machine was set up anew");
    assert_eq!(host_id(&new), host_id(&own));
    assert_eq!(node.next().join(auth.stranger()).await.expect_err("another's").code, "host_id_taken");
    bare(&node).join(auth.stranger()).await.expect("as somebody else");
    let request = v1::RenewHostRequest { public_key: other.next().key.spki_der(), host: other.host.clone() };
    let renewed = CertificateServiceClient::new(auth.member(&new)).renew_host(request).await;
    renewed.expect("nobody has removed the new one");
}

#[tokio::test]
async fn such_a_token_is_for_one_holder() {
    let auth = Auth::start().await;
    for roles in [json!(["Node", "Proxy"]), json!(["Node", "Bot"]), json!(["Auth"])] {
        let mut token = host_token("Node", &recovery(1, "standard"));
        token["spec"]["roles"] = roles;
        upsert(auth.admin(), &token).await.expect_err("is refused");
    }
}
