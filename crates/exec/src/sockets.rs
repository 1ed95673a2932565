//! Sockets as the user: what the helper does when it is started as [`Launch::Sockets`](crate::Launch::Sockets).
//!
//! A connection's forwards must not reach further than its user does, and the node's own rights are other ones. So the
//! helper, once it has become the user, stays: over one `SOCK_SEQPACKET` socket it is told where to connect and where to
//! listen, does so, and hands the descriptor back. It carries no bytes of any forward. It also makes what needs a place
//! in the user's files: sockets of agents, displays with their entry in `.Xauthority`. What it made it removes when it is
//! told so or when the node's end of the socket is closed, whatever the reason.
//!
//! - [`Question`] and [`Reply`] are what travels; both are read totally, and bounded;
//! - [`ask`] and [`hear`] are the node's half, for a socket that does not block;
//! - `server` is the helper's half.
//!
//! This module must not decide who may forward what: the node holds the permit.

mod agent;
mod codec;
mod connect;
mod display;
mod keeper;
mod listen;
mod post;
pub(crate) mod server;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The most bytes that one question or reply may have.
pub const MAX_BYTES: usize = 8 << 10;
/// The most descriptors that come with a reply: one of each family.
pub const MAX_DESCRIPTORS: usize = 2;
/// The longest name of a host that is looked up (RFC 1035, with a final dot).
pub const MAX_HOST: usize = 254;
/// The longest path of a Unix socket (`unix(7)`, without the final NUL).
pub const MAX_PATH: usize = 107;
/// The longest cookie of a display, in hexadecimal digits.
pub const MAX_COOKIE: usize = 1024;
/// The most questions that are worked on at once; more are refused as [`RefusalKind::Busy`].
pub const MAX_AT_ONCE: usize = 128;

/// One question, with a number that its reply has too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Chosen by the node; also names what is made for it.
    pub id: u32,
    /// What is wanted.
    pub ask: Ask,
}

/// What the node can ask for.
#[derive(Clone, PartialEq, Eq)]
pub enum Ask {
    /// A connection to a port of a host.
    ConnectTcp {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A connection to a Unix socket.
    ConnectUnix {
        /// Where it is.
        path: Vec<u8>,
    },
    /// A listener on the loopback interface.
    ListenTcp {
        /// As the client wrote it; see [`Refusal`] for those that are not taken.
        address: String,
        /// 0 for any.
        port: u16,
    },
    /// A listener at a path where nothing is yet; nobody else can connect to it.
    ListenUnix {
        /// Where it will be.
        path: Vec<u8>,
    },
    /// A listener for programs that look for an agent, in a directory of its own.
    Agent,
    /// A listener for programs that look for a display.
    Display(NewDisplay),
    /// Removes what was made for this question.
    Release(u32),
}

/// A display that programs of the user shall find.
#[derive(Clone, PartialEq, Eq)]
pub struct NewDisplay {
    /// How connections are authenticated, for example `MIT-MAGIC-COOKIE-1`.
    pub protocol: String,
    /// With what, in hexadecimal; a secret.
    pub cookie: String,
    /// Which screen of the client's.
    pub screen: u32,
    /// The first number to try.
    pub offset: u16,
    /// The last number to try.
    pub most: u16,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Which.
    pub id: u32,
    /// What came of it.
    pub outcome: Result<Given, Refusal>,
}

/// What was done. Descriptors come beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// One descriptor, connected.
    Connected,
    /// One or two descriptors, listening.
    Listening {
        /// On this port; 0 for a Unix socket.
        port: u16,
    },
    /// One descriptor, listening.
    Agent {
        /// For `SSH_AUTH_SOCK`.
        path: String,
    },
    /// One or two descriptors, listening.
    Display {
        /// For `DISPLAY`.
        name: String,
    },
    /// No descriptor: it is gone.
    Released,
}

/// What was not done. `Display` is for the client and the audit log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Refusal {
    /// What kind.
    pub kind: RefusalKind,
    /// The thing, the reason and the next step.
    pub words: String,
}

/// The kinds of refusal. Each has a fixed number on the wire and a fixed name in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RefusalKind {
    /// Nothing answers there, or not this user.
    ConnectFailed = 1,
    /// The address or path cannot be listened on.
    CannotListen = 2,
    /// The port is for root.
    PrivilegedPort = 3,
    /// No directory for an agent's socket.
    NoAgent = 4,
    /// No display could be made.
    NoDisplay = 5,
    /// Too many questions at once.
    Busy = 6,
    /// The question was not understood.
    BadQuestion = 7,
}

impl RefusalKind {
    const ALL: [Self; 7] = [
        Self::ConnectFailed,
        Self::CannotListen,
        Self::PrivilegedPort,
        Self::NoAgent,
        Self::NoDisplay,
        Self::Busy,
        Self::BadQuestion,
    ];

    /// The stable name for logs and audit events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectFailed => "connect_failed",
            Self::CannotListen => "cannot_listen",
            Self::PrivilegedPort => "privileged_port",
            Self::NoAgent => "no_agent_socket",
            Self::NoDisplay => "no_display",
            Self::Busy => "too_many_forwards",
            Self::BadQuestion => "bad_request",
        }
    }
}

impl Refusal {
    fn new(kind: RefusalKind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into() }
    }
}

/// Sends a question. The error `WouldBlock` means that the helper has not taken earlier ones yet.
pub fn ask(socket: impl AsFd, question: &Question) -> io::Result<()> {
    post::send(socket.as_fd(), &question.encode(), &[])
}

/// The next reply with its descriptors; nothing once the helper has ended. `WouldBlock` means that there is none yet,
/// `InvalidData` that what came is no reply.
pub fn hear(socket: impl AsFd) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
    let Some((bytes, descriptors)) = post::receive(socket.as_fd())? else { return Ok(None) };
    let reply = Reply::decode(&bytes);
    let reply = reply.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    Ok(Some((reply, descriptors)))
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        match self {
            Self::ConnectTcp { host, port } => write!(f, "ConnectTcp({host:?}, {port})"),
            Self::ConnectUnix { path: at } => write!(f, "ConnectUnix({:?})", path(at)),
            Self::ListenTcp { address, port } => write!(f, "ListenTcp({address:?}, {port})"),
            Self::ListenUnix { path: at } => write!(f, "ListenUnix({:?})", path(at)),
            Self::Agent => f.write_str("Agent"),
            Self::Display(display) => display.fmt(f),
            Self::Release(id) => write!(f, "Release({id})"),
        }
    }
}

impl fmt::Debug for NewDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, cookie: _, screen, offset, most } = self;
        write!(f, "NewDisplay({protocol:?}, screen {screen}, {offset} to {most})")
    }
}
