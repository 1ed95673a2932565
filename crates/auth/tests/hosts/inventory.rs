//! Streams of hosts: what they may say, what they hear, and when they end.

use super::bench::{Bench, host, id, node_report, proxy_report};
use access::SystemRole::{self, Auth, Node, Proxy};
use api::v1::NodeReport;
use api::v1::agent_message::Message as Said;
use api::v1::auth_message::Message;
use api::v1::node_change::Change;
use auth::catalog::{layout, record};
use auth::presence::Pace as PresencePace;
use auth::services::inventory::Pace;
use serde_json::json;
use std::time::Duration;
use store::Revision;
use tokio::time::Instant;

async fn record_of(bench: &Bench, number: u128) -> (serde_json::Value, Revision) {
    let entry = bench.core.catalog.read(&layout::node(id(number))).await.expect("reads").expect("is there");
    (record::decode(&entry).expect("a node").to_json(), entry.revision)
}

fn changed(message: Message) -> Option<Change> {
    match message {
        Message::NodeChange(change) => change.change,
        _ => None,
    }
}

#[tokio::test]
async fn a_record_is_written_when_what_it_says_has_changed() {
    let bench = Bench::new().await;
    let stream = bench.connect(host(1, Node, "web"));
    stream.say(node_report("web", "prod")).await;
    bench.until(|presence| presence.is_online(id(1))).await;
    // Each report is read after the one before was dealt with; the acknowledgement shows that it was.
    let dealt_with = async |stream: &super::bench::Stream| {
        let mut ticks = bench.core.presence.ticks();
        stream.say(Said::PolicyApplied(0)).await;
        ticks.changed().await.expect("presence lives");
    };
    dealt_with(&stream).await;
    let (first, written) = record_of(&bench, 1).await;
    assert_eq!(first["spec"]["hostname"], "web");
    assert_eq!(first["metadata"]["labels"], json!({"env": "prod"}));
    assert!(first["spec"]["last_seen"].is_string());
    for (report, same) in [(node_report("web", "prod"), true), (node_report("web", "test"), false)] {
        stream.say(report).await;
        dealt_with(&stream).await;
        assert_eq!(record_of(&bench, 1).await.1 == written, same);
    }
}

#[tokio::test]
async fn equal_reports_of_a_new_stream_write_nothing() {
    let bench = Bench::new().await;
    let mut revisions = Vec::new();
    for _ in 0..2 {
        let mut stream = bench.connect(host(1, Node, "web"));
        stream.say(node_report("web", "prod")).await;
        // The policy comes after the report was dealt with.
        stream.find(|message| matches!(message, Message::Policy(_)).then_some(())).await;
        revisions.push(record_of(&bench, 1).await.1);
    }
    assert_eq!(revisions[0], revisions[1]);
}

/// Row P8 of the abuse table.
#[tokio::test]
async fn a_report_cannot_claim_what_the_certificate_does_not_say() {
    let bench = Bench::new().await;
    let table: [(SystemRole, Said, &str); 7] = [
        (Node, proxy_report("proxy:443"), "wrong_role"),
        (Proxy, node_report("web", "prod"), "wrong_role"),
        (Auth, node_report("web", "prod"), "wrong_role"),
        (Node, node_report("db", "prod"), "host_name_not_own"),
        (Node, node_report("", "prod"), "host_name_not_own"),
        (Node, Said::Pong(1), "invalid"),
        (Proxy, proxy_report("no address"), "invalid"),
    ];
    for (role, report, code) in table {
        let mut stream = bench.connect(host(1, role, "web"));
        stream.say(report).await;
        assert_eq!(stream.refusal().await.code, code);
        assert!(!bench.core.presence.is_online(id(1)));
    }
    assert!(
        bench.core.catalog.all(layout::kind(access::resource::Kind::Node)).await.expect("reads").is_empty()
    );
}

/// A node's report with these addresses.
fn reached_at(addr: &str, public_addrs: &[&str]) -> Said {
    Said::Node(NodeReport {
        hostname: "web".to_owned(),
        addr: addr.to_owned(),
        public_addrs: public_addrs.iter().map(|addr| (*addr).to_owned()).collect(),
        ..NodeReport::default()
    })
}

