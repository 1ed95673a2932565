use super::{Hello, HelloError, peek, take_proxy_header};
use proptest::prelude::{any, prop, proptest};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

const SOON: Duration = Duration::from_secs(10);

async fn said(bytes: &[u8]) -> Result<Hello, HelloError> {
    peek(bytes, SOON).await.map(|(hello, _)| hello)
}

fn client_hello() -> Vec<u8> {
    let mut config =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
    config.alpn_protocols = vec![b"postern-ssh".to_vec(), b"h2".to_vec()];
    let name = "proxy.example.com".try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(config.into(), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("written");
    bytes
}

#[tokio::test]
async fn tells_protocols_apart() {
    assert_eq!(said(b"SSH-2.0-OpenSSH_9.2\r\n").await.expect("ssh"), Hello::Ssh);
    assert_eq!(said(b"GET / HTTP/1.1\r\n").await.expect("http"), Hello::Http);
    assert_eq!(said(b"SSX-").await.expect("unknown"), Hello::Unknown);
    assert_eq!(said(b"\0").await.expect("unknown"), Hello::Unknown);
    assert!(matches!(said(b"SS").await, Err(HelloError::Io(_))));
    assert!(matches!(said(b"").await, Err(HelloError::Io(_))));
    assert!(matches!(said(b"\x16\x03\x01\0\x05hello").await, Err(HelloError::Malformed(_))));
    assert!(matches!(said(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nSSH-").await, Ok(Hello::Unknown)));
}

#[tokio::test]
async fn reads_a_client_hello_in_any_pieces_and_gives_it_back() {
    let bytes = client_hello();
    let (mut client, server) = duplex(1);
    let wire = bytes.clone();
    tokio::spawn(async move { client.write_all(&wire).await });
    let (hello, mut stream) = peek(server, SOON).await.expect("a hello");
    let Hello::Tls(hello) = hello else { panic!("not TLS") };
    assert_eq!(hello.server_name.as_deref(), Some("proxy.example.com"));
    assert!(hello.offers(b"postern-ssh") && hello.offers(b"h2") && !hello.offers(b"http/1.1"));
    let mut again = vec![0; bytes.len()];
    stream.read_exact(&mut again).await.expect("every byte again");
    assert_eq!(again, bytes);
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_never_ends_is_given_up() {
    let (mut client, server) = duplex(64);
    let bytes = client_hello();
    tokio::spawn(async move {
        for byte in bytes {
            client.write_all(&[byte]).await.expect("written");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    assert!(matches!(peek(server, SOON).await, Err(HelloError::Timeout(_))));
}

#[tokio::test]
async fn takes_both_versions_of_the_proxy_header() {
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 22]);
    let mut v2_six = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x27".to_vec();
    v2_six.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    v2_six.extend([0; 16]);
    v2_six.extend([0, 80, 0, 22, 4, 0, 0]);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    for (header, source) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 22\r\n".to_vec(), Some("192.0.2.7:4660")),
        (b"PROXY TCP6 2001:db8::9 ::1 80 22\r\n".to_vec(), Some("[2001:db8::9]:80")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (v2, Some("192.0.2.7:4660")),
        (v2_six, Some("[2001:db8::9]:80")),
        (local, None),
    ] {
        let wire = [&header[..], b"SSH-2.0-x\r\n"].concat();
        let (found, mut stream) = take_proxy_header(&wire[..], SOON).await.expect("a header");
        assert_eq!(found, source.map(|text| text.parse().expect("address")));
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.expect("the rest");
        assert_eq!(rest, "SSH-2.0-x\r\n");
    }
}

#[tokio::test]
async fn refuses_malformed_and_missing_proxy_headers() {
    for wire in [
        &b"PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n"[..],
        b"PROXY TCP4 ::1 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 10.0.0.1 +1 2\r\n",
        b"PROXY TCP4 1.1.1.1 10.0.0.1 65536 2\r\n",
        b"PROXY  TCP4 1.1.1.1 10.0.0.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\0\0\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        let refused = take_proxy_header(wire, SOON).await;
        assert!(matches!(refused, Err(HelloError::ProxyHeader(_))), "{wire:?}");
    }
    assert!(matches!(take_proxy_header(&b"SSH-2.0-x\r\n"[..], SOON).await, Err(HelloError::NoProxyHeader)));
    let endless = [b'P', b'R', b'O', b'X', b'Y', b' '].into_iter().chain([b'a'; 4096]).collect::<Vec<_>>();
    assert!(matches!(take_proxy_header(&endless[..], SOON).await, Err(HelloError::ProxyHeader(_))));
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), tls in any::<bool>(), v2 in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let hello = if tls { [&b"\x16\x03\x01"[..], &bytes].concat() } else { bytes.clone() };
        let header = if v2 { [&b"\r\n\r\n\0\r\nQUIT\n"[..], &bytes].concat() } else { bytes };
        runtime.block_on(async {
            let _ = said(&hello).await;
            let _ = take_proxy_header(&header[..], SOON).await;
        });
    }
}
