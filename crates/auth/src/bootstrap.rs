//! The first start of a cluster, and every later one.
//!
//! The envelope key is made first, then everything else in one transaction: whoever is killed in between simply starts
//! again.

use crate::audit::{AuditLog, Event, kind};
use crate::catalog::{layout, record};
use crate::config::Config;
use crate::sealing::{Envelope, EnvelopeError};
use access::preset;
use access::resource::cluster::{AuthPreferenceSpec, NetworkingSpec, RecordingSpec};
use access::resource::{AuthPreference, Kind, Metadata, NetworkingConfig, RecordingConfig, Resource};
use access::{ClusterName, HostId};
use ca::{Authorities, EnvelopeKey, KeyFault, SealError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::{Engine, Expect, OpenError, StoreError, Txn};
use transport::listen::BindError;
use transport::tls::CredentialsError;

/// A label on settings: who decides about them.
pub const ORIGIN: &str = "teleport.dev/origin";
/// Its value for settings that the configuration file has.
pub const FROM_FILE: &str = "config-file";

/// Why the auth service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be made.
    #[error("cannot make the data directory {path}: {error}", path = .path.display())]
    DataDir {
        /// The directory.
        path: std::path::PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The envelope key cannot be used.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The authorities cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Keys cannot be made.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// The port cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The local socket cannot be opened.
    #[error(transparent)]
    Socket(std::io::Error),
    /// Our own certificate cannot be used.
    #[error("the auth service's own certificate cannot be made: {0}")]
    OwnCertificate(String),
    /// The same, at TLS.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// What is stored is not ours.
    #[error("the store does not hold a cluster of this program: {0}; restore it from a backup")]
    Damaged(String),
}

/// What is fixed since the first start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    /// The cluster's name.
    pub name: ClusterName,
    /// When it came into being.
    pub created: Timestamp,
    /// The id under which auth is a host of the cluster.
    pub auth_id: HostId,
}

/// A cluster that was opened.
pub struct Opened {
    /// What is fixed.
    pub cluster: Cluster,
    /// The authorities, and the revision of the store at which they were written.
    pub authorities: (Authorities, i64),
    /// From which sealing keys are derived.
    pub envelope: Envelope,
}

/// Opens the cluster in the store, making it if there is none.
pub async fn open(engine: &Arc<dyn Engine>, config: &Config) -> Result<Opened, StartError> {
    loop {
        if let Some(entry) = engine.read(&layout::cluster()).await? {
            let cluster: Cluster = serde_json::from_slice(&entry.value)
                .map_err(|error| StartError::Damaged(error.to_string()))?;
            let envelope = Envelope::open(&config.data_dir)?;
            let authorities = authorities(engine, config, &cluster.name, &envelope).await?;
            return Ok(Opened { cluster, authorities, envelope });
        }
        let envelope = Envelope::open_or_make(&config.data_dir)?;
        let txn = first(engine, config, &envelope)?;
        // A conflict means that another process was faster: its cluster is the one to open.
        if engine.commit(txn).await?.is_ok() {
            tracing::info!(cluster = %config.cluster_name, "made a new cluster");
        }
    }
}

fn key(envelope: &Envelope) -> Result<EnvelopeKey, SealError> {
    EnvelopeKey::new(envelope.derive("authorities").as_ref())
}

async fn authorities(
    engine: &Arc<dyn Engine>,
    config: &Config,
    cluster: &ClusterName,
    envelope: &Envelope,
) -> Result<(Authorities, i64), StartError> {
    let place = layout::authorities();
    loop {
        let entry = engine.read(&place).await?;
        let entry = entry.ok_or_else(|| StartError::Damaged("it has no authorities".to_owned()))?;
        let key = key(envelope)?;
        let authorities = Authorities::open(&entry.value, &key, cluster, config.clock().now())?;
        if !authorities.has_grown() {
            return Ok((authorities, entry.revision.number()));
        }
        // A conflict means that another process was faster: its keys are the ones to use.
        let expected = Expect::Revision(entry.revision);
        let txn = Txn::new().expect(place.clone(), expected).put(place.clone(), authorities.seal(&key)?);
        if engine.commit(txn).await?.is_ok() {
            tracing::info!(%cluster, "made the authority for identities of workloads (SPIFFE)");
        }
    }
}

