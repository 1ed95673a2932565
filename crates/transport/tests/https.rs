//! Web servers that are not ours, played by openssl.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use transport::https::{Client, FetchError, Question};

/// `openssl s_server`, which tells in its page what was agreed on.
struct Server {
    _process: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    async fn start(key: &str, speaks: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        certificate(directory.path(), key);
        let mut process = tokio::process::Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "server.crt", "-key", "server.key", "-www"])
            .args(speaks)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("openssl runs");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let port = loop {
            let line = lines.next_line().await.expect("reads").expect("it says where it listens");
            if let Some(("ACCEPT 127.0.0.1", port)) = line.rsplit_once(':') {
                break port.parse().expect("a port");
            }
        };
        Self { _process: process, port, directory }
    }

    fn client(&self) -> Client {
        let der = std::fs::read(self.directory.path().join("server.der")).expect("a certificate");
        Client::of(&[der])
    }

    async fn page(&self) -> Result<String, FetchError> {
        let url = format!("https://127.0.0.1:{}/", self.port);
        let page = self.client().ask(Question::get(&url)).await?;
        Ok(String::from_utf8(page).expect("text"))
    }
}

/// A certificate for 127.0.0.1, signed by itself.
fn certificate(directory: &Path, key: &str) {
    let openssl = |arguments: &[&str]| {
        let made = Command::new("openssl").args(arguments).current_dir(directory).output().expect("runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    openssl(
        &[
            &["req", "-x509", "-newkey"],
            &key.split(' ').collect::<Vec<_>>()[..],
            &["-nodes", "-days", "1", "-subj", "/CN=web", "-addext", "subjectAltName=IP:127.0.0.1"],
            &["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "server.key", "-out", "server.crt"],
        ]
        .concat(),
    );
    openssl(&["x509", "-in", "server.crt", "-outform", "DER", "-out", "server.der"]);
}

#[tokio::test]
async fn servers_with_nothing_newer_than_tls_1_2_are_understood() {
    for key in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-256"] {
        let page = Server::start(key, &["-tls1_2"]).await.page().await.expect("a page");
        assert!(page.contains("TLSv1.2"), "{page}");
    }
}

#[tokio::test]
async fn tls_1_3_is_preferred() {
    let page = Server::start("rsa:2048", &[]).await.page().await.expect("a page");
    assert!(page.contains("TLSv1.3"), "{page}");
}

#[tokio::test]
async fn what_is_older_or_has_no_forward_secrecy_is_refused() {
    for speaks in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"],
    ] {
        let page = Server::start("rsa:2048", speaks).await.page().await;
        assert!(matches!(page, Err(FetchError::Broken { .. })), "{speaks:?}: {page:?}");
    }
}
