//! The section `auth_service:`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Texts;

/// The certificate authority, policy and audit. Settings of sessions and routing that are given here cannot be changed
/// with `tctl` while they stand here.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthService {
    /// Whether this host runs the auth service.
    pub enabled: bool,
    /// The name of the cluster, a DNS name in lower case; the node name when it is not given. Fixed at the first start.
    pub cluster_name: Option<String>,
    /// Address on which the API is served.
    pub listen_addr: String,
    /// Addresses at which others reach the API.
    pub public_addr: Texts,
    /// Life of certificates, locks, and what connections must be like.
    pub authentication: Authentication,
    /// Tokens with which nodes and proxies may join at any time, each as `node,proxy:TOKEN` or `node:/path/to/token`.
    /// Tokens that expire (`tctl tokens add`) are better.
    pub tokens: Vec<String>,
    /// What JWT-SVIDs of workloads say of who issued them (`iss`): the address below which others find the cluster's keys by OpenID
    /// Connect Discovery, like `https://id.example.com` or `https://PROXY/workload-identity`. Without it they say nothing of it, and
    /// proxies serve no discovery document.
    pub workload_identity_issuer: Option<String>,
    /// End sessions in which nothing happened for this long; `never` for no limit.
    pub client_idle_timeout: Option<String>,
    /// What a user is told whose session is ended for that reason.
    pub client_idle_timeout_message: Option<String>,
    /// End sessions when the certificate they were opened with expires; `no` when it is not given.
    pub disconnect_expired_cert: Option<bool>,
    /// How often a silent client is asked whether it is there; `5m` when it is not given.
    pub keep_alive_interval: Option<String>,
    /// How many unanswered questions end the connection; `3` when it is not given.
    pub keep_alive_count_max: Option<u32>,
    /// How long a proxy waits for a node to answer; `30s` when it is not given.
    pub ssh_dial_timeout: Option<String>,
    /// How a name that fits several nodes is resolved; `unambiguous_match` when it is not given.
    pub routing_strategy: Option<RoutingStrategy>,
    /// Whether `foo` finds the node `Foo`; `no` when it is not given.
    pub case_insensitive_routing: Option<bool>,
    /// Shown before login by clients that ask for it.
    pub message_of_the_day: Option<String>,
}

impl Default for AuthService {
    fn default() -> Self {
        Self {
            enabled: true,
            cluster_name: None,
            listen_addr: "0.0.0.0:3025".to_owned(),
            public_addr: Texts::default(),
            authentication: Authentication::default(),
            tokens: Vec::new(),
            workload_identity_issuer: None,
            client_idle_timeout: None,
            client_idle_timeout_message: None,
            disconnect_expired_cert: None,
            keep_alive_interval: None,
            keep_alive_count_max: None,
            ssh_dial_timeout: None,
            routing_strategy: None,
            case_insensitive_routing: None,
            message_of_the_day: None,
        }
    }
}

/// Life of certificates, locks, and what connections must be like.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Authentication {
    /// The life of a certificate when nothing else is asked for; `12h` when it is not given.
    pub default_session_ttl: Option<String>,
    /// What nodes do when they cannot learn about new locks; `best_effort` when it is not given.
    pub locking_mode: Option<LockingMode>,
    /// Refuse SSH logins over connections without a post-quantum key exchange; `no` when it is not given.
    pub require_post_quantum: Option<bool>,
}

/// What a node does when its view of locks is stale.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockingMode {
    /// Go on with the last known locks.
    BestEffort,
    /// Refuse new sessions and end open ones.
    Strict,
}

/// How a name that fits several nodes is resolved.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoutingStrategy {
    /// Refuse and say so.
    UnambiguousMatch,
    /// Take the one seen last.
    MostRecent,
}
