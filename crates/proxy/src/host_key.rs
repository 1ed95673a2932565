//! Whether the server at a node's address is that node: it shows a certificate of the cluster's host authority for the node's
//! id, or a plain key that such a certificate is about.
//!
//! Where a node is dialled is what the node said. This is what keeps it from saying the address of another server, one that the
//! proxy reaches and the caller does not.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::HostId;
use identity::Refusal;
use identity::verify::ssh::{HostContext, VerifiedHost, host};
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::time::timeout;
use transport::LiveCredentials;
use transport::ssh::client::host_certificate;
use transport::ssh::witness::Astray;

use crate::denied::Denied;
use crate::routing::Entry;

/// How long a server may take to show its certificate when it is asked for it.
const ASK: Duration = Duration::from_secs(10);
/// The most nodes whose keys are remembered; the list begins anew then.
const MOST: usize = 10_000;

/// The keys with which nodes have signed, and which their certificates are about; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostKeys(Arc<Mutex<HashMap<HostId, Known>>>);

#[derive(Debug)]
struct Known {
    key: Vec<u8>,
    until: Timestamp,
}

/// What answers is not the node.
#[derive(Debug)]
pub(crate) struct Misled {
    /// What the caller is told: nothing of hosts that it may not see.
    pub(crate) denied: Denied,
    /// What administrators are told.
    pub(crate) server: String,
}

/// Judges what one server shows.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    pub(crate) node: Arc<Entry>,
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Of the proxy: whom it trusts.
    pub(crate) credentials: LiveCredentials,
    pub(crate) keys: HostKeys,
}

impl Judge {
    /// By the host key of its first key exchange, as on the wire.
    pub(crate) async fn judge(self, shown: Vec<u8>) -> Result<(), Misled> {
        match self.certificate(&shown) {
            // A plain key, or nothing that anybody knows.
            Err(Refusal::AlgorithmNotAllowed(name)) => self.plain(&shown, &name).await,
            judged => judged.map(drop).map_err(|refusal| self.other(&refusal)),
        }
    }

    /// The server does not even exchange keys.
    pub(crate) fn astray(&self, astray: Astray) -> Misled {
        let reason = format!("node {:?} does not speak SSH as it should: {astray}", self.hostname());
        let hint = "its administrator should check its address and its log";
        Misled { denied: Denied::new("node_not_ssh", reason, hint), server: astray.to_string() }
    }

    fn certificate(&self, blob: &[u8]) -> Result<VerifiedHost, Refusal> {
        let Some(current) = self.credentials.current() else {
            return Err(Refusal::BadIdentity("the proxy has no credentials".to_owned()));
        };
        let id = self.node.node().id.to_string();
        host(blob, &HostContext { trust: current.trust(), now: Timestamp::now(), names: &[&id] })
    }

    /// Clients that know no host authorities ask for the plain key. A certificate says whose it is, and the server has one.
    ///
    /// Only a certificate whose key signed an exchange with this proxy counts: certificates are issued for whatever public key a bot
    /// names, that of another server among them.
    async fn plain(&self, key: &[u8], algorithm: &str) -> Result<(), Misled> {
        let id = self.node.node().id;
        if self.keys.knows(id, key) {
            return Ok(());
        }
        let asking = async { host_certificate(TcpStream::connect(self.address).await.ok()?, ASK).await.ok() };
        let Ok(Some(certificate)) = timeout(ASK, asking).await else {
            let what = "a server that has no certificate of this cluster";
            return Err(
                self.misled(what, format!("a plain {algorithm} key, and no certificate when asked for one"))
            );
        };
        let verified = self.certificate(&certificate).map_err(|refusal| self.other(&refusal))?;
        if let Ok(key) = verified.key().to_bytes() {
            self.keys.learn(id, Known { key, until: verified.valid_before() });
        }
        match self.keys.knows(id, key) {
            true => Ok(()),
            false => {
                let what = "a server that shows a key of its own, which its certificate of this cluster is not about; \
                            let the client ask for the certificate, or for the key that it is about";
                Err(self.misled(what, format!("a plain {algorithm} key that its certificate is not about")))
            }
        }
    }

    fn other(&self, refusal: &Refusal) -> Misled {
        let what = match refusal {
            Refusal::WrongHost { .. } => "another host of this cluster",
            Refusal::Expired(_) => "a host whose certificate has expired",
            Refusal::NotYetValid(_) => "a host whose certificate is not valid yet; check the clocks",
            Refusal::WrongCertType { .. } => "a server that shows a certificate for users",
            _ => "a server that has no certificate of this cluster",
        };
        self.misled(what, format!("{refusal} ({})", refusal.code()))
    }

    fn misled(&self, what: &str, server: String) -> Misled {
        let reason = format!("what answers at the address of node {:?} is {what}", self.hostname());
        let hint =
            "its administrator should check its address, and whether its SSH server shows its certificate";
        Misled { denied: Denied::new("node_other_host", reason, hint), server }
    }

    fn hostname(&self) -> &str {
        &self.node.node().spec.hostname
    }
}

impl HostKeys {
    fn learn(&self, id: HostId, known: Known) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST && !keys.contains_key(&id) {
            keys.clear();
        }
        keys.insert(id, known);
    }

    fn knows(&self, id: HostId, key: &[u8]) -> bool {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(&id).is_some_and(|known| known.key == key && Timestamp::now() < known.until)
    }
}
