//! Forwards: [`direct()`] from the client to somewhere, [`Listeners`] from here to the client, and what the client serves
//! for one session: its [`agent`], its [`display`].
//!
//! Allowed by three together: the node's configuration, the roles, and the certificate. And the account must be one
//! that can log in, because a forward is as good as a login to whatever listens on this host. The sockets are opened by
//! a helper that is that account ([`sockets`]); nothing here connects or listens by itself.

pub(crate) mod agent;
mod descriptor;
pub(crate) mod display;
mod remote;
mod sockets;

pub(crate) use remote::{Answer, At, Listeners, Opening, open};
pub(crate) use sockets::Sockets;

use std::sync::Arc;
use std::time::Duration;

use exec::sockets::{Ask, MAX_HOST, MAX_PATH, Refusal, RefusalKind};
use transport::ssh::relay;
use transport::ssh::server::{OpenRefusal, OpenRequest, Origin};

use crate::audit::{Event, Kind, PORT, PORT_FAILED, PORT_STOP};
use crate::connection::Context;
use descriptor::Stream;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(30);

/// Which way a connection is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `ssh -L`, `-D`, `-W`, `-J`.
    Local,
    /// `ssh -R`.
    Remote,
}

/// Where to, from here.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A port, with who wants it by the client's word.
    Tcp { host: String, port: u16, origin: Origin },
    /// A Unix socket.
    Unix(Vec<u8>),
}

/// Why a forward is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forbidden {
    /// Stable.
    pub(crate) code: &'static str,
    pub(crate) words: String,
    /// As the client is told.
    pub(crate) refusal: OpenRefusal,
}

impl Forbidden {
    fn new(code: &'static str, words: impl Into<String>) -> Self {
        Self { code, words: words.into(), refusal: OpenRefusal::Prohibited }
    }
}

impl From<Refusal> for Forbidden {
    fn from(Refusal { kind, words }: Refusal) -> Self {
        let refusal = match kind {
            RefusalKind::ConnectFailed => OpenRefusal::ConnectFailed,
            RefusalKind::Busy => OpenRefusal::ResourceShortage,
            _ => OpenRefusal::Prohibited,
        };
        Self { code: kind.name(), words, refusal }
    }
}

/// Whether this connection may forward in that direction. Ask for every connection: roles can change meanwhile.
pub(crate) fn allowed(context: &Context, direction: Direction) -> Result<(), Forbidden> {
    if !context.shared.config.port_forwarding {
        return Err(Forbidden::new("forwarding_off", "node does not allow port forwarding"));
    }
    let admission = context.admission();
    let options = admission.permit().options();
    let granted = match direction {
        Direction::Local => options.local_forwarding(),
        Direction::Remote => options.remote_forwarding(),
    };
    let user = admission.user();
    if !granted || !user.permits.port_forwarding {
        let words = format!("port forwarding is not allowed for user {:?}", user.name.as_str());
        return Err(Forbidden::new("forwarding_not_allowed", words));
    }
    Ok(())
}

/// Connects a channel of the client to somewhere, for as long as both last.
pub(crate) async fn direct(context: Arc<Context>, target: Target, open: OpenRequest) {
    let name = target.to_string();
    let event = |kind| port_event(&context, kind, &name, Direction::Local);
    let stream = match connected(&context, &target).await {
        Ok(stream) => stream,
        Err(forbidden) => {
            report_refused(&context, &name, Direction::Local, &forbidden);
            return open.reject(forbidden.refusal, &forbidden.words).await;
        }
    };
    let opened = match &target {
        Target::Tcp { origin, .. } => {
            event(PORT).with("origin", format!("{}:{}", origin.address, origin.port))
        }
        Target::Unix(_) => event(PORT),
    };
    context.shared.emit(opened.succeeded());
    let channel = open.accept().await;
    let relayed = tokio::select! {
        relayed = relay(channel.reader, channel.writer, stream) => relayed,
        _ = context.cut.thrown() => return,
    };
    let stop = event(PORT_STOP).with("rx", relayed.from_channel).with("tx", relayed.to_channel);
    context.shared.emit(stop.succeeded());
}

