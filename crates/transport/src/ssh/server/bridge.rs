//! The engine's callbacks, turned into events.
//!
//! Nothing here waits for I/O, because the engine's one loop does everything for its connection. Answers to requests
//! are the exception: the engine replies to the request that came last, so it must not see the next one before. Data
//! goes into the queues of [`super::super::ports`] and not into the engine's own, which would stop its loop when full.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::ssh_key::Certificate;
use russh::server::{
    Auth, ChannelOpenHandle, Handle as EngineHandle, Handler, Msg, PublicKeyOffer, Response, Session,
    VerifiedPublicKey,
};
use russh::{Channel as EngineChannel, ChannelId, ChannelOpenFailure, Disconnect, Pty as PtyMode, Sig};
use tokio::sync::{mpsc, oneshot};

use super::super::WINDOW;
use super::super::channel::{Half, Inbound, WindowSize, Writer, signal_name};
use super::super::flow::{DRIBBLE, Ended, Flow};
use super::super::ports::{Ports, Release};
use super::authenticate::{Attempts, Authenticator, Offer, ProvenCertificate, Rejection};
use super::event::{Channel, Event, ForwardReply, OpenRequest, Origin};
use super::overheard::Answer;
use super::request::{Pty, Reply, Request, Requests};

/// How long the owner of a channel may think about a request.
const ANSWER: Duration = Duration::from_secs(10);
/// No account has a longer name, so nobody is asked about one.
const MAX_LOGIN: usize = 256;
/// The longest name of a signal that is passed on.
const MAX_SIGNAL: usize = 64;

/// Where a verdict on the connection goes.
pub(super) type Verdict<G> = oneshot::Sender<Result<G, Rejection>>;

pub(super) struct Bridge<A: Authenticator> {
    pub(super) authenticator: A,
    pub(super) peer: SocketAddr,
    pub(super) negotiated: Answer,
    /// Between the answer of the authenticator and the engine's word that it has taken effect.
    pub(super) outcome: Option<Result<A::Grant, Rejection>>,
    pub(super) verdict: Option<Verdict<A::Grant>>,
    pub(super) attempts: Arc<Mutex<Attempts>>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) ports: Arc<Ports<Request>>,
    pub(super) flow: Arc<Flow>,
    pub(super) max_channels: usize,
}

/// The engine's error, which stays in this module.
#[derive(Debug)]
pub(super) struct EngineError(pub(super) russh::Error);

impl From<russh::Error> for EngineError {
    fn from(error: russh::Error) -> Self {
        Self(error)
    }
}

type Handled = Result<(), EngineError>;

