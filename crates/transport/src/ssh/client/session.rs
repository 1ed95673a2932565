//! A session channel as the client has it.

use std::time::Duration;

use ::ssh::connection::Request;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::channel::{ChannelClosed, Reader, Writer};
use super::super::meter::Ended;
use super::super::{Inbound, WindowSize};
use super::ANSWER;

/// Why a channel or a listener was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The server said no, in these words.
    #[error("the host refuses: {0}")]
    Rejected(String),
    /// The connection is over.
    #[error("{0}")]
    Ended(Ended),
    /// The server did not say yes or no.
    #[error("the host did not answer within {}s", .0.as_secs())]
    Timeout(Duration),
}

/// Why a request on a channel had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server said no.
    #[error("the host refuses the request")]
    Refused,
    /// The channel is closed.
    #[error("the channel is closed")]
    Closed,
    /// The server did not say yes or no; the channel is closed, because a late answer would be taken for that of
    /// another request.
    #[error("the host did not answer the request within {}s", .0.as_secs())]
    Timeout(Duration),
}

impl From<ChannelClosed> for RequestError {
    fn from(ChannelClosed: ChannelClosed) -> Self {
        Self::Closed
    }
}

/// A terminal to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PtyRequest {
    /// For `TERM`.
    pub term: String,
    /// How large.
    pub size: WindowSize,
    /// Terminal modes by opcode (RFC 4254, section 8).
    pub modes: Vec<(u8, u32)>,
}

/// A session channel on which nothing runs yet, or something does.
#[derive(Debug)]
pub struct Session {
    reader: Reader,
    writer: Writer,
    answers: mpsc::Receiver<bool>,
}

/// Steers what runs in a session; clones steer the same.
#[derive(Debug, Clone)]
pub struct Controls(Writer);

impl Session {
    pub(super) fn new(reader: Reader, writer: Writer, answers: mpsc::Receiver<bool>) -> Self {
        Self { reader, writer, answers }
    }

    /// Asks for a terminal.
    pub async fn pty(&mut self, pty: &PtyRequest) -> Result<(), RequestError> {
        let modes = encode(&pty.modes);
        self.ask(Request::Pty { term: pty.term.clone(), size: pty.size, modes }).await
    }

    /// Sets a variable; whether the server takes it is not asked, as with any SSH client.
    pub async fn env(&mut self, name: &str, value: &str) -> Result<(), RequestError> {
        let request = Request::Env { name: name.to_owned(), value: value.to_owned() };
        Ok(self.writer.act(|connection, id| connection.request(id, &request, false))?)
    }

    /// Starts a command.
    pub async fn exec(&mut self, command: &[u8]) -> Result<(), RequestError> {
        self.ask(Request::Exec(command.to_vec())).await
    }

    /// Starts the login shell.
    pub async fn shell(&mut self) -> Result<(), RequestError> {
        self.ask(Request::Shell).await
    }

    /// Starts a subsystem.
    pub async fn subsystem(&mut self, name: &str) -> Result<(), RequestError> {
        self.ask(Request::Subsystem(name.to_owned())).await
    }

    /// What arrives next: output, how the command ended, end of file; nothing once the channel is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Inbound> {
        self.reader.next().await
    }

    /// Sends input.
    pub async fn data(&self, data: Bytes) -> Result<(), ChannelClosed> {
        self.writer.data(data).await
    }

    /// Steers what runs.
    #[must_use]
    pub fn controls(&self) -> Controls {
        Controls(self.writer.clone())
    }

    /// The two directions, for different tasks.
    #[must_use]
    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }

    async fn ask(&mut self, request: Request) -> Result<(), RequestError> {
        self.writer.act(|connection, id| connection.request(id, &request, true))?;
        match tokio::time::timeout(ANSWER, self.answers.recv()).await {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err(RequestError::Refused),
            Ok(None) => Err(RequestError::Closed),
            Err(_) => {
                self.writer.close().await;
                Err(RequestError::Timeout(ANSWER))
            }
        }
    }
}

impl Controls {
    /// The window has another size now.
    pub async fn window_change(&self, size: WindowSize) -> Result<(), ChannelClosed> {
        self.0.act(|connection, id| connection.request(id, &Request::WindowChange(size), false))
    }

    /// Sends a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) -> Result<(), ChannelClosed> {
        self.0.act(|connection, id| connection.request(id, &Request::Signal(name.to_owned()), false))
    }
}

/// Terminal modes as RFC 4254, section 8 has them.
fn encode(modes: &[(u8, u32)]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(modes.len() * 5 + 1);
    for (opcode, value) in modes {
        encoded.push(*opcode);
        encoded.extend_from_slice(&value.to_be_bytes());
    }
    // TTY_OP_END
    encoded.push(0);
    encoded
}
