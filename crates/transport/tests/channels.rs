//! gRPC channels and servers over real TLS on loopback: who is let in, who is not, and what is said about it.

mod cluster;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use access::{HostPort, SystemRole};
use api::v1::join_service_client::JoinServiceClient;
use api::v1::join_service_server::{JoinService, JoinServiceServer};
use api::v1::{
    ChallengeRequest, ChallengeResponse, JoinRequest, JoinResponse, TpmChallengeRequest, TpmChallengeResponse,
};
use cluster::Cluster;
use identity::Subject;
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use transport::listen::{Caps, Listener};
use transport::rpc::{Channel, Dismissed, FORWARDED_FOR, Limits, RpcServer, connect_auth, connect_join};
use transport::tls::{Expected, alpn, connect};
use transport::{ConnectError, LiveCredentials, Peer, PeerIdentity, Problem, ServerTrust};

/// The user whom the service dismisses.
const UNWELCOME: &str = "unwelcome";

/// Answers with what it sees of its caller, and from which port it comes.
struct Mirror;

#[tonic::async_trait]
impl JoinService for Mirror {
    async fn challenge(
        &self,
        request: Request<ChallengeRequest>,
    ) -> Result<Response<ChallengeResponse>, Status> {
        let peer = request.extensions().get::<Peer>().ok_or_else(|| Status::internal("no peer"))?;
        let seen = match &peer.identity {
            PeerIdentity::Stranger => format!("stranger {}", peer.addr.map_or(0, |addr| addr.port())),
            PeerIdentity::LocalAdmin { uid } => format!("uid {uid}"),
            PeerIdentity::Verified(verified) => match &verified.identity().subject {
                Subject::User(user) => format!("user {}", user.name),
                Subject::Host(host) => format!("host {}", host.role),
            },
        };
        let dismissed = seen.ends_with(UNWELCOME);
        let port = peer.addr.map_or(0, |addr| addr.port()).to_string();
        let mut answer = Response::new(ChallengeResponse { challenge: seen.into_bytes(), cluster: port });
        if dismissed {
            answer.extensions_mut().insert(Dismissed);
        }
        Ok(answer)
    }

    async fn tpm_challenge(
        &self,
        _: Request<TpmChallengeRequest>,
    ) -> Result<Response<TpmChallengeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    /// Is not answered.
    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        std::future::pending().await
    }
}

fn routes() -> Routes {
    Routes::new(JoinServiceServer::new(Mirror))
}

