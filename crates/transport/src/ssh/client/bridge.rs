//! The engine's callbacks on the client. Whatever a server wants of a client is refused, except connections to
//! listeners that the client asked for.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::HashAlg;
use russh::{Channel, ChannelId, ChannelOpenFailure, Names, Sig};
use tokio::sync::mpsc;

use super::super::Negotiated;
use super::super::channel::{ExitSignal, Half, Inbound, Writer, signal_name};
use super::super::flow::{Ended, Flow};
use super::super::ports::{Ports, Release};
use super::Forwarded;
use super::verify::{HostRefusal, HostVerifier};

pub(super) struct Bridge {
    pub(super) verifier: Box<dyn HostVerifier>,
    pub(super) refusal: Arc<Mutex<Option<HostRefusal>>>,
    pub(super) negotiated: Arc<OnceLock<Negotiated>>,
    pub(super) forwarded: mpsc::Sender<Forwarded>,
    pub(super) flow: Arc<Flow>,
    pub(super) ports: Arc<Ports<bool>>,
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

impl Bridge {
    fn judge(&self, shown: &PublicKeyOrCertificate) -> Result<(), HostRefusal> {
        let unreadable = || HostRefusal {
            code: "malformed".to_owned(),
            reason: "what the host shows cannot be read".to_owned(),
        };
        match shown {
            PublicKeyOrCertificate::Certificate(certificate) => {
                let blob = certificate.to_bytes().map_err(|_| unreadable())?;
                self.verifier.certificate(&blob)
            }
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let blob = key.to_bytes().map_err(|_| unreadable())?;
                self.verifier.key(&blob, &key.fingerprint(HashAlg::Sha256).to_string())
            }
        }
    }

    fn arrived(&self, channel: Channel<Msg>, address: &str, port: u32, origin: (String, u32)) -> Forwarded {
        let (_, half) = channel.split();
        let ends = self.ports.accept(half.id().number());
        let release = Release::new(&self.ports, half.id().number());
        let writer = Writer::new(Half::Client(half), Arc::clone(&self.flow), ends.closed, release);
        Forwarded { address: address.to_owned(), port, origin, reader: ends.reader, writer }
    }
}

impl Drop for Bridge {
    /// The engine drops its handler when it has ended, in whichever way.
    fn drop(&mut self) {
        self.ports.end();
        self.flow.finish(Ended::Peer(String::new()));
    }
}

impl Handler for Bridge {
    type Error = EngineError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, EngineError> {
        match self.judge(shown) {
            Ok(()) => Ok(true),
            Err(refusal) => {
                *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
                Ok(false)
            }
        }
    }

    async fn kex_done(&mut self, _: Option<&[u8]>, names: &Names, _: &mut Session) -> Handled {
        if let Some(negotiated) = Negotiated::named(names.kex.as_ref(), names.cipher.as_ref()) {
            // What the connection began with stays; keys are refreshed many times.
            let _ = self.negotiated.set(negotiated);
        }
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<EngineError>) -> Handled {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.flow.announce(Ended::Peer(plain(&info.message)));
                Ok(())
            }
            DisconnectReason::Error(EngineError(error)) => {
                self.flow.announce(match &error {
                    russh::Error::HUP | russh::Error::Disconnect => Ended::Peer(String::new()),
                    error => Ended::Broken(error.to_string()),
                });
                Err(EngineError(error))
            }
        }
    }

    async fn channel_success(&mut self, channel: ChannelId, _: &mut Session) -> Handled {
        let _ = self.ports.control(channel.number(), true);
        Ok(())
    }

    async fn channel_failure(&mut self, channel: ChannelId, _: &mut Session) -> Handled {
        let _ = self.ports.control(channel.number(), false);
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

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        code: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Handled {
        self.ports.deliver(channel.number(), Inbound::Extended { code, data: data.to_vec().into() });
        Ok(())
    }

    async fn exit_status(&mut self, channel: ChannelId, status: u32, _: &mut Session) -> Handled {
        self.ports.deliver(channel.number(), Inbound::ExitStatus(status));
        Ok(())
    }

    async fn exit_signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        core_dumped: bool,
        message: &str,
        _: &str,
        _: &mut Session,
    ) -> Handled {
        let signal = ExitSignal { name: plain(&signal_name(signal)), core_dumped, message: plain(message) };
        self.ports.deliver(channel.number(), Inbound::ExitSignal(signal));
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        origin: &str,
        origin_port: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Handled {
        let Ok(slot) = self.forwarded.try_reserve() else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let forwarded = self.arrived(channel, address, port, (plain(origin), origin_port));
        forwarded.writer.opened();
        reply.accept().await;
        slot.send(forwarded);
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Handled {
        prohibit(reply).await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Handled {
        prohibit(reply).await
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Handled {
        prohibit(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Handled {
        prohibit(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Handled {
        prohibit(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Handled {
        prohibit(reply).await
    }
}

async fn prohibit(reply: ChannelOpenHandle) -> Handled {
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}

/// Words of a server that end up on a terminal or in a log: one line, no control characters, not endless.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1024).collect()
}
