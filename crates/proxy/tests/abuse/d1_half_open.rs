//! Connections that never say who they are, by the thousand.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::cluster::{BANNER, Cluster};

const MANY: usize = 6_000;
/// Of one address.
const KEPT: usize = 4_096;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_one_address_keep_nobody_out() {
    let most = testkit::descriptors::as_many_as_possible();
    let many = MANY.min(most.saturating_sub(KEPT + 1_000));
    if many < MANY {
        eprintln!("{many} connections and not {MANY}: this process may have {most} descriptors");
    }
    let (cluster, alice) = Cluster::with_nodes().await;
    let mut early = cluster.dial(&alice, "web-1").await.expect("reached");
    let proxy = SocketAddr::from(([127, 0, 0, 1], cluster.proxy.port()));
    let mut open = Vec::new();
    for _ in 0..many {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("bound");
        open.push(socket.connect(proxy).await.expect("connects"));
    }
    for from in ["127.0.0.2", "127.0.0.1"] {
        let (_, output, errors) = cluster.ssh(&["-b", from, "-W", "web-1:22", "127.0.0.1"]).await;
        assert_eq!(output.as_bytes(), BANNER, "from {from}: {errors}");
    }
    cluster.dial(&alice, "web-1").await.expect("reached by TLS, too");
    // How many of them depends on how many had been given up before they had to go.
    assert!(cluster.figure("proxy_strangers_dropped_total").expect("is counted") > 0);

    // A relay that was open before is not concerned.
    let mut hello = vec![0; BANNER.len()];
    tokio::io::AsyncReadExt::read_exact(&mut early.stream, &mut hello).await.expect("goes on");
    assert_eq!(hello, BANNER);
}
