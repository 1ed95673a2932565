//! PuTTY's `plink`, which knows host certificates by their authority and user certificates, and is told everything by files.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::drill::{self, REKEY, assert_negotiated, echo_server, noise};
use super::openssh::{Pki, Server, text};
use super::peer;
use super::table::{PUTTY, Row};

/// The saved session.
const SESSION: &str = "postern";

/// A directory of PuTTY's with a host authority and one saved session.
fn configure(pki: &Pki, server: &Server, row: Row, authority: &str) -> PathBuf {
    let directory = pki.path("putty");
    for part in ["sessions", "sshhostcas"] {
        std::fs::create_dir_all(directory.join(part)).expect("made");
    }
    let authority = pki.read(authority);
    let blob = authority.split(' ').nth(1).expect("a key");
    let known = format!("PublicKey={blob}\nValidity=*\nPermitRSASHA1=0\n");
    std::fs::write(directory.join("sshhostcas/cluster"), known).expect("written");
    let session = format!(
        "Protocol=ssh\nHostName=127.0.0.1\nPortNumber={}\nUserName=alice\nTryAgent=0\nPublicKeyFile={}\n\
         DetachedCertificate={}\nKEX={},WARN\nCipher={},WARN\nRekeyBytes={REKEY}\n",
        server.address.port(),
        pki.path("user.ppk").display(),
        pki.path("user-cert.pub").display(),
        puttys_name(row.key_exchange),
        puttys_name(row.cipher),
    );
    std::fs::write(directory.join("sessions").join(SESSION), session).expect("written");
    directory
}

/// What its files call an algorithm, or the family of it.
fn puttys_name(algorithm: &str) -> &'static str {
    match algorithm {
        "curve25519-sha256" => "ecdh",
        "sntrup761x25519-sha512@openssh.com" => "ntru-curve25519",
        "aes128-gcm@openssh.com" | "aes256-gcm@openssh.com" => "aesgcm",
        "chacha20-poly1305@openssh.com" => "chacha20",
        other => panic!("PuTTY has no {other}"),
    }
}

/// PuTTY has a format of keys of its own.
async fn convert_key(pki: &Pki) {
    let mut puttygen = Command::new("puttygen");
    puttygen.arg(drill::in_old_pem(pki, "user")).args(["-O", "private", "-o"]).arg(pki.path("user.ppk"));
    let output = peer::run(puttygen, b"").await;
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A server with nothing but the algorithms of `row`, for PuTTY cannot be told one of a family.
async fn serve(pki: &Pki, row: Row) -> Server {
    Server::start_with(pki, |config| {
        config.rekey.bytes = REKEY;
        config.algorithms.key_exchange = vec![row.key_exchange.parse().expect("one of ours")];
        config.algorithms.ciphers = vec![row.cipher.parse().expect("one of ours")];
    })
    .await
}

fn plink(directory: &Path, args: &[&str]) -> Command {
    let mut plink = Command::new("plink");
    plink.env("PUTTYDIR", directory).args(["-batch", "-no-antispoof", "-load", SESSION]).args(args);
    plink
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client() {
    let (pki, echo, noise) = (Pki::new(), echo_server().await, noise());
    convert_key(&pki).await;
    for row in PUTTY.rows() {
        let mut server = serve(&pki, row).await;
        let directory = configure(&pki, &server, row, "host_ca.pub");
        let output = peer::run(plink(&directory, &["-v", "cat"]), &noise).await;
        let log = text(&output.stderr);
        assert!(output.status.success() && output.stdout == noise, "{row:?}: {log}");
        assert!(log.contains("Certification authority matches 'cluster'"), "{log}");
        assert!(log.contains("key re-exchange"), "keys were never changed: {row:?}: {log}");
        assert_negotiated(row, server.negotiated().await);

        let output = peer::run(plink(&directory, &["both"]), b"").await;
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("out".to_owned(), "err".to_owned()));
        let output = peer::run(plink(&directory, &["exit 7"]), b"").await;
        assert_eq!(output.status.code(), Some(7), "{row:?}");

        let there = format!("127.0.0.1:{}", echo.port());
        let output = peer::run(plink(&directory, &["-nc", &there]), &noise).await;
        assert!(output.stdout == noise, "{row:?}: {}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client_it_refuses_hosts_of_others() {
    let pki = Pki::new();
    convert_key(&pki).await;
    let row = PUTTY.rows().next().expect("one");
    let server = serve(&pki, row).await;
    let directory = configure(&pki, &server, row, "other_ca.pub");
    let output = peer::run(plink(&directory, &["both"]), b"").await;
    let log = text(&output.stderr);
    assert!(
        !output.status.success() && log.contains("signed by a different certification authority"),
        "{log}"
    );
}
