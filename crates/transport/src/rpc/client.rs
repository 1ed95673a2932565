//! Channels to auth and to where joiners ask: connected when needed, connected again when lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use access::HostPort;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::backoff::Backoff;
use crate::error::{ConnectError, Problem};
use crate::hello::Rewind;
use crate::tls::{
    Connecting, Expected, LiveCredentials, PATIENCE, SecureStream, ServerTrust, alpn, first_word_problem,
};

/// A call without a deadline of its own ends after this long; streams only have to begin by then.
const CALL: Duration = Duration::from_secs(30);
/// A connection that is silent this long is asked whether it is there, and has [`KEEPALIVE_ANSWER`] to say so.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

/// A channel to auth, mutually authenticated end to end. `addr` is auth's own address or a proxy's, which relays
/// blindly. Nothing is connected before the first call; calls that find no connection fail with a status behind
/// which [`ConnectError::behind`] finds the reason.
#[must_use]
pub fn connect_auth(addr: &HostPort, credentials: &LiveCredentials) -> Channel {
    let (addr, credentials) = (addr.clone(), credentials.clone());
    channel(move || {
        let (addr, credentials) = (addr.clone(), credentials.clone());
        async move { to_auth(&addr, &credentials).await }
    })
}

/// A channel for strangers to the join service, at auth or at a proxy's web port.
#[must_use]
pub fn connect_join(addr: &HostPort, trust: ServerTrust) -> Channel {
    let addr = addr.clone();
    channel(move || {
        let (addr, trust) = (addr.clone(), trust.clone());
        async move { to_join(&addr, trust).await }
    })
}

/// `message` as a request that fails when it is not answered within `deadline`.
pub fn within<T>(deadline: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(deadline);
    request
}

async fn to_auth(
    addr: &HostPort,
    credentials: &LiveCredentials,
) -> Result<Rewind<SecureStream<TcpStream>>, ConnectError> {
    let Some(current) = credentials.current() else {
        return Err(ConnectError::new(addr, Problem::NoCredentials));
    };
    let trust = ServerTrust::cluster(Arc::clone(current.trust()));
    let protocols = &[alpn::AUTH];
    let connecting =
        Connecting { addr, expected: Expected::Auth, trust, credentials: Some(credentials), protocols };
    let mut stream = Rewind::new(connecting.connect().await?);
    // In TLS 1.3 a server judges our certificate after our side is done: what it thinks shows in its first byte,
    // and only here can a refusal be told as one.
    match tokio::time::timeout(PATIENCE, stream.fill_to(1)).await {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::new(addr, first_word_problem(error, protocols))),
        Err(_) => {
            let problem = Problem::Timeout { waiting_for: "first word of auth", after: PATIENCE };
            Err(ConnectError::new(addr, problem))
        }
    }
}

async fn to_join(
    addr: &HostPort,
    trust: ServerTrust,
) -> Result<Rewind<SecureStream<TcpStream>>, ConnectError> {
    // A pin can only be found in the cluster's own certificate, a web certificate only with the system's roots.
    let protocols: &[&[u8]] = if trust.knows_cluster() { &[alpn::JOIN] } else { &[alpn::H2] };
    let connecting =
        Connecting { addr, expected: Expected::AuthOrProxy, trust, credentials: None, protocols };
    Ok(Rewind::new(connecting.connect().await?))
}

fn channel<C, F>(connect: C) -> Channel
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Rewind<SecureStream<TcpStream>>, ConnectError>> + Send + 'static,
{
    let pace = Arc::new(Pace::default());
    let connector = tower::service_fn(move |_: http::Uri| {
        let (pace, connecting) = (Arc::clone(&pace), connect());
        async move { pace.connect(connecting).await.map(TokioIo::new) }
    });
    endpoint().connect_with_connector_lazy(connector)
}

pub(super) fn endpoint() -> Endpoint {
    Endpoint::from_static("http://auth.postern.internal")
        .timeout(CALL)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(16 * 1024)
}

/// Holds back attempts after failures: calls that come too early get the last failure at once, so that a server
/// that comes up is not buried under its clients' retries and no caller waits for a pause to end.
struct Pace(Mutex<Paced>);

struct Paced {
    backoff: Backoff,
    failed: Option<(Instant, ConnectError)>,
}

impl Default for Pace {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        Self(Mutex::new(Paced { backoff, failed: None }))
    }
}

impl Pace {
    async fn connect<T>(
        &self,
        connecting: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        if let Some(error) = self.too_early() {
            return Err(error);
        }
        let outcome = connecting.await;
        let mut paced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &outcome {
            Ok(_) => {
                paced.backoff.reset();
                paced.failed = None;
            }
            Err(error) => {
                let again = Instant::now() + paced.backoff.next_wait();
                paced.failed = Some((again, error.clone()));
            }
        }
        outcome
    }

    fn too_early(&self) -> Option<ConnectError> {
        let paced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (again, error) = paced.failed.as_ref()?;
        (Instant::now() < *again).then(|| error.clone())
    }
}
