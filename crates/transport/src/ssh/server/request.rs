//! What a client asks for on a session channel.

use std::fmt;
use std::sync::Arc;

use ::ssh::connection::{ChannelId, GlobalAnswer, Request as Wanted, Token};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::WindowSize;
use super::super::link::Link;

/// The requests of one channel, in order. Their answers reach the client in the same order, whenever they are given.
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
    X11 {
        /// How.
        display: Display,
        /// Accepts or refuses.
        reply: Reply,
    },
}

/// A display as the client offers it (RFC 4254, section 6.3.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Display {
    /// For one connection only.
    pub single: bool,
    /// How connections to it are authenticated, by the client's word.
    pub protocol: String,
    /// With what, in hexadecimal, by the client's word; a secret.
    pub cookie: String,
    /// Which of its screens.
    pub screen: u32,
}

impl fmt::Debug for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { single, protocol, cookie: _, screen } = self;
        let mut shown = f.debug_struct("Display");
        shown.field("single", single).field("protocol", protocol).field("screen", screen);
        shown.finish_non_exhaustive()
    }
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

impl Request {
    pub(super) fn new(wanted: Wanted, reply: Reply) -> Self {
        match wanted {
            Wanted::Pty { term, size, modes } => Self::Pty { pty: Pty { term, size, modes }, reply },
            Wanted::Env { name, value } => Self::Env { name, value, reply },
            Wanted::Shell => Self::Shell(reply),
            Wanted::Exec(command) => Self::Exec { command: command.into(), reply },
            Wanted::Subsystem(name) => Self::Subsystem { name, reply },
            Wanted::WindowChange(size) => Self::WindowChange(size),
            Wanted::Signal(name) => Self::Signal(name),
            Wanted::AgentForward => Self::AgentForward(reply),
            Wanted::X11 { single, protocol, cookie, screen } => {
                Self::X11 { display: Display { single, protocol, cookie, screen }, reply }
            }
        }
    }
}

/// The answer to one request.
#[derive(Debug)]
pub struct Reply(Option<Owed>);

#[derive(Debug)]
struct Owed {
    link: Arc<Link>,
    /// Nothing for a request to the connection as a whole.
    channel: Option<ChannelId>,
    token: Token,
}

impl Reply {
    /// To a request on a channel; without a token nobody wants to know.
    pub(super) fn on_channel(link: &Arc<Link>, id: ChannelId, token: Option<Token>) -> Self {
        Self(token.map(|token| Owed { link: Arc::clone(link), channel: Some(id), token }))
    }

    /// To a request to the connection as a whole.
    pub(super) fn global(link: &Arc<Link>, token: Token) -> Self {
        Self(Some(Owed { link: Arc::clone(link), channel: None, token }))
    }

    /// To a request whose answer nobody wants.
    pub(super) fn unwanted() -> Self {
        Self(None)
    }

    /// Yes.
    pub fn accept(self) {
        self.answer(GlobalAnswer::Done);
    }

    /// No.
    pub fn refuse(self) {
        self.answer(GlobalAnswer::Refused);
    }

    pub(super) fn answer(mut self, answer: GlobalAnswer) {
        self.send(answer);
    }

    fn send(&mut self, answer: GlobalAnswer) {
        let Some(Owed { link, channel, token }) = self.0.take() else { return };
        link.act(|state| match channel {
            Some(id) => state.connection.answer(id, token, answer != GlobalAnswer::Refused),
            None => state.connection.answer_global(token, answer),
        });
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send(GlobalAnswer::Refused);
    }
}
