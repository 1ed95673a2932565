//! The SFTP clients of paramiko and asyncssh.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::site::{Site, contents, hash};
use crate::support::{login, text};

/// One of the scripts beside this file, in the environment that `scripts/test-tools` makes; `None` says that it is not
/// there.
async fn script(site: &Site, name: &str) -> Option<Value> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../.venv/bin/python");
    if !python.exists() {
        assert_ne!(login(), "root", ".venv is missing; scripts/test-tools makes it");
        eprintln!("SKIPPED: .venv is missing; scripts/test-tools makes it");
        return None;
    }
    let task = json!({
        "port": site.node.address.port(),
        "login": login(),
        "key": site.node.pki.path("alice"),
        "known_hosts": site.node.pki.path("known_hosts"),
        "here": site.here(""),
        "there": site.there(""),
    });
    let mut command = Command::new(python);
    command.arg(here.join("tests/transfers").join(name)).arg(task.to_string());
    let output = site.must(command).await;
    Some(serde_json::from_str(&text(&output.stdout)).expect("the script prints JSON"))
}

async fn works(name: &str) {
    let site = Site::new().await;
    let (large, tree) = (site.large("large"), site.tree("tree"));
    let Some(saw) = script(&site, name).await else { return };
    assert_eq!(hash(&site.there("large")), hash(&large));
    assert_eq!(hash(&site.here("back")), hash(&large));
    assert_eq!(contents(&site.there("tree")), contents(&tree));
    for fact in ["renamed", "link", "times", "truncated", "refused", "listed"] {
        assert_eq!(saw[fact], true, "{fact}: {saw}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paramiko() {
    works("paramiko_sftp.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asyncssh() {
    works("asyncssh_sftp.py").await;
}
