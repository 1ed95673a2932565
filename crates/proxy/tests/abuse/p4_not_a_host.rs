//! The proxy is no host: what one would ask of a host is unknown to its jump host and to its transport.

use tokio::net::TcpStream;
use tokio::time::timeout;
use transport::dial::DialError;
use transport::ssh::UserCredentials;
use transport::ssh::client::{ClientConfig, ClusterHost, OpenError};

use crate::cluster::{BANNER, Cluster, PATIENCE};

fn nothing_arrived(cluster: &Cluster) {
    for host in &cluster.hosts {
        let received = host.received.lock().expect("a lock");
        assert!(received.is_empty(), "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_gets_no_session_of_the_jump_host_and_no_forward() {
    let (cluster, _) = Cluster::with_nodes().await;
    const HOST: &str = "127.0.0.1";
    const FAILURE: &str = "ExitOnForwardFailure=yes";
    for refused in [
        &[HOST][..],
        &["-tt", HOST],
        &[HOST, "true"],
        &["-o", "SetEnv=LD_PRELOAD=/tmp/x.so PATH=/tmp", HOST, "env"],
        &["-s", HOST, "sftp"],
        &["-s", HOST, "proxy:auth@example.com"],
        &["-s", HOST, "proxysites"],
        &["-A", HOST, "true"],
        &["-X", HOST, "true"],
    ] {
        let (success, output, errors) = cluster.ssh(refused).await;
        assert!(!success && output.is_empty(), "{refused:?}: {errors}");
        assert!(errors.contains("this is a jump host"), "{refused:?}: {errors}");
    }
    let event = cluster.event(|event| event["event"] == "session.rejected").await;
    assert_eq!((&event["code"], &event["user"]), (&"T1006W".into(), &"alice".into()), "{event}");
    let socket = cluster.directory.path().join("socket").display().to_string();
    for listener in
        [format!("0:{HOST}:1"), format!("{HOST}:0:{HOST}:1"), format!("{socket}:{HOST}:1"), "0".into()]
    {
        let (success, output, errors) = cluster.ssh(&["-N", "-o", FAILURE, "-R", &listener, HOST]).await;
        assert!(!success && output.is_empty(), "{listener}: {errors}");
    }
    assert!(!std::path::Path::new(&socket).exists());
    nothing_arrived(&cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_refused_sessions_still_jumps() {
    let (cluster, _) = Cluster::with_nodes().await;
    let credentials = cluster.credentials("alice").await;
    let host = ClusterHost { trust: credentials.trust.clone(), names: vec!["127.0.0.1".to_owned()] };
    let config = ClientConfig::new("alice", UserCredentials::of(&credentials).expect("a pair"));
    let stream = TcpStream::connect((cluster.proxy.host(), cluster.proxy.port())).await.expect("connects");
    let (client, _) = transport::ssh::client::connect(stream, config, host).await.expect("logs in");
    for _ in 0..300 {
        match client.session().await {
            Err(OpenError::Rejected(words)) => assert!(words.contains("this is a jump host"), "{words}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(client.listen("127.0.0.1", 0).await, Err(OpenError::Rejected(_))));
    }
    let (mut reader, _writer) = client.direct_tcpip("web-1", 22, ("127.0.0.1", 1)).await.expect("opens");
    assert_eq!(timeout(PATIENCE, reader.data()).await.expect("in time").expect("some"), BANNER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transport_knows_one_question_and_its_own_addresses_are_no_answer() {
    let (cluster, alice) = Cluster::with_nodes().await;
    let auth = cluster.auth.to_string();
    for target in [&cluster.proxy.to_string(), "proxy-1", &auth, "auth.postern.internal", "localhost", ""] {
        match cluster.dial(&alice, target).await {
            Err(DialError::Denied { code, .. }) => assert_eq!(code, "host_unknown", "{target}"),
            other => panic!("{target}: {other:?}"),
        }
    }
    assert!(cluster.dial(&alice, &"x".repeat(100_000)).await.is_err());
    nothing_arrived(&cluster);
}
