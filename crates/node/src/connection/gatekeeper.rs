//! Answers the SSH server's question who may come in, and says so to the log and to audit.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use launcher::protocol::Denied;
use transport::ssh::server::{Attempt, Authenticator, Offer, Rejection};

use crate::audit::{AUTH_FAILED, Event, SESSION_REJECTED};
use crate::decision::{Admission, Refused, judge};
use crate::shared::{Shared, UserSlot};

/// For one connection.
pub(crate) struct Gatekeeper {
    shared: Arc<Shared>,
    local: SocketAddr,
    /// The client's connection.
    socket: Arc<OwnedFd>,
}

/// Somebody who came in.
pub(crate) struct Admitted {
    pub(crate) admission: Admission,
    pub(crate) slot: UserSlot,
}

impl Gatekeeper {
    pub(crate) fn new(shared: Arc<Shared>, local: SocketAddr, socket: Arc<OwnedFd>) -> Self {
        Self { shared, local, socket }
    }

    /// Why the launcher said no, as far as this process sees that, too.
    fn explain(&self, attempt: &Attempt, denied: &Denied) -> Rejection {
        let offer = match attempt.verify() {
            Ok(offer) => offer,
            Err(rejection) => return rejection,
        };
        match self.shared.with_view(|view| judge(&offer, view)) {
            Err(refused) => self.refuse(&offer, refused),
            Ok(_) if denied.code == "no_connection" => Rejection::untold("the client went away"),
            Ok(_) => {
                let Denied { code, reason } = denied;
                tracing::error!(peer = %offer.peer, login = offer.login, code, reason, "the launcher refused a login");
                self.shared.metrics.refuse("launcher_refused");
                Rejection::untold(format!("{reason} ({code})"))
            }
        }
    }

    fn refuse(&self, offer: &Offer, refused: Refused) -> Rejection {
        let Refused { code, reason, rule, user, known, told } = &refused;
        self.shared.metrics.refuse(code);
        if !known {
            // Whoever can write events at will can push out those that matter.
            tracing::debug!(peer = %offer.peer, login = offer.login, code, reason, "refused a stranger");
            return Rejection::untold(refused.words());
        }
        let name = user.as_ref().map(|user| user.as_str());
        tracing::warn!(peer = %offer.peer, login = offer.login, user = name, code, reason, rule, "refused a login");
        let event = Event::new(AUTH_FAILED)
            .with("login", offer.login.as_str())
            .between(offer.peer, self.local)
            .over(offer.negotiated)
            .denied(code, reason, rule.as_deref());
        self.shared.emit(match name {
            Some(user) => event.with("user", user),
            None => event,
        });
        match told {
            true => Rejection::told(refused.words()),
            false => Rejection::untold(refused.words()),
        }
    }

    fn count(&self, offer: &Offer, admission: Admission) -> Result<Admitted, Rejection> {
        let limit = admission.permit().options().max_connections();
        let user = &admission.user().name;
        if let Some(slot) = self.shared.users.enter(user, limit) {
            return Ok(Admitted { admission, slot });
        }
        let max = limit.unwrap_or_default();
        self.shared.metrics.refuse("max_connections");
        let event = by(Event::new(SESSION_REJECTED), &admission)
            .with("login", offer.login.as_str())
            .between(offer.peer, self.local);
        self.shared.emit(event.with("reason", "max_connections limit reached").with("max", max));
        let text = format!("too many concurrent ssh connections for user {:?} (max={max})", user.as_str());
        Err(Rejection::told(format!("{text} (max_connections)")))
    }
}

impl Authenticator for Gatekeeper {
    type Grant = Admitted;

    async fn authenticate(&self, attempt: &Attempt) -> Result<Admitted, Rejection> {
        let shared = &self.shared;
        let admitted = shared.launcher.launcher().admit(attempt.proof(), &self.socket, shared.locks_fresh());
        let ticket = admitted.await.map_err(|denied| self.explain(attempt, &denied))?;
        // The launcher has looked at the proof; what a yes means for this process it finds out itself.
        let offer = attempt.verified_elsewhere();
        match shared.with_view(|view| judge(&offer, view)) {
            Ok(admission) => self.count(&offer, Admission::new(admission, offer.negotiated, ticket)),
            Err(refused) => Err(self.refuse(&offer, refused)),
        }
    }
}

/// Says in an event who did it, and over what.
pub(super) fn by(event: Event, admission: &Admission) -> Event {
    let user = admission.user();
    let kind = if user.bot.is_some() { 2 } else { 1 };
    let event = event.with("user", user.name.as_str()).with("user_kind", kind).over(admission.negotiated());
    let event = match &user.bot {
        Some(bot) => event.with("bot_instance_id", bot.instance.to_string()),
        None => event,
    };
    match &user.impersonator {
        Some(impersonator) => event.with("impersonator", impersonator.as_str()),
        None => event,
    }
}
