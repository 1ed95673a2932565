//! Forwarding of TCP connections: [`direct()`] from the client to somewhere, [`Listeners`] from here to the client.
//!
//! Allowed by three together: the node's configuration, the roles, and the certificate. And the account must be one
//! that can log in, because a forward is as good as a login to whatever listens on this host.

mod account;
mod remote;

pub(crate) use account::AccountCheck;
pub(crate) use remote::{Listeners, Opening, open};

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use transport::ssh::relay;
use transport::ssh::server::{OpenRefusal, OpenRequest, Origin};

use crate::audit::{Event, Kind, PORT, PORT_FAILED, PORT_STOP};
use crate::connection::Context;

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

/// Why a forward is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forbidden {
    pub(crate) code: &'static str,
    pub(crate) words: String,
}

impl Forbidden {
    fn new(code: &'static str, words: impl Into<String>) -> Self {
        Self { code, words: words.into() }
    }
}

/// Whether this connection may forward in that direction.
pub(crate) async fn allowed(context: &Context, direction: Direction) -> Result<(), Forbidden> {
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
    context.account.check(admission.permit().login()).await
}

/// Connects a channel of the client to somewhere, for as long as both last.
pub(crate) async fn direct(
    context: Arc<Context>,
    host: String,
    port: u16,
    origin: Origin,
    open: OpenRequest,
) {
    let target = target(&host, port);
    if let Err(forbidden) = allowed(&context, Direction::Local).await {
        report_refused(&context, &target, Direction::Local, &forbidden);
        return open.reject(OpenRefusal::Prohibited, &forbidden.words).await;
    }
    let connecting = TcpStream::connect((host.as_str(), port));
    let stream = match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return unreachable(&context, &target, open, &error.to_string()).await,
        Err(_) => return unreachable(&context, &target, open, "no answer").await,
    };
    let _ = stream.set_nodelay(true);
    let event = |kind| port_event(&context, kind, &target, Direction::Local);
    context
        .shared
        .emit(event(PORT).with("origin", format!("{}:{}", origin.address, origin.port)).succeeded());
    let channel = open.accept().await;
    let relayed = tokio::select! {
        relayed = relay(channel.reader, channel.writer, stream) => relayed,
        _ = context.cut.thrown() => return,
    };
    let stop = event(PORT_STOP).with("rx", relayed.from_channel).with("tx", relayed.to_channel);
    context.shared.emit(stop.succeeded());
}

async fn unreachable(context: &Context, target: &str, open: OpenRequest, reason: &str) {
    let event = port_event(context, PORT_FAILED, target, Direction::Local);
    context.shared.emit(event.denied("connect_failed", reason, None));
    open.reject(OpenRefusal::ConnectFailed, reason).await;
}

fn report_refused(context: &Context, target: &str, direction: Direction, forbidden: &Forbidden) {
    context.shared.metrics.refuse(forbidden.code);
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

/// The host as it is written beside a port.
fn target(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
