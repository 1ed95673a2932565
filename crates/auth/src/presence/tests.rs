//! Presence by itself: streams that replace each other, and the grace of those that ended.

use super::{Pace, Presence, RouteChange, Superseded};
use access::resource::{Node, Resource};
use access::{HostId, SystemRole};
use serde_json::json;
use std::sync::Arc;
use store::Revision;
use tokio::time::Instant;

fn node(number: u128, hostname: &str) -> Node {
    let id = HostId(uuid::Uuid::from_u128(number));
    let value = json!({"kind": "node", "version": "v2", "metadata": {"name": id.to_string()},
        "spec": {"hostname": hostname, "addr": "127.0.0.1:3022"}});
    match Resource::from_json(value) {
        Ok(Resource::Node(node)) => node,
        other => panic!("not a node: {other:?}"),
    }
}

fn presence(known: Vec<(Node, Revision)>) -> Arc<Presence> {
    let presence = Presence::default();
    presence.expect_back(known);
    Arc::new(presence)
}

#[tokio::test]
async fn the_newest_stream_is_the_host() {
    let (presence, node) = (presence(vec![]), node(1, "a"));
    let old = presence.begin(node.id, SystemRole::Node, None);
    old.node(node.clone(), Revision::new(1)).expect("it is the newest");
    let new = presence.begin(node.id, SystemRole::Node, None);
    old.cut().await;
    assert_eq!(old.node(node.clone(), Revision::new(2)), Err(Superseded));
    assert_eq!(old.applied(9), Err(Superseded));
    drop(old);
    assert!(presence.is_online(node.id), "the end of an old stream says nothing");
    drop(new);
    assert!(!presence.is_online(node.id));
}

#[tokio::test]
async fn a_node_stays_for_its_grace_and_comes_back() {
    let (presence, node) = (presence(vec![]), node(1, "a"));
    let mut routes = presence.routes();
    assert!(routes.list.is_empty());
    let stream = presence.begin(node.id, SystemRole::Node, None);
    stream.node(node.clone(), Revision::new(1)).expect("it is the newest");
    assert!(matches!(routes.changes.try_recv(), Ok(RouteChange::Upsert(_))));
    drop(stream);
    presence.sweep(Instant::now());
    assert!(routes.changes.try_recv().is_err(), "it has its grace");
    let again = presence.begin(node.id, SystemRole::Node, None);
    again.node(node.clone(), Revision::new(1)).expect("it is the newest");
    let later = Instant::now() + Pace::default().grace;
    presence.sweep(later);
    assert!(routes.changes.try_recv().is_err(), "nothing has changed");
    drop(again);
    presence.sweep(Instant::now() + Pace::default().grace);
    assert_eq!(routes.changes.try_recv(), Ok(RouteChange::Remove(node.id)));
}

#[tokio::test]
async fn nodes_on_record_may_come_back_after_a_start() {
    let known = vec![(node(1, "a"), Revision::new(1)), (node(2, "b"), Revision::new(1))];
    let presence = presence(known);
    let stream = presence.begin(node(2, "b").id, SystemRole::Node, None);
    stream.node(node(2, "b"), Revision::new(1)).expect("it is the newest");
    let routes = presence.routes();
    assert_eq!(routes.list.len(), 2);
    assert!(routes.list[0].contains("\"b\""), "those with a stream come first");
    presence.sweep(Instant::now() + Pace::default().start_grace);
    assert_eq!(presence.routes().list.len(), 1);
}

#[tokio::test]
async fn acknowledgements_are_known() {
    let presence = presence(vec![]);
    let id = node(1, "a").id;
    let stream = presence.begin(id, SystemRole::Proxy, "10.0.0.1".parse().ok());
    assert_eq!(presence.behind(3), [(id, SystemRole::Proxy)]);
    let mut ticks = presence.ticks();
    stream.applied(3).expect("it is the newest");
    assert!(ticks.has_changed().expect("presence lives"));
    ticks.mark_unchanged();
    assert!(presence.behind(3).is_empty());
    assert_eq!(presence.behind(4).len(), 1);
    assert!(presence.is_proxy("10.0.0.1".parse().expect("an address")));
    presence.cut(id);
    stream.cut().await;
}