/// Row P8: proxies are led to the node that reports, by a name of its certificate or where it comes from, and to
/// nobody else.
#[tokio::test]
async fn a_node_is_reached_at_addresses_of_its_own_only() {
    let bench = Bench::new().await;
    let table: [(&str, &[&str], &str); 10] = [
        ("db:3022", &[], "host_addr_not_own"),
        ("10.0.0.9:3022", &[], "host_addr_not_own"),
        ("[2001:db8::9]:3022", &[], "host_addr_not_own"),
        ("web.example.com.evil.net:3022", &[], "host_addr_not_own"),
        ("web:3022", &["db:22"], "host_addr_not_own"),
        ("127.0.0.1:3022", &["web:22", "10.0.0.9:22"], "host_addr_not_own"),
        ("", &["10.0.0.9"], "host_addr_not_own"),
        ("web:3022", &["0.0.0.0:22"], "host_addr_not_own"),
        ("no address", &[], "invalid"),
        ("web:3022", &["no address"], "invalid"),
    ];
    for (addr, public_addrs, code) in table {
        let mut stream = bench.connect(host(1, Node, "web"));
        stream.say(reached_at(addr, public_addrs)).await;
        assert_eq!(stream.refusal().await.code, code, "{addr} {public_addrs:?}");
        assert!(!bench.core.presence.is_online(id(1)));
    }
    for (addr, public_addrs) in [
        ("127.0.0.1:3022", &["web.example.com:3022"][..]),
        ("WEB:3022", &["127.0.0.1:22"]),
        ("", &["web:22"]),
    ] {
        let mut stream = bench.connect(host(1, Node, "web"));
        stream.say(reached_at(addr, public_addrs)).await;
        // The policy comes after the report was dealt with.
        stream.find(|message| matches!(message, Message::Policy(_)).then_some(())).await;
        let (record, _) = record_of(&bench, 1).await;
        assert_eq!(record["spec"]["addr"].as_str().unwrap_or_default(), addr, "{public_addrs:?}");
    }
}

