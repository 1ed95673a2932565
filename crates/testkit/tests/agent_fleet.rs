//! Many agents that wake in the same second. How fast that goes is measured by `scripts/bench-agent`; here it is seen that it goes.

#[path = "../../tbot/examples/fleet.rs"]
#[allow(dead_code, reason = "it is a program too")]
mod fleet;

use testkit::Cluster;

#[test]
fn a_fleet_that_wakes_at_once_is_renewed_and_nobody_is_alarmed() {
    const BOTS: usize = 400;
    let cluster = Cluster::auth_alone();
    cluster.role("tester", "[root]", "{env: test}");
    cluster.tctl(&["bots", "add", "tester", "--roles=tester"]).ok();
    let tokens: Vec<String> = (0..BOTS).map(|nth| format!("{nth:032x}")).collect();
    let tokens_of_all: Vec<String> = tokens
        .iter()
        .map(|token| {
            format!(
                "kind: token\nversion: v2\nmetadata: {{name: {token:?}}}\n\
                 spec: {{roles: [Bot], join_method: token, bot_name: tester}}\n"
            )
        })
        .collect();
    cluster.create(&tokens_of_all.join("---\n"));
    let (pin, servers) = (cluster.pin(), [cluster.endpoint("auth")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let agents = async { fleet::woken(fleet::joined(&pin, &servers, &tokens).await).await };
    let found = tokio::task::LocalSet::new().block_on(&runtime, agents);
    let renewed = found["renewed_after"].as_array().map(Vec::len);
    assert_eq!((renewed, &found["surfaced"]), (Some(BOTS), &0.into()), "{found}");
    let locks = cluster.tctl(&["get", "locks", "--format=json"]).ok();
    assert!(!locks.contains("bot_instance_id"), "{locks}");
    let known = cluster.tctl(&["get", "bot_instances", "--format=json"]).ok();
    assert_eq!(known.matches("\"instance_id\"").count(), BOTS);
    assert_eq!(known.matches("\"generation\": 2").count(), BOTS, "each has renewed once");
}
