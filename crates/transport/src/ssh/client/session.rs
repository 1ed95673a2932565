//! A session channel as the client has it.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::channel::{ChannelClosed, Half, Inbound, Reader, WindowSize, Writer, signal_of};
use super::super::flow::Ended;
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
        let modes: Vec<(russh::Pty, u32)> = pty
            .modes
            .iter()
            .filter_map(|(opcode, value)| Some((russh::Pty::from_u8(*opcode)?, *value)))
            .collect();
        let WindowSize { columns, rows, width_pixels, height_pixels } = pty.size;
        if let Half::Client(half) = self.writer.half() {
            let request =
                half.request_pty(true, &pty.term, columns, rows, width_pixels, height_pixels, &modes);
            self.writer.unless_closed(request).await?;
        }
        self.answer().await
    }

    /// Sets a variable; whether the server takes it is not asked, as with any SSH client.
    pub async fn env(&mut self, name: &str, value: &str) -> Result<(), RequestError> {
        if let Half::Client(half) = self.writer.half() {
            self.writer.unless_closed(half.set_env(false, name, value)).await?;
        }
        Ok(())
    }

    /// Starts a command.
    pub async fn exec(&mut self, command: &[u8]) -> Result<(), RequestError> {
        if let Half::Client(half) = self.writer.half() {
            self.writer.unless_closed(half.exec(true, command)).await?;
        }
        self.answer().await
    }

    /// Starts the login shell.
    pub async fn shell(&mut self) -> Result<(), RequestError> {
        if let Half::Client(half) = self.writer.half() {
            self.writer.unless_closed(half.request_shell(true)).await?;
        }
        self.answer().await
    }

    /// Starts a subsystem.
    pub async fn subsystem(&mut self, name: &str) -> Result<(), RequestError> {
        if let Half::Client(half) = self.writer.half() {
            self.writer.unless_closed(half.request_subsystem(true, name)).await?;
        }
        self.answer().await
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

    async fn answer(&mut self) -> Result<(), RequestError> {
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
        let WindowSize { columns, rows, width_pixels, height_pixels } = size;
        match self.0.half() {
            Half::Client(half) => {
                let request = half.window_change(columns, rows, width_pixels, height_pixels);
                self.0.unless_closed(request).await
            }
            Half::Server(..) => Err(ChannelClosed),
        }
    }

    /// Sends a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) -> Result<(), ChannelClosed> {
        match self.0.half() {
            Half::Client(half) => self.0.unless_closed(half.signal(signal_of(name.to_owned()))).await,
            Half::Server(..) => Err(ChannelClosed),
        }
    }
}
