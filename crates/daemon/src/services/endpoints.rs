//! `endpoints.json` in the data directory: where the services of this process listen, once they do. For whoever starts
//! a daemon on ports that the system chooses, and for operators.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The file's name.
pub(crate) const FILE: &str = "endpoints.json";

/// The file, rewritten whenever a service is bound and removed at the end.
#[derive(Debug)]
pub(crate) struct Endpoints {
    path: PathBuf,
    known: Mutex<BTreeMap<&'static str, SocketAddr>>,
}

impl Endpoints {
    /// None yet.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE), known: Mutex::default() }
    }

    /// A service listens there.
    pub(crate) fn tell(&self, service: &'static str, address: SocketAddr) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(service, address);
        // Readers see the old or the new file; nothing depends on it surviving a power cut.
        if let Err(error) = self.write(&known) {
            tracing::warn!(path = %self.path.display(), %error, "cannot tell where the services listen");
        }
    }

    fn write(&self, known: &BTreeMap<&'static str, SocketAddr>) -> io::Result<()> {
        let beside = self.path.with_extension("json.partial");
        std::fs::write(&beside, serde_json::to_vec_pretty(known)?)?;
        std::fs::rename(beside, &self.path)
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = std::fs::remove_file(&self.path);
    }
}
