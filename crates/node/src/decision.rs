//! Who is in, as the node sees it. What counts is what the launcher decided; here is what the node has to know itself.

use access::rbac::ssh::SshPermit;
use identity::UserIdentity;
use jiff::Timestamp;
use launcher::decision::{self, decide};
use transport::ssh::Negotiated;
use transport::ssh::server::Offer;

pub(crate) use launcher::decision::{Refused, View};

use crate::launcher::Ticket;

/// Somebody who came in, and how.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    inner: decision::Admission,
    negotiated: Negotiated,
    ticket: Ticket,
}

/// What the rules say to an offer. The launcher has the last word.
pub(crate) fn judge(offer: &Offer, view: &View<'_>) -> Result<decision::Admission, Refused> {
    let attempt = decision::Attempt {
        blob: offer.certificate.blob(),
        login: &offer.login,
        // A socket for both families shows IPv4 clients as mapped addresses; certificates are bound to real ones.
        peer: offer.peer.ip().to_canonical(),
        key_exchange: offer.negotiated.key_exchange,
    };
    decide(attempt, view)
}

impl Admission {
    pub(crate) fn new(inner: decision::Admission, negotiated: Negotiated, ticket: Ticket) -> Self {
        Self { inner, negotiated, ticket }
    }

    pub(crate) fn user(&self) -> &UserIdentity {
        self.inner.user()
    }

    pub(crate) fn permit(&self) -> &SshPermit {
        self.inner.permit()
    }

    /// What protects the connection.
    pub(crate) fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    /// What the launcher knows it by.
    pub(crate) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// When the connection must end, if it must.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.inner.deadline()
    }

    /// Whether it still holds: locks and roles as they are now.
    pub(crate) fn again(&self, view: &View<'_>) -> Result<Self, Refused> {
        let inner = self.inner.again(view)?;
        Ok(Self { inner, negotiated: self.negotiated, ticket: self.ticket.clone() })
    }
}
