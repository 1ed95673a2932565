//! File transfer through a node: what is put down of it.

mod support;

use std::io::Write;
use std::process::Stdio;

use serde_json::{Map, Value, json};
use support::{Fixture, NODENAME, text};

/// Runs a batch of `sftp` as alice; every line has to work that does not begin with a dash.
async fn batch(node: &Fixture, lines: String) -> String {
    let mut sftp = node.client("sftp", "alice");
    sftp.args(["-q", "-b", "-", NODENAME])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = move || {
        let mut child = sftp.spawn().expect("runs");
        child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("reads");
        child.wait_with_output().expect("ends")
    };
    let output = tokio::task::spawn_blocking(run).await.expect("joins");
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn of<'a>(event: &'a Map<String, Value>, names: &[&str]) -> Vec<&'a Value> {
    names.iter().map(|name| &event[*name]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_is_an_event_and_the_session_has_a_sum() {
    let node = Fixture::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().display().to_string();
    std::fs::write(dir.path().join("here"), vec![b'x'; 100_000]).expect("written");
    let lines = format!(
        "mkdir {at}/d\nput {at}/here {at}/d/there\nchmod 600 {at}/d/there\nrename {at}/d/there {at}/d/then\n\
         ln -s then {at}/d/soft\nln {at}/d/then {at}/d/hard\nget {at}/d/then {at}/back\nls {at}/d\n\
         rm {at}/d/soft\nrm {at}/d/hard\n-rmdir {at}/d\nrm {at}/d/then\nrmdir {at}/d\n-get {at}/nothing\n\
         -mkdir {at}/here\n-rename {at}/nothing {at}/x\n"
    );
    batch(&node, lines).await;
    let summary = node.event("sftp_summary", |_| true).await;
    assert_eq!(
        of(&summary, &["code", "bytes_read", "bytes_written", "files_opened"]),
        [&json!("TS021I"), &json!(100_000), &json!(100_000), &json!(2)]
    );
    let counts = &summary["operations"];
    assert_eq!(of(counts.as_object().expect("counts"), &["mkdir", "rmdir", "remove"]), [2, 2, 3]);
    assert!(!summary.contains_key("left_out") && !summary.contains_key("error"));
    let there = format!("{at}/d/there");
    let (then, nothing) = (format!("{at}/d/then"), format!("{at}/nothing"));
    for (code, action, path, target, error) in [
        ("TS012I", "mkdir", format!("{at}/d"), None, None),
        ("TS001I", "open", there.clone(), None, None),
        ("TS007I", "setstat", there.clone(), None, None),
        ("TS016I", "rename", there, Some(then.clone()), None),
        ("TS018I", "symlink", format!("{at}/d/soft"), Some("then".to_owned()), None),
        ("TS019I", "link", then.clone(), Some(format!("{at}/d/hard")), None),
        ("TS009I", "opendir", format!("{at}/d/"), None, None),
        ("TS011I", "remove", format!("{at}/d/hard"), None, None),
        ("TS013E", "rmdir", format!("{at}/d"), None, Some("Directory not empty")),
        ("TS013I", "rmdir", format!("{at}/d"), None, None),
        ("TS012E", "mkdir", format!("{at}/here"), None, Some("File exists")),
        ("TS016E", "rename", nothing, Some(format!("{at}/x")), Some("No such file or directory")),
    ] {
        let event = node.event("sftp", |event| event["code"] == code && event["path"] == path).await;
        assert_eq!(event["action"], action);
        assert_eq!(event.get("target_path"), target.map(Value::from).as_ref(), "{event:?}");
        assert_eq!(event.get("error"), error.map(Value::from).as_ref(), "{event:?}");
        assert!(event["working_directory"].as_str().is_some_and(|directory| directory.starts_with('/')));
        assert_eq!(event["sid"], summary["sid"]);
    }
    let read = node.event("sftp", |event| event.get("access") == Some(&json!("read"))).await;
    assert_eq!(of(&read, &["code", "path"]), [&json!("TS001I"), &json!(then)]);
    // Everything is told before the session is over.
    node.event("session.end", |event| event["sid"] == summary["sid"]).await;
    let order =
        node.order(|event| event.get("sid") == summary.get("sid") && event["event"] != "session.data");
    assert_eq!(order[order.len() - 3..], ["sftp_summary", "subsystem", "session.end"]);
}

fn packet(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], body].concat()
}

/// A request of this type about a path.
fn about(kind: u8, path: &str) -> Vec<u8> {
    let length = u32::try_from(path.len()).expect("short").to_be_bytes();
    packet(&[&[kind, 0, 0, 0, 1][..], &length, path.as_bytes()].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_counted_and_hides_nothing_that_is_lost() {
    const TIMES: usize = 30_000;
    const OPENDIR: u8 = 11;
    const REMOVE: u8 = 13;
    let node = Fixture::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "x").expect("written");
    let mut script = packet(&[1, 0, 0, 0, 3]);
    script.extend(about(OPENDIR, "/nothing/here").repeat(TIMES));
    script.extend(about(REMOVE, victim.to_str().expect("text")));
    script.extend(about(OPENDIR, "/nothing/here").repeat(10));
    std::fs::write(dir.path().join("script"), script).expect("written");
    let mut ssh = node.ssh("alice");
    ssh.args(["-s", NODENAME, "sftp"]).stdin(std::fs::File::open(dir.path().join("script")).expect("there"));
    assert!(support::run(ssh).await.status.success());
    let summary = node.event("sftp_summary", |_| true).await;
    assert_eq!(summary["operations"], json!({"opendir": TIMES + 10, "remove": 1}));
    let left_out = summary["left_out"]["opendir"].as_u64().expect("some are left out");
    let told = node.order(|event| event.get("action") == Some(&json!("opendir"))).len() as u64;
    assert_eq!(told + left_out, TIMES as u64 + 10);
    assert!(told >= 10_000, "{told}");
    let removed = node.event("sftp", |event| event.get("action") == Some(&json!("remove"))).await;
    assert_eq!(of(&removed, &["code", "path"]), [&json!("TS011I"), &json!(victim.to_str())]);
}
