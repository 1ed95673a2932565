//! What somebody does with a connection, within the contract of its interface: every call, in any order.

use std::collections::HashSet;

use ssh::connection::{
    ChannelEvent, ChannelId, Connection, Event, ExitSignal, GlobalAnswer, GlobalRequest, Inbound, ListenAt,
    Origin, Purpose, Request, Stream, Token, WindowSize,
};
use ssh::{Error, OpenFailure, Role, ToSign};

use crate::input::Input;
use crate::keys;

/// What somebody knows of a connection.
#[derive(Default)]
pub struct Book {
    channels: Vec<ChannelId>,
    gone: HashSet<ChannelId>,
    last: Option<ChannelId>,
    questions: Vec<(ChannelId, Token)>,
    global_questions: Vec<(GlobalRequest, Token)>,
    to_sign: Vec<ToSign>,
}

impl Book {
    /// Looks at every event that waits.
    pub fn look(&mut self, connection: &mut Connection) {
        while let Some(event) = connection.event() {
            match event {
                Event::Sign(to_sign) => self.to_sign.push(to_sign),
                Event::Channel(id, ChannelEvent::Offered(_)) => {
                    assert!(
                        !self.channels.contains(&id) && !self.gone.contains(&id),
                        "a number is given twice"
                    );
                    self.channels.push(id);
                }
                Event::Channel(id, ChannelEvent::Failed { .. }) => self.forget(id),
                // What was on its way when somebody let go of a channel still comes.
                Event::Channel(id, _) => assert!(self.knows(id), "of a channel that never was"),
                Event::Request(id, _, token) => {
                    assert!(self.knows(id), "of a channel that never was");
                    self.questions.extend(token.map(|token| (id, token)));
                }
                Event::Global(request, token) => self.global_questions.push((request, token)),
                Event::GlobalAnswer(_) | Event::CancelListen(_) => {}
            }
        }
    }

    fn knows(&self, id: ChannelId) -> bool {
        self.channels.contains(&id) || self.gone.contains(&id)
    }

    fn forget(&mut self, id: ChannelId) {
        self.channels.retain(|known| *known != id);
        self.gone.insert(id);
        self.last = Some(id);
    }

    /// Answers the host key's signature, rightly.
    pub fn sign(&mut self, connection: &mut Connection) -> Result<(), Error> {
        for to_sign in self.to_sign.drain(..) {
            let signature = keys::HOST.sign(to_sign.algorithm.scheme, &to_sign.data).expect("signs");
            connection.signed(&signature)?;
        }
        Ok(())
    }

    /// One thing that somebody does.
    pub fn act(&mut self, role: Role, connection: &mut Connection, input: &Input) -> Result<(), Error> {
        match input.below(16) {
            1 if role == Role::Client || input.chance() => {
                self.channels.extend(connection.open(&purpose(input)));
            }
            2 => connection.listen(&listen_at(input)),
            3 => connection.cancel_listen(&listen_at(input)),
            4 => self.sign(connection)?,
            5 => connection.was_deaf(),
            6 => self.answer_globally(connection, input),
            7 if !self.questions.is_empty() => {
                let (id, token) = self.questions.swap_remove(input.below(self.questions.len()));
                connection.answer(id, token, input.chance());
            }
            // One task has let go of a channel, another has not heard of it yet.
            8 => {
                if let Some(id) = self.last {
                    self.act_on(id, connection, input);
                }
            }
            _ if !self.channels.is_empty() => {
                let id = self.channels[input.below(self.channels.len())];
                self.act_on(id, connection, input);
            }
            _ => {}
        }
        Ok(())
    }

