//! Health and metrics, asked for over HTTP.

use std::{net::SocketAddr, sync::Arc};

use daemon::run::{board::Board, diag::Diag, metrics::Metrics};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;
use transport::health::ServiceHealth;

async fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    answer
}

#[tokio::test]
async fn readiness_has_reasons_and_is_true_only_when_every_service_is_ready() {
    let (auth, node) = (ServiceHealth::new("auth"), ServiceHealth::new("node"));
    let board = Arc::new(Board::new(vec![auth.clone(), node.clone()]));
    let metrics = Metrics::new(Arc::clone(&board));
    let loopback: SocketAddr = "127.0.0.1:0".parse().expect("address");
    let diag = Diag::bind(loopback, Arc::clone(&board), metrics).expect("binds");
    let address = diag.address().expect("is bound");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(diag.serve(stop.clone()));

    auth.ready();
    node.degraded("cannot reach auth at a:3025");
    assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
    let answer = fetch(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let expected = r#"{"ready":false,"stopping":false,"services":[{"service":"auth","status":"ready"},{"service":"node","status":"degraded","reason":"cannot reach auth at a:3025"}]}"#;
    assert!(answer.ends_with(expected), "{answer}");

    let metrics = fetch(address, "/metrics").await;
    for line in [
        concat!("postern_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "postern_service_ready{service=\"auth\"} 1",
        "postern_service_ready{service=\"node\"} 0",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }

    node.ready();
    assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    board.stopping();
    assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(fetch(address, "/elsewhere").await.starts_with("HTTP/1.1 404"));
    stop.cancel();
    serving.await.expect("ends");
}
