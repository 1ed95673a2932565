//! The administration socket: the kernel says who calls.

use std::os::unix::fs::PermissionsExt;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use transport::rpc::{Channel, Limits, LocalServer, connect_admin};
use transport::{ConnectError, Problem};

/// An empty server answers every call with `unimplemented`, which is an answer.
async fn answers(channel: Channel) -> Result<(), tonic::Status> {
    let mut client = api::v1::join_service_client::JoinServiceClient::new(channel);
    match client.challenge(api::v1::ChallengeRequest {}).await {
        Err(status) if status.code() == tonic::Code::Unimplemented => Ok(()),
        Err(status) => Err(status),
        Ok(_) => panic!("nobody implements this"),
    }
}

#[tokio::test]
async fn serves_its_own_user_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("admin.sock");
    // What a process that was killed leaves.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
    let server = LocalServer::bind(&path).expect("replaces a dead socket");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(Routes::default(), Limits::default(), stop.clone()));
    answers(connect_admin(&path)).await.expect("answers");
    let taken = LocalServer::bind(&path).expect_err("a live socket stays");
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    assert!(taken.to_string().contains("admin.sock"), "{taken}");
    stop.cancel();
    serving.await.expect("ends");
    assert!(!path.exists());
    let status = answers(connect_admin(&path)).await.expect_err("nobody is there");
    let error = ConnectError::behind(&status).expect("a connection error");
    assert!(matches!(error.problem, Problem::Local(_)), "{error}");
    assert!(error.to_string().contains("admin.sock"), "{error}");
}

#[tokio::test]
async fn leaves_alone_what_is_no_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("admin.sock");
    std::fs::write(&path, "precious").expect("written");
    assert!(LocalServer::bind(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
}
