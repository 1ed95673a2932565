//! A client's display in sessions on a node, with the `ssh` of OpenSSH and a real X server.

mod support;

use std::process::{Command, Stdio};

use serde_json::json;
use support::display::{Screen, on};
use support::forwarding::certify_all;
use support::{Fixture, NODENAME, run, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_of_a_session_use_the_client_s_display() {
    let mut missing = ["Xvfb", "xdpyinfo", "xauth"].into_iter().filter(|program| {
        Command::new(program).arg("-version").stderr(Stdio::null()).stdout(Stdio::null()).status().is_err()
    });
    if let Some(missing) = missing.next() {
        eprintln!("SKIPPED: needs {missing}");
        return;
    }
    let node = Fixture::start_with(json!({"permit_x11_forwarding": true}), on).await;
    certify_all(&node, "full");
    let screen = Screen::start(&node.pki);
    for option in ["-Y", "-X"] {
        let mut ssh = node.ssh("full");
        screen.give(&mut ssh);
        ssh.args([option, NODENAME, "xdpyinfo && echo $DISPLAY"]);
        let output = run(ssh).await;
        let seen = text(&output.stdout);
        assert!(seen.contains("dimensions:    320x200 pixels"), "{option}: {seen}{}", text(&output.stderr));
        assert!(seen.lines().last().is_some_and(|display| display.starts_with("localhost:")), "{seen}");
    }
    let event = node.event("x11-forward", |_| true).await;
    assert_eq!((&event["code"], &event["success"]), (&json!("T3008I"), &json!(true)));
    assert!(event["sid"].is_string() && event["display"].is_string(), "{event:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn displays_are_refused_without_the_node_the_role_or_the_certificate() {
    for (enabled, role, name, denial) in [
        (false, true, "full", "x11_off"),
        (true, false, "full", "x11_not_allowed"),
        (true, true, "alice", "x11_not_allowed"),
    ] {
        let change = |config: &mut node::Config| {
            if enabled {
                on(config)
            }
        };
        let node = Fixture::start_with(json!({"permit_x11_forwarding": role}), change).await;
        certify_all(&node, "full");
        let mut ssh = node.ssh(name);
        ssh.args(["-Y", NODENAME, "echo ${DISPLAY-none}"]).env("DISPLAY", "127.0.0.1:0");
        let output = run(ssh).await;
        assert_eq!(text(&output.stdout), "none\n", "{denial}");
        assert!(text(&output.stderr).contains("X11 forwarding request failed"), "{}", text(&output.stderr));
        let event = node.event("x11-forward", |_| true).await;
        assert_eq!((&event["code"], &event["denial"]), (&json!("T3008W"), &json!(denial)));
    }
}
