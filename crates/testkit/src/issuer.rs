//! An issuer of ID tokens that is not ours: oauth2-mock-server (npm), over TLS with a certificate of its own.

use crate::programs::{command, node_module};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;
use tempfile::TempDir;

/// A running issuer; ended when dropped.
pub struct Issuer {
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    /// `localhost:port`.
    pub host: String,
    directory: TempDir,
    /// The authority of its certificate, DER.
    pub root: Vec<u8>,
}

impl Issuer {
    /// Starts one whose issuer is `https://<host><prefix>`; none where its parts are not installed, which is said.
    pub fn start(prefix: &str) -> Option<Self> {
        Self::launch(&["localhost"], &[prefix])
    }

    /// Starts one whose issuer is `https://<name>`, wherever it listens.
    pub fn named(name: &str) -> Option<Self> {
        Self::launch(&[name], &["", name])
    }

    /// Starts what Azure has for its machines: keys as those of `login.microsoftonline.com` for all tenants, and a Resource
    /// Manager, `management.azure.com`, that tells of machines to who shows an access token signed with them.
    pub fn azure() -> Option<Self> {
        let login = "login.microsoftonline.com";
        let names = ["management.azure.com", login];
        Self::launch(&names, &["/common", login, "https://sts.windows.net/{tenantid}/"])
    }

    /// Starts one at `https://<name>` that calls itself `issuer`.
    pub fn calling_itself(issuer: &str, name: &str) -> Option<Self> {
        Self::launch(&[name], &["", name, issuer])
    }

    fn launch(names: &[&str], args: &[&str]) -> Option<Self> {
        let modules = node_module("oauth2-mock-server")?;
        let node = crate::programs::theirs("node")?;
        let directory = tempfile::tempdir().expect("a scratch directory");
        let made = rcgen::generate_simple_self_signed(
            names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
        )
        .expect("a certificate");
        let (key, cert) = (directory.path().join("key.pem"), directory.path().join("cert.pem"));
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        std::fs::write(&cert, made.cert.pem()).expect("written");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("issuer.mjs");
        let mut child = command(node)
            .arg(script)
            .arg(modules)
            .args([&key, &cert])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let root = made.cert.der().to_vec();
        let talk = Mutex::new((stdin, stdout));
        let mut issuer = Self { child, talk, host: String::new(), directory, root };
        issuer.host = issuer.read()["host"].as_str().expect("it says where it listens").to_owned();
        Some(issuer)
    }

    /// A token with these claims over the usual ones; null removes one.
    pub fn mint(&self, claims: &Value) -> String {
        self.mint_with(claims, &json!({}))
    }

    /// The same with more in its header.
    pub fn mint_with(&self, claims: &Value, header: &Value) -> String {
        let token = self.tell(&json!({"command": "mint", "claims": claims, "header": header}));
        token.as_str().expect("a token").to_owned()
    }

    /// Throws its keys away and makes a new one.
    pub fn renew(&self, algorithm: &str, id: &str) {
        self.tell(&json!({"command": "renew", "alg": algorithm, "kid": id}));
    }

    /// What its runner says of the job that asks with `runner-secret`.
    pub fn vouch(&self, claims: &Value) {
        self.tell(&json!({"command": "vouch", "claims": claims}));
    }

    /// How often it was asked for discovery document or keys.
    pub fn asked(&self) -> u64 {
        self.tell(&json!({"command": "asked"})).as_u64().expect("a number")
    }

    /// How often it was asked about a token, as the API of a Kubernetes cluster.
    pub fn reviewed(&self) -> u64 {
        self.tell(&json!({"command": "reviewed"})).as_u64().expect("a number")
    }

    /// From now on the Resource Manager says this of a machine.
    pub fn manage(&self, path: &str, machine: &Value) {
        self.tell(&json!({"command": "machine", "path": path, "machine": machine}));
    }

    /// How often it was asked, as the Resource Manager of Azure.
    pub fn looked(&self) -> u64 {
        self.tell(&json!({"command": "looked"})).as_u64().expect("a number")
    }

    /// Answers no more questions for its discovery document and keys, until [`Self::release`].
    pub fn hold(&self) {
        self.tell(&json!({"command": "hold"}));
    }

    /// Answers again, also what was asked meanwhile.
    pub fn release(&self) {
        self.tell(&json!({"command": "release"}));
    }

    /// Its key set.
    pub fn keys(&self) -> Value {
        self.tell(&json!({"command": "keys"}))
    }

    /// The authority of its certificate, a PEM file.
    pub fn root_file(&self) -> std::path::PathBuf {
        self.directory.path().join("cert.pem")
    }

    fn tell(&self, command: &Value) -> Value {
        {
            let mut talk = self.talk.lock().expect("no test failed while it talked");
            writeln!(talk.0, "{command}").expect("it listens");
        }
        self.read()
    }

    fn read(&self) -> Value {
        let mut line = String::new();
        self.talk.lock().expect("no test failed while it talked").1.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the issuer said {line:?}: {error}"))
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
