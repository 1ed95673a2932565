//! A server's side until the client is in: the engine's handshake on a byte stream, with the authenticator's answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::ssh::Error;
use ::ssh::connection::Connection;
use ::ssh::server::{Config, Event, Proof, Tried, TriedMethod};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::Negotiated;
use super::super::credentials::{HostCredentials, Signed};
use super::super::wire::Wire;
use super::AcceptError;
use super::authenticate::{Attempt, Attempts, Authenticator};

/// How long a client that was refused may take to go.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Handshake<IO> {
    wire: Option<Wire<IO>>,
    /// Until the client is admitted.
    engine: Option<::ssh::server::Handshake>,
    host: Arc<HostCredentials>,
    peer: SocketAddr,
    attempts: Attempts,
    unfinished: Unfinished,
}

/// A session that nobody has logged in to. Whoever signed its key exchange hears when it is over.
struct Unfinished {
    host: Arc<HostCredentials>,
    session: Option<Vec<u8>>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.host.forget(session);
        }
    }
}

/// A client that is in.
pub(super) struct Admitted<G> {
    pub(super) connection: Connection,
    pub(super) grant: G,
    pub(super) negotiated: Negotiated,
}

const TAKEN: &str = "taken only when the handshake is over";

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<IO> {
    pub(super) fn new(wire: Wire<IO>, config: Config, host: Arc<HostCredentials>, peer: SocketAddr) -> Self {
        let engine = ::ssh::server::Handshake::new(Arc::new(config));
        let unfinished = Unfinished { host: Arc::clone(&host), session: None };
        let attempts = Attempts::default();
        Self { wire: Some(wire), engine: Some(engine), host, peer, attempts, unfinished }
    }

    /// Runs until the client is in or there is no hope of it. After an error there may be something left to say.
    pub(super) async fn run<A: Authenticator>(
        &mut self,
        authenticator: &A,
    ) -> Result<Admitted<A::Grant>, AcceptError> {
        loop {
            let moved = self.take_in()?;
            while let Some(event) = self.engine().event() {
                match event {
                    Event::Sign(to_sign) => {
                        self.unfinished.session = Some(to_sign.data.clone());
                        let signature = match self.host.sign(to_sign) {
                            Signed::Now(signature) => signature,
                            Signed::Later(signing) => signing.await,
                        };
                        let signature = signature.map_err(AcceptError::Broken)?;
                        self.engine().signed(&signature).map_err(|error| self.broken(error))?;
                    }
                    Event::Tried(tried) => self.note(tried),
                    Event::Proof(proof) => {
                        if let Some(admitted) = self.judge(*proof, authenticator).await? {
                            self.unfinished.session = None;
                            return Ok(admitted);
                        }
                    }
                }
            }
            self.send().await?;
            if !moved {
                self.fill().await?;
            }
        }
    }

    fn engine(&mut self) -> &mut ::ssh::server::Handshake {
        self.engine.as_mut().expect(TAKEN)
    }

    fn wire(&mut self) -> &mut Wire<IO> {
        self.wire.as_mut().expect(TAKEN)
    }

    fn take_in(&mut self) -> Result<bool, AcceptError> {
        let (Some(wire), Some(engine)) = (&mut self.wire, &mut self.engine) else { unreachable!("{TAKEN}") };
        wire.offer(|input| engine.receive(input)).map_err(|error| self.broken(error))
    }

    async fn send(&mut self) -> Result<(), AcceptError> {
        let (Some(wire), Some(engine)) = (&mut self.wire, &mut self.engine) else { unreachable!("{TAKEN}") };
        wire.collect(|output| engine.take_output(output));
        wire.send().await.map_err(|error| AcceptError::Broken(error.to_string()))
    }

    async fn fill(&mut self) -> Result<(), AcceptError> {
        match self.wire().fill().await {
            Ok(0) if self.attempts.any() => Err(AcceptError::Unauthenticated(self.attempts.clone())),
            Ok(0) => {
                Err(AcceptError::Broken("the client closed the connection before it logged in".to_owned()))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(AcceptError::Broken(error.to_string())),
        }
    }

    /// Says yes, lets the client try something else, or tells it why not.
    async fn judge<A: Authenticator>(
        &mut self,
        proof: Proof,
        authenticator: &A,
    ) -> Result<Option<Admitted<A::Grant>>, AcceptError> {
        self.attempts.login = Some(proof.login().to_owned());
        let negotiated = self.engine().negotiated().map(Negotiated::from);
        let Some(negotiated) = negotiated else { return self.refuse().map(|()| None) };
        let attempt = Attempt::new(proof, self.peer, negotiated);
        match authenticator.authenticate(&attempt).await {
            Ok(grant) => {
                let engine = self.engine.take().expect(TAKEN);
                // By whoever said yes.
                let proven = attempt.into_proof().verified_elsewhere();
                let connection = engine.admit(&proven).map_err(|error| self.broken(error))?;
                Ok(Some(Admitted { connection, grant, negotiated }))
            }
            Err(rejection) if rejection.is_told() => {
                self.engine().expel(rejection.text());
                Err(AcceptError::Refused(rejection))
            }
            Err(_) => self.refuse().map(|()| None),
        }
    }

    fn refuse(&mut self) -> Result<(), AcceptError> {
        self.attempts.certificates += 1;
        self.engine().refuse().map_err(|error| self.broken(error))
    }

    fn note(&mut self, Tried { login, method }: Tried) {
        self.attempts.login = Some(login);
        match method {
            TriedMethod::PlainKey | TriedMethod::UnusableKey => self.attempts.plain_keys += 1,
            TriedMethod::Password => self.attempts.passwords += 1,
            TriedMethod::None | TriedMethod::Other => {}
        }
    }

    fn broken(&self, error: Error) -> AcceptError {
        if self.attempts.any() {
            return AcceptError::Unauthenticated(self.attempts.clone());
        }
        AcceptError::Broken(error.to_string())
    }

    pub(super) fn attempts(&self) -> Attempts {
        self.attempts.clone()
    }

    /// Sends what is left to be said, and not for long. Whoever counts connections counts this one until then.
    pub(super) async fn part(self) {
        let (Some(mut wire), Some(mut engine)) = (self.wire, self.engine) else { return };
        let parting = async {
            wire.send().await?;
            wire.collect(|output| engine.take_output(output));
            wire.farewell().await;
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(FAREWELL, parting).await;
    }

    pub(super) fn into_wire(mut self) -> Wire<IO> {
        self.wire.take().expect(TAKEN)
    }
}
