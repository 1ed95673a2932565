//! Requests on a session channel (RFC 4254, section 6; OpenSSH's PROTOCOL, section 2).

use crate::error::plain;
use crate::role::Role;
use crate::wire::{Malformed, Reader, Writer as _};
use bytes::BufMut as _;

/// The longest name of a signal that is passed on.
const MAX_SIGNAL: usize = 64;

/// What a client wants of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A terminal (section 6.2).
    Pty {
        /// For `TERM`.
        term: String,
        /// How large.
        size: WindowSize,
        /// Encoded terminal modes (section 8).
        modes: Vec<u8>,
    },
    /// An environment variable (section 6.4).
    Env {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The login shell (section 6.5).
    Shell,
    /// A command, in the bytes of the client.
    Exec(Vec<u8>),
    /// A subsystem, `sftp` for example.
    Subsystem(String),
    /// The window of the terminal has changed (section 6.7).
    WindowChange(WindowSize),
    /// A signal for the command; its name without `SIG` (section 6.9).
    Signal(String),
    /// The client would serve its agent.
    AgentForward,
    /// The client would serve its display (section 6.3.1).
    X11 {
        /// For one connection only.
        single: bool,
        /// How connections are authenticated.
        protocol: String,
        /// With what, in hexadecimal.
        cookie: String,
        /// Which screen.
        screen: u32,
    },
}

/// The size of a terminal window; pixels are 0 where unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a row.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
    /// Width in pixels.
    pub width_pixels: u32,
    /// Height in pixels.
    pub height_pixels: u32,
}

/// How a signal ended a command (section 6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitSignal {
    /// Without `SIG`.
    pub name: String,
    /// Whether a core image was written.
    pub core_dumped: bool,
    /// Words for the user; may be empty.
    pub message: String,
}

/// A request as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// For whoever runs the session.
    Session(Request),
    /// How the command ended.
    ExitStatus(u32),
    /// How the command ended.
    ExitSignal(ExitSignal),
    /// Not one that this side takes.
    Unknown,
}

impl WindowSize {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            columns: reader.uint32()?,
            rows: reader.uint32()?,
            width_pixels: reader.uint32()?,
            height_pixels: reader.uint32()?,
        })
    }

    fn put(self, message: &mut Vec<u8>) {
        let Self { columns, rows, width_pixels, height_pixels } = self;
        for value in [columns, rows, width_pixels, height_pixels] {
            message.put_u32(value);
        }
    }
}

/// Reads what follows the name of a request.
pub(super) fn read(role: Role, name: &[u8], mut reader: Reader<'_>) -> Result<Read, Malformed> {
    let read = match role {
        Role::Server => read_from_client(name, &mut reader)?.map_or(Read::Unknown, Read::Session),
        Role::Client => match name {
            b"exit-status" => Read::ExitStatus(reader.uint32()?),
            b"exit-signal" => {
                let signal = ExitSignal {
                    name: plain(reader.string()?),
                    core_dumped: reader.boolean()?,
                    message: plain(reader.string()?),
                };
                reader.string()?;
                Read::ExitSignal(signal)
            }
            _ => Read::Unknown,
        },
    };
    if read != Read::Unknown {
        reader.end()?;
    }
    Ok(read)
}

fn read_from_client(name: &[u8], reader: &mut Reader<'_>) -> Result<Option<Request>, Malformed> {
    let text = |reader: &mut Reader<'_>| reader.text().map(str::to_owned);
    Ok(Some(match name {
        b"pty-req" => Request::Pty {
            term: text(reader)?,
            size: WindowSize::read(reader)?,
            modes: reader.string()?.to_vec(),
        },
        b"env" => {
            let (name, value) = (reader.string()?, reader.string()?);
            match (std::str::from_utf8(name), std::str::from_utf8(value)) {
                (Ok(name), Ok(value)) => Request::Env { name: name.to_owned(), value: value.to_owned() },
                // Legal, and nothing that we could set.
                _ => return Ok(None),
            }
        }
        b"shell" => Request::Shell,
        b"exec" => Request::Exec(reader.string()?.to_vec()),
        b"subsystem" => Request::Subsystem(text(reader)?),
        b"window-change" => Request::WindowChange(WindowSize::read(reader)?),
        b"signal" => {
            let name = reader.text()?;
            if name.len() > MAX_SIGNAL {
                return Ok(None);
            }
            Request::Signal(name.to_owned())
        }
        b"auth-agent-req@openssh.com" => Request::AgentForward,
        b"x11-req" => Request::X11 {
            single: reader.boolean()?,
            protocol: text(reader)?,
            cookie: text(reader)?,
            screen: reader.uint32()?,
        },
        _ => return Ok(None),
    }))
}