    fn act_on(&mut self, id: ChannelId, connection: &mut Connection, input: &Input) {
        match input.below(16) {
            0 => read(id, connection, 1),
            1 => read(id, connection, usize::MAX),
            2 | 3 => connection.accept(id),
            4 => {
                connection.reject(id, OpenFailure::ConnectFailed, "refused");
                // Whether it was one to reject is known to who was told that it is offered; here it is tried out.
                connection.release(id);
                self.forget(id);
            }
            5..=7 => {
                let stream = if input.chance() { Stream::Stderr } else { Stream::Data };
                let data = vec![input.byte(); usize::from(input.byte()) * 300];
                let written = connection.write(id, stream, &data);
                assert!(written.is_ok_and(|written| written <= data.len()) || written.is_err());
            }
            8 => _ = connection.eof(id),
            9 => connection.close(id),
            10 | 11 => {
                connection.release(id);
                self.forget(id);
            }
            12 => connection.ignore(id),
            13 => _ = connection.request(id, &request(input), input.chance()),
            14 => _ = connection.exit_status(id, input.number()),
            _ => {
                let name = String::from_utf8_lossy(&input.bytes()).into_owned();
                let signal = ExitSignal { name, core_dumped: input.chance(), message: String::new() };
                _ = connection.exit_signal(id, &signal);
            }
        }
    }

    fn answer_globally(&mut self, connection: &mut Connection, input: &Input) {
        if self.global_questions.is_empty() {
            return;
        }
        let (request, token) = self.global_questions.swap_remove(input.below(self.global_questions.len()));
        let answer = match request {
            _ if input.chance() => GlobalAnswer::Refused,
            GlobalRequest::Listen(_) => GlobalAnswer::Port(input.number()),
            GlobalRequest::CancelListen(_) => GlobalAnswer::Done,
            GlobalRequest::ProveHostKeys(to_sign) => {
                let sign = |to_sign: &ToSign| keys::HOST.sign(to_sign.algorithm.scheme, &to_sign.data);
                GlobalAnswer::Proofs(to_sign.iter().map(|one| sign(one).expect("signs")).collect())
            }
        };
        connection.answer_global(token, answer);
    }
}

fn read(id: ChannelId, connection: &mut Connection, count: usize) {
    for _ in 0..count {
        let readable = connection.is_readable(id);
        let inbound = connection.read(id);
        assert_eq!(readable, inbound.is_some());
        match inbound {
            Some(Inbound::Data(data) | Inbound::Extended { data, .. }) => assert!(!data.is_empty()),
            Some(_) => {}
            None => return,
        }
    }
}

fn text(input: &Input) -> String {
    String::from_utf8_lossy(&input.bytes()).into_owned()
}

fn purpose(input: &Input) -> Purpose {
    let origin = Origin { address: "::1".to_owned(), port: 1 };
    match input.byte() {
        1 => Purpose::DirectTcpip { host: text(input), port: input.number(), origin },
        2 => Purpose::ForwardedTcpip { address: text(input), port: input.number(), origin },
        3 => Purpose::DirectStreamlocal { path: input.bytes() },
        4 => Purpose::ForwardedStreamlocal { path: input.bytes() },
        5 => Purpose::Agent,
        6 => Purpose::X11 { origin },
        _ => Purpose::Session,
    }
}

fn listen_at(input: &Input) -> ListenAt {
    if input.chance() {
        ListenAt::Streamlocal(input.bytes())
    } else {
        ListenAt::Tcp(text(input), input.number())
    }
}

fn request(input: &Input) -> Request {
    match input.byte() {
        0 => Request::Shell,
        1 => Request::Pty { term: text(input), size: WindowSize::default(), modes: input.bytes() },
        2 => Request::Env { name: text(input), value: text(input) },
        3 => Request::Subsystem(text(input)),
        4 => Request::WindowChange(WindowSize { columns: input.number(), ..WindowSize::default() }),
        5 => Request::Signal(text(input)),
        6 => Request::AgentForward,
        7 => Request::X11 { single: true, protocol: text(input), cookie: text(input), screen: 0 },
        _ => Request::Exec(input.bytes()),
    }
}
