//! Web certificates from files: chosen by name, reloaded whole or not at all.

mod cluster;

use access::{HostPort, SystemRole};
use cluster::Cluster;
use tokio::net::TcpListener;
use transport::tls::{
    ClientCertificates, Expected, Server, ServerCertificates, WebCertificates, WebKeypair, alpn, connect,
};
use transport::{Problem, ServerTrust};

/// Writes a keypair of a cluster of its own, which stands for a public authority.
fn keypair(directory: &std::path::Path, name: &str) -> (WebKeypair, identity::Pin) {
    let authority = Cluster::new();
    let credentials = authority.host_at(SystemRole::Proxy, &[name], jiff::Timestamp::now());
    let pair = WebKeypair {
        key_file: directory.join(format!("{name}.key")),
        cert_file: directory.join(format!("{name}.crt")),
    };
    let chain = credentials.tls_chain.iter().chain(&credentials.trust.host.tls);
    let pem: String =
        chain.map(|der| identity::pem::encode(identity::pem::CERTIFICATE, der).to_string()).collect();
    std::fs::write(&pair.cert_file, pem).expect("written");
    std::fs::write(&pair.key_file, &*credentials.key.to_pem().expect("pem")).expect("written");
    (pair, authority.pin())
}

#[tokio::test]
async fn the_certificate_fits_the_name_and_mistakes_keep_the_old_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::new();
    let (one, one_pin) = keypair(directory.path(), "localhost");
    let (two, two_pin) = keypair(directory.path(), "127.0.0.1");
    let web = WebCertificates::default();
    let own = cluster.host(SystemRole::Proxy, &["localhost", "127.0.0.1"]);
    let server =
        Server::new(ServerCertificates::Web(web.clone(), own), ClientCertificates::Ignored, &[alpn::H2]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = server.accept(stream, None).await;
        }
    });
    let shows = async |host: &str, pin: identity::Pin| {
        let addr = HostPort::new(host, port).expect("an address");
        let connected = connect(&addr, Expected::Proxy, ServerTrust::pins(vec![pin]), &[alpn::H2]).await;
        connected.map(drop).map_err(|error| error.problem)
    };
    shows("localhost", cluster.pin()).await.expect("its own while there is no other");
    web.load(&[one.clone(), two.clone()]).expect("loads");
    shows("localhost", one_pin).await.expect("the first");
    assert!(matches!(shows("localhost", cluster.pin()).await, Err(Problem::WrongPin { .. })));
    // An address is no server name in TLS: the first certificate answers.
    assert!(matches!(shows("127.0.0.1", two_pin).await, Err(Problem::WrongPin { .. })));

    let mixed = WebKeypair { key_file: two.key_file.clone(), ..one.clone() };
    let error = web.load(&[two.clone(), mixed]).expect_err("not its key").to_string();
    assert!(error.contains("127.0.0.1.key") && error.contains("localhost.crt"), "{error}");
    shows("localhost", one_pin).await.expect("still the first");
    std::fs::write(&one.cert_file, "nonsense").expect("written");
    let error = web.reload().expect_err("no certificate").to_string();
    assert!(error.contains("localhost.crt"), "{error}");
    shows("localhost", one_pin).await.expect("still the first");
    let addr = HostPort::new("localhost", port).expect("an address");
    let nobody = connect(&addr, Expected::Proxy, ServerTrust::system(), &[alpn::H2]).await;
    let error = nobody.expect_err("no public authority").problem;
    assert!(matches!(error, Problem::Untrusted { code: "untrusted_web", .. }), "{error:?}");
}
