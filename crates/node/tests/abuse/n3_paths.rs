//! Row N3: whatever lies where a socket is to be made stays, and nothing is followed or given away.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::json;

use crate::support::agent::{forwarding, recording};
use crate::support::forwarding::{Waiting, certify_all};
use crate::support::{Fixture, NODENAME, run, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_no_socket_is_made_through_a_link_or_in_the_place_of_a_file() {
    let node = Fixture::start().await;
    let (target, file) = (node.pki.path("target"), node.pki.path("file"));
    std::fs::write(&file, "precious").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let to_nothing = node.pki.path("to-nothing");
    let to_file = node.pki.path("to-file");
    symlink(&target, &to_nothing).expect("made");
    symlink(&file, &to_file).expect("made");
    for path in [&file, &to_nothing, &to_file] {
        let mut ssh = node.ssh("alice");
        let listen = format!("{}:127.0.0.1:1", path.display());
        ssh.args(["-N", "-o", "ExitOnForwardFailure=yes", "-R", &listen, NODENAME]);
        assert!(text(&run(ssh).await.stderr).contains("remote port forwarding failed"));
        let event = node.event("port", |event| event["addr"] == *path.display().to_string()).await;
        assert_eq!(event["denial"], "cannot_listen");
        assert!(std::fs::symlink_metadata(path).is_ok());
    }
    assert!(!target.exists());
    assert_eq!(node.pki.read("file"), "precious");
    assert_eq!(std::fs::metadata(&file).expect("there").mode() & 0o777, 0o644);
}

/// Its directory is new, under a name that nobody can guess or occupy, and the user's alone from the start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_an_agent_s_socket_lies_in_a_directory_of_its_own() {
    let node = Fixture::start_with(json!({"forward_agent": true}), |_| {}).await;
    certify_all(&node, "full");
    let agent = node.pki.path("recording");
    let _asked = recording(&agent);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let ssh = forwarding(&node, "full", &agent);
        let mut session = Waiting::start(ssh, "echo $SSH_AUTH_SOCK");
        let socket = std::path::PathBuf::from(session.line());
        let directory = std::fs::symlink_metadata(socket.parent().expect("a directory")).expect("there");
        assert!(directory.is_dir() && directory.mode() & 0o777 == 0o700);
        assert_eq!(std::fs::symlink_metadata(&socket).expect("there").mode() & 0o777, 0o600);
        let name = socket.parent().and_then(|parent| parent.file_name()).expect("a name").to_owned();
        assert!(name.len() == "ssh-".len() + 16 && seen.insert(name));
        session.end();
    }
}
