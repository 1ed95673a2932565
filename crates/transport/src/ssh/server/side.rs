//! What a server does with the engine's events: they become [`Event`]s and [`Request`]s.

use std::sync::Arc;

use ::ssh::connection::{
    ChannelEvent, ChannelId, Event as Happened, GlobalAnswer, GlobalRequest, ListenAt, Purpose,
};
use tokio::sync::mpsc;

use super::super::credentials::{HostCredentials, Signed};
use super::super::drive::Side;
use super::super::link::Link;
use super::event::{Event, ForwardReply, OpenRefusal, OpenRequest};
use super::request::{Reply, Request};

pub(super) struct ServerSide {
    events: mpsc::Sender<Event>,
    host: Arc<HostCredentials>,
}

impl ServerSide {
    pub(super) fn new(events: mpsc::Sender<Event>, host: Arc<HostCredentials>) -> Self {
        Self { events, host }
    }

    fn offered(&self, link: &Arc<Link>, id: ChannelId, purpose: Purpose) {
        let mut open = OpenRequest::new(link, id, &purpose);
        let Ok(slot) = self.events.try_reserve() else {
            return open.answer(OpenRefusal::ResourceShortage, "too much is asked for at once");
        };
        match purpose {
            Purpose::Session => slot.send(Event::Session(open)),
            Purpose::DirectTcpip { host, port, origin } => match u16::try_from(port) {
                Ok(port) => slot.send(Event::DirectTcpip { host, port, origin, open }),
                Err(_) => open.answer(OpenRefusal::ConnectFailed, "there is no such port"),
            },
            Purpose::DirectStreamlocal { path } => slot.send(Event::DirectStreamlocal { path, open }),
            // Cannot be asked of a server.
            Purpose::ForwardedTcpip { .. }
            | Purpose::ForwardedStreamlocal { .. }
            | Purpose::Agent
            | Purpose::X11 { .. } => open.answer(OpenRefusal::Prohibited, "not allowed"),
        }
    }

    fn global(&self, link: &Arc<Link>, request: GlobalRequest, reply: Reply) {
        let event = match request {
            GlobalRequest::Listen(ListenAt::Tcp(address, port)) => u16::try_from(port).ok().map(|port| {
                // Where the answer is dropped, it is no.
                Event::TcpipForward { address, port, reply: ForwardReply::new(reply, port == 0) }
            }),
            GlobalRequest::CancelListen(ListenAt::Tcp(address, port)) => {
                u16::try_from(port).ok().map(|port| Event::CancelTcpipForward { address, port, reply })
            }
            GlobalRequest::ProveHostKeys(to_sign) => {
                let proofs = self.host.prove(&to_sign);
                reply.answer(proofs.map_or(GlobalAnswer::Refused, GlobalAnswer::Proofs));
                None
            }
            GlobalRequest::Listen(ListenAt::Streamlocal(path)) => {
                Some(Event::StreamlocalForward { path, reply })
            }
            GlobalRequest::CancelListen(ListenAt::Streamlocal(path)) => {
                Some(Event::CancelStreamlocalForward { path, reply })
            }
        };
        link.meter.touch();
        if let Some(event) = event {
            let _ = self.events.try_send(event);
        }
    }
}

/// Goes on with a key exchange, or ends the connection for want of a signature.
fn signed(link: &Link, signature: Result<Vec<u8>, String>) {
    match signature {
        Ok(signature) => drop(link.act(|state| state.connection.signed(&signature))),
        Err(error) => link.disconnect(&error),
    }
}

impl Side for ServerSide {
    fn event(&mut self, link: &Arc<Link>, event: Happened) {
        match event {
            Happened::Sign(to_sign) => match self.host.sign(to_sign) {
                Signed::Now(signature) => signed(link, signature),
                Signed::Later(signing) => {
                    let link = Arc::clone(link);
                    tokio::spawn(async move { signed(&link, signing.await) });
                }
            },
            Happened::Channel(id, ChannelEvent::Offered(purpose)) => self.offered(link, id, purpose),
            Happened::Channel(id, ChannelEvent::Opened) => link.opened(id, None),
            Happened::Channel(id, ChannelEvent::Failed { text, .. }) => link.failed(id, text),
            Happened::Request(id, wanted, token) => {
                let request = Request::new(wanted, Reply::on_channel(link, id, token));
                let port = link.lock().port(id).cloned();
                if let Some(port) = port {
                    port.request(request);
                }
            }
            Happened::Global(request, token) => self.global(link, request, Reply::global(link, token)),
            Happened::CancelListen(at) => {
                self.global(link, GlobalRequest::CancelListen(at), Reply::unwanted());
            }
            Happened::Channel(..) | Happened::GlobalAnswer(_) => {}
        }
    }
}
