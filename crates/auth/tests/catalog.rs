//! The catalog over a real store: what is read is what is committed on, and what follows from a bot follows.

use access::rbac::lock::LockSubject;
use access::resource::{Kind, Resource};
use access::{RoleName, UserName};
use auth::audit::AuditLog;
use auth::catalog::{Catalog, Reads, layout, record};
use serde_json::json;
use std::sync::Arc;
use store::{Engine, SqliteOptions, SqliteStore, SystemClock, Txn};
use tokio_util::sync::CancellationToken;

struct Bench {
    catalog: Arc<Catalog>,
    _directory: tempfile::TempDir,
}

async fn bench() -> Bench {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(directory.path().join("store"), SqliteOptions::default()).expect("opens");
    let engine: Arc<dyn Engine> = Arc::new(store);
    let audit = AuditLog::new(engine.clone(), Arc::new(SystemClock), "example");
    let catalog = Catalog::open(engine, audit, Arc::new(SystemClock)).await.expect("opens");
    Bench { catalog: Arc::new(catalog), _directory: directory }
}

impl Bench {
    async fn put(&self, resource: serde_json::Value) {
        let resource = Resource::from_json(resource).expect("a resource");
        let key = layout::resource(resource.kind(), resource.name()).expect("a key");
        let mut txn = record::put(Txn::new(), key, &resource);
        if resource.kind() == Kind::Lock {
            txn = txn.put(layout::lock_epoch(), "");
        }
        self.catalog.commit(txn).await.expect("commits").expect("no conflict");
    }

    async fn role(&self, name: &str) {
        self.put(json!({"kind": "role", "version": "v7", "metadata": {"name": name}, "spec": {}})).await;
    }
}

fn role_name(name: &str) -> RoleName {
    RoleName::new(name).expect("a name")
}

#[tokio::test]
async fn a_decision_from_an_old_view_is_made_again() {
    let bench = bench().await;
    let mut reads = Reads::new(&bench.catalog);
    assert!(reads.role(&role_name("a")).await.expect("reads").is_none(), "the view is older than the role");
    bench.role("a").await;
    assert!(reads.try_fresh(), "the refusal came from the view");
    assert!(reads.role(&role_name("a")).await.expect("reads").is_some());
    assert!(!reads.try_fresh(), "this one came from the store");
}

#[tokio::test]
async fn a_commit_fails_when_what_was_read_has_changed() {
    let bench = bench().await;
    bench.role("a").await;
    let mut reads = Reads::new(&bench.catalog);
    reads.try_fresh();
    reads.role(&role_name("a")).await.expect("reads").expect("is there");
    bench.role("a").await;
    assert_eq!(reads.commit(Txn::new()).await.expect("no failure"), None, "the role was changed");
    reads.role(&role_name("a")).await.expect("reads").expect("is there");
    assert!(reads.commit(Txn::new()).await.expect("no failure").is_some());
}

#[tokio::test]
async fn a_lock_that_comes_in_between_stops_the_commit() {
    let bench = bench().await;
    let alice = UserName::new("alice").expect("a name");
    let subject = LockSubject { user: Some(&alice), ..LockSubject::default() };
    let mut reads = Reads::new(&bench.catalog);
    reads.refuse_locked(&subject).await.expect("there is no lock yet");
    bench
        .put(json!({"kind": "lock", "version": "v2", "metadata": {"name": "l"},
            "spec": {"target": {"user": "alice"}}}))
        .await;
    assert_eq!(reads.commit(Txn::new()).await.expect("no failure"), None);
    let refused = reads.refuse_locked(&subject).await.expect_err("locked by now");
    assert_eq!(refused.code, "locked");
}

#[tokio::test]
async fn the_role_and_the_user_of_a_bot_follow_from_the_bot() {
    let bench = bench().await;
    bench
        .put(json!({"kind": "bot", "version": "v1", "metadata": {"name": "ci"}, "spec": {"roles": ["a"]}}))
        .await;
    for fresh in [false, true] {
        let stop = CancellationToken::new();
        let following = tokio::spawn(bench.catalog.clone().follow(stop.clone()));
        let mut changes = bench.catalog.changes();
        while bench.catalog.view().bots.is_empty() {
            changes.changed().await.expect("the catalog lives");
        }
        let mut reads = Reads::new(&bench.catalog);
        if fresh {
            reads.try_fresh();
        }
        let role = reads.role(&role_name("bot-ci")).await.expect("reads").expect("follows");
        assert_eq!(role.spec.allow.impersonate.as_ref().expect("may ask").roles, ["a"]);
        let user = UserName::new("bot-ci").expect("a name");
        assert!(reads.user(&user).await.expect("reads").is_some());
        assert!(reads.commit(Txn::new()).await.expect("no failure").is_some());
        stop.cancel();
        following.await.expect("ends");
    }
}

#[tokio::test]
async fn nothing_is_decided_while_something_cannot_be_read() {
    let bench = bench().await;
    let key = layout::resource(Kind::Role, "a").expect("a key");
    bench.catalog.commit(Txn::new().put(key, "{}")).await.expect("commits").expect("no conflict");
    let stop = CancellationToken::new();
    let following = tokio::spawn(bench.catalog.clone().follow(stop.clone()));
    let mut changes = bench.catalog.changes();
    while bench.catalog.view().intact().is_ok() {
        changes.changed().await.expect("the catalog lives");
    }
    let mut reads = Reads::new(&bench.catalog);
    assert_eq!(reads.role(&role_name("b")).await.expect_err("refuses").code, "store_damaged");
    bench.role("a").await;
    while bench.catalog.view().intact().is_err() {
        changes.changed().await.expect("the catalog lives");
    }
    stop.cancel();
    following.await.expect("ends");
}
