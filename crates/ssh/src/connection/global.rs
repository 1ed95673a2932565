//! Global requests (RFC 4254, sections 4 and 7.1; OpenSSH's PROTOCOL, sections 2.4 and 2.5).

use std::collections::VecDeque;

use super::replies::{Replies, Token};
use super::{Connection, Event};
use crate::error::Violation;
use crate::message::{GLOBAL_REQUEST, REQUEST_FAILURE, REQUEST_SUCCESS};
use crate::role::Role;
use crate::transport::{HostKey, ToSign};
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;

/// Host keys that one request may ask proofs of.
const MAX_PROOFS: usize = 16;

/// What a client wants of the connection as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlobalRequest {
    /// Listening on its behalf (`ssh -R`). The answer is the port.
    Listen(ListenAt),
    /// No longer listening.
    CancelListen(ListenAt),
    /// Proofs that we have these host keys: a signature of each, in order.
    ProveHostKeys(Vec<ToSign>),
}

/// Where a server listens for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAt {
    /// On an address as the client wrote it, empty for all, and a port, 0 for any.
    Tcp(String, u32),
    /// On a Unix socket.
    Streamlocal(Vec<u8>),
}

/// An answer to a global request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlobalAnswer {
    /// No.
    Refused,
    /// Yes.
    Done,
    /// Yes, and the listener has this port.
    Port(u32),
    /// The signatures that were wanted.
    Proofs(Vec<Vec<u8>>),
}

/// A request of ours that the peer owes an answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Whether it is there; any answer is one.
    Alive,
    /// The same, to measure the path.
    Probe,
    /// A listener; whether a port comes back.
    Listen { port_wanted: bool },
    /// No longer a listener.
    Cancel,
}

#[derive(Debug, Default)]
pub(super) struct Globals {
    owed: Replies<GlobalAnswer>,
    asked: VecDeque<Asked>,
    announced: Vec<HostKey>,
    pub(super) no_more_sessions: bool,
}

impl ListenAt {
    fn read(name: &[u8], reader: &mut Reader<'_>) -> Result<Option<Self>, Violation> {
        match name {
            b"tcpip-forward" | b"cancel-tcpip-forward" => {
                Ok(Some(Self::Tcp(reader.text()?.to_owned(), reader.uint32()?)))
            }
            b"streamlocal-forward@openssh.com" | b"cancel-streamlocal-forward@openssh.com" => {
                Ok(Some(Self::Streamlocal(reader.string()?.to_vec())))
            }
            _ => Ok(None),
        }
    }
}

impl Connection {
    /// Asks the server to listen for us. The answer is an event; it comes in the order of the questions.
    pub fn listen(&mut self, at: &ListenAt) {
        let asked = Asked::Listen { port_wanted: matches!(at, ListenAt::Tcp(_, 0)) };
        self.ask_about_listener(at, asked);
    }

    /// Asks the server to listen no more.
    pub fn cancel_listen(&mut self, at: &ListenAt) {
        self.ask_about_listener(at, Asked::Cancel);
    }

    fn ask_about_listener(&mut self, at: &ListenAt, asked: Asked) {
        let name = match (at, asked == Asked::Cancel) {
            (ListenAt::Tcp(..), false) => "tcpip-forward",
            (ListenAt::Tcp(..), true) => "cancel-tcpip-forward",
            (ListenAt::Streamlocal(_), false) => "streamlocal-forward@openssh.com",
            (ListenAt::Streamlocal(_), true) => "cancel-streamlocal-forward@openssh.com",
        };
        self.ask_globally(name, asked, |message| match at {
            ListenAt::Tcp(address, port) => {
                message.put_string(address.as_bytes());
                message.put_u32(*port);
            }
            ListenAt::Streamlocal(path) => message.put_string(path),
        });
    }

    pub(super) fn ask_whether_alive(&mut self) {
        self.ask_globally("keepalive@openssh.com", Asked::Alive, |_| {});
    }

    pub(super) fn ask_for_probe(&mut self) {
        self.ask_globally("keepalive@openssh.com", Asked::Probe, |_| {});
    }

    fn ask_globally(&mut self, name: &str, asked: Asked, write: impl FnOnce(&mut Vec<u8>)) {
        self.globals.asked.push_back(asked);
        self.transport.send(|message| {
            message.put_u8(GLOBAL_REQUEST);
            message.put_string(name.as_bytes());
            message.put_boolean(true);
            write(message);
        });
    }

