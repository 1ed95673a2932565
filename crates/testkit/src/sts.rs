//! AWS STS that is not ours: moto (pip), over TLS with a certificate of its own. It verifies signatures.

use crate::programs::{command, venv};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;

/// The endpoint that it stands for.
pub const STS: &str = "sts.eu-central-1.amazonaws.com";

/// A running STS; ended when dropped.
pub struct Sts {
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    /// Where it listens, on `127.0.0.1`.
    pub port: u16,
    /// Credentials of the user `ci` in account 123456789012, as servers of AWS write them.
    pub user: Value,
    /// Of the role `runner` there, in session `i-0123`.
    pub role: Value,
    /// That role's name for who may become it: everybody with the web identity `vouched`.
    pub role_arn: String,
    /// The authority of its certificate, DER.
    pub root: Vec<u8>,
    directory: tempfile::TempDir,
}

impl Sts {
    /// Starts one; none where moto is not installed, which is said.
    pub fn start() -> Option<Self> {
        let python = venv().join("python");
        if !venv().join("moto_server").is_file() {
            assert!(!rustix::process::geteuid().is_root(), "moto is not installed; `make test` installs it");
            eprintln!("SKIPPED: moto is not installed; `make test` installs it");
            return None;
        }
        let directory = tempfile::tempdir().expect("a scratch directory");
        let made =
            rcgen::generate_simple_self_signed([STS, "localhost"].map(str::to_owned)).expect("a certificate");
        let (key, cert) = (directory.path().join("key.pem"), directory.path().join("cert.pem"));
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        std::fs::write(&cert, made.cert.pem()).expect("written");
        let mut child = command(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("sts.py"))
            .args([&key, &cert])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it speaks");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Some(Self {
            child,
            talk: Mutex::new((stdin, stdout)),
            port: said["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port"),
            user: said["user"].clone(),
            role: said["role"].clone(),
            role_arn: said["role_arn"].as_str().expect("a name").to_owned(),
            root: made.cert.der().to_vec(),
            directory,
        })
    }

    /// The authority of its certificate, a PEM file.
    pub fn root_file(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        let mut talk = self.talk.lock().expect("no test failed while it talked");
        writeln!(talk.0).expect("it listens");
        let mut line = String::new();
        talk.1.read_line(&mut line).expect("it answers");
        line.trim().parse().expect("a number")
    }
}

impl Drop for Sts {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
