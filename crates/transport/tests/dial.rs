//! The SSH transport's client against a proxy played by the test.

mod cluster;

use access::{HostPort, SystemRole};
use api::v1::dial_response::Outcome;
use api::v1::{Connected, Denied, DialRequest, DialResponse};
use cluster::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use transport::dial::{DialError, dial_ssh, frame};
use transport::tls::{ClientCertificates, Server, ServerCertificates, alpn};
use transport::{LiveCredentials, PeerIdentity, Problem, ServerTrust};

/// Serves one connection with this answer, then echoes.
async fn proxy(credentials: LiveCredentials, outcome: Option<Outcome>) -> HostPort {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let server =
            Server::new(ServerCertificates::Own(credentials), ClientCertificates::Required, &[alpn::SSH]);
        let (stream, peer) = listener.accept().await.expect("accepts");
        let Ok(accepted) = server.accept(stream, Some(peer.ip())).await else { return };
        assert!(matches!(accepted.identity, PeerIdentity::Verified(_)));
        let mut stream = accepted.stream;
        let request: DialRequest = frame::read(&mut stream).await.expect("a request");
        assert_eq!((request.host.as_str(), request.login.as_str()), ("web-1", "root"));
        frame::write(&mut stream, &DialResponse { outcome }).await.expect("written");
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
    HostPort::parse(&addr.to_string(), 0).expect("an address")
}

async fn dial(
    cluster: &Cluster,
    user: &LiveCredentials,
    names: &[&str],
    outcome: Option<Outcome>,
) -> Result<transport::dial::Dialled, DialError> {
    let addr = proxy(cluster.host(SystemRole::Proxy, names), outcome).await;
    let trust = ServerTrust::pins(vec![cluster.pin()]);
    let request = DialRequest { host: "web-1".into(), login: "root".into(), ..DialRequest::default() };
    dial_ssh(&addr, trust, user, &request).await
}

#[tokio::test]
async fn a_dial_is_one_question_and_then_the_nodes_bytes() {
    let cluster = Cluster::new();
    let yes = Some(Outcome::Connected(Connected { host_id: "an id".into() }));
    let dialled = dial(&cluster, &cluster.user("alice"), &["127.0.0.1"], yes).await.expect("connected");
    assert_eq!(dialled.host_id, "an id");
    let mut stream = dialled.stream;
    assert_eq!(stream.protocol(), Some(alpn::SSH));
    assert!(stream.is_post_quantum());
    stream.write_all(b"SSH-2.0-x\r\n").await.expect("written");
    stream.shutdown().await.expect("half closed");
    let mut echoed = String::new();
    stream.read_to_string(&mut echoed).await.expect("read to the end");
    assert_eq!(echoed, "SSH-2.0-x\r\n");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let cluster = Cluster::new();
    let alice = cluster.user("alice");
    let no = Denied { code: "host_unknown".into(), reason: "no".into(), hint: "ask".into() };
    let denied = dial(&cluster, &alice, &["127.0.0.1"], Some(Outcome::Denied(no))).await.expect_err("denied");
    assert_eq!(denied.to_string(), "no (host_unknown); ask");
    let silent = dial(&cluster, &alice, &["127.0.0.1"], None).await.expect_err("no outcome");
    assert!(matches!(silent, DialError::NoOutcome { .. }), "{silent}");
    let elsewhere = dial(&cluster, &alice, &["proxy.example.com"], None).await.expect_err("another name");
    assert!(elsewhere.to_string().contains("wrong_host"), "{elsewhere}");
    let foreign = Cluster::new().user("alice");
    let refused = dial(&cluster, &foreign, &["127.0.0.1"], None).await.expect_err("a foreign user");
    let DialError::Connect(error) = &refused else { panic!("{refused}") };
    assert!(matches!(error.problem, Problem::RefusedUs(_)), "{error}");
    let nobody = dial(&cluster, &LiveCredentials::empty(), &["127.0.0.1"], None).await.expect_err("nobody");
    assert!(nobody.to_string().contains("join the cluster first"), "{nobody}");
}

#[tokio::test]
async fn a_proxy_that_goes_away_before_it_answers_is_no_lasting_problem() {
    let cluster = Cluster::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr =
        HostPort::parse(&listener.local_addr().expect("an address").to_string(), 0).expect("an address");
    let credentials = cluster.host(SystemRole::Proxy, &["127.0.0.1"]);
    tokio::spawn(async move {
        let server =
            Server::new(ServerCertificates::Own(credentials), ClientCertificates::Required, &[alpn::SSH]);
        let (stream, peer) = listener.accept().await.expect("accepts");
        let mut stream = server.accept(stream, Some(peer.ip())).await.expect("shakes hands").stream;
        let _: DialRequest = frame::read(&mut stream).await.expect("a request");
        stream.shutdown().await.expect("closed");
    });
    let trust = ServerTrust::pins(vec![cluster.pin()]);
    let gone = dial_ssh(&addr, trust, &cluster.user("alice"), &DialRequest::default()).await;
    let Err(DialError::Connect(error)) = gone else { panic!("{gone:?}") };
    assert!(matches!(error.problem, Problem::Closed) && error.is_passing(), "{error}");
    assert!(!error.to_string().contains("TLS"), "{error}");
}

#[tokio::test]
async fn a_server_names_the_authority_that_a_foreign_user_would_have_needed() {
    let cluster = Cluster::new();
    let credentials = cluster.host(SystemRole::Proxy, &["127.0.0.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr =
        HostPort::parse(&listener.local_addr().expect("an address").to_string(), 0).expect("an address");
    let foreign = Cluster::new().user("alice");
    let trust = ServerTrust::pins(vec![cluster.pin()]);
    let dialling = tokio::spawn(async move {
        dial_ssh(&addr, trust, &foreign, &DialRequest::default()).await.expect_err("refused")
    });
    let server =
        Server::new(ServerCertificates::Own(credentials), ClientCertificates::Required, &[alpn::SSH]);
    let (stream, peer) = listener.accept().await.expect("accepts");
    let refused = server.accept(stream, Some(peer.ip())).await.expect_err("refused").to_string();
    assert!(
        refused.contains("not a trusted user authority") && refused.contains("untrusted_ca"),
        "{refused}"
    );
    dialling.await.expect("joins");
}

#[tokio::test(start_paused = true)]
async fn fresh_credentials_bring_their_trust_also_from_a_store_that_was_restored() {
    let cluster = Cluster::new();
    let live = cluster.user("alice");
    let fresh = |revision| {
        let mut fresh = cluster.user_at("alice", jiff::Timestamp::now());
        fresh.trust.revision = revision;
        fresh
    };
    let revision = || live.current().expect("there").trust().revision;
    assert!(live.update_trust(cluster.authorities.trust_bundle(100)));
    live.replace(fresh(40)).expect("usable");
    assert_eq!(revision(), 100, "it may have been under way when the newer trust came");
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    live.replace(fresh(40)).expect("usable");
    assert_eq!(revision(), 40, "asked for after the older trust came, so it is newer");
    assert!(!live.update_trust(cluster.authorities.trust_bundle(39)));
    assert!(live.update_trust(cluster.authorities.trust_bundle(41)));
    assert!(live.replace_trust(cluster.authorities.trust_bundle(7)));
    assert_eq!(revision(), 7);
    let mut foreign = cluster.authorities.trust_bundle(200);
    foreign.cluster = access::ClusterName::new("other.example").expect("a name");
    assert!(!live.replace_trust(foreign));
}