async fn connected(context: &Context, target: &Target) -> Result<Stream, Forbidden> {
    allowed(context, Direction::Local)?;
    let given = tokio::time::timeout(CONNECT, context.sockets.ask(context, target.ask()?)).await;
    let given = given.map_err(|_| connect_failed("no answer"))??;
    let descriptor = given.only().map_err(|error| connect_failed(&error.to_string()))?;
    Stream::new(descriptor).map_err(|error| connect_failed(&error.to_string()))
}

fn connect_failed(words: &str) -> Forbidden {
    Refusal { kind: RefusalKind::ConnectFailed, words: words.to_owned() }.into()
}

impl Target {
    fn ask(&self) -> Result<Ask, Forbidden> {
        match self {
            Self::Tcp { host, port, .. } => {
                is_host(host).map_err(connect_failed)?;
                Ok(Ask::ConnectTcp { host: host.clone(), port: *port })
            }
            Self::Unix(path) => {
                is_path(path).map_err(connect_failed)?;
                Ok(Ask::ConnectUnix { path: path.clone() })
            }
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => f.write_str(&beside(host, *port)),
            Self::Unix(path) => f.write_str(&String::from_utf8_lossy(path)),
        }
    }
}

/// The host as it is written beside a port.
fn beside(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

fn is_host(host: &str) -> Result<(), &'static str> {
    match host.len() <= MAX_HOST && !host.contains('\0') {
        true => Ok(()),
        false => Err("this is not the name of a host"),
    }
}

fn is_path(path: &[u8]) -> Result<(), &'static str> {
    match (1..=MAX_PATH).contains(&path.len()) && !path.contains(&0) {
        true => Ok(()),
        false => Err("the path of a Unix socket has 1 to 107 bytes, none of them NUL"),
    }
}

fn report_refused(context: &Context, target: &str, direction: Direction, forbidden: &Forbidden) {
    context.shared.metrics.refuse(forbidden.code);
    let Forbidden { code, words, .. } = forbidden;
    tracing::info!(peer = %context.peer, user = %context.admission().user().name, target, code, reason = words, "refused a forward");
    let event = port_event(context, PORT_FAILED, target, direction);
    context.shared.emit(event.denied(forbidden.code, &forbidden.words, None));
}

fn port_event(context: &Context, kind: Kind, target: &str, direction: Direction) -> Event {
    let direction = match direction {
        Direction::Local => "local",
        Direction::Remote => "remote",
    };
    context.event(kind).with("addr", target).with("direction", direction)
}

#[cfg(test)]
mod tests {
    use super::{Ask, MAX_HOST, MAX_PATH, OpenRefusal, Origin, Target};

    #[test]
    fn what_no_socket_can_be_at_is_refused_before_anybody_is_asked() {
        let tcp =
            |host: String| Target::Tcp { host, port: 80, origin: Origin { address: String::new(), port: 0 } };
        for target in [
            tcp("a".repeat(MAX_HOST + 1)),
            tcp("a\0b".to_owned()),
            Target::Unix(Vec::new()),
            Target::Unix(b"\0abstract".to_vec()),
            Target::Unix(vec![b'a'; MAX_PATH + 1]),
        ] {
            let forbidden = target.ask().expect_err("refused");
            assert_eq!((forbidden.code, forbidden.refusal), ("connect_failed", OpenRefusal::ConnectFailed));
        }
        assert_eq!(tcp("::1".to_owned()).to_string(), "[::1]:80");
        assert_eq!(Target::Unix(b"/run/x".to_vec()).ask(), Ok(Ask::ConnectUnix { path: b"/run/x".to_vec() }));
    }
}
