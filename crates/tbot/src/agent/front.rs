//! Whether the address that was configured as a proxy's is one's. An auth service lets bots join too, so that without this question
//! everything would seem to be well until somebody connects to a node.

use super::AgentError;
use super::member::address;
use crate::config::Server;
use transport::tls::{Expected, alpn, connect};
use transport::{ConnectError, Problem, ServerTrust};

/// Refuses an auth service in the place of a proxy. Whatever else is wrong with the server is for the next call to tell.
pub async fn refuse_auth(server: &Server, trust: &ServerTrust) -> Result<(), AgentError> {
    let Server::Proxy(shown) = server else { return Ok(()) };
    let addr = address(server)?;
    let through = connect(&addr, Expected::Proxy, trust.clone(), &[alpn::SSH]).await;
    let Err(ConnectError { problem: Problem::NoSuchProtocol { .. }, .. }) = through else { return Ok(()) };
    match connect(&addr, Expected::Auth, trust.clone(), &[alpn::JOIN]).await {
        Ok(_) => Err(AgentError::NotAProxy { addr: shown.clone() }),
        Err(_) => Ok(()),
    }
}
