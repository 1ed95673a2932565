//! Asks a server for its host certificate, and goes away again.

use std::sync::Arc;
use std::time::Duration;

use ::ssh::algorithms::{KeyAlgorithm, SignatureScheme};
use ::ssh::client::{Config, Event, Handshake};
use ::ssh::connection::Limits;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::meter::{Ended, Meter};
use super::super::wire::Wire;
use super::super::{Algorithms, Keepalive, Rekey, settings};
use super::{ConnectError, FAREWELL};

/// The certificate that a server signs a key exchange with, as on the wire, by a fresh stream that is ended before anybody
/// has said who they are. Nobody has judged it yet.
pub async fn host_certificate<IO>(io: IO, within: Duration) -> Result<Vec<u8>, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(io, Arc::new(Meter::new()));
    let mut engine = Handshake::new(Arc::new(config()));
    let shown = tokio::time::timeout(within, converse(&mut wire, &mut engine)).await;
    wire.collect(|output| engine.take_output(output));
    let _ = tokio::time::timeout(FAREWELL, wire.farewell()).await;
    shown.unwrap_or(Err(ConnectError::Timeout(within)))
}

/// Without an account or a key: it never comes to that.
fn config() -> Config {
    Config {
        settings: Arc::new(settings(&Algorithms::default(), Rekey::default(), Keepalive::default())),
        host_keys: KeyAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.certificate).collect(),
        login: String::new(),
        algorithm: KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: true },
        blob: Vec::new(),
        limits: Limits::default(),
    }
}

async fn converse<IO>(wire: &mut Wire<IO>, engine: &mut Handshake) -> Result<Vec<u8>, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: std::io::Error| ConnectError::Ended(Ended::Broken(error.to_string()));
    loop {
        let over = |error: ::ssh::Error| ConnectError::Ended(error.into());
        let moved = wire.offer(|input| engine.receive(input)).map_err(over)?;
        if let Some(Event::Host(shown)) = engine.event() {
            engine.distrust("this was all that was asked");
            return Ok(shown.blob);
        }
        wire.collect(|output| engine.take_output(output));
        wire.send().await.map_err(broken)?;
        if !moved && wire.fill().await.map_err(broken)? == 0 {
            return Err(ConnectError::Ended(Ended::Peer(String::new())));
        }
    }
}
