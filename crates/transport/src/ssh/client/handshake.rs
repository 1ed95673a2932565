//! A client's side until it is in: the engine's handshake on a byte stream, with the verifier's answer.

use std::sync::Arc;

use ::ssh::client::{Event, Handshake};
use ::ssh::connection::Connection;
use ::ssh::{Error, HostKeyShown};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::Negotiated;
use super::super::meter::Ended;
use super::super::wire::Wire;
use super::verify::{HostRefusal, HostVerifier};
use super::{ClientConfig, ConnectError};

/// Runs until we are in or there is no hope of it. After an error there may be something left to say.
pub(super) async fn run<IO, V>(
    wire: &mut Wire<IO>,
    config: &ClientConfig,
    verifier: &V,
) -> Result<(Connection, Negotiated), ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    V: HostVerifier,
{
    let mut engine = Handshake::new(Arc::new(config.engine()));
    let outcome = converse(wire, &mut engine, config, verifier).await;
    if let Err(error) = outcome {
        wire.collect(|output| engine.take_output(output));
        return Err(error);
    }
    let negotiated = engine.negotiated().map(Negotiated::from);
    match (engine.connection(), negotiated) {
        (Ok(connection), Some(negotiated)) => Ok((connection, negotiated)),
        (Err(error), _) => Err(over(error)),
        (Ok(_), None) => Err(over(Error::Ended("nothing was negotiated".to_owned()))),
    }
}

async fn converse<IO, V>(
    wire: &mut Wire<IO>,
    engine: &mut Handshake,
    config: &ClientConfig,
    verifier: &V,
) -> Result<(), ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    V: HostVerifier,
{
    let broken = |error: std::io::Error| ConnectError::Ended(Ended::Broken(error.to_string()));
    loop {
        let moved = wire.offer(|input| engine.receive(input)).map_err(over)?;
        while let Some(event) = engine.event() {
            match event {
                Event::Host(shown) => match judge(verifier, &shown) {
                    Ok(()) => engine.trust().map_err(over)?,
                    Err(refusal) => {
                        engine.distrust(&refusal.reason);
                        return Err(ConnectError::Host(refusal));
                    }
                },
                Event::Sign(to_sign) => match config.credentials.sign(&to_sign) {
                    Ok(signature) => engine.signed(&signature),
                    Err(text) => return Err(over(engine.end(&text))),
                },
                Event::Banner(text) => tracing::debug!(%text, "the host says"),
                Event::Accepted => return Ok(()),
                Event::Refused => {
                    engine.end("no other way to authenticate");
                    return Err(ConnectError::Denied(config.login.clone()));
                }
            }
        }
        wire.collect(|output| engine.take_output(output));
        wire.send().await.map_err(broken)?;
        if !moved && wire.fill().await.map_err(broken)? == 0 {
            return Err(ConnectError::Ended(Ended::Peer(String::new())));
        }
    }
}

fn over(error: Error) -> ConnectError {
    ConnectError::Ended(error.into())
}

fn judge<V: HostVerifier>(verifier: &V, shown: &HostKeyShown) -> Result<(), HostRefusal> {
    if shown.algorithm.certificate {
        return verifier.certificate(&shown.blob);
    }
    let key = shown.key().map_err(|error| HostRefusal {
        code: "malformed".to_owned(),
        reason: format!("the host's key cannot be used: {error}"),
    })?;
    verifier.key(&shown.blob, &key.fingerprint())
}
