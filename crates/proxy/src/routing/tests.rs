use super::{Directory, NoRoute, Rules, Target};
use access::resource::cluster::RoutingStrategy;
use access::resource::node::NodeSpec;
use access::resource::{Metadata, Node};
use access::{ClusterName, HostId};

fn id(number: u32) -> HostId {
    format!("00000000-0000-4000-8000-{number:012}").parse().expect("an id")
}

fn node(number: u32, hostname: &str, addr: &str) -> Node {
    let metadata = Metadata { name: id(number).to_string(), ..Metadata::default() };
    let spec = NodeSpec { hostname: hostname.into(), addr: addr.into(), ..NodeSpec::default() };
    Node { metadata, id: id(number), spec }
}

fn directory() -> Directory {
    let mut directory = Directory::default();
    let mut public = node(5, "db", "10.0.0.5:3022");
    public.spec.public_addrs = vec!["db.example.org:2022".into(), "not an address".into()];
    directory.replace([
        node(1, "web-1", "10.0.0.1:3022"),
        node(2, "twin", "10.0.0.2:3022"),
        node(3, "twin", "10.0.0.3:4022"),
        node(4, "Camel", "10.0.0.4:22"),
        public,
        node(6, "root.example.com", "10.0.0.6:3022"),
        node(7, "root", "10.0.0.7:3022"),
        node(8, "many", "10.0.0.9:1"),
        node(9, "many", "10.0.0.9:2"),
        node(10, "", "nonsense addr"),
    ]);
    directory
}

const UNKNOWN: Result<u32, NoRoute> = Err(NoRoute::Unknown);
const AMBIGUOUS: Result<u32, NoRoute> = Err(NoRoute::Ambiguous);

