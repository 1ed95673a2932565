//! What the SQLite engine does with a file that is not, or not any more, its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use store::{Expect, Key, OpenError, SqliteOptions, SqliteStore, Store, Txn};
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store.db");
    (directory, path)
}

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, SqliteOptions::default())
}

fn write_private(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("the file is written");
    fs::set_permissions(path, Permissions::from_mode(0o600)).expect("the mode is set");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file is there").permissions().mode() & 0o7777
}

async fn put(store: &SqliteStore, name: &str) {
    let key = Key::root().child(name).expect("a valid key");
    let txn = Txn::new().expect(key.clone(), Expect::Absent).put(key, "value");
    store.commit(txn).await.expect("the store works").expect("it was absent");
}

/// Expects a refusal that names the file and leaves it as it was.
fn refused(path: &Path) -> OpenError {
    let before = fs::read(path).ok();
    let error = open(path).err().expect("it is refused");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert_eq!(fs::read(path).ok(), before);
    error
}

#[tokio::test]
async fn a_store_is_found_again_and_private() {
    let (_directory, path) = place();
    let store = open(&path).expect("a new store");
    put(&store, "a").await;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path.parent().expect("a directory")).expect("it can be listed") {
        files.push(entry.expect("a file").path());
    }
    assert!(files.len() >= 2);
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    drop(store);

    let store = open(&path).expect("the same store");
    let entry = store.read(&Key::new("/a").expect("a valid key")).await.expect("the store works");
    assert_eq!(entry.map(|entry| entry.value), Some("value".into()));
    put(&store, "b").await;
}

#[test]
fn two_owners_are_refused() {
    let (_directory, path) = place();
    let first = open(&path).expect("a new store");
    assert_eq!(refused(&path), OpenError::InUse { path: path.clone() });
    drop(first);
    open(&path).expect("it is free again");
}

#[test]
fn other_files_are_refused() {
    let (_directory, path) = place();
    let foreign = OpenError::Foreign { path: path.clone() };
    write_private(&path, b"version: v3\n");
    assert_eq!(refused(&path), foreign);
    write_private(&path, b"SQLite format 3\0and then nothing sensible");
    assert_eq!(refused(&path), foreign);
    fs::remove_file(&path).expect("it can be removed");

    let other = Connection::open(&path).expect("another program's database");
    other.execute_batch("CREATE TABLE theirs (x)").expect("a table");
    drop(other);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the mode is set");
    assert_eq!(refused(&path), foreign);
}

/// What a kill between creating the file and its first page leaves behind.
#[test]
fn an_empty_file_becomes_a_store() {
    let (_directory, path) = place();
    write_private(&path, b"");
    open(&path).expect("a new store");
}

#[test]
fn a_newer_store_is_refused_untouched() {
    let (directory, path) = place();
    drop(open(&path).expect("a new store"));
    let later = Connection::open(&path).expect("a database");
    later.pragma_update(None, "user_version", 7).expect("the version is set");
    drop(later);
    let error = refused(&path);
    assert_eq!(error, OpenError::Newer { path: path.clone(), found: 7, supported: 1 });
    assert!(error.to_string().contains("version 7") && error.to_string().contains("up to 1"), "{error}");
    assert!(!directory.path().join("store.db-wal").exists());
}

/// After a crash the version may stand in the write-ahead log only.
#[test]
fn a_newer_version_in_the_log_is_refused_too() {
    let (_directory, path) = place();
    drop(open(&path).expect("a new store"));
    let later = Connection::open(&path).expect("a database");
    later.pragma_update(None, "wal_autocheckpoint", 0).expect("the setting is made");
    later.pragma_update(None, "user_version", 7).expect("the version is set");
    assert!(matches!(refused(&path), OpenError::Newer { found: 7, .. }));
    drop(later);
}

#[test]
fn unsafe_places_are_refused() {
    let (directory, path) = place();
    drop(open(&path).expect("a new store"));

    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("the mode is set");
    assert_eq!(refused(&path), OpenError::TooOpen { path: path.clone(), mode: 0o640 });
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the mode is set");

    let link = directory.path().join("link.db");
    symlink(&path, &link).expect("a link is made");
    assert_eq!(refused(&link), OpenError::NotAFile { path: link });
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).expect("a directory is made");
    assert_eq!(refused(&folder), OpenError::NotAFile { path: folder.clone() });

    fs::set_permissions(&folder, Permissions::from_mode(0o777)).expect("the mode is set");
    assert!(matches!(open(&folder.join("store.db")), Err(OpenError::Directory { .. })));
    assert!(matches!(open(&directory.path().join("none/store.db")), Err(OpenError::Directory { .. })));
    assert!(matches!(open(&path.join("store.db")), Err(OpenError::Directory { .. })));
}

#[tokio::test]
async fn a_store_of_another_user_is_refused() {
    let (_directory, path) = place();
    drop(open(&path).expect("a new store"));
    if std::os::unix::fs::chown(&path, Some(4711), None).is_err() {
        return eprintln!("SKIPPED: giving a file away needs root");
    }
    let error = refused(&path);
    assert!(matches!(error, OpenError::NotOurs { owner: 4711, .. }), "{error}");
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let (directory, path) = place();
    let elsewhere = directory.path().join("elsewhere");
    symlink(&elsewhere, directory.path().join("store.db.lock")).expect("a link");
    let error = open(&path).err().expect("it is refused");
    assert!(matches!(error, OpenError::Unreadable { .. }), "{error}");
    assert!(!elsewhere.exists() && !path.exists());
}
