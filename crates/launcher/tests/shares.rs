//! One account cannot use up what there is for all.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use exec::{Launch, SessionRequest};
use rustix::process::geteuid;
use serde_json::json;
use support::{Node, User, login, with_terminal};

/// With so many files a launcher has 512 sessions, and 128 of one account.
const FILES: usize = 1024;
const SHARE: usize = 128;

#[test]
fn one_account_leaves_sessions_for_others_however_few_files_may_be_open() {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: needs root, for sessions of two accounts");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("launcher");
    let launcher = env!("CARGO_BIN_EXE_session-launcher");
    fs::write(&program, format!("#!/bin/sh\nexec prlimit --nofile={FILES}:{FILES} {launcher}\n"))
        .expect("written");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("own file");
    let node = Node::of_program(&program, json!({}), |_| {});
    let (session, admission) = node.log_in(&User::of(&node.authorities));
    let long = SessionRequest::new(login(), Launch::Command(b"exec sleep 1000".to_vec()));
    let launch = |_| node.launch(admission, &session.connection, &long);
    let _held: Vec<_> = (0..SHARE).map(launch).map(|running| running.expect("runs")).collect();
    let denied = launch(0).expect_err("it has its share");
    assert!(denied.code == "node_busy" && denied.reason.contains("of this account"), "{denied:?}");
    let (other, admission) = node.log_in_as(&with_terminal(&node.authorities, "nobody"), "nobody");
    let short = SessionRequest::new("nobody", Launch::Command(b"true".to_vec()));
    node.launch(admission, &other.connection, &short).expect("another account runs");
}
