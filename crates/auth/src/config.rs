//! What the auth service is told.

use crate::kubernetes::KubernetesApi;
use access::resource::cluster::{AuthPreferenceSpec, NetworkingSpec};
use access::spiffe::TokenIssuer;
use access::{ClusterName, HostPort, SystemRole};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use store::{Clock, SqliteOptions};
use transport::listen::Listen;
use transport::rpc::LocalServer;
use zeroize::Zeroizing;

/// What the auth service is told.
pub struct Config {
    /// Where keys, socket and audit files are.
    pub data_dir: PathBuf,
    /// The SQLite store.
    pub storage: PathBuf,
    /// How the store is run.
    pub store: SqliteOptions,
    /// Takes effect at the first start; fixed from then on.
    pub cluster_name: ClusterName,
    /// Where the API is served.
    pub listen: Listen,
    /// Where others reach the API, if that is not told by `listen`.
    pub public: Vec<HostPort>,
    /// Tokens that do not expire.
    pub static_tokens: Vec<StaticToken>,
    /// What JWT-SVIDs say of who issued them; nothing where it is not set.
    pub workload_issuer: Option<TokenIssuer>,
    /// Authorities (DER) of web servers that are believed beside the system's, where the issuers of ID tokens are asked.
    pub issuer_roots: Vec<Vec<u8>>,
    /// Web servers that are asked about joiners and are reached at other addresses than their own; who is expected there stays
    /// the same.
    pub reach: Vec<(HostPort, HostPort)>,
    /// The Kubernetes cluster that this runs in.
    pub kubernetes: Option<KubernetesApi>,
    /// When set, cannot be changed otherwise.
    pub preference: Option<AuthPreferenceSpec>,
    /// When set, cannot be changed otherwise.
    pub networking: Option<NetworkingSpec>,
    /// The socket for local administration, from a process that may not make it any more; made in `data_dir` otherwise.
    pub admin: Option<LocalServer>,
}

impl Config {
    /// The clock by which everything is judged: the store's.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.store.clock.clone()
    }
}

/// A token from the configuration.
pub struct StaticToken {
    /// What joiners become.
    pub roles: Vec<SystemRole>,
    /// The token.
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken").field("roles", &self.roles).finish_non_exhaustive()
    }
}
