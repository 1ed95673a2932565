//! The PROXY protocol's header, which whoever reaches a proxy's port may write.
//!
//! The two files are taken from `transport` by themselves: the crate around them takes minutes to build.
#![no_main]

use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncReadExt as _;

// As much of `transport::hello` as its files need is here, under the names that they know.
#[allow(dead_code, reason = "it is a part of something larger")]
#[path = "../../crates/transport/src/hello/proxy_header.rs"]
mod proxy_header;
#[allow(dead_code, reason = "it is a part of something larger")]
#[path = "../../crates/transport/src/hello/rewind.rs"]
mod rewind;

use rewind::Rewind;

/// Why there is no header.
#[derive(Debug)]
pub enum HelloError {
    NoProxyHeader,
    Header(proxy_header::HeaderError),
    Io(std::io::Error),
}

impl From<proxy_header::HeaderError> for HelloError {
    fn from(error: proxy_header::HeaderError) -> Self {
        Self::Header(error)
    }
}

impl From<std::io::Error> for HelloError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// The longest header: version 2 with all that it may carry.
const LONGEST: usize = 16 + 2048;

fuzz_target!(|data: &[u8]| {
    if let Ok((source, mut stream)) = at_once(take(data)) {
        let mut rest = Vec::new();
        at_once(stream.read_to_end(&mut rest)).expect("bytes in memory");
        assert!(data.ends_with(&rest), "what follows the header is not what was sent");
        let header = &data[..data.len() - rest.len()];
        assert!(header.len() <= LONGEST);
        let again = at_once(take(header)).map(|(source, _)| source);
        assert_eq!(again.ok(), Some(source), "the header alone is read otherwise");
        let mapped = source.is_some_and(|source| source.ip() != source.ip().to_canonical());
        assert!(!mapped, "one client has two addresses");
    }
});

async fn take(bytes: &[u8]) -> Result<(Option<SocketAddr>, Rewind<&[u8]>), HelloError> {
    let mut stream = Rewind::new(bytes);
    let source = proxy_header::take(&mut stream).await?;
    Ok((source, stream))
}

/// Bytes in memory are always there, so nothing has to be waited for.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for something"),
    }
}
