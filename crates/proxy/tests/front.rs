//! Everything else on the one port: jump hosts, the web pages, joiners, the blind relay, PROXY headers.

mod cluster;

use api::v1::PingRequest;
use api::v1::cluster_service_client::ClusterServiceClient;
use cluster::{Cluster, PATIENCE, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use transport::ServerTrust;
use transport::rpc::connect_auth;
use transport::ssh::client::{ClientConfig, ClusterHost};
use transport::ssh::{KeyExchange, UserCredentials};
use transport::tls::{Expected, alpn, connect};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_jumps_to_nodes() {
    let (cluster, _) = Cluster::with_nodes().await;
    let (_, output, errors) = cluster.ssh(&["-W", "web-1:22", "127.0.0.1"]).await;
    assert_eq!(output.as_bytes(), cluster::BANNER, "{errors}");
    let (_, output, errors) = cluster.ssh(&["-W", "db-1:22", "127.0.0.1"]).await;
    assert!(output.is_empty() && errors.contains("host_unknown"), "{errors}");
    let (_, _, unknown) = cluster.ssh(&["-W", "xx-1:22", "127.0.0.1"]).await;
    assert_eq!(errors.replace("db-1", "NAME"), unknown.replace("xx-1", "NAME"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_needs_the_key_exchange_that_the_cluster_requires() {
    const CURVE: &str = "curve25519-sha256";
    let series = |name: &str| format!("proxy_key_exchanges_total{{key_exchange=\"{name}\"}}");
    let (cluster, alice) = Cluster::with_nodes().await;
    for exchange in KeyExchange::ALL {
        assert_eq!(cluster.figure(&series(exchange.name())), Some(0));
    }
    let by_curve = async || {
        let option = format!("KexAlgorithms={CURVE}");
        let (_, output, errors) = cluster.ssh(&["-o", &option, "-W", "web-1:22", "127.0.0.1"]).await;
        (output.as_bytes() == cluster::BANNER, errors)
    };
    let (reached, errors) = by_curve().await;
    assert!(reached, "{errors}");
    assert_eq!(cluster.figure(&series(CURVE)), Some(1));

    let spec = json!({"require_post_quantum": true});
    cluster.upsert(json!({"kind": "cluster_auth_preference", "version": "v2", "spec": spec})).await;
    eventually(async || !by_curve().await.0).await;
    let (_, errors) = by_curve().await;
    for told in [CURVE, "post_quantum_required", "this cluster requires", "KexAlgorithms"] {
        assert!(errors.contains(told), "{told} is not in {errors}");
    }
    let event = cluster.event(|event| event["reason_code"] == "post_quantum_required").await;
    assert_eq!((&event["key_exchange"], &event["post_quantum"]), (&json!(CURVE), &json!(false)));
    assert!(event["cipher"].as_str().is_some_and(|cipher| cipher.ends_with("@openssh.com")), "{event}");
    cluster.dial(&alice, "web-1").await.expect("by TLS it is the node that judges");
    assert_eq!(jump_by_our_client(&cluster).await, cluster::BANNER);
    let (_, output, errors) = cluster.ssh(&["-W", "web-1:22", "127.0.0.1"]).await;
    assert_eq!(output.as_bytes(), cluster::BANNER, "OpenSSH by itself: {errors}");
}

/// The first bytes of `web-1`, by a jump of our own client.
async fn jump_by_our_client(cluster: &Cluster) -> Vec<u8> {
    let credentials = cluster.credentials("alice").await;
    let host = ClusterHost { trust: credentials.trust.clone(), names: vec!["127.0.0.1".to_owned()] };
    let config = ClientConfig::new("alice", UserCredentials::of(&credentials).expect("a pair"));
    let stream = TcpStream::connect((cluster.proxy.host(), cluster.proxy.port())).await.expect("connects");
    let (client, _) = transport::ssh::client::connect(stream, config, host).await.expect("logs in");
    assert!(client.negotiated().is_post_quantum());
    let (mut reader, _writer) = client.direct_tcpip("web-1", 22, ("127.0.0.1", 1)).await.expect("opens");
    timeout(PATIENCE, reader.data()).await.expect("in time").expect("some data").to_vec()
}

async fn page(cluster: &Cluster, trust: ServerTrust, path: &str) -> (String, Value) {
    let mut stream = connect(&cluster.proxy, Expected::Proxy, trust, &[alpn::HTTP]).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: auth.postern.internal\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().unwrap_or_default().to_owned(), serde_json::from_str(body).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_tell_what_clients_need_before_they_have_credentials() {
    let cluster = Cluster::start().await;
    let pin = || ServerTrust::pins(vec![cluster.pin]);
    for path in ["/webapi/ping", "/v1/webapi/ping", "/webapi/find"] {
        let (status, body) = page(&cluster, pin(), path).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(body["cluster_name"], "example.com");
        assert_eq!(body["proxy"]["ssh"]["public_addr"], cluster.proxy.to_string());
        assert_eq!(body["proxy"]["tls_routing_enabled"], true);
        assert_eq!(body["auth"].is_null(), path.ends_with("find"));
    }
    for path in ["/", "/webapi", "/webapi/ping/x", "/metrics", "/v1/", "/postern.v1.AuditService/Search"] {
        let (status, body) = page(&cluster, pin(), path).await;
        assert_eq!(status, "HTTP/1.1 404 Not Found", "{path}");
        assert!(body["error"]["message"].is_string(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_join_through_the_proxy_and_members_reach_auth_through_it() {
    let mut cluster = Cluster::start().await;
    let (proxy, pin) = (cluster.proxy.clone(), ServerTrust::pins(vec![cluster.pin]));
    cluster.node("far-1", "web", proxy.clone(), pin).await;
    let joined = &cluster.hosts[0].agent;
    let answer =
        ClusterServiceClient::new(connect_auth(&proxy, joined.credentials())).ping(PingRequest {}).await;
    let answer = answer.expect("answers").into_inner();
    assert_eq!(answer.cluster, "example.com");
    assert!(answer.identity.contains(&joined.host_id().to_string()), "{}", answer.identity);
}

async fn says(cluster: &Cluster, bytes: &[u8]) -> Vec<u8> {
    let mut stream =
        TcpStream::connect((cluster.proxy.host(), cluster.proxy.port())).await.expect("connects");
    stream.write_all(bytes).await.expect("written");
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the proxy holds on to it");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_closed_and_plain_http_is_told_why() {
    let cluster = Cluster::start().await;
    for bytes in
        [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nSSH-2.0-x\r\n"[..], b"\0\0\0\0", b"\x16\x03\x01\0\x05hello"]
    {
        assert!(says(&cluster, bytes).await.is_empty(), "{bytes:?}");
    }
    let answer = says(&cluster, b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_header_is_wanted_where_it_is_configured_and_only_one() {
    let cluster = Cluster::start_with(|config| config.proxy_protocol = true).await;
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    assert!(says(&cluster, b"SSH-2.0-x\r\n").await.is_empty());
    assert!(says(&cluster, &[HEADER, HEADER, b"SSH-2.0-x\r\n"].concat()).await.is_empty());
    let mut stream =
        TcpStream::connect((cluster.proxy.host(), cluster.proxy.port())).await.expect("connects");
    stream.write_all(&[HEADER, b"SSH-2.0-x\r\n"].concat()).await.expect("written");
    let mut start = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut start)).await.expect("in time").expect("read");
    assert_eq!(&start, b"SSH-");
}
