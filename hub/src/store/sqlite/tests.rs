//! What only a store on a disk must do; the rest is in the contract suite.

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tempfile::TempDir;

use super::*;
use crate::store::contract::{create, delete, key, update};
use crate::store::{EventKind, Key};

crate::store::contract::contract_tests!(SqliteStore::open_in_memory().await.unwrap());

struct Disk {
    dir: TempDir,
}

impl Disk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state.db")
    }

    async fn open(&self) -> Arc<SqliteStore> {
        self.open_with(LogLimits::default()).await
    }

    async fn open_with(&self, limits: LogLimits) -> Arc<SqliteStore> {
        SqliteStore::open(&self.path(), limits).await.unwrap()
    }

    async fn refusal(&self) -> String {
        let error = SqliteStore::open(&self.path(), LogLimits::default()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(self.path().to_str().unwrap()), "names the file: {text}");
        text
    }

    /// Runs SQL on a connection of its own.
    async fn sql(&self, statements: &'static str) {
        let mut connection = SqliteConnection::connect(self.path().to_str().unwrap()).await.unwrap();
        sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn count(&self, query: &'static str) -> i64 {
        let mut connection = SqliteConnection::connect(self.path().to_str().unwrap()).await.unwrap();
        let count = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    }
}

fn pod(name: &str) -> Key {
    key("pods", "default", name)
}

/// Everything that a store shows: objects and events.
fn picture(store: &SqliteStore) -> (Revision, Vec<String>, Vec<String>) {
    let snapshot = store.snapshot();
    let objects = snapshot.list(&"pods".into(), None).map(|object| format!("{object:?}")).collect();
    let floor = store.published.floor();
    let events = store.changes(floor, usize::MAX).unwrap().iter().map(|event| format!("{event:?}")).collect();
    (snapshot.revision(), objects, events)
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let disk = Disk::new();
    let store = disk.open().await;
    store.commit(vec![create(&pod("a")), create(&pod("b")), create(&pod("c"))]).await.unwrap();
    store.commit(vec![update(&pod("a"), 1, "new"), delete(&pod("b"), 2)]).await.unwrap();
    let before = picture(&store);
    store.close().await;
    let store = disk.open().await;
    assert_eq!(picture(&store), before);
    assert_eq!(store.commit(vec![create(&pod("d"))]).await.unwrap()[0].revision, 6);
}

#[tokio::test]
async fn a_store_that_was_never_closed_opens_with_all_it_acknowledged() {
    let disk = Disk::new();
    let store = disk.open().await;
    for n in 0..20 {
        store.commit(vec![create(&pod(&n.to_string()))]).await.unwrap();
    }
    // The copy of the files is what a power cut leaves.
    let copy = Disk::new();
    for name in ["state.db", "state.db-wal"] {
        std::fs::copy(disk.dir.path().join(name), copy.dir.path().join(name)).unwrap();
    }
    assert_eq!(picture(&*copy.open().await), picture(&store));
}

#[tokio::test]
async fn a_closed_store_refuses_writes_and_ends_watches() {
    let disk = Disk::new();
    let store = disk.open().await;
    let mut revisions = store.revisions();
    let pending = store.commit(vec![create(&pod("a"))]);
    let (pending, ()) = tokio::join!(pending, store.close());
    assert_eq!(pending.unwrap().len(), 1, "what was handed over before is finished");
    assert!(matches!(store.commit(vec![create(&pod("b"))]).await, Err(StoreError::Closed)));
    assert!(matches!(store.compact(1).await, Err(StoreError::Closed)));
    while revisions.changed().await.is_ok() {}
    assert!(store.snapshot().get(&pod("a")).is_some());
    let wal = std::fs::metadata(disk.dir.path().join("state.db-wal"));
    assert!(wal.is_err() || wal.unwrap().len() == 0);
}

#[tokio::test]
async fn a_commit_that_cannot_be_made_durable_leaves_no_trace() {
    let disk = Disk::new();
    let store = disk.open().await;
    store.commit(vec![create(&pod("a"))]).await.unwrap();
    let before = picture(&store);
    disk.sql("CREATE TRIGGER fail BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'broken disk'); END").await;

    // One group: the conflict is judged against a write that never becomes durable.
    let (keys, clash) = (pod("b"), pod("a"));
    let outcomes = tokio::join!(store.commit(vec![create(&keys)]), store.commit(vec![create(&clash)]));
    assert!(matches!(outcomes.0, Err(StoreError::Backend { .. })), "{outcomes:?}");
    assert!(outcomes.1.is_err());
    assert_eq!(picture(&store), before);

    disk.sql("DROP TRIGGER fail").await;
    assert_eq!(store.commit(vec![create(&pod("b"))]).await.unwrap()[0].revision, 2);
}

