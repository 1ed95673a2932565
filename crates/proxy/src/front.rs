//! The one port: the first bytes of a connection decide who serves it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::hello::{ClientHello, Hello, HelloError, Rewind, peek, take_proxy_header};
use transport::listen::{Accepted, Listener, Place};
use transport::ssh::server::ServerConfig;
use transport::tls::{HANDSHAKE, Server, alpn};

use crate::dialer::Dialer;
use crate::metrics::{Metrics, Protocol};
use crate::relay_auth::AuthRelay;
use crate::web::Site;
use crate::{jump, ssh_transport};

/// A connection whose first bytes were looked at.
type Stream = Rewind<Rewind<TcpStream>>;

const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 63\r\nConnection: close\r\n\r\n\
{\"error\":{\"message\":\"this port speaks TLS; use https:// URLs\"}}";

/// Everybody who serves connections.
pub(crate) struct Front {
    pub(crate) proxy_protocol: bool,
    pub(crate) dialer: Dialer,
    pub(crate) jump: Arc<ServerConfig>,
    pub(crate) ssh: Server,
    pub(crate) join: Server,
    pub(crate) web: Server,
    pub(crate) auth: AuthRelay,
    pub(crate) site: Site,
    /// Ends what is short-lived.
    pub(crate) shutdown: CancellationToken,
    /// Ends what is left after the time for draining.
    pub(crate) cut: CancellationToken,
}

impl Front {
    /// Accepts until told to stop.
    pub(crate) async fn accept(self: Arc<Self>, listener: Listener, connections: TaskTracker) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            connections.spawn(Arc::clone(&self).connection(accepted));
        }
    }

    /// Serves one connection, unless somebody else gets its place before it has proved who it is.
    async fn connection(self: Arc<Self>, accepted: Accepted) {
        let lost = accepted.place.lost();
        tokio::select! {
            () = self.understand(accepted) => {}
            () = lost => self.metrics().dropped(),
        }
    }

    async fn understand(&self, accepted: Accepted) {
        let Accepted { stream, addr, mut place } = accepted;
        match self.first_bytes(stream, addr).await {
            Ok((hello, stream, addr)) => {
                // With a PROXY header, everybody seems to come from the load balancer before it was read.
                place.comes_from(addr.ip());
                self.serve(hello, stream, addr, place).await;
            }
            Err(error) => {
                self.metrics().failure(Protocol::UNKNOWN);
                tracing::debug!(%addr, %error, "connection not understood");
            }
        }
    }

    async fn first_bytes(
        &self,
        stream: TcpStream,
        addr: SocketAddr,
    ) -> Result<(Hello, Stream, SocketAddr), HelloError> {
        let (addr, stream) = match self.proxy_protocol {
            true => {
                let (source, stream) = take_proxy_header(stream, HANDSHAKE).await?;
                (source.unwrap_or(addr), stream)
            }
            false => (addr, Rewind::new(stream)),
        };
        let (hello, stream) = peek(stream, HANDSHAKE).await?;
        Ok((hello, stream, addr))
    }

    async fn serve(&self, hello: Hello, stream: Stream, addr: SocketAddr, place: Place) {
        let protocol = protocol(&hello);
        self.metrics().connection(protocol);
        let cut = self.cut.clone();
        match protocol {
            Protocol::JUMP => jump::serve(&self.dialer, &self.jump, stream, addr, place, cut).await,
            Protocol::SSH => ssh_transport::serve(&self.dialer, &self.ssh, stream, addr, place, cut).await,
            Protocol::AUTH => self.auth.serve(stream, place, cut).await,
            Protocol::JOIN => self.site.serve(&self.join, stream, addr, &self.shutdown).await,
            Protocol::WEB => self.site.serve(&self.web, stream, addr, &self.shutdown).await,
            _ if hello == Hello::Http => refuse_http(stream).await,
            _ => {}
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.dialer.metrics
    }
}

/// Who serves it. A ClientHello proves nothing, so whatever it says leads only to where everybody may knock.
fn protocol(hello: &Hello) -> Protocol {
    let tls = |hello: &ClientHello| {
        let known = [(alpn::AUTH, Protocol::AUTH), (alpn::SSH, Protocol::SSH), (alpn::JOIN, Protocol::JOIN)];
        let found = known.into_iter().find(|(name, _)| hello.offers(name));
        found.map_or(Protocol::WEB, |(_, protocol)| protocol)
    };
    match hello {
        Hello::Ssh => Protocol::JUMP,
        Hello::Tls(hello) => tls(hello),
        Hello::Http | Hello::Unknown => Protocol::UNKNOWN,
    }
}

async fn refuse_http(mut stream: Stream) {
    let told = async {
        stream.write_all(NOT_TLS).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(HANDSHAKE, told).await;
}

#[cfg(test)]
mod tests {
    use super::{NOT_TLS, protocol};
    use crate::metrics::Protocol;
    use transport::hello::{ClientHello, Hello};

    #[test]
    fn the_first_bytes_decide() {
        let tls = |names: &[&[u8]]| {
            let alpn = names.iter().map(|name| name.to_vec()).collect();
            Hello::Tls(ClientHello { server_name: Some("auth.postern.internal".into()), alpn })
        };
        for (hello, expected) in [
            (Hello::Ssh, Protocol::JUMP),
            (Hello::Http, Protocol::UNKNOWN),
            (Hello::Unknown, Protocol::UNKNOWN),
            (tls(&[]), Protocol::WEB),
            (tls(&[b"h2", b"http/1.1"]), Protocol::WEB),
            (tls(&[b"postern-auth"]), Protocol::AUTH),
            (tls(&[b"h2", b"postern-auth"]), Protocol::AUTH),
            (tls(&[b"postern-ssh"]), Protocol::SSH),
            (tls(&[b"postern-join", b"h2"]), Protocol::JOIN),
            (tls(&[b"postern-auth-internal", b"POSTERN-AUTH"]), Protocol::WEB),
        ] {
            assert_eq!(protocol(&hello), expected, "{hello:?}");
        }
    }

    #[test]
    fn the_answer_to_plain_http_is_well_formed() {
        let text = std::str::from_utf8(NOT_TLS).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
