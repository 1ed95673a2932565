//! git: clone, push and fetch from a bare repository on the node, by protocol version 2.

use testkit::programs::{command, theirs};
use testkit::{Outcome, run};

use super::story::{NO_SUCH_LOGIN, Story};

fn git(story: &Story, arguments: &[&str]) -> Outcome {
    run(command("git")
        .env("HOME", story.cluster.path())
        .env("GIT_SSH_COMMAND", story.ssh_line())
        .env("GIT_TRACE_PACKET", story.text("packets"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args([
            "-c",
            "user.name=Daily",
            "-c",
            "user.email=daily@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments))
}

#[test]
fn a_repository_is_cloned_pushed_to_and_fetched_from() {
    let Some(_) = theirs("git") else { return };
    let story = Story::start();
    let (bare, one, two) = (story.text("bare.git"), story.text("one"), story.text("two"));
    git(&story, &["init", "-q", "--bare", &bare]).ok();
    // Both spellings of an address.
    let (url, scp_like) = (format!("ssh://{}{bare}", story.target()), format!("{}:{bare}", story.target()));
    git(&story, &["clone", "-q", &url, &one]).ok();
    std::fs::write(story.path("one/file"), vec![b'x'; 2_000_000]).expect("written");
    git(&story, &["-C", &one, "add", "file"]).ok();
    git(&story, &["-C", &one, "commit", "-q", "-m", "First"]).ok();
    git(&story, &["-C", &one, "push", "-q", "origin", "main"]).ok();

    git(&story, &["clone", "-q", &scp_like, &two]).ok();
    assert_eq!(std::fs::read(story.path("two/file")).expect("cloned"), vec![b'x'; 2_000_000]);
    std::fs::write(story.path("two/file"), "changed").expect("written");
    git(&story, &["-C", &two, "commit", "-q", "-a", "-m", "Second"]).ok();
    git(&story, &["-C", &two, "push", "-q", "origin", "main"]).ok();
    git(&story, &["-C", &one, "fetch", "-q"]).ok();
    let head = |at: &str, what: &str| git(&story, &["-C", at, "rev-parse", what]).ok();
    assert_eq!(head(&one, "origin/main"), head(&two, "main"));

    // `GIT_PROTOCOL` arrives: without it a server answers by version 0.
    let packets = std::fs::read_to_string(story.path("packets")).expect("traced");
    assert!(packets.contains("< version 2"), "{packets}");
}

#[test]
fn a_login_that_no_role_allows_reads_nothing() {
    let Some(_) = theirs("git") else { return };
    let story = Story::start();
    let bare = story.text("bare.git");
    git(&story, &["init", "-q", "--bare", &bare]).ok();
    let refused =
        git(&story, &["clone", "-q", &format!("ssh://{}{bare}", story.forbidden()), &story.text("one")]);
    let said = refused.refused();
    assert!(said.contains(NO_SUCH_LOGIN) && said.contains("Could not read from remote repository"), "{said}");
}