struct Auth {
    addr: HostPort,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Auth {
    async fn start(credentials: &LiveCredentials) -> Self {
        Self::start_at(credentials, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn start_at(credentials: &LiveCredentials, addr: SocketAddr) -> Self {
        Self::start_with(credentials, addr, Limits::default()).await
    }

    async fn start_with(credentials: &LiveCredentials, addr: SocketAddr, limits: Limits) -> Self {
        Self::start_within(credentials, addr, limits, Caps::default()).await
    }

    async fn start_within(
        credentials: &LiveCredentials,
        addr: SocketAddr,
        limits: Limits,
        caps: Caps,
    ) -> Self {
        let listener = Listener::bind(addr, caps).await.expect("binds");
        let addr = HostPort::parse(&listener.local_addr().to_string(), 0).expect("an address");
        let stop = CancellationToken::new();
        let (credentials, shutdown) = (credentials.clone(), stop.clone());
        let server = RpcServer { listener, credentials, routes: routes(), limits, shutdown };
        Self { addr, stop, serving: tokio::spawn(server.serve()) }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.expect("ends");
    }
}

async fn mirror(channel: Channel) -> Result<String, Status> {
    ask(channel, Request::new(ChallengeRequest {})).await
}

async fn ask(channel: Channel, request: Request<ChallengeRequest>) -> Result<String, Status> {
    let answer = JoinServiceClient::new(channel).challenge(request).await?;
    Ok(String::from_utf8(answer.into_inner().challenge).expect("text"))
}

/// By which one tells whether it is the same connection still.
async fn port(channel: Channel) -> Result<u16, Status> {
    let answer = JoinServiceClient::new(channel).challenge(ChallengeRequest {}).await?;
    Ok(answer.into_inner().cluster.parse().expect("a port"))
}

async fn problem(channel: Channel) -> ConnectError {
    let status = mirror(channel).await.expect_err("no connection");
    ConnectError::behind(&status).unwrap_or_else(|| panic!("not a connection error: {status:?}")).clone()
}

fn pinned(cluster: &Cluster) -> ServerTrust {
    ServerTrust::pins(vec![cluster.pin()])
}

/// Many more come at once than may be strangers at a time: they wait for their turn, and none is dropped for those behind it.
#[tokio::test]
async fn members_that_come_all_at_once_do_not_cost_each_other_their_places() {
    const MEMBERS: usize = 600;
    let cluster = Cluster::new();
    let credentials = cluster.host(SystemRole::Auth, &["auth-1"]);
    let caps =
        Caps { connections: 2 * MEMBERS, strangers: 128, strangers_per_address: 128, of_one_member: MEMBERS };
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let auth = Auth::start_within(&credentials, loopback, Limits::default(), caps).await;
    let member = cluster.user("alice");
    let calls = (0..MEMBERS).map(|_| tokio::spawn(mirror(connect_auth(&auth.addr, &member))));
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.expect("ends").expect("answers at the first try"), "user alice");
    }
    auth.stop().await;
}

/// One identity opens as many connections as it can: it loses its own that are idle, and nobody else loses any.
#[tokio::test]
async fn a_member_with_too_many_connections_loses_its_idle_ones() {
    let cluster = Cluster::new();
    let credentials = cluster.host(SystemRole::Auth, &["auth-1"]);
    let caps = Caps { of_one_member: 4, ..Caps::default() };
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let auth = Auth::start_within(&credentials, loopback, Limits::default(), caps).await;
    let (eve, bob) = (cluster.user("eve"), cluster.user("bob"));
    let of_bob = connect_auth(&auth.addr, &bob);
    let bobs = port(of_bob.clone()).await.expect("answers");
    let busy = connect_auth(&auth.addr, &eve);
    port(busy.clone()).await.expect("answers");
    let unanswered =
        tokio::spawn(async move { JoinServiceClient::new(busy).join(JoinRequest::default()).await });
    let mut of_eve = Vec::new();
    for _ in 0..20 {
        let channel = connect_auth(&auth.addr, &eve);
        let port = port(channel.clone()).await.expect("each newcomer is served");
        of_eve.push((channel, port));
    }
    for (channel, before) in &of_eve[..16] {
        assert_ne!(port(channel.clone()).await.ok(), Some(*before), "this connection had to go");
    }
    assert!(!unanswered.is_finished(), "what is in use is not idle");
    assert_eq!(port(of_bob).await.expect("answers"), bobs, "nobody else's");
    unanswered.abort();
    auth.stop().await;
}

/// A service has the connection of a caller ended: the caller hears why, and does not stay.
#[tokio::test]
async fn who_is_dismissed_is_answered_and_does_not_stay() {
    let cluster = Cluster::new();
    let auth = Auth::start(&cluster.host(SystemRole::Auth, &["auth-1"])).await;
    for (name, stays) in [("welcome", true), (UNWELCOME, false)] {
        let channel = connect_auth(&auth.addr, &cluster.user(name));
        let first = port(channel.clone()).await.expect("is answered");
        let mut same = true;
        for _ in 0..if stays { 5 } else { 500 } {
            same = port(channel.clone()).await.ok() == Some(first);
            if !same {
                break;
            }
        }
        assert_eq!(same, stays, "{name}");
    }
    auth.stop().await;
}

#[tokio::test]
async fn both_ends_know_each_other() {
    let cluster = Cluster::new();
    let auth = Auth::start(&cluster.host(SystemRole::Auth, &["auth-1"])).await;
    for (credentials, seen) in
        [(cluster.user("alice"), "user alice"), (cluster.host(SystemRole::Node, &["web-1"]), "host Node")]
    {
        assert_eq!(mirror(connect_auth(&auth.addr, &credentials)).await.expect("answers"), seen);
    }
    let stranger = mirror(connect_join(&auth.addr, pinned(&cluster))).await.expect("answers");
    assert!(stranger.starts_with("stranger "), "{stranger}");
    let bundle = Arc::new(cluster.authorities.trust_bundle(1));
    mirror(connect_join(&auth.addr, ServerTrust::cluster(bundle))).await.expect("answers");
}

#[tokio::test]
async fn servers_that_are_not_auth_are_named_with_reason_and_next_step() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let user = cluster.user("alice");
    let auth = Auth::start(&cluster.host(SystemRole::Auth, &["auth-1"])).await;
    let wrong_pin = problem(connect_join(&auth.addr, pinned(&other))).await;
    let said = format!(
        "wrong pin: the server at {} presented CA {}, expected {}; ",
        auth.addr,
        cluster.pin(),
        other.pin()
    );
    assert!(wrong_pin.to_string().starts_with(&said), "{wrong_pin}");
    assert!(!wrong_pin.is_passing());
    let nothing = problem(connect_join(&auth.addr, ServerTrust::default())).await;
    assert!(matches!(nothing.problem, Problem::Untrusted { code: "no_trust", .. }), "{nothing}");
    let foreign = problem(connect_auth(&auth.addr, &other.user("alice"))).await;
    assert!(matches!(foreign.problem, Problem::Untrusted { code: "untrusted_ca", .. }), "{foreign}");
    let hour = SignedDuration::from_hours(1);
    for (role, at, code) in [
        (SystemRole::Node, Timestamp::now(), "wrong_role"),
        (SystemRole::Proxy, Timestamp::now(), "wrong_role"),
        (SystemRole::Auth, Timestamp::now() - hour - hour, "expired"),
        (SystemRole::Auth, Timestamp::now() + hour, "not yet"),
    ] {
        let shown = LiveCredentials::new(cluster.host_at(role, &["host-1"], at)).expect("usable");
        let auth = Auth::start(&shown).await;
        let error = problem(connect_auth(&auth.addr, &user)).await;
        let found = match &error.problem {
            Problem::Untrusted { code, .. } => code,
            Problem::Expired { .. } => "expired",
            Problem::NotValidYet { .. } => "not yet",
            _ => "?",
        };
        assert_eq!(found, code, "{error}");
        assert!(error.to_string().contains(&auth.addr.to_string()), "{error}");
    }
}

