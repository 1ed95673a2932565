//! What a client asks for on a session channel.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::super::channel::WindowSize;

/// The requests of one channel, in order. The connection waits for the answer to each, so whoever takes requests must
/// answer them at once and must not first wait for anything of this connection, its own output included.
#[derive(Debug)]
pub struct Requests(pub(super) mpsc::Receiver<Request>);

impl Requests {
    /// The next request; nothing once the channel is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Request> {
        self.0.recv().await
    }
}

/// A request (RFC 4254, section 6). A reply that is dropped is a refusal.
#[derive(Debug)]
pub enum Request {
    /// A terminal is wanted.
    Pty {
        /// Which.
        pty: Pty,
        /// Accepts or refuses.
        reply: Reply,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// Accepts or refuses.
        reply: Reply,
    },
    /// The login shell.
    Shell(Reply),
    /// A command, in the bytes of the client.
    Exec {
        /// For the shell's `-c`.
        command: Bytes,
        /// Accepts or refuses.
        reply: Reply,
    },
    /// A subsystem, `sftp` for example.
    Subsystem {
        /// Its name.
        name: String,
        /// Accepts or refuses.
        reply: Reply,
    },
    /// The client's window has changed.
    WindowChange(WindowSize),
    /// A signal for the command; its name without `SIG`.
    Signal(String),
    /// The client would serve its agent.
    AgentForward(Reply),
    /// The client would serve its display.
    X11(Reply),
}

/// A terminal as the client describes it (RFC 4254, section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pty {
    /// For `TERM`.
    pub term: String,
    /// How large.
    pub size: WindowSize,
    /// Encoded terminal modes (RFC 4254, section 8).
    pub modes: Vec<u8>,
}

/// The answer to one request.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<bool>);

impl Reply {
    pub(super) fn new() -> (Self, oneshot::Receiver<bool>) {
        let (sender, answer) = oneshot::channel();
        (Self(sender), answer)
    }

    /// Yes.
    pub fn accept(self) {
        let _ = self.0.send(true);
    }

    /// No.
    pub fn refuse(self) {
        let _ = self.0.send(false);
    }
}
