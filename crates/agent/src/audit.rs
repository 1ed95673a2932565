//! Reports to the audit log: kept on disk until auth has them, so that an auth that is away loses nothing.
//!
//! The spool is bounded. When it is full the oldest events are kept, new ones are dropped, counted and logged.

mod cut;
mod losses;
mod send;
mod spool;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use transport::health::ServiceHealth;
use transport::rpc::Channel;
use uuid::Uuid;

use crate::state::{StateDir, StateError};
use losses::Losses;
use send::Sender;
use spool::{Entry, Spool};

const FILE: &str = "audit.spool";
/// Events that the spool has not taken yet.
const QUEUE: usize = 4096;

/// Something that happened: a name, a code and fields as the reference sheet has them. Secrets do not belong in it.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    fields: Map<String, Value>,
}

impl AuditEvent {
    /// An event of this name and code, happening now.
    #[must_use]
    pub fn new(event: &str, code: &str) -> Self {
        let time = Timestamp::now().to_string();
        let fields = [("event", event), ("code", code), ("time", &time)];
        Self { fields: fields.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect() }
    }

    /// An event of these fields, `event` and `code` among them, happening now.
    #[must_use]
    pub fn of(mut fields: Map<String, Value>) -> Self {
        fields.insert("time".to_owned(), Timestamp::now().to_string().into());
        Self { fields }
    }

    /// Sets a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a field when there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Labels as a field.
    #[must_use]
    pub fn with_labels(self, name: &str, labels: &BTreeMap<String, String>) -> Self {
        self.with(
            name,
            labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect::<Map<_, _>>(),
        )
    }
}

/// Takes events. Clones feed the same spool.
#[derive(Debug, Clone)]
pub struct Auditor {
    queue: mpsc::Sender<Entry>,
    losses: Losses,
    waiting: Arc<AtomicUsize>,
}

impl Auditor {
    /// Reports an event, with long texts cut to what the audit log keeps of them. Never waits.
    pub fn emit(&self, event: AuditEvent) {
        let entry = Entry { id: Uuid::new_v4().to_string(), json: cut::to_json(event.fields) };
        match self.queue.try_send(entry) {
            Ok(()) => drop(self.waiting.fetch_add(1, Ordering::Relaxed)),
            Err(_) => self.losses.add(1, "they come faster than they can be kept on disk"),
        }
    }

    /// Events that auth does not have yet. Whoever makes many can wait while these are; the spool takes 20,000.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Events lost so far: because auth was away for too long, or refused them, or they came too fast.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.losses.total()
    }

    /// Shows the number of lost events as the metric `audit_dropped`.
    pub fn register(&self, registry: &mut Registry) {
        self.losses.register(registry);
    }

    /// An auditor whose events go nowhere, and are counted as dropped; for tests.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { queue: mpsc::channel(1).0, losses: Losses::default(), waiting: Arc::default() }
    }
}

/// Opens the spool; the future keeps it and sends from it until after `shutdown`.
pub(crate) fn start(
    state: &StateDir,
    channel: Channel,
    health: ServiceHealth,
    shutdown: CancellationToken,
) -> Result<(Auditor, impl Future<Output = ()> + Send + use<>), StateError> {
    let spool = Spool::open(&state.path(FILE))?;
    let (queue, events) = mpsc::channel(QUEUE);
    let (losses, waiting) = (Losses::default(), Arc::new(AtomicUsize::new(spool.len())));
    let (told, counted) = (losses.clone(), Arc::clone(&waiting));
    let sender = Sender { events, spool: Some(spool), channel, health, losses: told, waiting: counted };
    Ok((Auditor { queue, losses, waiting }, sender.run(shutdown)))
}
