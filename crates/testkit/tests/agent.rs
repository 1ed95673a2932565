//! What the agent does with a configuration that changes under a healthy instance, or asks for more than it gets.

use testkit::{Bot, Cluster};

fn with_bot() -> (Cluster, Bot) {
    let (cluster, bot) = Cluster::with_bot();
    bot.oneshot().ok();
    (cluster, bot)
}

fn instances(cluster: &Cluster) -> usize {
    let listing = cluster.tctl(&["get", "bot_instances", "--format=json"]).ok();
    listing.matches("\"instance_id\"").count()
}

fn new_token(cluster: &Cluster) -> String {
    let added = cluster.tctl(&["bots", "instances", "add", "tester", "--format=json"]).ok();
    let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
    added["token_id"].as_str().expect("a token").to_owned()
}

#[test]
fn another_token_costs_a_healthy_instance_nothing() {
    let (cluster, bot) = with_bot();
    for token in ["0123456789abcdef0123456789abcdef".to_owned(), new_token(&cluster)] {
        bot.configure(&token, &cluster.pin(), "");
        let outcome = bot.oneshot();
        assert!(outcome.stderr.contains("the configured token is not used"), "{outcome:#?}");
        outcome.ok();
        assert_eq!(instances(&cluster), 1);
    }
}

#[test]
fn another_token_is_used_by_an_instance_that_cannot_go_on() {
    let (cluster, bot) = with_bot();
    // A storage restored from a backup is of a generation that the cluster has left behind.
    let backup = cluster.path().join("backup");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let mut cp = testkit::programs::command("/bin/cp");
        testkit::run(cp.arg("-a").arg(from).arg(to)).ok();
    };
    copy(&bot.storage(), &backup);
    bot.oneshot().ok();
    bot.oneshot().ok();
    std::fs::remove_dir_all(bot.storage()).expect("ours");
    copy(&backup, &bot.storage());
    bot.oneshot().refused();

    bot.configure(&new_token(&cluster), &cluster.pin(), "");
    let outcome = bot.oneshot();
    assert!(outcome.stderr.contains("joining with the configured token"), "{outcome:#?}");
    outcome.ok();
    assert_eq!(instances(&cluster), 2);
    bot.oneshot().ok();
}

#[test]
fn a_shorter_life_than_asked_is_told_with_its_reason() {
    let (cluster, bot) = with_bot();
    let spent = "0123456789abcdef0123456789abcdef";
    bot.configure(spent, &cluster.pin(), "certificate_ttl: 48h\n");
    let outcome = bot.oneshot();
    for part in [
        "identity is valid for 12h, not for the 48h of certificate_ttl: the limit is max_session_ttl",
        "is valid for 24h, not for the 48h",
    ] {
        assert_eq!(outcome.stderr.matches(part).count(), 1, "{part}: {outcome:#?}");
    }
    outcome.ok();
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