#[tokio::test]
async fn clients_that_are_refused_are_told_why() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let auth = Auth::start(&cluster.host(SystemRole::Auth, &["auth-1"])).await;
    let past = Timestamp::now() - SignedDuration::from_hours(2);
    let expired = LiveCredentials::new(cluster.user_at("alice", past)).expect("usable");
    let error = problem(connect_auth(&auth.addr, &expired)).await;
    assert!(error.to_string().contains("not valid at the time of its clock"), "{error}");
    let mut stolen = other.user_at("alice", Timestamp::now());
    stolen.trust = cluster.authorities.trust_bundle(1);
    let stolen = LiveCredentials::new(stolen).expect("usable");
    let error = problem(connect_auth(&auth.addr, &stolen)).await;
    assert!(error.to_string().contains("not of an authority that it trusts"), "{error}");
    let error = problem(connect_auth(&auth.addr, &LiveCredentials::empty())).await;
    assert!(matches!(error.problem, Problem::NoCredentials), "{error}");
}

#[tokio::test]
async fn what_is_no_server_of_ours_is_told_apart() {
    let cluster = Cluster::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("an address");
    let port = HostPort::parse(&addr.to_string(), 0).expect("an address");
    tokio::spawn(async move {
        let mut answers: [&[u8]; 3] = [b"SSH-2.0-x\r\n", b"", transport::tls::UNAVAILABLE];
        answers.reverse();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.expect("written");
            // Wait for the client's hello, so that closing does not reset the answer away.
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await;
        }
    });
    let ask = || async { problem(connect_join(&port, pinned(&cluster))).await };
    assert!(matches!(ask().await.problem, Problem::Unavailable));
    let closed = ask().await;
    assert!(matches!(closed.problem, Problem::Closed) && closed.is_passing(), "{closed}");
    let ssh = ask().await;
    assert!(matches!(ssh.problem, Problem::NotTls(_)) && !ssh.is_passing(), "{ssh}");
    let closed = loop {
        match ask().await.problem {
            Problem::NotTls(_) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(matches!(closed, Problem::Refused), "{closed:?}");
    let nowhere = HostPort::parse("does-not-exist.invalid:1", 0).expect("an address");
    let error = problem(connect_join(&nowhere, pinned(&cluster))).await;
    assert!(matches!(error.problem, Problem::Dns(_) | Problem::Timeout { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let cluster = Cluster::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = HostPort::parse(&listener.local_addr().expect("an address").to_string(), 0).expect("address");
    let error = problem(connect_join(&addr, pinned(&cluster))).await;
    assert!(matches!(error.problem, Problem::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_channel_outlives_its_server_and_sees_fresh_certificates() {
    let cluster = Cluster::new();
    let credentials = cluster.host(SystemRole::Auth, &["auth-1"]);
    let auth = Auth::start(&credentials).await;
    let channel = connect_auth(&auth.addr, &cluster.user("alice"));
    mirror(channel.clone()).await.expect("answers");
    let (addr, port) = (auth.addr.clone(), auth.addr.port());
    auth.stop().await;
    let error = problem(channel.clone()).await;
    assert!(error.is_passing(), "{error}");
    credentials.replace(cluster.host_at(SystemRole::Auth, &["auth-1"], Timestamp::now())).expect("usable");
    let auth = Auth::start_at(&credentials, SocketAddr::from(([127, 0, 0, 1], port))).await;
    assert_eq!(auth.addr, addr);
    let again = loop {
        match mirror(channel.clone()).await {
            Ok(seen) => break seen,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(again, "user alice");
    auth.stop().await;
}

/// Proxies relay this protocol blindly: whoever shows nothing on it would have the proxy's address.
#[tokio::test]
async fn a_stranger_gets_no_word_on_the_protocol_of_members() {
    let cluster = Cluster::new();
    let auth = Auth::start(&cluster.host(SystemRole::Auth, &["auth-1"])).await;
    for (protocol, served) in [(alpn::AUTH, false), (alpn::JOIN, true)] {
        let mut stream =
            connect(&auth.addr, Expected::Auth, pinned(&cluster), &[protocol]).await.expect("shakes hands");
        // An HTTP/2 server speaks first, after the preface: its settings.
        let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let mut word = [0; 1];
        let answered = matches!(stream.read(&mut word).await, Ok(1));
        assert_eq!(answered, served, "{}", String::from_utf8_lossy(protocol));
    }
}

#[tokio::test]
async fn a_proxy_speaks_for_strangers_and_nobody_else_does() {
    let cluster = Cluster::new();
    let auth = Auth::start(&cluster.host(SystemRole::Auth, &["auth-1"])).await;
    let forwarded = || {
        let mut request = Request::new(ChallengeRequest {});
        request.metadata_mut().insert(FORWARDED_FOR, "192.0.2.7:4711".parse().expect("a value"));
        request
    };
    for (credentials, seen) in [
        (cluster.host(SystemRole::Proxy, &["proxy"]), "stranger 4711"),
        (cluster.host(SystemRole::Node, &["node"]), "host Node"),
        (cluster.user("alice"), "user alice"),
    ] {
        let channel = connect_auth(&auth.addr, &credentials);
        assert_eq!(ask(channel, forwarded()).await.expect("answers"), seen);
    }
    let stranger = ask(connect_join(&auth.addr, pinned(&cluster)), forwarded()).await.expect("answers");
    assert_ne!(stranger, "stranger 4711");
}

#[tokio::test]
async fn a_call_is_not_kept_for_ever() {
    let cluster = Cluster::new();
    let limits = Limits { call: Duration::from_millis(50), ..Limits::default() };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let auth = Auth::start_with(&cluster.host(SystemRole::Auth, &["auth-1"]), anywhere, limits).await;
    let channel = connect_auth(&auth.addr, &cluster.user("alice"));
    let status = JoinServiceClient::new(channel).join(JoinRequest::default()).await.expect_err("no answer");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("within 50ms"), "{status}");
}

#[tokio::test]
async fn a_stranger_may_not_stay() {
    let cluster = Cluster::new();
    let limits = Limits { stranger: Duration::from_millis(50), drain: Duration::ZERO, ..Limits::default() };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let auth = Auth::start_with(&cluster.host(SystemRole::Auth, &["auth-1"]), anywhere, limits).await;
    let stranger = transport::tls::connect(
        &auth.addr,
        transport::tls::Expected::AuthOrProxy,
        pinned(&cluster),
        &[transport::tls::alpn::JOIN],
    );
    let mut stranger = stranger.await.expect("shakes hands");
    // The client's preface, and then nothing.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    tokio::io::AsyncWriteExt::write_all(&mut stranger, preface).await.expect("sent");
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stranger, &mut rest);
    // Less than what it takes to notice that it answers no pings.
    let _ = tokio::time::timeout(Duration::from_secs(15), read).await.expect("is sent away");
    assert!(!rest.is_empty(), "it was served, and then sent away");
}