#[tokio::test]
async fn a_failing_commit_of_a_group_fails_alone() {
    let disk = Disk::new();
    let store = disk.open().await;
    store.commit(vec![create(&pod("taken"))]).await.unwrap();
    let keys: Vec<_> = ["a", "taken", "b", "taken", "c"].map(pod).into();
    let outcomes = futures_util::future::join_all(keys.iter().map(|key| store.commit(vec![create(key)]))).await;
    let ok: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true, false, true]);
    assert_eq!(store.snapshot().revision(), 4);
}

#[tokio::test]
async fn the_log_is_bounded_on_disk_and_in_memory() {
    let disk = Disk::new();
    let limits = LogLimits { events: 100, bytes: usize::MAX };
    let store = disk.open_with(limits).await;
    let mut at = store.commit(vec![create(&pod("a"))]).await.unwrap()[0].revision;
    for n in 0..1000 {
        at = store.commit(vec![update(&pod("a"), at, n)]).await.unwrap()[0].revision;
    }
    assert_eq!(store.published.floor(), at - 100);
    let rows = disk.count("SELECT count(*) FROM changes").await;
    assert!((100..400).contains(&rows), "{rows}");
    store.close().await;

    let store = disk.open_with(limits).await;
    let first = store.changes(at - 100, 1).unwrap().remove(0);
    assert_eq!(
        (first.kind, first.previous.unwrap().revision),
        (EventKind::Modified, at - 100),
        "previous outlives the log"
    );
}

#[tokio::test]
async fn the_write_ahead_log_stays_bounded() {
    let disk = Disk::new();
    let store = disk.open().await;
    let payload = "x".repeat(20_000);
    let mut at = store.commit(vec![create(&pod("a"))]).await.unwrap()[0].revision;
    for _ in 0..600 {
        at = store.commit(vec![update(&pod("a"), at, payload.as_str())]).await.unwrap()[0].revision;
    }
    let wal = std::fs::metadata(disk.dir.path().join("state.db-wal")).unwrap().len();
    assert!(wal < 8 << 20, "{wal} bytes after 36 MB of writes");
}

#[tokio::test]
async fn damaged_or_contradictory_databases_are_refused() {
    let cases = [
        ("DELETE FROM changes WHERE revision = 2", "gap after revision 1"),
        ("DELETE FROM changes WHERE revision = 3", "ends at 2, not at 3"),
        ("UPDATE meta SET value = 9 WHERE name = 'revision'", "ends at 3, not at 9"),
        ("UPDATE objects SET revision = 77 WHERE name = 'a'", "newer than the newest revision"),
        ("DELETE FROM objects WHERE name = 'a'", "not as change 1 left it"),
        ("UPDATE objects SET json = CAST('{\"metadata\":' AS BLOB) WHERE name = 'a'", "EOF while parsing"),
        ("UPDATE changes SET kind = 7 WHERE revision = 1", "is of kind 7"),
        ("DELETE FROM meta", "no rows returned"),
        ("UPDATE meta SET value = 2 WHERE name = 'schema'", "schema 2, this release knows schemas up to 1"),
    ];
    for (damage, complaint) in cases {
        let disk = Disk::new();
        let store = disk.open().await;
        store.commit(vec![create(&pod("a")), create(&pod("b")), create(&pod("c"))]).await.unwrap();
        store.close().await;
        disk.sql(damage).await;
        let text = disk.refusal().await;
        assert!(text.contains(complaint), "{damage}: {text}");
    }
}

#[tokio::test]
async fn damaged_files_are_refused() {
    let disk = Disk::new();
    let store = disk.open().await;
    for n in 0..50 {
        store.commit(vec![create(&pod(&format!("pod-{n}")))]).await.unwrap();
    }
    store.close().await;
    let sound = std::fs::read(disk.path()).unwrap();

    std::fs::write(disk.path(), "this is no database, but it is long enough to look at".repeat(100)).unwrap();
    assert!(disk.refusal().await.contains("corrupt"));

    let mut garbled = sound.clone();
    let middle = garbled.len() / 2;
    garbled[middle..].fill(0xa5);
    std::fs::write(disk.path(), garbled).unwrap();
    assert!(disk.refusal().await.contains("corrupt"));

    std::fs::write(disk.path(), sound).unwrap();
    assert_eq!(disk.open().await.snapshot().revision(), 50);
}
