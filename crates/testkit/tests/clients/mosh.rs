//! mosh: SSH only starts its server; the rest is UDP from the client to the node, past every proxy.

use testkit::programs::{command, theirs};
use testkit::{Outcome, run};

use super::story::{NO_SUCH_LOGIN, Story};

/// mosh wants a terminal.
fn mosh(story: &Story, arguments: &str) -> Outcome {
    let line = format!("stty rows 24 cols 80; mosh --ssh='{}' {arguments}", story.ssh_line());
    run(command("/usr/bin/script").env("TERM", "xterm").env("SHELL", "/bin/sh").args([
        "-qec",
        &line,
        "/dev/null",
    ]))
}

#[test]
fn it_works_where_its_packets_reach_the_node() {
    let Some(_) = theirs("mosh") else { return };
    let story = Story::start();
    // The node says where it is; to mosh the host's name is no address, and the proxy's is the wrong one.
    let there = story.path("there");
    let line = format!("--experimental-remote-ip=remote {} -- touch {}", story.target(), there.display());
    mosh(&story, &line).ok();
    assert!(there.exists());
}

#[test]
fn without_that_it_looks_for_the_name_in_vain() {
    let Some(_) = theirs("mosh") else { return };
    let story = Story::start();
    let refused = mosh(&story, &format!("{} -- true", story.target()));
    assert!(!refused.status.success(), "{refused:#?}");
    assert!(refused.stdout.contains("could not get canonical name"), "{refused:#?}");
}

#[test]
fn a_login_that_no_role_allows_starts_no_server() {
    let Some(_) = theirs("mosh") else { return };
    let story = Story::start();
    let refused = mosh(&story, &format!("--experimental-remote-ip=remote {} -- true", story.forbidden()));
    assert!(!refused.status.success() && refused.stdout.contains(NO_SUCH_LOGIN), "{refused:#?}");
}
