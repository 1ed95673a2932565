//! OpenSSH's `ssh` and `sshd`.

use std::net::SocketAddr;
use std::process::Command;

use testkit::Sshd;

use super::drill::{self, Host, REKEY, assert_negotiated, connect_to, echo_server, noise};
use super::openssh::{Pki, text};
use super::peer;
use super::table::{OPENSSH, Row};

fn command(pki: &Pki, server: SocketAddr, row: Row, args: &[&str]) -> Command {
    let mut ssh = pki.ssh(server, "user");
    let Row { key_exchange, cipher } = row;
    ssh.args(["-o", &format!("KexAlgorithms={key_exchange}"), "-o", &format!("Ciphers={cipher}")]);
    ssh.args(["-o", &format!("RekeyLimit={REKEY}")]).args(args);
    ssh
}

/// How often keys were agreed on, by a log at the first level of debugging.
fn exchanges(log: &str) -> usize {
    log.matches("SSH2_MSG_KEXINIT received").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client() {
    let (pki, echo, noise) = (Pki::new(), echo_server().await, noise());
    let mut server = drill::server(&pki).await;
    let (address, there) = (server.address, format!("127.0.0.1:{}", echo.port()));
    for row in OPENSSH.rows() {
        let mut ssh = async |args: &[&str], input: &[u8]| {
            let output = peer::run(command(&pki, address, row, args), input).await;
            assert_negotiated(row, server.negotiated().await);
            (output.status.code(), output.stdout, text(&output.stderr))
        };
        let (status, back, log) = ssh(&["-v", "localhost", "cat"], &noise).await;
        assert!(status == Some(0) && back == noise, "{row:?}: {log}");
        assert!(exchanges(&log) > 1, "keys were never changed: {row:?}: {log}");
        assert_eq!(ssh(&["localhost", "both"], b"").await, (Some(0), b"out".to_vec(), "err".to_owned()));
        assert_eq!(ssh(&["localhost", "exit 7"], b"").await.0, Some(7), "{row:?}");
        let (_, back, log) = ssh(&["-W", &there, "localhost"], &noise).await;
        assert!(back == noise, "{row:?}: {log}");
    }
}

/// The account that sshd lets the tests have.
fn whoami() -> String {
    text(&Command::new("id").arg("-un").output().expect("runs").stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_server() {
    let (pki, echo, login) = (Pki::new(), echo_server().await, whoami());
    pki.certify_user("me", "user_ca", &login);
    for row in OPENSSH.rows() {
        let Row { key_exchange, cipher } = row;
        let more = format!("RekeyLimit {REKEY}\nKexAlgorithms {key_exchange}\nCiphers {cipher}");
        let sshd = serve(&pki, "host", &more);
        let host = Host::Of(pki.read("host_ca.pub"));
        let connecting = connect_to(sshd.address(), &login, pki.user("me"), host, row);
        let (client, _) = connecting.await.expect("connects");
        drill::client(row, client, echo).await;
        assert!(exchanges(&sshd.log()) > 1, "keys were never changed: {row:?}: {}", sshd.log());
    }
}

/// Of what kinds the other side's keys may be; ours are all P-256.
const KINDS: &[(&str, &[&str])] =
    &[("ed25519", &[]), ("ecdsa", &["-b", "256"]), ("rsa", &["-b", "2048"]), ("rsa", &["-b", "3072"])];

/// A key of this kind in a file of a name of its own.
fn generate(pki: &Pki, (kind, more): (&str, &[&str])) -> String {
    let name = format!("{kind}{}", more.concat());
    pki.keygen(&[&["-q", "-t", kind, "-N", "", "-f", &name], more].concat());
    name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client_with_keys_of_each_kind() {
    let pki = Pki::new();
    let server = drill::server(&pki).await;
    for kind in KINDS {
        let name = generate(&pki, *kind);
        let public = format!("{name}.pub");
        pki.keygen(&["-q", "-s", "user_ca", "-I", &name, "-n", "alice", "-V", "-1m:+1h", &public]);
        let mut ssh = pki.ssh(server.address, &name);
        ssh.args(["localhost", "exit 7"]);
        let output = peer::run(ssh, b"").await;
        assert_eq!(output.status.code(), Some(7), "{name}: {}", text(&output.stderr));
    }
}

/// An sshd with the host key of this name and these lines.
fn serve(pki: &Pki, host: &str, more: &str) -> Sshd {
    let path = |name: &str| pki.path(name).display().to_string();
    let certificate = path(&format!("{host}-cert.pub"));
    let lines = format!(
        "HostKey {}\nHostCertificate {certificate}\nTrustedUserCAKeys {}\nLogLevel DEBUG1\n{more}",
        path(host),
        path("user_ca.pub"),
    );
    let directory = tempfile::tempdir_in(pki.path("")).expect("a directory").keep();
    Sshd::start(&directory, &lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_server_with_keys_of_each_kind() {
    let (pki, login) = (Pki::new(), whoami());
    pki.certify_user("me", "user_ca", &login);
    let row = OPENSSH.rows().next().expect("one");
    for kind in KINDS {
        let name = generate(&pki, *kind);
        let public = format!("{name}.pub");
        pki.keygen(&["-q", "-s", "host_ca", "-h", "-I", &name, "-n", "localhost", "-V", "-1m:+1h", &public]);
        let sshd = serve(&pki, &name, "");
        let host = Host::Of(pki.read("host_ca.pub"));
        let connecting = connect_to(sshd.address(), &login, pki.user("me"), host, row);
        let (client, _) = connecting.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        drill::speak(row, &client).await;
    }
}

/// Algorithms of yesterday, as options of `ssh`, and what it says when a server has none of them.
const OLD: &[(&str, &str)] = &[
    ("KexAlgorithms=diffie-hellman-group14-sha256", "no matching key exchange method"),
    ("KexAlgorithms=ecdh-sha2-nistp256", "no matching key exchange method"),
    ("Ciphers=aes128-ctr", "no matching cipher"),
    ("Ciphers=aes256-cbc", "no matching cipher"),
    ("HostKeyAlgorithms=ssh-rsa", "no matching host key type"),
    ("PubkeyAcceptedAlgorithms=ssh-rsa-cert-v01@openssh.com,ssh-rsa", "Permission denied"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client_with_old_algorithms_alone_it_is_refused() {
    let pki = Pki::new();
    let server = drill::server(&pki).await;
    let name = generate(&pki, ("rsa", &["-b", "2048"]));
    let public = format!("{name}.pub");
    pki.keygen(&["-q", "-s", "user_ca", "-I", &name, "-n", "alice", "-V", "-1m:+1h", &public]);
    for (option, words) in OLD {
        let mut ssh = pki.ssh(server.address, &name);
        ssh.args(["-o", option, "localhost", "exit 7"]);
        let output = peer::run(ssh, b"").await;
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(255) && said.contains(words), "{option}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_server_with_old_algorithms_alone_it_is_refused() {
    let (pki, login) = (Pki::new(), whoami());
    pki.certify_user("me", "user_ca", &login);
    let row = OPENSSH.rows().next().expect("one");
    for line in
        ["KexAlgorithms diffie-hellman-group14-sha256,ecdh-sha2-nistp256", "Ciphers aes128-ctr,aes256-cbc"]
    {
        let sshd = serve(&pki, "host", line);
        let host = Host::Of(pki.read("host_ca.pub"));
        let refused = connect_to(sshd.address(), &login, pki.user("me"), host, row).await;
        assert!(refused.is_err(), "{line}");
    }
}

/// It only asks who the host is, offers no strict key exchange (9.2), and gets its answer all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_keyscan_reads_the_host_key_and_its_certificate() {
    let pki = Pki::new();
    let server = drill::server(&pki).await;
    let port = server.address.port().to_string();
    for (more, kind) in [
        (&["-t", "ecdsa"][..], format!("[127.0.0.1]:{port} ecdsa-sha2-nistp256 ")),
        // Where it prints a certificate, it names no host.
        (&["-c", "-t", "ecdsa"], "ecdsa-sha2-nistp256-cert-v01@openssh.com ".to_owned()),
    ] {
        let mut scan = Command::new("ssh-keyscan");
        scan.args(["-p", &port]).args(more).arg("127.0.0.1");
        let output = peer::run(scan, b"").await;
        let found = text(&output.stdout);
        assert!(found.starts_with(&kind), "{found}{}", text(&output.stderr));
    }
}
