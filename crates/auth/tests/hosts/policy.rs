//! What hosts decide by reaches them, signed, when it changes.

use super::bench::{Bench, host, node_report, proxy_report};
use access::SystemRole::{Node, Proxy};
use access::resource::Kind;
use api::v1::agent_message::Message as Said;
use api::v1::auth_message::Message;
use auth::catalog::layout;
use auth::policy::Pace;
use identity::policy::{Policy, open};
use serde_json::json;
use std::time::Duration;
use store::Txn;

fn opened(bench: &Bench, message: Message) -> Option<Policy> {
    match message {
        Message::Policy(signed) => {
            let trust = bench.core.issuer.trust();
            let opened = open(&signed.payload, &signed.signature, &trust);
            Some(opened.expect("the host authority signed it").policy)
        }
        _ => None,
    }
}

fn names(policy: &Policy) -> Vec<&str> {
    policy.roles.iter().map(|role| role.name.as_str()).collect()
}

#[tokio::test]
async fn hosts_get_the_policy_at_once_and_after_each_change() {
    let bench = Bench::new().await;
    let mut stream = bench.connect(host(1, Node, "web"));
    stream.say(node_report("web", "prod")).await;
    let first = stream.find(|message| opened(&bench, message)).await;
    assert!(names(&first).is_empty() && first.locks.is_empty());
    stream.say(Said::PolicyApplied(first.revision)).await;
    bench.until(|presence| presence.behind(first.revision).is_empty()).await;
    bench.role("ops", json!({"logins": ["root"]})).await;
    let second = stream.find(|message| opened(&bench, message)).await;
    assert_eq!(names(&second), ["ops"]);
    assert!(second.revision > first.revision);
    assert_eq!(bench.core.presence.behind(second.revision).len(), 1);
}

#[tokio::test]
async fn the_roles_of_bots_are_in_it() {
    let bench = Bench::new().await;
    bench
        .put(json!({"kind": "bot", "version": "v1", "metadata": {"name": "ci"}, "spec": {"roles": ["ops"]}}))
        .await;
    let mut stream = bench.connect(host(1, Proxy, "proxy"));
    stream.say(proxy_report("proxy:443")).await;
    stream.find(|message| opened(&bench, message).filter(|policy| names(policy) == ["bot-ci"])).await;
}

/// Changes gather here for so long that only what does not wait can arrive.
#[tokio::test]
async fn a_lock_waits_for_nothing() {
    let pace = Pace { gather: Duration::from_secs(3600), ..Pace::default() };
    let bench = Bench::with(pace).await;
    let mut stream = bench.connect(host(1, Node, "web"));
    stream.say(node_report("web", "prod")).await;
    stream.find(|message| opened(&bench, message)).await;
    bench.role("ops", json!({"logins": ["root"]})).await;
    bench.lock("out", json!({"user": "mallory"})).await;
    let policy = stream.find(|message| opened(&bench, message)).await;
    assert_eq!(policy.locks.len(), 1);
    assert_eq!(names(&policy), ["ops"], "what was waiting goes with it");
}

#[tokio::test]
async fn a_quiet_cluster_issues_again() {
    let pace = Pace { reissue: Duration::from_millis(20), ..Pace::default() };
    let bench = Bench::with(pace).await;
    let mut stream = bench.connect(host(1, Node, "web"));
    stream.say(node_report("web", "prod")).await;
    let first = stream.find(|message| opened(&bench, message)).await;
    let second = stream.find(|message| opened(&bench, message)).await;
    assert_eq!(first.revision, second.revision);
    assert!(second.issued_at > first.issued_at);
}

#[tokio::test]
async fn users_are_no_part_of_it() {
    let bench = Bench::new().await;
    let mut policies = bench.core.policies.watch();
    policies.wait_for(Option::is_some).await.expect("the first");
    policies.mark_unchanged();
    bench
        .put(
            json!({"kind": "user", "version": "v2", "metadata": {"name": "alice"}, "spec": {"roles": ["a"]}}),
        )
        .await;
    bench.role("ops", json!({})).await;
    policies.changed().await.expect("the second");
    let revision = policies.borrow_and_update().as_ref().map(|issued| issued.revision);
    assert_eq!(revision, Some(bench.core.catalog.view().revision.number()), "one for both changes");
}

/// While something cannot be read nothing new is decided; what was in force stays.
#[tokio::test]
async fn a_damaged_store_issues_nothing() {
    let bench = Bench::new().await;
    let mut stream = bench.connect(host(1, Node, "web"));
    stream.say(node_report("web", "prod")).await;
    stream.find(|message| opened(&bench, message)).await;
    let key = layout::resource(Kind::Role, "a").expect("a key");
    let mut changes = bench.core.catalog.changes();
    bench.core.catalog.commit(Txn::new().put(key, "{}")).await.expect("commits").expect("no conflict");
    changes.wait_for(|_| bench.core.catalog.view().intact().is_err()).await.expect("the catalog lives");
    bench.lock("out", json!({"user": "mallory"})).await;
    bench.role("a", json!({})).await;
    let next = stream.find(|message| opened(&bench, message)).await;
    assert_eq!((names(&next), next.locks.len()), (vec!["a"], 1), "the first one after the repair");
}
