//! SQLite against the contract.

use std::sync::Arc;
use std::time::Duration;

use store::conformance::{Fixture, Settings};
use store::{SqliteOptions, SqliteStore};

async fn open(settings: Settings) -> Fixture {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = SqliteOptions {
        clock: settings.clock,
        history: settings.history,
        sweep_every: Duration::from_millis(5),
        ..SqliteOptions::default()
    };
    let engine = SqliteStore::open(directory.path().join("store.db"), options).expect("the store opens");
    Fixture { engine: Arc::new(engine), keep: Box::new(directory) }
}

store::conformance_suite!(open);
