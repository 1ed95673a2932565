//! A login is no licence: each channel is asked for anew, by what roles and locks say when it is opened. A client that
//! multiplexes gets no further than one that logs in again.

use std::process::{Child, Output, Stdio};

use serde_json::json;

use crate::support::{Fixture, NODENAME, lock, ops, run, text, until};

/// A connection that is open, to which `ssh -S` adds channels.
struct Master {
    process: Child,
    socket: String,
}

impl Master {
    async fn open(node: &Fixture) -> Self {
        let socket = node.pki.path("control").display().to_string();
        let mut ssh = node.ssh("alice");
        ssh.args(["-M", "-N", "-S", &socket, NODENAME]).stderr(Stdio::piped());
        let process = ssh.spawn().expect("runs");
        until("the master", || std::path::Path::new(&socket).exists()).await;
        Self { process, socket }
    }

    /// One more channel on it, and never another connection.
    async fn channel(&self, node: &Fixture, args: &[&str]) -> Output {
        let mut ssh = node.ssh("alice");
        ssh.args(["-S", &self.socket, "-o", "ControlMaster=no", "-o", "ProxyCommand=false"]).args(args);
        run(ssh).await
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks until the answer is no: a policy takes a moment to reach open connections.
async fn until_refused(master: &Master, node: &Fixture, args: &[&str]) -> Output {
    for _ in 0..500 {
        let output = master.channel(node, args).await;
        if !output.status.success() {
            return output;
        }
    }
    panic!("{args:?} goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_further_channel_has_what_roles_say_now() {
    let node = Fixture::start().await;
    let master = Master::open(&node).await;
    let copy = ["-s", NODENAME, "sftp"];
    assert!(master.channel(&node, &copy).await.status.success());
    assert!(master.channel(&node, &[NODENAME, "true"]).await.status.success());

    node.set_policy([ops(json!({"ssh_file_copy": false}))]);
    until_refused(&master, &node, &copy).await;
    node.event("sftp", |event| event["user"] == "alice" && event["success"] == false).await;
    let output = until_refused(&master, &node, &[NODENAME, "scp -t /tmp"]).await;
    assert!(text(&output.stderr).contains("file_copy_not_allowed"), "{}", text(&output.stderr));
    assert!(master.channel(&node, &[NODENAME, "true"]).await.status.success(), "what is left goes on");

    // No session is left to any channel; the connection, and what it may do besides, stays.
    node.set_policy([ops(json!({"max_sessions": 1}))]);
    let mut held = node.ssh("alice");
    held.args(["-S", &master.socket, "-o", "ControlMaster=no", NODENAME, "cat"]).stdin(Stdio::piped());
    let mut held = held.spawn().expect("runs");
    until("the session", || node.count("session.start", "cat") == 1).await;
    until_refused(&master, &node, &[NODENAME, "true"]).await;
    node.event("session.rejected", |event| event["reason"] == "max_sessions limit reached").await;
    drop(held.stdin.take());
    held.wait().expect("ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_or_a_lost_role_leaves_no_channel_to_open() {
    for code in ["locked", "role_not_found"] {
        let node = Fixture::start().await;
        let master = Master::open(&node).await;
        assert!(master.channel(&node, &[NODENAME, "true"]).await.status.success());
        match code {
            "locked" => node.set_policy([ops(json!({})), lock(json!({"user": "alice"}))]),
            _ => node.set_policy([]),
        }
        until_refused(&master, &node, &[NODENAME, "true"]).await;
        node.event("client.disconnect", |event| event["denial"] == code).await;
        // And a new login is no way round.
        assert!(!node.run("true").await.status.success());
        node.event("auth", |event| event["denial"] == code && event["user"] == "alice").await;
    }
}
