//! What is counted. Labels have a fixed set of values, whatever callers send.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The counters of auth.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    certificates: Family<CertificateLabels, Counter>,
    joins: Family<JoinLabels, Counter>,
    incidents: Counter,
    slow_streams: Counter,
    put_off: Counter,
    rounds: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JoinLabels {
    role: &'static str,
    result: &'static str,
}

/// Kinds of certificates.
#[derive(Debug, Clone, Copy)]
pub enum Issued {
    /// A bot's own.
    Bot,
    /// A bot's output.
    Output,
    /// A host's.
    Host,
    /// A user's.
    User,
    /// A workload's, by its X.509-SVID.
    X509Svid,
    /// A workload's, by its JWT-SVID.
    JwtSvid,
}

impl Metrics {
    /// Registers everything.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { certificates, joins, incidents, slow_streams, put_off, rounds } = metrics.clone();
        registry.register("auth_certificates_issued", "Certificates issued", certificates);
        registry.register("auth_joins", "Attempts to join", joins);
        registry.register("auth_generation_mismatches", "Identities found to be in use twice", incidents);
        registry.register(
            "auth_streams_cut",
            "Inventory streams cut because the host was too slow",
            slow_streams,
        );
        registry.register("auth_calls_put_off", "Joins and renewals told to come back later", put_off);
        registry.register("auth_output_calls", "Calls by which bots asked for their outputs", rounds);
        metrics
    }

    /// Certificates were issued.
    pub fn issued(&self, kind: Issued, count: u64) {
        let kind = match kind {
            Issued::Bot => "bot",
            Issued::Output => "output",
            Issued::Host => "host",
            Issued::User => "user",
            Issued::X509Svid => "x509_svid",
            Issued::JwtSvid => "jwt_svid",
        };
        self.certificates.get_or_create(&CertificateLabels { kind }).inc_by(count);
    }

    /// Somebody tried to join.
    pub fn join(&self, role: Option<access::SystemRole>, accepted: bool) {
        let role = role.map_or("unknown", access::SystemRole::as_str);
        let result = if accepted { "accepted" } else { "refused" };
        self.joins.get_or_create(&JoinLabels { role, result }).inc();
    }

    /// An identity was found to be in use twice.
    pub fn incident(&self) {
        self.incidents.inc();
    }

    /// Somebody was told to come back later.
    pub fn put_off(&self) {
        self.put_off.inc();
    }

    /// A bot asked for outputs.
    pub fn output_call(&self) {
        self.rounds.inc();
    }

    /// A host did not read its stream.
    pub fn slow_stream(&self) {
        self.slow_streams.inc();
    }
}
