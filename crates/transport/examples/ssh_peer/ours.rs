//! The engine of `transport::ssh`, with the verifiers that our programs use.

use std::sync::Arc;

use access::Login;
use bytes::Bytes;
use identity::TrustBundle;
use identity::verify::ssh::{UserContext, user};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use transport::ssh::client::{self, ClientConfig, ClusterHost, Forwarded, PtyRequest};
use transport::ssh::server::{
    Attempt, Authenticator, Channel, Event, Events, Rejection, Request, ServerConfig, accept,
};
use transport::ssh::{Cipher, HostCredentials, KeyExchange, Reader, UserCredentials, WindowSize, Writer};

use super::commands;
use super::peer::{Link, Outcome, Sink, Source, TERM, Wish};
use super::pki::Pki;

/// Accepts every certificate of the user authority.
struct Members(Arc<Pki>);

impl Authenticator for Members {
    type Grant = ();

    async fn authenticate(&self, attempt: &Attempt) -> Result<(), Rejection> {
        let offer = attempt.verify()?;
        let login = Login::new(&offer.login).map_err(|error| Rejection::untold(error.to_string()))?;
        let context = UserContext {
            trust: &self.0.trust,
            now: Timestamp::now(),
            peer: Some(offer.peer.ip()),
            login: Some(&login),
        };
        match user(offer.certificate.blob(), &context) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Rejection::untold(refusal.to_string())),
        }
    }
}

pub async fn serve(listener: TcpListener, pki: Arc<Pki>) -> Outcome<()> {
    let (key, certificate) = pki.host()?;
    // Dropped at the end only: a server without a source of host keys has none.
    let (_source, host) = watch::channel(Arc::new(HostCredentials::new(key, certificate)?));
    let config = Arc::new(ServerConfig::new(host));
    loop {
        let (stream, address) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (config, members) = (Arc::clone(&config), Members(Arc::clone(&pki)));
        tokio::spawn(async move {
            match accept(stream, config, address, members).await {
                Ok(connection) => sessions(connection.events).await,
                Err(error) => eprintln!("ssh_peer: {error}"),
            }
        });
    }
}

async fn sessions(mut events: Events) {
    while let Some(event) = events.next().await {
        // Whatever else is asked for is refused by being dropped.
        if let Event::Session(open) = event {
            tokio::spawn(async move { session(open.accept().await).await });
        }
    }
}

async fn session(mut channel: Channel) {
    let command = loop {
        match channel.requests.next().await {
            Some(Request::Exec { command, reply }) => {
                reply.accept();
                break command;
            }
            // What it runs needs none: it echoes by itself.
            Some(Request::Pty { reply, .. }) => reply.accept(),
            Some(_) => {}
            None => return,
        }
    };
    let status = commands::run(&String::from_utf8_lossy(&command), channel.reader, &channel.writer).await;
    let _ = channel.writer.eof().await;
    let _ = channel.writer.exit_status(status).await;
    channel.writer.close().await;
}

/// Whether the engine has a key exchange of this name.
pub fn knows(key_exchange: &str) -> Outcome<()> {
    Ok(key_exchange.parse::<KeyExchange>().map(drop)?)
}

pub struct Client {
    engine: client::Client,
    _listeners: mpsc::Receiver<Forwarded>,
}

impl Link for Client {
    type Source = Reader;
    type Sink = Writer;

    async fn connect(wish: &Wish) -> Outcome<Self> {
        let (key, certificate) = &wish.pki.user;
        let credentials = UserCredentials::new(key, certificate)?;
        let mut config = ClientConfig::new(&wish.pki.login, credentials);
        config.algorithms.key_exchange = vec![wish.key_exchange.parse()?];
        config.algorithms.ciphers = vec![wish.cipher.parse::<Cipher>()?];
        let trust: TrustBundle = wish.pki.trust.clone();
        let stream = TcpStream::connect(wish.server).await?;
        stream.set_nodelay(true)?;
        let host = ClusterHost { trust, names: vec![wish.name.clone()] };
        let (engine, listeners) = client::connect(stream, config, host).await?;
        Ok(Self { engine, _listeners: listeners })
    }

    async fn run(&self, command: &str) -> Outcome<(Reader, Writer)> {
        let mut session = self.engine.session().await?;
        session.exec(command.as_bytes()).await?;
        Ok(session.split())
    }

    async fn terminal(&self, command: &str) -> Outcome<(Reader, Writer)> {
        let mut session = self.engine.session().await?;
        let size = WindowSize { columns: 80, rows: 24, width_pixels: 0, height_pixels: 0 };
        session.pty(&PtyRequest { term: TERM.to_owned(), size, modes: Vec::new() }).await?;
        session.exec(command.as_bytes()).await?;
        Ok(session.split())
    }

    async fn close(self) {
        self.engine.disconnect("done").await;
        self.engine.ended().await;
    }
}

impl Source for Reader {
    async fn next(&mut self) -> Option<Bytes> {
        self.data().await
    }
}

impl Sink for Writer {
    async fn send(&self, data: Bytes) -> Outcome<()> {
        Ok(self.data(data).await?)
    }

    async fn end(&self) {
        let _ = self.eof().await;
    }
}
