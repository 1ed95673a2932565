//! An agent's services go their own ways: one that fails keeps no other from its work, and each says how it is.

use std::net::SocketAddr;
use testkit::cluster::http_get;
use testkit::programs::{command, ours};
use testkit::{Bot, Cluster, Process, run, until};

const SPENT: &str = "0123456789abcdef0123456789abcdef";

/// A bot that has joined, and its configuration with more outputs.
fn with_outputs(more: &str) -> (Cluster, Bot) {
    let (cluster, bot) = Cluster::with_bot();
    bot.oneshot().ok();
    bot.configure(SPENT, &cluster.pin(), more);
    (cluster, bot)
}

fn second(bot: &Bot) -> String {
    bot.directory().join("second").display().to_string()
}

fn diag(agent: &mut Process) -> SocketAddr {
    until("the address of health and metrics", || {
        agent.assert_running();
        let log = agent.log();
        let (_, rest) = log.split_once("serving health and metrics address=")?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

fn json(address: SocketAddr, path: &str) -> (u16, serde_json::Value) {
    let (status, body) = http_get(address, path).expect("answers");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[test]
fn an_output_that_is_refused_keeps_no_other_from_its_certificates() {
    let cluster_and_bot = with_outputs("");
    let (cluster, bot) = &cluster_and_bot;
    let more = format!(
        "- type: identity\n  name: wrong\n  destination: {}\n  roles: [no-such-role]\n\
         renewal_interval: 1s\ndiag_addr: 127.0.0.1:0\n",
        second(bot)
    );
    bot.configure(SPENT, &cluster.pin(), &more);
    let refused = bot.oneshot().refused();
    assert!(refused.contains("ERROR: output wrong: ") && refused.contains("no-such-role"), "{refused}");

    let mut agent = bot.start();
    let address = diag(&mut agent);
    let told = until("five rounds of the good one", || {
        let (status, told) = json(address, "/readyz");
        (told["services"]["output-1"]["iterations"].as_u64()? >= 5).then_some((status, told))
    });
    assert_eq!(told.0, 503, "{told:#?}");
    let services = &told.1["services"];
    assert_eq!(services["output-1"]["status"], "healthy", "{services:#}");
    assert_eq!(services["identity"]["status"], "healthy", "{services:#}");
    assert_eq!(services["wrong"]["status"], "unhealthy", "{services:#}");
    assert!(services["wrong"]["reason"].as_str().expect("text").contains("no-such-role"), "{services:#}");
    assert_eq!(json(address, "/readyz/output-1").0, 200);
    assert_eq!(json(address, "/readyz/wrong").0, 503);
    let (status, unknown) = json(address, "/readyz/nothing");
    assert_eq!((status, &unknown["error"]), (404, &"no service is called \"nothing\"".into()));
    let (_, metrics) = http_get(address, "/metrics").expect("answers");
    for line in [
        "tbot_credential_seconds_left{service=\"identity-output\",name=\"output-1\"} 3",
        "tbot_ready{service=\"identity-output\",name=\"wrong\"} 0",
        "tbot_task_iterations_failed{service=\"identity-output\",name=\"wrong\"} ",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in:\n{metrics}");
    }
    // What was wrong is mended where it was: nothing has to be restarted.
    cluster.role("no-such-role", "[root]", "{env: test}");
    cluster.tctl(&["bots", "update", "tester", "--add-roles", "no-such-role"]).ok();
    until("the other one to be written", || (json(address, "/readyz").0 == 200).then_some(()));
    assert!(std::path::Path::new(&second(bot)).join("key").exists());
}

#[test]
fn outputs_have_their_own_roles_life_and_rhythm() {
    let cluster_and_bot = with_outputs("");
    let (cluster, bot) = &cluster_and_bot;
    cluster.role("other", "[nobody]", "{env: test}");
    cluster.tctl(&["bots", "update", "tester", "--add-roles", "other"]).ok();
    let more = format!(
        "services:\n- type: identity\n  name: often\n  destination: {}\n  roles: [other]\n  credential_ttl: 10m\n  \
         renewal_interval: 1s\ndiag_addr: 127.0.0.1:0\n",
        second(bot)
    );
    bot.configure(SPENT, &cluster.pin(), &more);
    let mut agent = bot.start();
    let address = diag(&mut agent);
    let services = until("five rounds of the frequent one", || {
        let services = json(address, "/readyz").1["services"].clone();
        (services["often"]["iterations"].as_u64()? >= 5).then_some(services)
    });
    assert_eq!(services["output-1"]["iterations"], 1, "{services:#}");
    assert_eq!(services["identity"]["iterations"], 1, "{services:#}");
    let certificate = std::path::Path::new(&second(bot)).join("key-cert.pub");
    let mut keygen = testkit::programs::command("/usr/bin/ssh-keygen");
    let listing = testkit::run(keygen.args(["-L", "-f"]).arg(certificate)).ok();
    assert!(listing.contains("nobody") && !listing.contains("root"), "{listing}");
}

#[test]
fn everything_wrong_with_directories_is_told_at_once_and_nothing_is_changed() {
    let cluster_and_bot = with_outputs("");
    let (cluster, bot) = &cluster_and_bot;
    let place = |name: &str| bot.directory().join(name);
    std::fs::write(place("file"), "precious").expect("written");
    std::fs::create_dir(place("open")).expect("created");
    std::fs::set_permissions(place("open"), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("ours");
    std::os::unix::fs::symlink(bot.output(), place("link")).expect("linked");
    let outputs = ["file", "open", "link"]
        .map(|name| format!("- type: identity\n  name: {name}\n  destination: {}\n", place(name).display()));
    let key = std::fs::read(bot.file("key")).expect("written before");
    bot.configure(SPENT, &cluster.pin(), &outputs.concat());
    let outcome = bot.oneshot();
    assert_eq!(outcome.code(), 1);
    let told = outcome.refused();
    for part in [
        "output file: ",
        "exists and is not a directory",
        "output open: ",
        "may be written to by others",
        "output link: ",
        "leads through a symbolic link",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert_eq!(std::fs::read(place("file")).expect("there"), b"precious");
    assert_eq!(std::fs::read(bot.file("key")).expect("there"), key, "nothing was renewed");
}

#[test]
fn a_new_configuration_is_taken_while_the_agent_runs_and_a_bad_one_is_not() {
    use testkit::process::Signal;
    let (cluster, bot) = with_outputs("diag_addr: 127.0.0.1:0\n");
    let mut agent = bot.start();
    let address = diag(&mut agent);
    until("the first round", || (json(address, "/readyz").0 == 200).then_some(()));
    let good = std::fs::read_to_string(bot.config()).expect("written before");
    std::fs::write(bot.config(), format!("{good}certificate_tll: 1h\n")).expect("written");
    agent.signal(Signal::HUP);
    until("the refusal", || agent.log().contains("going on with the one before").then_some(()));
    assert!(agent.log().contains("did you mean \"certificate_ttl\"?"), "{}", agent.log());
    let status = run(command(ours("tbot")).args(["status", "-c"]).arg(bot.config())).refused();
    assert!(status.contains("ERROR: an agent that runs goes on with what it read before"), "{status}");
    let own = || json(address, "/readyz/identity").1;
    until("the refusal to be seen", || {
        own()["reason"].as_str()?.contains("is not used, since it has mistakes").then_some(())
    });
    assert_eq!((&own()["ready"], &own()["status"]), (&true.into(), &"degraded".into()));

    let more = format!(
        "- type: identity\n  name: new\n  destination: {}\ndiag_addr: 127.0.0.1:0\nrenewal_interval: 5m\n",
        second(&bot)
    );
    bot.configure(SPENT, &cluster.pin(), &more);
    agent.signal(Signal::HUP);
    until("the new output", || (json(address, "/readyz/new").0 == 200).then_some(()));
    assert_eq!(own()["status"], "healthy");
    let log = agent.log();
    for part in ["renewal_interval is 300s, was 1200s", "output new is new"] {
        assert!(log.contains(part), "{part:?} is not in:\n{log}");
    }
    let rounds = || json(address, "/readyz/new").1["iterations"].as_u64().expect("a number");
    let before = rounds();
    agent.signal(Signal::USR1);
    until("one more round", || (rounds() > before).then_some(()));
    assert!(agent.stop().success());
    assert!(agent.log().contains("stopping"));
}
