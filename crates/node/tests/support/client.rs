//! Our own client on its way to a node, for what OpenSSH's would not do.

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use transport::ssh::UserCredentials;
use transport::ssh::client::{Client, ClientConfig, Forwarded, HostRefusal, HostVerifier, connect};

use super::Fixture;

/// The fixture's host, known by its certificate.
struct ThisHost(Vec<u8>);

impl HostVerifier for ThisHost {
    fn certificate(&self, blob: &[u8]) -> Result<(), HostRefusal> {
        assert_eq!(blob, self.0);
        Ok(())
    }
}

/// A connection with the certificate in files of this name, and what arrives at its listeners.
pub async fn our_client(node: &Fixture, name: &str) -> (Client, mpsc::Receiver<Forwarded>) {
    let credentials = UserCredentials::new(&node.pki.read(name), &node.pki.read(&format!("{name}-cert.pub")));
    let config = ClientConfig::new(super::login(), credentials.expect("a pair"));
    let certificate = ssh_key::Certificate::from_openssh(&node.pki.read("launched-cert.pub"));
    let host = ThisHost(certificate.and_then(|own| own.to_bytes()).expect("a certificate"));
    let stream = TcpStream::connect(node.address).await.expect("a connection");
    connect(stream, config, host).await.expect("logs in")
}
