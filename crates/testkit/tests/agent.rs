//! What the agent does with a configuration that changes under a healthy instance, or asks for more than it gets.

use testkit::{Bot, Cluster, Layout};

fn with_bot() -> (Cluster, Bot) {
    let cluster = Cluster::start(Layout::OneProcess);
    cluster.role("tester", "[root]", "{env: test}");
    let bot = cluster.bot("tester", &["tester"]);
    bot.oneshot().ok();
    (cluster, bot)
}

fn instances(cluster: &Cluster) -> usize {
    let listing = cluster.tctl(&["get", "bot_instances", "--format=json"]).ok();
    listing.matches("\"instance_id\"").count()
}

#[test]
fn a_running_agent_renews_again_and_again() {
    let (cluster, bot) = with_bot();
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    std::fs::write(bot.config(), format!("{config}renewal_interval: 1s\n")).expect("written");
    let mut agent = bot.start();
    testkit::until("five rounds", || {
        agent.assert_running();
        assert!(!agent.log().contains("renewal failed"), "{}", agent.log());
        (agent.log().matches("credentials written").count() >= 5).then_some(())
    });
    assert_eq!(instances(&cluster), 1);
}
