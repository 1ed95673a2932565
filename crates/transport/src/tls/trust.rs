//! Which servers a client trusts.

use std::sync::{Arc, OnceLock};

use access::ClusterName;
use identity::trust::{Pin, TrustBundle};

/// Ways in which a server may prove itself; any one of them is enough. None at all trusts nobody.
#[derive(Debug, Clone, Default)]
pub struct ServerTrust {
    pub(super) cluster: Option<Arc<TrustBundle>>,
    pub(super) pins: Vec<Pin>,
    pub(super) system: bool,
    /// Which cluster the server's certificate is of, once one was accepted by bundle or pin.
    pub(super) witness: Option<Arc<OnceLock<ClusterName>>>,
}

impl ServerTrust {
    /// By a certificate of this cluster's host authority.
    #[must_use]
    pub fn cluster(bundle: Arc<TrustBundle>) -> Self {
        Self { cluster: Some(bundle), ..Self::default() }
    }

    /// By a certificate of a host authority with one of these pins.
    #[must_use]
    pub fn pins(pins: Vec<Pin>) -> Self {
        Self { pins, ..Self::default() }
    }

    /// By a certificate for the name in the address, of an authority that this machine's system trusts.
    #[must_use]
    pub fn system() -> Self {
        Self { system: true, ..Self::default() }
    }

    /// These ways and those.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.cluster = self.cluster.or(other.cluster);
        self.pins.extend(other.pins);
        self.system |= other.system;
        self
    }

    /// The same, and where the cluster will stand whose authority signed for the server: what a server says of itself is
    /// worth less. A certificate of the web says nothing of it.
    #[must_use]
    pub fn witnessed(mut self) -> (Self, Arc<OnceLock<ClusterName>>) {
        let witness = Arc::clone(self.witness.get_or_insert_default());
        (self, witness)
    }

    /// Whether a certificate of the cluster's own authority can be judged.
    #[must_use]
    pub fn knows_cluster(&self) -> bool {
        self.cluster.is_some() || !self.pins.is_empty()
    }
}
