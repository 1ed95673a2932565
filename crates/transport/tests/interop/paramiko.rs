//! paramiko, which knows plain host keys only, but user certificates.

use serde_json::json;

use super::drill::{
    self, Host, assert_negotiated, assert_saw, client_task, connect_to, echo_server, in_old_pem,
};
use super::openssh::Pki;
use super::peer;
use super::table::{PARAMIKO, Row};

/// A `known_hosts` in which the server on this port has the key in this file.
fn know(pki: &Pki, port: u16, key: &str) -> std::path::PathBuf {
    let known = pki.path(&format!("known-{port}-{key}"));
    std::fs::write(&known, format!("[127.0.0.1]:{port} {}", pki.read(key))).expect("written");
    known
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client() {
    let (pki, echo) = (Pki::new(), echo_server().await);
    let mut server = drill::server(&pki).await;
    for row in PARAMIKO.rows() {
        let mut task = client_task(&pki, &server, row, echo);
        task["key"] = json!(in_old_pem(&pki, "user"));
        task["known_hosts"] = json!(know(&pki, server.address.port(), "host.pub"));
        assert_saw(row, &peer::client("paramiko_client.py", &task).await);
        assert_negotiated(row, server.negotiated().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client_it_refuses_other_host_keys_and_strangers_are_refused() {
    let (pki, echo) = (Pki::new(), echo_server().await);
    let server = drill::server(&pki).await;
    let row = PARAMIKO.rows().next().expect("one");
    let mut task = client_task(&pki, &server, row, echo);
    task["key"] = json!(in_old_pem(&pki, "user"));
    pki.certify_user("stranger", "other_ca", "alice");
    task["known_hosts"] = json!(know(&pki, server.address.port(), "stranger.pub"));
    assert_eq!(peer::client("paramiko_client.py", &task).await, json!({"refused": "BadHostKeyException"}));
    task["known_hosts"] = json!(know(&pki, server.address.port(), "host.pub"));
    task["key"] = json!(in_old_pem(&pki, "stranger"));
    assert_eq!(
        peer::client("paramiko_client.py", &task).await,
        json!({"refused": "AuthenticationException"})
    );
}

async fn serve(pki: &Pki, row: Row) -> peer::Server {
    let task = json!({
        "host_key": in_old_pem(pki, "host"),
        "user_key": in_old_pem(pki, "user"),
        "key_exchange": row.key_exchange,
        "cipher": row.cipher,
    });
    peer::Server::start("paramiko_server.py", &task).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_server() {
    let (pki, echo) = (Pki::new(), echo_server().await);
    for row in PARAMIKO.rows() {
        let mut server = serve(&pki, row).await;
        let address = ([127, 0, 0, 1], server.port).into();
        let host = Host::Pinned(pki.read("host.pub"));
        let (client, _) = connect_to(address, "alice", pki.user("user"), host, row).await.expect("connects");
        drill::client(row, client, echo).await;
        assert!(server.says("exchanges").await > 1, "keys were never changed: {row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_server_with_another_key_it_is_refused() {
    let pki = Pki::new();
    let row = PARAMIKO.rows().next().expect("one");
    for host in [Host::Pinned(pki.read("user.pub")), Host::Of(pki.read("host_ca.pub"))] {
        let server = serve(&pki, row).await;
        let address = ([127, 0, 0, 1], server.port).into();
        let error = connect_to(address, "alice", pki.user("user"), host, row).await.expect_err("is refused");
        assert!(error.to_string().contains("wrong_host"), "{error}");
    }
}
