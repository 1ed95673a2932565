//! What the host's modules, which run as root, hear from a node that was taken over: nothing.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use exec::{Launch, SessionRequest};
use launcher::protocol::Pam;
use serde_json::json;
use support::{Node, User, login, output};

/// A program of root's that a module runs: it says what it was told.
const TELL: &str = "#!/bin/sh\nenv > \"$1\"\n";

/// Whether there are rules of PAM to have here, said aloud where not.
fn has_modules() -> bool {
    let places = [
        "/lib/x86_64-linux-gnu/security",
        "/lib/aarch64-linux-gnu/security",
        "/lib64/security",
        "/lib/security",
    ];
    let is_there = |name: &str| places.iter().any(|place| Path::new(place).join(name).exists());
    let can = rustix::process::geteuid().is_root()
        && is_there("pam_exec.so")
        && is_there("pam_permit.so")
        && Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED: needs root, unshare(1) and pam_exec.so of Linux-PAM");
    }
    can
}

/// The launcher on a host whose `/etc/pam.d` is this directory, seen by nobody else.
fn on_host(rules: &Path) -> std::path::PathBuf {
    let program = rules.join("launcher");
    let enter = format!(
        "#!/bin/sh\nexec unshare --mount --propagation private sh -c 'mount --bind {} /etc/pam.d && exec {}'\n",
        rules.display(),
        env!("CARGO_BIN_EXE_session-launcher")
    );
    fs::write(&program, enter).expect("written");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("own file");
    program
}

#[test]
fn what_modules_are_told_is_not_the_node_s_to_say() {
    if !has_modules() {
        return;
    }
    let rules = tempfile::tempdir().expect("a directory");
    let (tell, told) = (rules.path().join("tell"), rules.path().join("told"));
    fs::write(&tell, TELL).expect("written");
    fs::set_permissions(&tell, Permissions::from_mode(0o755)).expect("own file");
    let lines = format!(
        "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_exec.so {} {}\n",
        tell.display(),
        told.display()
    );
    fs::write(rules.path().join("told-by"), lines).expect("written");
    let environment = [("FIX", "1"), ("NONE", "{{external.none}}"), ("TELEPORT_LOGIN", "forged")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let node = Node::of_program(&on_host(rules.path()), json!({}), |start| {
        start.pam = Some(Pam { service: "told-by".to_owned(), environment });
    });
    let (session, admission) = node.log_in(&User::of(&node.authorities));
    let mut request = SessionRequest::new(login(), Launch::Command(b"echo $FIX".to_vec()));
    let forged = [("FORGED", "x"), ("TELEPORT_USERNAME", "forged"), ("FIX", "forged")];
    let forged = forged.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    request.pam = Some(exec::Pam { service: "other".to_owned(), environment: forged });
    let (_, io) = node.launch(admission, &session.connection, &request).expect("runs");
    assert_eq!(output(io), "1\n");
    let told = fs::read_to_string(&told).expect("a module ran");
    let lines: Vec<&str> = told.lines().collect();
    for line in
        ["FIX=1", "TELEPORT_USERNAME=alice", &format!("TELEPORT_LOGIN={}", login()), "PAM_SERVICE=told-by"]
    {
        assert!(lines.contains(&line), "{line} not in {told}");
    }
    assert!(!told.contains("forged") && !told.contains("FORGED") && !told.contains("NONE="), "{told}");
}

#[test]
fn what_a_loader_acts_on_never_reaches_a_module() {
    let node = Node::start();
    let (session, admission) = node.log_in(&User::of(&node.authorities));
    let mut request = SessionRequest::new(login(), Launch::Command(b"true".to_vec()));
    request.pam = Some(exec::Pam {
        service: "sshd".to_owned(),
        environment: vec![("XD_PRELOAD".into(), "/x.so".into())],
    });
    // An honest encoder does not write it.
    let mut bytes = request.encode().expect("a harmless name");
    let at = bytes.windows(10).position(|part| part == b"XD_PRELOAD").expect("in it");
    bytes[at] = b'L';
    let denied = node.launch_bytes(admission, &session.connection, &request, bytes).expect_err("refused");
    assert_eq!(denied.code, "bad_request");
}
