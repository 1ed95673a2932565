//! Who has come how far: key exchanges that were signed, and people who were admitted.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ssh::ExchangeRecord;
use ssh::algorithms::KeyExchange;
use ssh::server::{Claim, Proof};

use super::peer::Peer;
use crate::decision::{Admission, Attempt, Refused, View, decide};
use crate::protocol::{AdmissionId, Denied, MAX_ADMISSIONS, MAX_OPEN, MAX_PROOFS};

/// On top of the time for logging in, for what is on its way.
const SLACK: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Desk {
    open: HashMap<Vec<u8>, Open>,
    admitted: HashMap<AdmissionId, Admitted>,
    last: AdmissionId,
}

/// A session whose first key exchange was signed here, so that what is signed over its identifier was meant for this host.
struct Open {
    key_exchange: KeyExchange,
    host_key: Vec<u8>,
    until: Instant,
    proofs: u32,
}

/// Somebody who is in, on one connection.
pub(super) struct Admitted {
    pub(super) admission: Rc<Admission>,
    pub(super) peer: Peer,
}

impl Desk {
    /// Remembers a session whose first exchange is signed.
    pub(super) fn open(&mut self, exchange: &ExchangeRecord, grace: Duration) -> Result<(), &'static str> {
        let (now, session) = (Instant::now(), exchange.hash());
        if self.open.len() >= MAX_OPEN {
            self.open.retain(|_, open| open.until > now);
        }
        if self.open.len() >= MAX_OPEN {
            return Err("too many sessions wait for a login");
        }
        if self.open.contains_key(&session) {
            return Err("this key exchange was signed before");
        }
        let open = Open {
            key_exchange: exchange.key_exchange(),
            host_key: exchange.host_key().to_vec(),
            until: now + grace + SLACK,
            proofs: 0,
        };
        self.open.insert(session, open);
        Ok(())
    }

    pub(super) fn forget(&mut self, session: &[u8]) {
        self.open.remove(session);
    }

    /// Looks at a proof and decides over it. A session is good for one login.
    pub(super) fn admit(
        &mut self,
        session: &[u8],
        claim: &Claim<'_>,
        peer: Peer,
        view: &View<'_>,
    ) -> Result<AdmissionId, Denied> {
        if self.admitted.len() >= MAX_ADMISSIONS {
            return Err(Denied::new("node_busy", "too many connections"));
        }
        let (proof, key_exchange) = self.proof(session, claim)?;
        let address = canonical(peer.remote).ip();
        let attempt = Attempt { blob: proof.blob(), login: proof.login(), peer: address, key_exchange };
        let admission = decide(attempt, view).map_err(denied)?;
        self.open.remove(session);
        self.last += 1;
        self.admitted.insert(self.last, Admitted { admission: Rc::new(admission), peer });
        Ok(self.last)
    }

    /// A proof whose signature is good, over a session of this host.
    fn proof(&mut self, session: &[u8], claim: &Claim<'_>) -> Result<(Proof, KeyExchange), Denied> {
        let open = self.open.get_mut(session).filter(|open| open.until > Instant::now());
        let open = open.ok_or_else(|| {
            Denied::new(
                "unknown_session",
                "no key exchange of this session was signed here, or it was long ago",
            )
        })?;
        open.proofs += 1;
        if open.proofs > MAX_PROOFS {
            return Err(Denied::new("too_many_attempts", "too many proofs in one session"));
        }
        if !claim.algorithm.certificate {
            return Err(Denied::new("plain_key", "a key without a certificate is nobody's"));
        }
        let proof = claim.in_session(session, &open.host_key);
        proof.verify().map_err(|error| Denied::new("bad_proof", error.to_string()))?;
        Ok((proof, open.key_exchange))
    }

    pub(super) fn admitted(&self, admission: AdmissionId) -> Option<&Admitted> {
        self.admitted.get(&admission)
    }

    pub(super) fn close(&mut self, admission: AdmissionId) {
        self.admitted.remove(&admission);
    }
}

/// An IPv4 client is one on a socket for both families, too: certificates are bound to real addresses.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(super) fn denied(refused: Refused) -> Denied {
    Denied::new(refused.code, refused.reason)
}
