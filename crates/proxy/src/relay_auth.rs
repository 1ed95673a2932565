//! The blind relay to auth: bytes of a TLS connection that ends there, not here.

use std::sync::Arc;
use std::time::Duration;

use access::HostPort;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use transport::listen::{self, Place};
use transport::relay::{Ending, relay};
use transport::tls::{HANDSHAKE, UNAVAILABLE};

use crate::metrics::{Metrics, Protocol};

/// How long auth may take to accept.
const CONNECT: Duration = Duration::from_secs(5);
/// Relays at once; the rest of the proxy's connections is for SSH.
const RELAYS: usize = 8192;

/// Relays to one auth service.
#[derive(Debug, Clone)]
pub(crate) struct AuthRelay {
    auth: HostPort,
    places: Arc<Semaphore>,
    metrics: Metrics,
}

impl AuthRelay {
    pub(crate) fn new(auth: HostPort, metrics: Metrics) -> Self {
        Self { auth, places: Arc::new(Semaphore::new(RELAYS)), metrics }
    }

    /// Serves one connection. Who the client is shows at auth only; until its handshake must be over, it counts as a
    /// stranger here.
    pub(crate) async fn serve<S>(&self, mut stream: S, mut place: Place, cut: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Ok(_taken) = self.places.try_acquire() else {
            tracing::warn!("too many relays to auth; one more was refused");
            return unavailable(&mut stream).await;
        };
        let auth = match timeout(CONNECT, TcpStream::connect((self.auth.host(), self.auth.port()))).await {
            Ok(Ok(auth)) => auth,
            Ok(Err(error)) => {
                tracing::warn!(auth = %self.auth, %error, "auth cannot be reached");
                return unavailable(&mut stream).await;
            }
            Err(_) => {
                tracing::warn!(auth = %self.auth, "auth does not answer");
                return unavailable(&mut stream).await;
            }
        };
        listen::prepare(&auth);
        let _open = self.metrics.relay(Protocol::AUTH);
        let stop = async {
            tokio::time::sleep(HANDSHAKE).await;
            place.known();
            cut.cancelled().await;
        };
        if let Ending::Broken(error) = relay(stream, auth, stop).await {
            tracing::debug!(%error, "relay to auth broken");
        }
    }
}

async fn unavailable(stream: &mut (impl AsyncWrite + Unpin)) {
    let told = async {
        stream.write_all(UNAVAILABLE).await?;
        stream.shutdown().await
    };
    let _ = timeout(CONNECT, told).await;
}