impl<A: Authenticator> Bridge<A> {
    fn note(&self, login: &str, count: impl FnOnce(&mut Attempts)) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.login = Some(login.chars().take(MAX_LOGIN).collect());
        count(&mut attempts);
    }

    async fn judge(&mut self, login: &str, certificate: &Certificate) -> Auth {
        let Ok(blob) = certificate.to_bytes() else {
            return Auth::reject();
        };
        if login.len() > MAX_LOGIN {
            return Auth::reject();
        }
        let Some(negotiated) = self.negotiated.get().copied() else {
            tracing::warn!(peer = %self.peer, "refused a login: what the client negotiated was not understood");
            return Auth::reject();
        };
        let certificate = ProvenCertificate::new(blob);
        let offer = Offer { login: login.to_owned(), certificate, peer: self.peer, negotiated };
        match self.authenticator.authenticate(offer).await {
            Ok(grant) => {
                self.outcome = Some(Ok(grant));
                Auth::Accept
            }
            Err(rejection) => {
                self.note(login, |attempts| attempts.certificates += 1);
                if !rejection.is_told() {
                    return Auth::reject();
                }
                // The engine can only say something in the step after a yes; `auth_succeeded` makes it a no.
                self.outcome = Some(Err(rejection));
                Auth::Accept
            }
        }
    }

    /// Announces a channel, or rejects it when there are too many.
    async fn open(
        &self,
        channel: EngineChannel<Msg>,
        engine: ChannelOpenHandle,
        handle: EngineHandle,
        event: impl FnOnce(OpenRequest) -> Event,
    ) {
        self.flow.touch();
        let Ok(slot) = self.events.try_reserve() else {
            return engine.reject(ChannelOpenFailure::ResourceShortage).await;
        };
        if self.ports.count() >= self.max_channels {
            return engine.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        // The engine's own queue is dropped here, and with it the engine's reason to wait for a slow reader.
        let (_, half) = channel.split();
        let id = half.id().number();
        let ends = self.ports.accept(id);
        let release = Release::new(&self.ports, id);
        let half = Half::Server(half, handle);
        let writer = Writer::new(half, Arc::clone(&self.flow), ends.closed, release);
        let channel = Channel { requests: Requests(ends.control), reader: ends.reader, writer };
        slot.send(event(OpenRequest { engine, channel }));
    }

    /// Asks the owner of a channel and waits, briefly.
    async fn ask(&self, channel: ChannelId, request: impl FnOnce(Reply) -> Request) -> bool {
        let (reply, answer) = Reply::new();
        if self.ports.control(channel.number(), request(reply)).is_err() {
            return false;
        }
        self.answer(answer).await.unwrap_or(false)
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<T>) -> Option<T> {
        tokio::select! {
            answer = answer => answer.ok(),
            () = self.flow.cut.cancelled() => None,
            () = tokio::time::sleep(ANSWER) => {
                tracing::warn!(peer = %self.peer, "a request was not answered in time and is refused");
                None
            }
        }
    }

    async fn ask_and_reply(
        &self,
        channel: ChannelId,
        session: &mut Session,
        request: impl FnOnce(Reply) -> Request,
    ) -> Handled {
        match self.ask(channel, request).await {
            true => session.channel_success(channel)?,
            false => session.channel_failure(channel)?,
        }
        Ok(())
    }

    async fn ask_globally<T>(&self, event: Event, answer: oneshot::Receiver<T>) -> Option<T> {
        self.flow.touch();
        self.events.try_send(event).ok()?;
        self.answer(answer).await
    }
}

impl<A: Authenticator> Handler for Bridge<A> {
    type Error = EngineError;

    async fn auth_password(&mut self, login: &str, _: &str) -> Result<Auth, EngineError> {
        self.note(login, |attempts| attempts.passwords += 1);
        Ok(Auth::reject())
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        login: &str,
        _: &str,
        _: Option<Response<'a>>,
    ) -> Result<Auth, EngineError> {
        self.note(login, |attempts| attempts.passwords += 1);
        Ok(Auth::reject())
    }

    async fn auth_none(&mut self, login: &str) -> Result<Auth, EngineError> {
        self.note(login, |_| {});
        Ok(Auth::reject())
    }

    async fn auth_publickey_offered(&mut self, _: &str, _: PublicKeyOffer<'_>) -> Result<Auth, EngineError> {
        // The engine shows the key inside a certificate here and not whether there is one, so nothing can be refused
        // before it is proven.
        Ok(Auth::Accept)
    }

