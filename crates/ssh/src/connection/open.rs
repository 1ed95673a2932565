//! The types of channels (RFC 4254, sections 5.1, 6.1, 6.3.2, 7.2; OpenSSH's PROTOCOL, section 2.4).

use crate::error::Violation;
use crate::role::Role;
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;

/// What a channel is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A session: a shell, a command or a subsystem. Opened by the client.
    Session,
    /// A connection from the server to somewhere (`ssh -L`, `-D`, `-W`, `-J`). Opened by the client.
    DirectTcpip {
        /// Where to, as the client wrote it.
        host: String,
        /// Which port; nobody checked that it is one.
        port: u32,
        /// Who wants it.
        origin: Origin,
    },
    /// A connection that arrived at a listener of the client's on the server (`ssh -R`). Opened by the server.
    ForwardedTcpip {
        /// The listener's address as the client asked for it.
        address: String,
        /// The listener's port.
        port: u32,
        /// Who connected.
        origin: Origin,
    },
    /// A connection from the server to a Unix socket. Opened by the client.
    DirectStreamlocal {
        /// The socket.
        path: Vec<u8>,
    },
    /// A connection that arrived at a Unix socket of the client's on the server. Opened by the server.
    ForwardedStreamlocal {
        /// The socket as the client asked for it.
        path: Vec<u8>,
    },
    /// A program on the server wants the client's agent. Opened by the server.
    Agent,
    /// A program on the server wants the client's display. Opened by the server.
    X11 {
        /// Who connected.
        origin: Origin,
    },
}

/// Where a forwarded connection says that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// An address as text; nobody checked it.
    pub address: String,
    /// Its port.
    pub port: u32,
}

impl Origin {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Violation> {
        Ok(Self { address: reader.text()?.to_owned(), port: reader.uint32()? })
    }

    fn put(&self, message: &mut Vec<u8>) {
        message.put_string(self.address.as_bytes());
        message.put_u32(self.port);
    }
}

impl Purpose {
    /// Reads what follows the first fields of `CHANNEL_OPEN`; nothing for a type that this side does not take.
    pub(super) fn read(role: Role, name: &[u8], mut reader: Reader<'_>) -> Result<Option<Self>, Violation> {
        let purpose = match (role, name) {
            (Role::Server, b"session") => Self::Session,
            (Role::Server, b"direct-tcpip") => Self::DirectTcpip {
                host: reader.text()?.to_owned(),
                port: reader.uint32()?,
                origin: Origin::read(&mut reader)?,
            },
            (Role::Server, b"direct-streamlocal@openssh.com") => {
                let path = reader.string()?.to_vec();
                // Reserved, for a time when sockets have origins.
                reader.string()?;
                reader.uint32()?;
                Self::DirectStreamlocal { path }
            }
            (Role::Client, b"forwarded-tcpip") => Self::ForwardedTcpip {
                address: reader.text()?.to_owned(),
                port: reader.uint32()?,
                origin: Origin::read(&mut reader)?,
            },
            (Role::Client, b"forwarded-streamlocal@openssh.com") => {
                let path = reader.string()?.to_vec();
                reader.string()?;
                Self::ForwardedStreamlocal { path }
            }
            (Role::Client, b"auth-agent@openssh.com") => Self::Agent,
            (Role::Client, b"x11") => Self::X11 { origin: Origin::read(&mut reader)? },
            _ => return Ok(None),
        };
        reader.end()?;
        Ok(Some(purpose))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::DirectTcpip { .. } => "direct-tcpip",
            Self::ForwardedTcpip { .. } => "forwarded-tcpip",
            Self::DirectStreamlocal { .. } => "direct-streamlocal@openssh.com",
            Self::ForwardedStreamlocal { .. } => "forwarded-streamlocal@openssh.com",
            Self::Agent => "auth-agent@openssh.com",
            Self::X11 { .. } => "x11",
        }
    }

    /// Appends what follows the first fields of `CHANNEL_OPEN`.
    pub(super) fn put(&self, message: &mut Vec<u8>) {
        match self {
            Self::Session | Self::Agent => {}
            Self::DirectTcpip { host: address, port, origin }
            | Self::ForwardedTcpip { address, port, origin } => {
                message.put_string(address.as_bytes());
                message.put_u32(*port);
                origin.put(message);
            }
            Self::DirectStreamlocal { path } => {
                message.put_string(path);
                message.put_string(b"");
                message.put_u32(0);
            }
            Self::ForwardedStreamlocal { path } => {
                message.put_string(path);
                message.put_string(b"");
            }
            Self::X11 { origin } => origin.put(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, Purpose};
    use crate::role::Role;
    use crate::wire::Reader;

    #[test]
    fn purposes_are_read_back_by_the_side_that_takes_them() {
        let origin = || Origin { address: "192.0.2.1".to_owned(), port: 40000 };
        let (host, address) = ("db".to_owned(), "localhost".to_owned());
        let cases = [
            (Role::Server, Purpose::Session),
            (Role::Server, Purpose::DirectTcpip { host, port: 5432, origin: origin() }),
            (Role::Server, Purpose::DirectStreamlocal { path: b"/run/x".to_vec() }),
            (Role::Client, Purpose::ForwardedTcpip { address, port: 80, origin: origin() }),
            (Role::Client, Purpose::ForwardedStreamlocal { path: b"/run/y".to_vec() }),
            (Role::Client, Purpose::Agent),
            (Role::Client, Purpose::X11 { origin: origin() }),
        ];
        for (taker, purpose) in cases {
            let mut written = Vec::new();
            purpose.put(&mut written);
            let name = purpose.name().as_bytes();
            let other = if taker == Role::Server { Role::Client } else { Role::Server };
            assert_eq!(Purpose::read(taker, name, Reader::new(&written)), Ok(Some(purpose.clone())));
            assert_eq!(Purpose::read(other, name, Reader::new(&written)), Ok(None), "{purpose:?}");
            written.push(0);
            assert!(Purpose::read(taker, name, Reader::new(&written)).is_err(), "something follows");
        }
    }
}