    /// Tells the client about plain host keys that it may keep (OpenSSH's PROTOCOL, section 2.5).
    pub(crate) fn announce(&mut self, host_keys: &[HostKey]) {
        if host_keys.is_empty() {
            return;
        }
        self.globals.announced = host_keys.to_vec();
        self.transport.send(|message| {
            message.put_u8(GLOBAL_REQUEST);
            message.put_string(b"hostkeys-00@openssh.com");
            message.put_boolean(false);
            for host_key in host_keys {
                message.put_string(&host_key.blob);
            }
        });
    }

    pub(super) fn global_received(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let name = reader.string()?;
        let wants_answer = reader.boolean()?;
        let request = match self.transport.role() {
            Role::Server => self.read_global(name, reader)?,
            Role::Client => None,
        };
        match request {
            Some(request) if wants_answer => {
                if let Some(token) = self.globals.owed.ask(GlobalAnswer::Refused)? {
                    self.events.push_back(Event::Global(request, token));
                }
            }
            Some(GlobalRequest::CancelListen(at)) => self.events.push_back(Event::CancelListen(at)),
            // Who does not want to know whether there is a listener does not get one.
            Some(_) => {}
            None if wants_answer => self.globals.owed.answered(GlobalAnswer::Refused)?,
            None => {}
        }
        self.send_global_answers();
        Ok(())
    }

    fn read_global(
        &mut self,
        name: &[u8],
        mut reader: Reader<'_>,
    ) -> Result<Option<GlobalRequest>, Violation> {
        if let Some(at) = ListenAt::read(name, &mut reader)? {
            reader.end()?;
            let cancel = name.starts_with(b"cancel-");
            return Ok(Some(if cancel {
                GlobalRequest::CancelListen(at)
            } else {
                GlobalRequest::Listen(at)
            }));
        }
        match name {
            b"no-more-sessions@openssh.com" => self.globals.no_more_sessions = true,
            b"hostkeys-prove-00@openssh.com" => return self.read_prove(reader),
            _ => {}
        }
        Ok(None)
    }

    fn read_prove(&self, mut reader: Reader<'_>) -> Result<Option<GlobalRequest>, Violation> {
        let mut to_sign = Vec::new();
        while !reader.rest().is_empty() {
            let blob = reader.string()?;
            let Some(host_key) = self.globals.announced.iter().find(|host_key| host_key.blob == blob) else {
                return Ok(None);
            };
            if to_sign.len() == MAX_PROOFS {
                return Ok(None);
            }
            let mut data = Vec::new();
            data.put_string(b"hostkeys-prove-00@openssh.com");
            data.put_string(self.session_id());
            data.put_string(blob);
            to_sign.push(ToSign { algorithm: host_key.algorithm, data, exchange: None });
        }
        Ok((!to_sign.is_empty()).then_some(GlobalRequest::ProveHostKeys(to_sign)))
    }

    /// The answer to [`Event::Global`].
    pub fn answer_global(&mut self, token: Token, answer: GlobalAnswer) {
        self.globals.owed.answer(token, answer);
        self.send_global_answers();
    }

    fn send_global_answers(&mut self) {
        while let Some(answer) = self.globals.owed.next() {
            self.transport.send(|message| match answer {
                GlobalAnswer::Refused => message.put_u8(REQUEST_FAILURE),
                GlobalAnswer::Done => message.put_u8(REQUEST_SUCCESS),
                GlobalAnswer::Port(port) => {
                    message.put_u8(REQUEST_SUCCESS);
                    message.put_u32(port);
                }
                GlobalAnswer::Proofs(signatures) => {
                    message.put_u8(REQUEST_SUCCESS);
                    for signature in signatures {
                        message.put_string(&signature);
                    }
                }
            });
        }
    }

    pub(super) fn global_answered(&mut self, success: Option<&[u8]>) -> Result<(), Violation> {
        let asked = self.globals.asked.pop_front();
        let asked = asked.ok_or_else(|| Violation::new("an answer to a request that was not made"))?;
        match asked {
            Asked::Alive => {}
            Asked::Probe => self.probed(),
            Asked::Listen { port_wanted } => {
                let answer = match success {
                    None => GlobalAnswer::Refused,
                    Some(rest) if port_wanted => GlobalAnswer::Port(Reader::new(rest).uint32()?),
                    Some(_) => GlobalAnswer::Done,
                };
                self.events.push_back(Event::GlobalAnswer(answer));
            }
            Asked::Cancel => {
                let answer = if success.is_some() { GlobalAnswer::Done } else { GlobalAnswer::Refused };
                self.events.push_back(Event::GlobalAnswer(answer));
            }
        }
        Ok(())
    }
}
