//! asyncssh, which knows host certificates and their authorities from `known_hosts`, and user certificates.

use serde_json::{Value, json};

use super::drill::{self, Host, REKEY, assert_negotiated, assert_saw, client_task, connect_to, echo_server};
use super::openssh::Pki;
use super::peer;
use super::table::{ASYNCSSH, Row};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client() {
    let (pki, echo) = (Pki::new(), echo_server().await);
    let mut server = drill::server(&pki).await;
    for row in ASYNCSSH.rows() {
        let mut task = client_task(&pki, &server, row, echo);
        task["known_hosts"] = json!(pki.path("known_hosts"));
        assert_saw(row, &peer::client("asyncssh_client.py", &task).await);
        assert_negotiated(row, server.negotiated().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_client_it_refuses_hosts_of_others_and_strangers_are_refused() {
    let (pki, echo) = (Pki::new(), echo_server().await);
    let server = drill::server(&pki).await;
    let row = ASYNCSSH.rows().next().expect("one");
    let mut task = client_task(&pki, &server, row, echo);
    let others = format!("@cert-authority * {}", pki.read("other_ca.pub"));
    std::fs::write(pki.path("known_others"), others).expect("written");
    task["known_hosts"] = json!(pki.path("known_others"));
    assert_eq!(peer::client("asyncssh_client.py", &task).await, json!({"refused": "HostKeyNotVerifiable"}));
    pki.certify_user("stranger", "other_ca", "alice");
    task["known_hosts"] = json!(pki.path("known_hosts"));
    task["key"] = json!(pki.path("stranger"));
    task["certificate"] = json!(pki.path("stranger-cert.pub"));
    assert_eq!(peer::client("asyncssh_client.py", &task).await, json!({"refused": "PermissionDenied"}));
}

async fn serve(pki: &Pki, row: Row) -> peer::Server {
    let task: Value = json!({
        "host_key": pki.path("host"),
        "host_certificate": pki.path("host-cert.pub"),
        "user_authority": pki.read("user_ca.pub"),
        "key_exchange": row.key_exchange,
        "cipher": row.cipher,
        "rekey": REKEY,
    });
    peer::Server::start("asyncssh_server.py", &task).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_server() {
    let (pki, echo) = (Pki::new(), echo_server().await);
    for row in ASYNCSSH.rows() {
        let mut server = serve(&pki, row).await;
        let host = Host::Of(pki.read("host_ca.pub"));
        let address = ([127, 0, 0, 1], server.port).into();
        let (client, _) = connect_to(address, "alice", pki.user("user"), host, row).await.expect("connects");
        drill::client(row, client, echo).await;
        assert!(server.says("exchanges").await > 1, "keys were never changed: {row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_server_of_another_authority_it_is_refused() {
    let pki = Pki::new();
    let row = ASYNCSSH.rows().next().expect("one");
    let server = serve(&pki, row).await;
    let host = Host::Of(pki.read("other_ca.pub"));
    let address = ([127, 0, 0, 1], server.port).into();
    let error = connect_to(address, "alice", pki.user("user"), host, row).await.expect_err("is refused");
    assert!(error.to_string().contains("of another authority"), "{error}");
}
