//! Who wants to reach a node: a user whose certificate a verifier accepted.

use std::net::SocketAddr;

use access::HostId;
use access::Login;
use access::rbac::lock::LockSubject;
use identity::UserIdentity;
use identity::verify::ssh::VerifiedUser;
use identity::verify::x509::VerifiedIdentity;
use jiff::Timestamp;
use transport::ssh::Negotiated;

/// A verified user or bot, and where it connects from. Only made from what verifiers return.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    user: UserIdentity,
    valid_before: Timestamp,
    peer: SocketAddr,
    /// What protects the connection, where it is SSH.
    negotiated: Option<Negotiated>,
}

impl Caller {
    /// From a TLS client certificate; hosts are no callers.
    pub(crate) fn from_tls(verified: &VerifiedIdentity, peer: SocketAddr) -> Option<Self> {
        let user = verified.identity().user()?.clone();
        Some(Self { user, valid_before: verified.valid_before(), peer, negotiated: None })
    }

    /// From an SSH user certificate.
    pub(crate) fn from_ssh(verified: &VerifiedUser, peer: SocketAddr, negotiated: Negotiated) -> Self {
        let (user, valid_before) = (verified.user().clone(), verified.valid_before());
        Self { user, valid_before, peer, negotiated: Some(negotiated) }
    }

    #[cfg(test)]
    pub(crate) fn unverified(user: UserIdentity, valid_before: Timestamp, peer: SocketAddr) -> Self {
        Self { user, valid_before, peer, negotiated: None }
    }

    #[cfg(test)]
    pub(crate) fn over(self, negotiated: Negotiated) -> Self {
        Self { negotiated: Some(negotiated), ..self }
    }

    pub(crate) fn user(&self) -> &UserIdentity {
        &self.user
    }

    pub(crate) fn valid_before(&self) -> Timestamp {
        self.valid_before
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What protects the connection to us; nothing where it is TLS.
    pub(crate) fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }

    /// What a lock may hit of this caller on its way to a node.
    pub(crate) fn lock_subject<'a>(
        &'a self,
        login: Option<&'a Login>,
        node: Option<HostId>,
    ) -> LockSubject<'a> {
        LockSubject {
            user: Some(&self.user.name),
            roles: &self.user.roles,
            login,
            server_id: node,
            bot_instance_id: self.user.bot.as_ref().map(|bot| bot.instance),
            join_token: self.user.bot.as_ref().and_then(|bot| bot.join_token.as_deref()),
        }
    }
}
