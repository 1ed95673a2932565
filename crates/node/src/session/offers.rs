//! What a client serves for one session, for the programs that run in it.

use std::sync::Arc;

use transport::ssh::server::Display;

use super::Scope;
use crate::forward::agent::{self, AgentSocket};
use crate::forward::display::{self, DisplaySocket};

/// All of it; ends with the session, of which this is a part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offers {
    agent: Option<Arc<AgentSocket>>,
    display: Option<Arc<DisplaySocket>>,
}

impl Offers {
    /// How programs find it.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let agent = self.agent.iter().map(|agent| ("SSH_AUTH_SOCK", agent.path()));
        let display = self.display.iter().map(|display| ("DISPLAY", display.name()));
        agent.chain(display).map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}

impl Scope {
    /// The client would serve its agent; once is enough. Says whether it does.
    pub(super) async fn offer_agent(&mut self) -> bool {
        if self.offers.agent.is_none() {
            self.offers.agent = agent::offer(&self.connection, self.id).await.map(Arc::new);
        }
        self.offers.agent.is_some()
    }

    /// The client would serve its display; a second one is refused, as sshd does. Says whether it does.
    pub(super) async fn offer_display(&mut self, offered: Display) -> bool {
        if self.offers.display.is_some() {
            return false;
        }
        let display = display::offer(&self.connection, self.id, offered).await;
        self.offers.display = display.map(Arc::new);
        self.offers.display.is_some()
    }
}
