//! A lock ends what a session has started, also what tried to get away from it before.

use std::process::Stdio;

use serde_json::json;

use crate::support::{Fixture, NODENAME, lock, ops, until};

fn lives(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_ends_daemons_orphans_and_what_ignores_hang_ups() {
    let node = Fixture::start().await;
    let mark = node.pki.path("pids");
    let escape = "trap '' HUP TERM; echo $$; grep -q '^0::.*postern-' /proc/self/cgroup || echo ungrouped; \
                  (setsid sh -c 'echo $$; (setsid sleep 1000 & echo $!); exec sleep 1000' &); nohup sleep 1000 & echo $!";
    for options in [&[][..], &["-tt"]] {
        node.set_policy([ops(json!({}))]);
        let line =
            format!("({escape}) > {m}.new 2>/dev/null; mv {m}.new {m}; sleep 1000", m = mark.display());
        let mut ssh = node.ssh("alice");
        ssh.args(options).args([NODENAME, &line]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut ssh = ssh.spawn().expect("runs");
        until("the processes", || {
            let pids = std::fs::read_to_string(&mark).unwrap_or_default();
            pids.lines().filter(|line| *line != "ungrouped").count() == 4
        })
        .await;
        let pids = std::fs::read_to_string(&mark).expect("written");
        std::fs::remove_file(&mark).expect("removed");
        let grouped = !pids.contains("ungrouped");
        let pids: Vec<&str> = pids.lines().filter(|line| *line != "ungrouped").collect();
        node.set_policy([ops(json!({})), lock(json!({"user": "alice"}))]);
        assert!(!ssh.wait().expect("ends").success());
        if grouped {
            until("the end of all", || !pids.iter().any(|pid| lives(pid))).await;
        } else {
            eprintln!("SKIPPED: needs a cgroup2 file system that the node may write to");
            for pid in pids {
                let _ = std::process::Command::new("kill").args(["-KILL", pid]).status();
            }
        }
    }
}
