//! russh without anything of ours around it: what it does for a program that uses it plainly.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::verify::ssh::{HostContext, host};
use jiff::Timestamp;
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::{Algorithm, Certificate, EcdsaCurve};
use russh::server::{Auth, ChannelOpenHandle, Msg};
use russh::{
    Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Preferred, Pty, cipher,
    client, compression, kex, server,
};
use tokio::net::{TcpListener, TcpStream};

use super::commands;
use super::peer::{Link, Outcome, Sink, Source, TERM, Wish};
use super::pki::Pki;

/// What our certificates certify.
const CERTIFIED: &[Algorithm] = &[Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }];
const EXTENSIONS: [kex::Name; 4] = [
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

fn preferred(exchanges: &[kex::Name], ciphers: &[cipher::Name]) -> Preferred {
    Preferred {
        kex: Cow::Owned([exchanges, &EXTENSIONS].concat()),
        cipher: Cow::Owned(ciphers.to_vec()),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::default()
    }
}

pub async fn serve(listener: TcpListener, pki: Arc<Pki>) -> Outcome<()> {
    let (key, certificate) = pki.host()?;
    let config = Arc::new(server::Config {
        // Its second for each refused key would be all that is measured.
        auth_rejection_time: Duration::ZERO,
        keys: vec![russh::keys::decode_secret_key(key, None)?],
        certificates: vec![Certificate::from_openssh(certificate.trim_end())?],
        preferred: preferred(
            &[kex::MLKEM768X25519_SHA256, kex::CURVE25519],
            &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305],
        ),
        inactivity_timeout: None,
        ..server::Config::default()
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (config, host) = (Arc::clone(&config), Host { pki: Arc::clone(&pki), channels: HashMap::new() });
        tokio::spawn(async move {
            let ran = match server::run_stream(config, stream, host).await {
                Ok(session) => session.await,
                Err(error) => Err(error),
            };
            match ran {
                // Clients that are done just go.
                Ok(()) | Err(russh::Error::HUP | russh::Error::Disconnect | russh::Error::IO(_)) => {}
                Err(error) => eprintln!("ssh_peer: {error}"),
            }
        });
    }
}

/// One connection of a client.
struct Host {
    pki: Arc<Pki>,
    /// Channels on which nothing runs yet.
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl server::Handler for Host {
    type Error = russh::Error;

    /// russh has verified the certificate's signature, its time and that the client has the key.
    async fn auth_openssh_certificate(
        &mut self,
        login: &str,
        certificate: &Certificate,
    ) -> Result<Auth, russh::Error> {
        let trusted = self.pki.trust.user.ssh.iter().any(|key| key.key_data() == certificate.signature_key());
        let named = certificate.valid_principals().iter().any(|principal| principal == login);
        let options = certificate.critical_options().iter().next().is_some();
        match trusted && named && !options && certificate.cert_type() == CertType::User {
            true => Ok(Auth::Accept),
            false => Ok(Auth::reject()),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    /// What it runs needs no terminal: it echoes by itself.
    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(id)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let Some(channel) = self.channels.remove(&id) else {
            return session.channel_failure(id);
        };
        let command = String::from_utf8_lossy(command).into_owned();
        tokio::spawn(async move {
            let (source, sink) = channel.split();
            let status = commands::run(&command, source, &sink).await;
            let _ = sink.eof().await;
            let _ = sink.exit_status(status).await;
            let _ = sink.close().await;
        });
        session.channel_success(id)
    }
}

/// Whether the engine has a key exchange of this name.
pub fn knows(key_exchange: &str) -> Outcome<()> {
    exchange(key_exchange).map(drop)
}

fn exchange(name: &str) -> Outcome<kex::Name> {
    kex::Name::try_from(name).map_err(|()| format!("russh has no key exchange {name:?}").into())
}

pub struct Client(client::Handle<Guest>);

/// One connection to a server.
struct Guest(Wish);

impl client::Handler for Guest {
    type Error = russh::Error;

    /// russh has verified that the server has the key; whose certificate it is, is for us to look at.
    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::Certificate(certificate) = shown else {
            return Ok(false);
        };
        let context = HostContext { trust: &self.0.pki.trust, now: Timestamp::now(), names: &[&self.0.name] };
        Ok(certificate.to_bytes().is_ok_and(|blob| host(&blob, &context).is_ok()))
    }
}

impl Link for Client {
    type Source = ChannelReadHalf;
    type Sink = ChannelWriteHalf<client::Msg>;

    async fn connect(wish: &Wish) -> Outcome<Self> {
        let cipher = cipher::Name::try_from(wish.cipher.as_str())
            .map_err(|()| format!("russh has no cipher {:?}", wish.cipher))?;
        let config = client::Config {
            preferred: Preferred {
                host_key_certificates: Cow::Borrowed(CERTIFIED),
                ..preferred(&[exchange(&wish.key_exchange)?], &[cipher])
            },
            ..client::Config::default()
        };
        let (key, certificate) = &wish.pki.user;
        let key = Arc::new(russh::keys::decode_secret_key(key, None)?);
        let certificate = Certificate::from_openssh(certificate.trim_end())?;
        let stream = TcpStream::connect(wish.server).await?;
        stream.set_nodelay(true)?;
        let guest = Guest(wish.clone());
        let mut engine = client::connect_stream(Arc::new(config), stream, guest).await?;
        match engine.authenticate_openssh_cert(&wish.pki.login, key, certificate).await?.success() {
            true => Ok(Self(engine)),
            false => Err("the server refuses the certificate".into()),
        }
    }

    async fn run(&self, command: &str) -> Outcome<(Self::Source, Self::Sink)> {
        let channel = self.0.channel_open_session().await?;
        exec(channel, command).await
    }

    async fn terminal(&self, command: &str) -> Outcome<(Self::Source, Self::Sink)> {
        let channel = self.0.channel_open_session().await?;
        // Refused or not is seen by what the command says.
        channel.request_pty(false, TERM, 80, 24, 0, 0, &[]).await?;
        exec(channel, command).await
    }

    async fn close(self) {
        let _ = self.0.disconnect(Disconnect::ByApplication, "done", "").await;
        let _ = self.0.await;
    }
}

async fn exec(
    mut channel: Channel<client::Msg>,
    command: &str,
) -> Outcome<(ChannelReadHalf, ChannelWriteHalf<client::Msg>)> {
    channel.exec(true, command).await?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return Ok(channel.split()),
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            other => return Err(format!("the server does not run {command:?}: {other:?}").into()),
        }
    }
}

impl Source for ChannelReadHalf {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.wait().await? {
                ChannelMsg::Data { data } => return Some(data),
                ChannelMsg::Eof | ChannelMsg::Close => return None,
                _ => {}
            }
        }
    }
}

impl<S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static> Sink for ChannelWriteHalf<S> {
    async fn send(&self, data: Bytes) -> Outcome<()> {
        Ok(self.data_bytes(data).await?)
    }

    async fn end(&self) {
        let _ = self.eof().await;
    }
}