/// Row P8: an address that many have, or that means another machine to whoever uses it, is nobody's own.
#[tokio::test]
async fn where_a_proxy_is_and_loopback_are_no_node_s_own() {
    let bench = Bench::new().await;
    let (far, through): (&str, &str) = ("10.1.2.3", "10.0.0.5");
    let mut proxy = bench.connect_from(host(9, Proxy, "proxy"), Pace::default(), through.parse().ok());
    proxy.say(proxy_report("proxy:443")).await;
    proxy.find(|message| matches!(message, Message::Policy(_)).then_some(())).await;
    let named = || {
        let mut node = host(1, Node, "web");
        // As if it had got a certificate with all of these.
        node.names.extend(
            ["localhost", "a.localhost", "127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "127.1", "0"]
                .map(str::to_owned),
        );
        node
    };
    for (from, addr, code) in [
        (through, "10.0.0.5:22", "host_addr_not_own"),
        (through, "[::ffff:10.0.0.5]:22", "host_addr_not_own"),
        (through, "0.0.0.0:22", "invalid"),
        (through, "[::]:22", "invalid"),
        (far, "127.0.0.1:22", "host_addr_not_own"),
        (far, "[::1]:22", "host_addr_not_own"),
        (far, "[::ffff:127.0.0.1]:22", "host_addr_not_own"),
        (far, "localhost:22", "host_addr_not_own"),
        (far, "a.localhost:22", "host_addr_not_own"),
        (far, "127.1:22", "host_addr_not_own"),
        (far, "0:22", "host_addr_not_own"),
        (far, "169.254.169.254:80", "host_addr_not_own"),
        ("127.0.0.1", "10.0.0.9:22", "host_addr_not_own"),
        ("127.0.0.1", "127.1:22", "host_addr_not_own"),
    ] {
        let mut stream = bench.connect_from(named(), Pace::default(), from.parse().ok());
        stream.say(reached_at(addr, &[])).await;
        assert_eq!(stream.refusal().await.code, code, "{addr} from {from}");
    }
    for (from, addr, kept) in [
        (far, "[::ffff:10.1.2.3]:22", "10.1.2.3:22"),
        ("::ffff:10.1.2.3", "10.1.2.3:22", "10.1.2.3:22"),
        ("::ffff:10.1.2.3", "0.0.0.0:22", "10.1.2.3:22"),
        // All of it on one machine.
        ("127.0.0.1", "127.0.0.1:22", "127.0.0.1:22"),
        ("127.0.0.1", "localhost:22", "localhost:22"),
        ("::1", "127.0.0.1:22", "127.0.0.1:22"),
        ("127.0.0.1", "0.0.0.0:22", "127.0.0.1:22"),
        (through, "web.example.com:22", "web.example.com:22"),
    ] {
        let mut stream = bench.connect_from(named(), Pace::default(), from.parse().ok());
        stream.say(reached_at(addr, &[])).await;
        stream.find(|message| matches!(message, Message::Policy(_)).then_some(())).await;
        assert_eq!(record_of(&bench, 1).await.0["spec"]["addr"], kept, "{addr} from {from}");
    }
}

/// A node that listens on every address knows its port alone; auth sees the rest.
#[tokio::test]
async fn a_node_that_listens_everywhere_is_reached_where_it_comes_from() {
    let bench = Bench::new().await;
    for (addr, from, expected) in [
        ("0.0.0.0:3022", "10.1.2.3", "10.1.2.3:3022"),
        ("[::]:2022", "10.1.2.3", "10.1.2.3:2022"),
        ("0.0.0.0:3022", "2001:db8::3", "[2001:db8::3]:3022"),
    ] {
        let mut stream = bench.connect_from(host(1, Node, "web"), Pace::default(), from.parse().ok());
        stream.say(reached_at(addr, &[])).await;
        stream.find(|message| matches!(message, Message::Policy(_)).then_some(())).await;
        assert_eq!(record_of(&bench, 1).await.0["spec"]["addr"], expected, "{addr}");
    }
    let mut unseen = bench.connect_from(host(1, Node, "web"), Pace::default(), None);
    unseen.say(reached_at("0.0.0.0:3022", &[])).await;
    let refused = unseen.refusal().await;
    assert_eq!(refused.code, "invalid");
    assert!(refused.hint.contains("public_addr"), "{refused:?}");
}

/// Row P8: what comes from a stream that was replaced does not count.
#[tokio::test]
async fn the_newest_stream_replaces_the_one_before() {
    let bench = Bench::new().await;
    let mut old = bench.connect(host(1, Node, "web"));
    old.say(node_report("web", "prod")).await;
    bench.until(|presence| presence.is_online(id(1))).await;
    let new = bench.connect(host(1, Node, "web"));
    new.say(node_report("web", "prod")).await;
    assert_eq!(old.refusal().await.code, "superseded");
    bench.until(|presence| presence.count(Node) == 1).await;
}

/// A machine that was cloned with its data directory: both are told of each other, and what to do.
#[tokio::test]
async fn two_hosts_with_one_id_are_told_of_each_other() {
    let bench = Bench::new().await;
    let mut streams = Vec::new();
    for from in ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"] {
        let mut stream = bench.connect_from(host(1, Node, "web"), Pace::default(), from.parse().ok());
        stream.say(reached_at("0.0.0.0:22", &[])).await;
        stream.find(|message| matches!(message, Message::Policy(_)).then_some(())).await;
        streams.push(stream);
    }
    assert_eq!(streams[0].refusal().await.code, "superseded", "it may have been a restart");
    for stream in &mut streams[1..3] {
        let refused = stream.refusal().await;
        assert_eq!(refused.code, "host_cloned");
        assert!(refused.reason.contains("10.0.0.1") && refused.reason.contains("10.0.0.2"), "{refused:?}");
        assert!(refused.hint.contains("host_uuid") && refused.hint.contains("--type=node"), "{refused:?}");
    }
}

#[tokio::test]
async fn proxies_hear_of_nodes() {
    let bench = Bench::new().await;
    let mut node = bench.connect(host(1, Node, "web"));
    node.say(node_report("web", "prod")).await;
    // The policy comes after the report was dealt with.
    node.find(|message| matches!(message, Message::Policy(_)).then_some(())).await;
    let mut proxy = bench.connect(host(2, Proxy, "proxy"));
    proxy.say(proxy_report("proxy:443")).await;
    let list = proxy
        .find(|message| match message {
            Message::Nodes(list) => Some(list.nodes),
            _ => None,
        })
        .await;
    assert!(list.len() == 1 && list[0].contains("prod"), "{list:?}");
    node.say(node_report("web", "test")).await;
    let json = proxy
        .find(|message| match changed(message) {
            Some(Change::Upsert(json)) if json.contains("test") => Some(json),
            _ => None,
        })
        .await;
    let node_json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(node_json["metadata"]["name"], id(1).to_string());
    assert_eq!(bench.core.presence.proxy_addrs(), ["proxy:443"]);
    drop(node);
    bench.until(|presence| !presence.is_online(id(1))).await;
    bench.core.presence.sweep(Instant::now() + PresencePace::default().grace);
    let gone = proxy
        .find(|message| match changed(message) {
            Some(Change::Remove(id)) => Some(id),
            _ => None,
        })
        .await;
    assert_eq!(gone, id(1).to_string());
}

