//! A stand-in for the API of Kubernetes, over TLS with an authority of its own. See `kubernetes.py` beside the crate.

use crate::programs::{command, theirs};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// A running API; ended when dropped.
pub struct Kubernetes {
    child: Child,
    directory: TempDir,
    /// `https://127.0.0.1:port`.
    pub server: String,
}

impl Kubernetes {
    /// Starts one with the namespace `apps`; none where Python is not installed, which is said.
    pub fn start() -> Option<Self> {
        let python = theirs("python3")?;
        let directory = tempfile::tempdir().expect("a scratch directory");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let (key, cert) =
            (file("key.pem", &made.signing_key.serialize_pem()), file("cert.pem", &made.cert.pem()));
        file("token", "account-token\n");
        let state = json!({"token": "account-token", "namespaces": ["apps"], "denied": false, "broken": false, "secrets": {}});
        let state = file("state.json", &state.to_string());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes.py");
        let mut child = command(python);
        child.arg(script).args([&state, &key, &cert]).stdout(Stdio::piped());
        let mut child = child.spawn().expect("python runs");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut port)
            .expect("it says where it listens");
        let server = format!("https://127.0.0.1:{}", port.trim());
        Some(Self { child, directory, server })
    }

    /// A Secret as it is stored, with who manages which key.
    pub fn secret(&self, name: &str) -> Option<Value> {
        self.state()["secrets"].get(name).cloned()
    }

    /// Changes what it holds.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        change(&mut state);
        std::fs::write(self.file("state.json"), state.to_string()).expect("written");
    }

    /// `token`, what a service account shows; `cert.pem`, the authority of the API.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn state(&self) -> Value {
        let text = std::fs::read(self.file("state.json")).expect("it is there");
        serde_json::from_slice(&text).expect("JSON")
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