impl Request {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pty { .. } => "pty-req",
            Self::Env { .. } => "env",
            Self::Shell => "shell",
            Self::Exec(_) => "exec",
            Self::Subsystem(_) => "subsystem",
            Self::WindowChange(_) => "window-change",
            Self::Signal(_) => "signal",
            Self::AgentForward => "auth-agent-req@openssh.com",
            Self::X11 { .. } => "x11-req",
        }
    }

    /// Appends what follows the name and the wish for an answer.
    pub(super) fn put(&self, message: &mut Vec<u8>) {
        match self {
            Self::Shell | Self::AgentForward => {}
            Self::Pty { term, size, modes } => {
                message.put_string(term.as_bytes());
                size.put(message);
                message.put_string(modes);
            }
            Self::Env { name, value } => {
                message.put_string(name.as_bytes());
                message.put_string(value.as_bytes());
            }
            Self::Exec(command) => message.put_string(command),
            Self::Subsystem(name) | Self::Signal(name) => message.put_string(name.as_bytes()),
            Self::WindowChange(size) => size.put(message),
            Self::X11 { single, protocol, cookie, screen } => {
                message.put_boolean(*single);
                message.put_string(protocol.as_bytes());
                message.put_string(cookie.as_bytes());
                message.put_u32(*screen);
            }
        }
    }
}

impl ExitSignal {
    pub(super) fn put(&self, message: &mut Vec<u8>) {
        message.put_string(self.name.as_bytes());
        message.put_boolean(self.core_dumped);
        message.put_string(self.message.as_bytes());
        message.put_string(b"");
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitSignal, Read, Request, WindowSize, read};
    use crate::role::Role;
    use crate::wire::{Malformed, Reader};

    /// RFC 4254, section 6: each request with its fields, and nothing after them.
    #[test]
    fn rfc4254_6_requests_are_read_back() {
        let size = WindowSize { columns: 80, rows: 24, width_pixels: 640, height_pixels: 480 };
        let text = |text: &str| text.to_owned();
        let cases = [
            Request::Pty { term: text("xterm"), size, modes: vec![0] },
            Request::Env { name: text("LANG"), value: text("C") },
            Request::Shell,
            Request::Exec(b"echo \xff".to_vec()),
            Request::Subsystem(text("sftp")),
            Request::WindowChange(size),
            Request::Signal(text("TERM")),
            Request::AgentForward,
            Request::X11 { single: true, protocol: text("p"), cookie: text("c"), screen: 1 },
        ];
        for request in cases {
            let mut written = Vec::new();
            request.put(&mut written);
            let name = request.name().as_bytes();
            assert_eq!(read(Role::Client, name, Reader::new(&written)), Ok(Read::Unknown), "wrong direction");
            assert_eq!(read(Role::Server, name, Reader::new(&written)), Ok(Read::Session(request.clone())));
            for length in 0..written.len() {
                assert_eq!(read(Role::Server, name, Reader::new(&written[..length])), Err(Malformed));
            }
            written.push(0);
            assert_eq!(read(Role::Server, name, Reader::new(&written)), Err(Malformed));
        }
    }

    /// RFC 4254, section 6.10: from the server only.
    #[test]
    fn rfc4254_6_10_how_a_command_ended() {
        let signal = ExitSignal { name: "KILL".to_owned(), core_dumped: true, message: "a\x1bb".to_owned() };
        let mut written = Vec::new();
        signal.put(&mut written);
        let expected = ExitSignal { message: "a b".to_owned(), ..signal };
        assert_eq!(read(Role::Server, b"exit-signal", Reader::new(&written)), Ok(Read::Unknown));
        assert_eq!(read(Role::Client, b"exit-signal", Reader::new(&written)), Ok(Read::ExitSignal(expected)));
        assert_eq!(read(Role::Client, b"exit-status", Reader::new(&[0, 0, 0, 9])), Ok(Read::ExitStatus(9)));
    }

    #[test]
    fn what_cannot_be_set_or_sent_is_unknown() {
        let mut env = Vec::new();
        Request::Signal("X".repeat(65)).put(&mut env);
        assert_eq!(read(Role::Server, b"signal", Reader::new(&env)), Ok(Read::Unknown));
        assert_eq!(read(Role::Server, b"env", Reader::new(b"\0\0\0\x01\xff\0\0\0\0")), Ok(Read::Unknown));
    }
}