    async fn auth_publickey(&mut self, login: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, EngineError> {
        self.note(login, |attempts| attempts.plain_keys += 1);
        Ok(Auth::reject())
    }

    async fn auth_openssh_certificate(
        &mut self,
        login: &str,
        certificate: &Certificate,
    ) -> Result<Auth, EngineError> {
        Ok(self.judge(login, certificate).await)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Handled {
        let outcome = self.outcome.take().ok_or(EngineError(russh::Error::Inconsistent))?;
        if let Err(rejection) = &outcome {
            // Goes out together with the engine's yes, and the engine takes nothing in after it.
            session.disconnect(Disconnect::ByApplication, rejection.text(), "")?;
            self.flow.announce(Ended::Local(rejection.text().to_owned()));
        }
        let told = self.verdict.take().map(|verdict| verdict.send(outcome).is_ok());
        match told {
            Some(true) => Ok(()),
            _ => Err(EngineError(russh::Error::Disconnect)),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: EngineChannel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Handled {
        self.open(channel, reply, session.handle(), Event::Session).await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: EngineChannel<Msg>,
        host: &str,
        port: u32,
        address: &str,
        origin_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Handled {
        let Ok(port) = u16::try_from(port) else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        let host = host.to_owned();
        let origin = Origin { address: address.to_owned(), port: origin_port };
        let event = |open| Event::DirectTcpip { host, port, origin, open };
        self.open(channel, reply, session.handle(), event).await;
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        session: &mut Session,
    ) -> Handled {
        if !self.ports.confirm(channel.number()) {
            session.close(channel)?;
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Handled {
        self.ports.remove(channel.number());
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Handled {
        self.ports.deliver(channel.number(), Inbound::Eof);
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Handled {
        self.ports.deliver(channel.number(), Inbound::Data(data.to_vec().into()));
        Ok(())
    }

    /// The engine's next target for a window, asked when it has just granted some on `channel`. There is one target for
    /// all channels; the next data is most likely from the same one.
    fn adjust_window(&mut self, channel: ChannelId, _: u32) -> u32 {
        match self.ports.is_high(channel.number()) {
            true => DRIBBLE,
            false => WINDOW,
        }
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width_pixels: u32,
        height_pixels: u32,
        modes: &[(PtyMode, u32)],
        session: &mut Session,
    ) -> Handled {
        let size = WindowSize { columns, rows, width_pixels, height_pixels };
        let pty = Pty { term: term.to_owned(), size, modes: encode_modes(modes) };
        self.ask_and_reply(channel, session, |reply| Request::Pty { pty, reply }).await
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Handled {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.ask_and_reply(channel, session, |reply| Request::Env { name, value, reply }).await
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Handled {
        self.ask_and_reply(channel, session, Request::Shell).await
    }

    async fn exec_request(&mut self, channel: ChannelId, command: &[u8], session: &mut Session) -> Handled {
        let command = command.to_vec().into();
        self.ask_and_reply(channel, session, |reply| Request::Exec { command, reply }).await
    }

    async fn subsystem_request(&mut self, channel: ChannelId, name: &str, session: &mut Session) -> Handled {
        let name = name.to_owned();
        self.ask_and_reply(channel, session, |reply| Request::Subsystem { name, reply }).await
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width_pixels: u32,
        height_pixels: u32,
        _: &mut Session,
    ) -> Handled {
        let size = WindowSize { columns, rows, width_pixels, height_pixels };
        let _ = self.ports.control(channel.number(), Request::WindowChange(size));
        Ok(())
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _: &mut Session) -> Handled {
        let name = signal_name(signal);
        // These wait without an answer, so what waits must be small; no signal has such a name.
        if name.len() <= MAX_SIGNAL {
            let _ = self.ports.control(channel.number(), Request::Signal(name));
        }
        Ok(())
    }

    async fn agent_request(&mut self, channel: ChannelId, _: &mut Session) -> Result<bool, EngineError> {
        Ok(self.ask(channel, Request::AgentForward).await)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Handled {
        self.ask_and_reply(channel, session, Request::X11).await
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        _: &mut Session,
    ) -> Result<bool, EngineError> {
        let Ok(wanted) = u16::try_from(*port) else {
            return Ok(false);
        };
        let (reply, answer) = ForwardReply::new();
        let event = Event::TcpipForward { address: address.to_owned(), port: wanted, reply };
        let Some(Some(bound)) = self.ask_globally(event, answer).await else {
            return Ok(false);
        };
        *port = u32::from(bound);
        Ok(true)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, EngineError> {
        let Ok(port) = u16::try_from(port) else {
            return Ok(false);
        };
        let (reply, answer) = Reply::new();
        let event = Event::CancelTcpipForward { address: address.to_owned(), port, reply };
        Ok(self.ask_globally(event, answer).await.unwrap_or(false))
    }
}

/// Back to the encoding of RFC 4254, section 8. The engine fills the places of modes that it does not know with zeros.
fn encode_modes(modes: &[(PtyMode, u32)]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(modes.len() * 5 + 1);
    for (mode, value) in modes {
        let opcode = *mode as u8;
        if opcode != 0 {
            encoded.push(opcode);
            encoded.extend_from_slice(&value.to_be_bytes());
        }
    }
    encoded.push(0);
    encoded
}
