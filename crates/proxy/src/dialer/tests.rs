use super::{View, Wanted, route};
use crate::caller::Caller;
use crate::denied::Denied;
use crate::nodes::Nodes;
use access::resource::cluster::{AuthPreferenceSpec, LockingMode, NetworkingSpec, RecordingSpec};
use access::resource::{Lock, Resource, Role};
use access::{ClusterName, HostId};
use agent::NodeEvent;
use identity::policy::Policy;
use identity::{TrustBundle, UserIdentity};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use transport::ssh::{Cipher, KeyExchange, Negotiated};

const WEB: &str = "00000000-0000-4000-8000-000000000001";
const DB: &str = "00000000-0000-4000-8000-000000000002";

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().expect("a time")
}

fn cluster() -> ClusterName {
    ClusterName::new("example.com").expect("a name")
}

fn resource(value: Value) -> Resource {
    Resource::from_json(value).expect("a resource")
}

fn role(name: &str, allow: Value, deny: Value) -> Role {
    let spec = json!({"allow": allow, "deny": deny});
    match resource(json!({"kind": "role", "version": "v7", "metadata": {"name": name}, "spec": spec})) {
        Resource::Role(role) => *role,
        other => panic!("not a role: {other:?}"),
    }
}

fn lock(target: Value) -> Lock {
    let spec = json!({"target": target, "message": "stolen"});
    match resource(json!({"kind": "lock", "version": "v2", "metadata": {"name": "l"}, "spec": spec})) {
        Resource::Lock(lock) => lock,
        other => panic!("not a lock: {other:?}"),
    }
}

fn policy() -> Policy {
    Policy {
        cluster: cluster(),
        revision: 1,
        issued_at: now(),
        trust: TrustBundle::empty(cluster()),
        roles: vec![
            role("web", json!({"logins": ["root"], "node_labels": {"env": "web"}}), json!({})),
            role("all", json!({"logins": ["root"], "node_labels": {"*": "*"}}), json!({})),
            role("not-db", json!({}), json!({"node_labels": {"env": "db"}})),
        ],
        locks: Vec::new(),
        networking: NetworkingSpec::default(),
        recording: RecordingSpec::default(),
        auth_preference: AuthPreferenceSpec::default(),
    }
}

fn nodes() -> Nodes {
    let nodes = Nodes::default();
    let node = |id: &str, hostname: &str, env: &str| {
        let value = json!({"kind": "node", "version": "v2", "metadata": {"name": id, "labels": {"env": env}},
            "spec": {"hostname": hostname, "addr": "10.0.0.1:3022"}});
        match resource(value) {
            Resource::Node(node) => node,
            other => panic!("not a node: {other:?}"),
        }
    };
    nodes.apply(NodeEvent::All(vec![node(WEB, "web-1", "web"), node(DB, "db-1", "db")]));
    nodes
}

fn caller(roles: &[&str]) -> Caller {
    let user = UserIdentity {
        logins: vec!["root".parse().expect("a login")],
        ..UserIdentity::person(
            "alice".parse().expect("a name"),
            roles.iter().map(|role| role.parse().expect("a name")).collect(),
        )
    };
    Caller::unverified(user, now() + SignedDuration::from_hours(1), SocketAddr::from(([192, 0, 2, 1], 1)))
}

fn ask(policy: &Policy, caller: &Caller, host: &str, silence: Duration) -> Result<HostId, Denied> {
    let cluster = cluster();
    let view = View { policy, silence, cluster: &cluster };
    let login = Some("root".parse().expect("a login"));
    let wanted = Wanted { host: host.into(), port: 0, cluster: String::new(), login };
    route(&view, &nodes(), caller, &wanted, now()).map(|entry| entry.node().id)
}

fn code(policy: &Policy, caller: &Caller, host: &str) -> &'static str {
    match ask(policy, caller, host, Duration::ZERO) {
        Ok(_) => "ok",
        Err(denied) => denied.code,
    }
}

#[test]
fn roles_decide_what_is_there() {
    for (roles, host, expected) in [
        (&["web"][..], "web-1", "ok"),
        (&["web"], WEB, "ok"),
        (&["web"], "web-1.example.com", "ok"),
        (&["web"], "db-1", "host_unknown"),
        (&["web"], DB, "host_unknown"),
        (&["all"], "db-1", "ok"),
        (&["all", "not-db"], "db-1", "host_unknown"),
        (&["all", "not-db"], "web-1", "ok"),
        (&["all", "gone"], "web-1", "role_not_found"),
        (&[], "web-1", "host_unknown"),
        (&["all"], "10.0.0.1", "host_ambiguous"),
        (&["web"], "10.0.0.1", "ok"),
    ] {
        assert_eq!(code(&policy(), &caller(roles), host), expected, "{roles:?} {host}");
    }
}