#[tokio::test]
async fn a_host_that_does_not_read_is_cut() {
    let bench = Bench::new().await;
    let pace = Pace { send: Duration::from_millis(10), ..Pace::default() };
    let proxy = bench.connect_at(host(2, Proxy, "proxy"), pace);
    proxy.say(proxy_report("proxy:443")).await;
    bench.until(|presence| presence.count(Proxy) == 1).await;
    // More nodes than its queue holds.
    let nodes: Vec<_> = (10..60)
        .map(|number| {
            let name = format!("n{number}");
            let stream = bench.connect(host(number, Node, &name));
            (stream, name)
        })
        .collect();
    for (stream, name) in &nodes {
        stream.say(node_report(name, "prod")).await;
    }
    bench.until(|presence| presence.count(Proxy) == 0).await;
    bench.until(|presence| presence.count(Node) == nodes.len()).await;
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_cut() {
    let bench = Bench::new().await;
    let pace = Pace { ping: Duration::from_millis(10), ..Pace::default() };
    let mut stream = bench.connect_at(host(1, Node, "web"), pace);
    stream.say(node_report("web", "prod")).await;
    stream
        .find(|message| match message {
            Message::Ping(number) => Some(number),
            _ => None,
        })
        .await;
    bench.until(|presence| presence.count(Node) == 0).await;
}

#[tokio::test]
async fn a_lock_on_a_host_ends_its_stream() {
    let bench = Bench::new().await;
    let mut stream = bench.connect(host(1, Node, "web"));
    let other = bench.connect(host(2, Node, "db"));
    stream.say(node_report("web", "prod")).await;
    other.say(node_report("db", "prod")).await;
    bench.until(|presence| presence.count(Node) == 2).await;
    bench.lock("out", json!({"server_id": id(1).to_string()})).await;
    assert_eq!(stream.refusal().await.code, "locked");
    bench.until(|presence| presence.count(Node) == 1).await;
    let mut again = bench.connect(host(1, Node, "web"));
    assert_eq!(again.refusal().await.code, "locked");
}

#[tokio::test]
async fn streams_are_sent_away_when_auth_stops() {
    let bench = Bench::new().await;
    let mut stream = bench.connect(host(1, Node, "web"));
    stream.say(node_report("web", "prod")).await;
    bench.until(|presence| presence.count(Node) == 1).await;
    bench.shutdown.cancel();
    let within = stream
        .find(|message| match message {
            Message::GoAwayMs(within) => Some(within),
            _ => None,
        })
        .await;
    assert!(within >= 1000);
}

#[tokio::test]
async fn when_nodes_were_seen_is_written_in_one_go() {
    let bench = Bench::new().await;
    let mut streams = Vec::new();
    for number in 1..=3 {
        let name = format!("n{number}");
        let mut stream = bench.connect(host(number, Node, &name));
        stream.say(node_report(&name, "prod")).await;
        stream.find(|message| matches!(message, Message::Policy(_)).then_some(())).await;
        streams.push(stream);
    }
    let (before, _) = record_of(&bench, 1).await;
    // Somebody removes one of them: it does not come back by being seen.
    let gone = store::Txn::new().delete(layout::node(id(2)));
    bench.core.catalog.commit(gone).await.expect("commits").expect("no conflict");
    bench.core.presence.checkpoint(&bench.core.catalog).await.expect("writes");
    let (after, revision) = record_of(&bench, 1).await;
    assert_ne!(before["spec"]["last_seen"], after["spec"]["last_seen"]);
    assert_eq!(record_of(&bench, 3).await.1, revision, "one transaction");
    assert!(bench.core.catalog.read(&layout::node(id(2))).await.expect("reads").is_none());
    bench.core.presence.checkpoint(&bench.core.catalog).await.expect("writes");
    assert!(record_of(&bench, 3).await.1 > revision, "it knows its own writing");
}