/// Everything a cluster begins with.
fn first(engine: &Arc<dyn Engine>, config: &Config, envelope: &Envelope) -> Result<Txn, StartError> {
    let now = config.clock().now();
    let name = &config.cluster_name;
    let cluster = Cluster { name: name.clone(), created: now, auth_id: HostId(uuid::Uuid::new_v4()) };
    let sealed = Authorities::generate(name, now)?.seal(&key(envelope)?)?;
    let audit = AuditLog::new(engine.clone(), config.clock(), name.as_str());
    let mut txn = Txn::new()
        .expect(layout::cluster(), Expect::Absent)
        .put(layout::cluster(), serde_json::to_string(&cluster).expect("a cluster is names and a time"))
        .put(layout::authorities(), sealed)
        .event(audit.record(Event::new(kind::CLUSTER_CREATE).name(name.as_str())));
    let roles = preset::roles().map(|role| Resource::Role(Box::new(role)));
    let settings = [Kind::ClusterAuthPreference, Kind::ClusterNetworkingConfig, Kind::SessionRecordingConfig];
    for resource in roles.into_iter().chain(settings.into_iter().filter_map(default_setting)) {
        let key = layout::resource(resource.kind(), resource.name())
            .map_err(|error| StartError::Damaged(error.to_string()))?;
        txn = record::put(txn, key, &resource);
    }
    Ok(txn)
}

/// A setting as it is before anybody changes it; none for other kinds.
pub fn default_setting(kind: Kind) -> Option<Resource> {
    let metadata = Metadata { name: kind.single_name()?.to_owned(), ..Metadata::default() };
    Some(match kind {
        Kind::ClusterAuthPreference => {
            Resource::AuthPreference(AuthPreference { metadata, spec: AuthPreferenceSpec::default() })
        }
        Kind::ClusterNetworkingConfig => {
            Resource::NetworkingConfig(NetworkingConfig { metadata, spec: NetworkingSpec::default() })
        }
        _ => Resource::RecordingConfig(RecordingConfig { metadata, spec: RecordingSpec::default() }),
    })
}

/// Brings the settings in line with the configuration file: what it has is in force, and what it no longer has goes
/// back to its default.
pub async fn apply_settings(
    engine: &Arc<dyn Engine>,
    config: &Config,
    audit: &AuditLog,
) -> Result<(), StartError> {
    let preference = config.preference.clone().map(|spec| {
        Resource::AuthPreference(AuthPreference { metadata: from_file(Kind::ClusterAuthPreference), spec })
    });
    let networking = config.networking.clone().map(|spec| {
        Resource::NetworkingConfig(NetworkingConfig {
            metadata: from_file(Kind::ClusterNetworkingConfig),
            spec,
        })
    });
    let settings = [
        (Kind::ClusterAuthPreference, preference, kind::AUTH_PREFERENCE_UPDATE),
        (Kind::ClusterNetworkingConfig, networking, kind::NETWORKING_CONFIG_UPDATE),
    ];
    for (kind, in_file, event) in settings {
        let key = layout::kind(kind);
        let entry = engine.read(&key).await?;
        let stored = entry.as_ref().map(record::decode).transpose();
        let stored = stored.map_err(|damaged| StartError::Damaged(damaged.to_string()))?;
        let origin = stored.as_ref().and_then(|stored| stored.metadata().labels.get(ORIGIN));
        let was_in_file = origin.is_some_and(|origin| origin == FROM_FILE);
        let Some(wanted) = in_file.or_else(|| default_setting(kind).filter(|_| was_in_file)) else {
            continue;
        };
        if entry.as_ref().is_some_and(|entry| *entry.value == *record::encode(&wanted).as_bytes()) {
            continue;
        }
        let expect = entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        let event = Event::new(event).name(wanted.name()).with("origin", FROM_FILE);
        let txn = Txn::new().expect(key.clone(), expect).event(audit.record(event));
        // A conflict means that another auth of this cluster has just done the same.
        let _ = engine.commit(record::put(txn, key, &wanted)).await?;
    }
    Ok(())
}

fn from_file(kind: Kind) -> Metadata {
    Metadata {
        name: kind.single_name().unwrap_or_default().to_owned(),
        labels: [(ORIGIN.to_owned(), FROM_FILE.to_owned())].into(),
        ..Metadata::default()
    }
}