/// A jump is judged by its own connection; what comes by TLS is for the node to judge.
#[test]
fn jumps_over_connections_that_roles_or_the_cluster_do_not_accept_are_refused() {
    let mut policy = policy();
    policy.roles[0].spec.options.require_post_quantum = Some(true);
    let over = |roles: &[&str], key_exchange| {
        caller(roles).over(Negotiated { key_exchange, cipher: Cipher::Aes128Gcm })
    };
    let (curve, mlkem) = (KeyExchange::Curve25519, KeyExchange::MlKem768X25519);
    assert_eq!(code(&policy, &caller(&["web"]), "web-1"), "ok");
    assert_eq!(code(&policy, &over(&["web"], mlkem), "web-1"), "ok");
    assert_eq!(code(&policy, &over(&["all"], curve), "web-1"), "ok");
    assert_eq!(code(&policy, &over(&["web"], curve), "web-1"), "post_quantum_required");
    assert_eq!(code(&policy, &over(&["all", "web"], curve), "web-1"), "post_quantum_required");
    for host in ["db-1", "xx-1"] {
        assert_eq!(
            code(&policy, &over(&["web"], curve), host),
            "post_quantum_required",
            "no oracle for names"
        );
    }
    policy.auth_preference.require_post_quantum = true;
    assert_eq!(code(&policy, &over(&["all"], curve), "web-1"), "post_quantum_required");
    assert_eq!(code(&policy, &over(&["all"], mlkem), "web-1"), "ok");
}

#[test]
fn before_the_first_list_no_name_is_called_unknown() {
    let cluster = cluster();
    let view = View { policy: &policy(), silence: Duration::ZERO, cluster: &cluster };
    let wanted = Wanted { host: "web-1".into(), port: 0, cluster: String::new(), login: None };
    let nodes = Nodes::default();
    let ask = || route(&view, &nodes, &caller(&["web"]), &wanted, now()).expect_err("there are no nodes");
    let denied = ask();
    assert_eq!(denied.code, "nodes_unknown");
    assert!(denied.line().contains("the proxy has not heard from auth yet"), "{}", denied.line());
    nodes.apply(NodeEvent::All(Vec::new()));
    assert_eq!(ask().code, "host_unknown", "auth said that there are none");
}

#[test]
fn hidden_and_unknown_are_the_same_words() {
    let answer = |host: &str| ask(&policy(), &caller(&["web"]), host, Duration::ZERO).expect_err("refused");
    let (hidden, unknown) = (answer("db-1"), answer("xx-1"));
    assert_eq!(hidden.line().replace("db-1", "NAME"), unknown.line().replace("xx-1", "NAME"));
    assert_eq!((hidden.code, hidden.hint), (unknown.code, unknown.hint));
    let wire = |denied: Denied| prost_bytes(&denied.into());
    assert_eq!(wire(hidden).len(), wire(unknown).len());
}

fn prost_bytes(denied: &api::v1::Denied) -> Vec<u8> {
    [denied.code.as_bytes(), denied.reason.as_bytes(), denied.hint.as_bytes()].join(&0)
}

#[test]
fn locks_come_first_and_a_locked_node_shows_only_to_those_who_see_it() {
    for (target, roles, host, expected) in [
        (json!({"user": "alice"}), &["web"][..], "web-1", "locked"),
        (json!({"user": "alice"}), &["web"], "nowhere", "locked"),
        (json!({"role": "web"}), &["web"], "web-1", "locked"),
        (json!({"login": "root"}), &["web"], "web-1", "locked"),
        (json!({"server_id": WEB}), &["web"], "web-1", "locked"),
        (json!({"server_id": DB}), &["web"], "db-1", "host_unknown"),
        (json!({"server_id": DB}), &["web"], "web-1", "ok"),
        (json!({"user": "bob"}), &["web"], "web-1", "ok"),
    ] {
        let locked = Policy { locks: vec![lock(target.clone())], ..policy() };
        assert_eq!(code(&locked, &caller(roles), host), expected, "{target} {host}");
    }
}

#[test]
fn an_expired_certificate_and_a_stale_view_let_nobody_through() {
    let user = caller(&["web"]).user().clone();
    let expired = Caller::unverified(user, now(), SocketAddr::from(([192, 0, 2, 1], 1)));
    assert_eq!(code(&policy(), &expired, "web-1"), "certificate_expired");
    let mut strict = policy();
    strict.auth_preference.locking_mode = LockingMode::Strict;
    for (policy, silence, expected) in
        [(policy(), 3600, Ok(())), (strict.clone(), 299, Ok(())), (strict, 301, Err("locks_stale"))]
    {
        let answer = ask(&policy, &caller(&["web"]), "web-1", Duration::from_secs(silence));
        assert_eq!(answer.map(drop).map_err(|denied| denied.code), expected);
    }
}

/// As `connect` meets them.
#[tokio::test]
async fn a_name_that_leads_nowhere_is_told_apart_from_a_host_that_is_down() {
    let nowhere =
        tokio::net::TcpStream::connect(("no-such-host.invalid", 22)).await.expect_err("no such name");
    assert_eq!(super::in_words(&nowhere), "its name cannot be resolved by the proxy", "{nowhere}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    let down = tokio::net::TcpStream::connect(free).await.expect_err("nobody listens");
    assert_eq!(super::in_words(&down), "connection refused");
}