fn ask(host: &str, port: u32, change: impl FnOnce(&mut Rules<'_>), hidden: &[u32]) -> Result<u32, NoRoute> {
    let cluster = ClusterName::new("example.com").expect("a name");
    let mut rules =
        Rules { cluster: &cluster, strategy: RoutingStrategy::UnambiguousMatch, case_insensitive: false };
    change(&mut rules);
    let visible = |entry: &super::Entry| !hidden.iter().any(|number| id(*number) == entry.node().id);
    let found = directory().resolve(&Target { host, port, cluster: "" }, &rules, visible)?;
    Ok((1..=10).find(|number| id(*number) == found.node().id).expect("one of ours"))
}

#[test]
fn names_lead_to_nodes() {
    let id_1 = id(1).to_string();
    let id_1_here = format!("{id_1}.example.com");
    for (host, port, expected) in [
        ("web-1", 0, Ok(1)),
        ("web-1.example.com", 0, Ok(1)),
        ("web-1", 3022, Ok(1)),
        ("web-1", 22, Ok(1)),
        ("web-1", 4022, UNKNOWN),
        ("web-1.other.com", 0, UNKNOWN),
        ("WEB-1", 0, UNKNOWN),
        ("web", 0, UNKNOWN),
        (&id_1, 0, Ok(1)),
        (&id_1.to_uppercase(), 0, Ok(1)),
        (&id_1, 4711, Ok(1)),
        (&id_1_here, 0, Ok(1)),
        ("10.0.0.1", 0, Ok(1)),
        ("10.0.0.1", 3022, Ok(1)),
        ("10.0.0.1", 8080, UNKNOWN),
        ("twin", 0, AMBIGUOUS),
        ("twin", 22, AMBIGUOUS),
        ("twin", 3022, Ok(2)),
        ("twin", 4022, Ok(3)),
        ("camel", 0, UNKNOWN),
        ("Camel", 0, Ok(4)),
        ("db", 2022, Ok(5)),
        ("db.example.org", 2022, Ok(5)),
        ("db.example.org", 0, Ok(5)),
        ("root.example.com", 0, Ok(6)),
        ("root", 0, Ok(7)),
        ("root.example.com.example.com", 0, Ok(6)),
        ("10.0.0.9", 0, AMBIGUOUS),
        ("10.0.0.9", 2, Ok(9)),
    ] {
        assert_eq!(ask(host, port, |_| {}, &[]), expected, "{host}:{port}");
    }
}

#[test]
fn raw_addresses_and_nonsense_lead_nowhere() {
    let long = "a".repeat(100_000);
    for host in [
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "localhost",
        "",
        ".",
        ".example.com",
        "example.com",
        "nonsense",
        "not an address",
        "web-1\0",
        "web-1 ",
        &long,
    ] {
        assert_eq!(ask(host, 0, |_| {}, &[]), UNKNOWN, "{host:?}");
    }
    assert_eq!(ask("web-1", u32::MAX, |_| {}, &[]), UNKNOWN);
}

#[test]
fn hidden_is_unknown_and_hides_ambiguity() {
    assert_eq!(ask("web-1", 0, |_| {}, &[1]), UNKNOWN);
    assert_eq!(ask(&id(1).to_string(), 0, |_| {}, &[1]), UNKNOWN);
    assert_eq!(ask("twin", 0, |_| {}, &[2]), Ok(3));
    assert_eq!(ask("twin", 0, |_| {}, &[2, 3]), UNKNOWN);
    assert_eq!(ask("root.example.com", 0, |_| {}, &[6]), Ok(7));
}

#[test]
fn another_cluster_is_unknown() {
    let cluster = ClusterName::new("example.com").expect("a name");
    let rules =
        Rules { cluster: &cluster, strategy: RoutingStrategy::UnambiguousMatch, case_insensitive: false };
    for (name, found) in [("example.com", true), ("", true), ("leaf.com", false)] {
        let target = Target { host: "web-1", port: 0, cluster: name };
        assert_eq!(directory().resolve(&target, &rules, |_| true).is_ok(), found, "{name}");
    }
}

#[test]
fn capital_letters_fold_one_way_only() {
    let fold = |rules: &mut Rules<'_>| rules.case_insensitive = true;
    for (host, expected) in [("camel", Ok(4)), ("Camel", Ok(4)), ("CAMEL", UNKNOWN), ("WEB-1", UNKNOWN)] {
        assert_eq!(ask(host, 0, fold, &[]), expected, "{host}");
    }
}

#[test]
fn the_most_recent_of_several_when_the_cluster_says_so() {
    let cluster = ClusterName::new("c").expect("a name");
    let rules = Rules { cluster: &cluster, strategy: RoutingStrategy::MostRecent, case_insensitive: false };
    let mut directory = directory();
    for (recent, number) in [("2026-01-01T00:00:00Z", 2), ("2026-01-02T00:00:00Z", 3)] {
        let mut seen = node(number, "twin", "10.0.0.2:3022");
        seen.spec.last_seen = Some(recent.parse().expect("a time"));
        directory.upsert(seen);
        let found = directory.resolve(&Target { host: "twin", port: 0, cluster: "" }, &rules, |_| true);
        assert_eq!(found.expect("found").node().id, id(number));
    }
}

#[test]
fn changes_leave_no_trace_of_what_was() {
    let mut directory = directory();
    directory.upsert(node(1, "renamed", "10.1.0.1:3022"));
    let cluster = ClusterName::new("c").expect("a name");
    let rules =
        Rules { cluster: &cluster, strategy: RoutingStrategy::UnambiguousMatch, case_insensitive: false };
    let finds = |directory: &Directory, host: &str| {
        directory.resolve(&Target { host, port: 0, cluster: "" }, &rules, |_| true).is_ok()
    };
    assert!(!finds(&directory, "web-1") && !finds(&directory, "10.0.0.1") && finds(&directory, "renamed"));
    for number in 1..=10 {
        directory.remove(id(number));
    }
    assert!(directory.is_empty() && directory.names() == 0);
}
