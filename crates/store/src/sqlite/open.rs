//! Opening connections: one that writes, several that only read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::file::check_version;
use super::rows;
use super::schema::{APPLICATION_ID, MIGRATIONS, migrate, version};
use crate::StoreError;

/// How long SQLite itself waits where two connections meet (only at a checkpoint's end and
/// while the log is recovered).
const BUSY: Duration = Duration::from_secs(5);
const CACHED_STATEMENTS: usize = 64;
const PAGE: u64 = 4096;
/// The engine's word for the journal that we need.
const WRITE_AHEAD: &str = "wal";

/// Why a store could not be opened. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The directory is not there, or is no safe place.
    #[error("cannot keep a store in {path}: {reason}; make the directory, owned by the service's user, with mode 0700", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is something else than a plain file (a link, a directory).
    #[error("{path} is not a regular file; remove it or choose another data directory", path = .path.display())]
    NotAFile {
        /// The store's place.
        path: PathBuf,
    },
    /// Others can read or write the file.
    #[error("store {path} has mode {mode:04o}, so other users may read its keys; if none did, run chmod 600 on it", path = .path.display())]
    TooOpen {
        /// The store's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is another user's.
    #[error("store {path} belongs to user {owner}, this process runs as user {us}; run it as that user, or give the directory and all in it to this one (chown -R)", path = .path.display())]
    NotOurs {
        /// The store's file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// The file is not a store.
    #[error("{path} is not a store of this program; nothing was changed, move it away or choose another data directory", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later program wrote it.
    #[error("store {path} has schema version {found}, this program knows up to {supported}; nothing was changed, run the newer program or restore a backup from before the upgrade", path = .path.display())]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// The latest version this program reads.
        supported: i32,
    },
    /// Another process has it open.
    #[error("store {path} is in use by another process; stop that one first", path = .path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// It could not be read or made.
    #[error("cannot open {path}: {reason}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The one connection that writes, at the present schema.
pub(super) fn writing(path: &Path, max_size: Option<u64>) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign { path: path.to_owned() },
        _ => OpenError::Store(rows::failure(path, &error)),
    };
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // The header said so already, but after a crash the present version may be in the log only.
    check_version(path, version(&connection).map_err(failed)?)?;
    // First, so that the file says whose it is from its first page on.
    configure(&connection, max_size).map_err(failed)?;
    let journal = write_ahead(&connection).map_err(failed)?;
    if journal != WRITE_AHEAD {
        let reason = format!(
            "its directory allows no write-ahead log (the engine keeps to {journal:?}); use a local file system"
        );
        return Err(OpenError::Unreadable { path: path.to_owned(), reason });
    }
    migrate(&mut connection, MIGRATIONS).map_err(failed)?;
    Ok(connection)
}

/// A connection that can only read.
pub(super) fn reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    nothing_elsewhere(&connection)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

/// Asks for a write-ahead log and says what the engine keeps instead, which it does without an error. Readers that see
/// every commit while another is made depend on it.
fn write_ahead(connection: &Connection) -> rusqlite::Result<String> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update_and_check(None, "journal_mode", WRITE_AHEAD, |row| row.get(0))
}

/// What does not fit into a query's hands stays in memory: the process may write beside the store and nowhere else, and what
/// is in the store should not lie in `/tmp`.
fn nothing_elsewhere(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn configure(connection: &Connection, max_size: Option<u64>) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    nothing_elsewhere(connection)?;
    if let Some(bytes) = max_size {
        let pages = i64::try_from(bytes / PAGE).unwrap_or(i64::MAX);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Connection, WRITE_AHEAD, write_ahead};

    #[test]
    fn the_engine_says_which_journal_it_keeps() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let on_disk = Connection::open(file.path()).expect("opens");
        assert_eq!(write_ahead(&on_disk).expect("answers"), WRITE_AHEAD);
        let in_memory = Connection::open_in_memory().expect("opens");
        assert_ne!(write_ahead(&in_memory).expect("answers"), WRITE_AHEAD);
    }
}
