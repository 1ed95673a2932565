//! A client's agent for one session (`ssh -A`): a socket that programs of the session find, each connection to which is
//! a channel to the client.
//!
//! What goes through is not understood here and not changed: a client binds its agent to this connection, and a key that
//! is meant for certain hosts signs for no other, whatever this host asks of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use exec::sockets::{Ask, Given};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use transport::ssh::{Reader, Writer};
use uuid::Uuid;

use super::descriptor::{Listener, Stream};
use super::sockets::Made;
use super::{Context, Forbidden};
use crate::audit::{AGENT, AGENT_FAILED};

/// The largest message that agents take, as OpenSSH has it.
const MAX_MESSAGE: u32 = 256 << 10;
/// How much is read at once.
const CHUNK: usize = 32 << 10;
/// How long a program may take for an answer that came as the client's side closed.
const LINGER: Duration = Duration::from_secs(10);

/// A session's way to its client's agent. Dropping it closes and removes the socket.
#[derive(Debug)]
pub(crate) struct AgentSocket {
    path: String,
    _serving: AbortOnDropHandle<()>,
    _made: Option<Made>,
}

impl AgentSocket {
    /// For `SSH_AUTH_SOCK`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// Makes the socket for a session, or says no; either is recorded.
pub(crate) async fn offer(context: &Arc<Context>, session: Uuid) -> Option<AgentSocket> {
    match listen(context, session).await {
        Ok(socket) => {
            let event = context.event(AGENT).with("sid", session.to_string());
            context.shared.emit(event.succeeded());
            Some(socket)
        }
        Err(forbidden) => {
            report(context, session, &forbidden);
            context.handle.remark(&forbidden.words);
            None
        }
    }
}

fn report(context: &Context, session: Uuid, forbidden: &Forbidden) {
    context.shared.metrics.refuse(forbidden.code);
    let event = context.event(AGENT_FAILED).with("sid", session.to_string());
    context.shared.emit(event.denied(forbidden.code, &forbidden.words, None));
}

fn allowed(context: &Context) -> Result<(), Forbidden> {
    let admission = context.admission();
    let user = admission.user();
    if admission.permit().options().agent_forwarding() && user.permits.agent_forwarding {
        return Ok(());
    }
    let words = format!("agent forwarding is not allowed for user {:?}", user.name.as_str());
    Err(Forbidden::new("agent_forwarding_not_allowed", words))
}

async fn listen(context: &Arc<Context>, session: Uuid) -> Result<AgentSocket, Forbidden> {
    allowed(context)?;
    let mut answer = context.sockets.ask(context, Ask::Agent).await?;
    let made = answer.made.take();
    let Given::Agent { path } = answer.given.clone() else {
        return Err(Forbidden::new("helper_died", "the helper answers something else"));
    };
    let listener = answer.only().and_then(Listener::new);
    let listener = listener.map_err(|error| Forbidden::new("no_agent_socket", error.to_string()))?;
    let serving = serve(Arc::clone(context), listener, session);
    Ok(AgentSocket { path, _serving: AbortOnDropHandle::new(tokio::spawn(serving)), _made: made })
}

async fn serve(context: Arc<Context>, listener: Listener, session: Uuid) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < context.shared.config.limits.channels => {
                connections.spawn(forward(Arc::clone(&context), stream, session));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to an agent");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn forward(context: Arc<Context>, stream: Stream, session: Uuid) {
    // The session may be older than the roles of this moment.
    if let Err(forbidden) = allowed(&context) {
        return report(&context, session, &forbidden);
    }
    let Ok((reader, writer)) = context.handle.open_agent().await else { return };
    if let Err(Oversized(size)) = relay(reader, writer, stream).await {
        let words = format!("a program asked the agent something of {size} bytes; the most is {MAX_MESSAGE}");
        report(&context, session, &Forbidden::new("agent_message_too_large", words));
    }
}

/// A message that announces so many bytes.
#[derive(Debug, PartialEq, Eq)]
struct Oversized(u32);

/// Carries questions to the client and answers back, until either side ends.
async fn relay(mut reader: Reader, writer: Writer, stream: Stream) -> Result<(), Oversized> {
    let (mut source, mut sink) = tokio::io::split(stream);
    let answers = async {
        while let Some(data) = reader.data().await {
            if sink.write_all(&data).await.is_err() {
                return;
            }
        }
        let _ = sink.shutdown().await;
    };
    tokio::pin!(answers);
    let outcome = tokio::select! {
        outcome = questions(&mut source, &writer) => match outcome {
            Ok(()) => {
                let _ = writer.eof().await;
                let _ = tokio::time::timeout(LINGER, &mut answers).await;
                Ok(())
            }
            Err(oversized) => Err(oversized),
        },
        () = &mut answers => Ok(()),
    };
    writer.close().await;
    outcome
}

/// Message by message: none of a message that is too large is sent.
async fn questions(source: &mut (impl AsyncRead + Unpin), writer: &Writer) -> Result<(), Oversized> {
    let mut head = [0; 4];
    while source.read_exact(&mut head).await.is_ok() {
        let size = u32::from_be_bytes(head);
        if size > MAX_MESSAGE {
            return Err(Oversized(size));
        }
        let mut left = u64::from(size);
        let mut buffer = BytesMut::from(&head[..]);
        loop {
            if left > 0 {
                buffer.reserve(CHUNK);
                let mut part = (&mut *source).take(left);
                match part.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => return Ok(()),
                    Ok(count) => left -= count as u64,
                }
            }
            if writer.data(buffer.split().freeze()).await.is_err() {
                return Ok(());
            }
            if left == 0 {
                break;
            }
        }
    }
    Ok(())
}
