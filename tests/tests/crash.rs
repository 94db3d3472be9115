//! SIGKILLs the hub in the middle of concurrent writes, again and again: what was acknowledged is there afterwards,
//! revisions have no gap, and the database is sound.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use skiff_tests::api::Api;
use skiff_tests::process::Process;
use skiff_tests::{Hub, wait_for};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// How often the hub is killed.
const KILLS: usize = 20;
/// Clients that write at the same time.
const WRITERS: usize = 8;
/// Writes to wait for before the hub is killed: enough for several group commits to be in flight.
const WRITES: usize = 40;

/// What writers were told is stored: name and the revision they were given.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(&dir.path().join("hub"), &[]);
    let acknowledged = Acknowledged::default();
    for round in 0..KILLS {
        kill_while_writing(&mut hub, round, &acknowledged).await;
        integrity_check(hub.dir()).await;
        hub.start_again();
        let stored = stored(&hub.api()).await;
        let acknowledged = acknowledged.lock().unwrap().clone();
        for (name, revision) in &acknowledged {
            assert_eq!(stored.get(name), Some(revision), "{name} was acknowledged at {revision} (round {round})");
        }
    }
    let count = acknowledged.lock().unwrap().len();
    assert!(count >= KILLS * WRITES, "only {count} writes were made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_have_no_gap_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(&dir.path().join("hub"), &[]);
    let acknowledged = Acknowledged::default();
    for round in 0..3 {
        let before = revision(&hub.api()).await;
        kill_while_writing(&mut hub, round, &acknowledged).await;
        hub.start_again();
        // Only these writers and the hub's own parts write; each write takes the next revision.
        let seen = watched_revisions(&hub, before).await;
        let own: Vec<u64> = acknowledged.lock().unwrap().values().copied().filter(|r| *r > before).collect();
        let missing: Vec<&u64> = own.iter().filter(|r| !seen.contains(r)).collect();
        assert!(missing.is_empty(), "a watch from {before} does not show {missing:?}");
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "revisions come in order: {seen:?}");
    }
    no_gap_in(hub.dir()).await;
}

/// Lets writers create ConfigMaps until enough are acknowledged, then kills the hub under them.
async fn kill_while_writing(hub: &mut Hub, round: usize, acknowledged: &Acknowledged) {
    let before = acknowledged.lock().unwrap().len();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write_until_cut(hub.api(), format!("w-{round}-{writer}"), acknowledged.clone())))
        .collect();
    let enough = acknowledged.clone();
    tokio::task::block_in_place(|| {
        wait_for(60, "enough acknowledged writes", || {
            let written = enough.lock().unwrap().len() - before;
            if written >= WRITES { Ok(()) } else { Err(format!("there are {written}")) }
        });
    });
    hub.kill9();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Creates ConfigMaps over one connection, one after the other, until the connection breaks.
async fn write_until_cut(api: Api, prefix: String, acknowledged: Acknowledged) {
    let Ok(mut connection) = api.connect().await else { return };
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}});
        let sent =
            connection.send("POST", "/api/v1/namespaces/default/configmaps", "application/json", body.to_string());
        let Ok(reply) = sent.await else { return };
        assert_eq!(reply.status, 201, "{}", reply.json());
        acknowledged.lock().unwrap().insert(name, resource_version(&reply.json()));
    }
}

async fn stored(api: &Api) -> BTreeMap<String, u64> {
    let reply = api.call("GET", "/api/v1/namespaces/default/configmaps", None).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    let list = reply.json();
    let items = list["items"].as_array().expect("a list has items").iter();
    items.map(|o| (o["metadata"]["name"].as_str().unwrap_or_default().to_owned(), resource_version(o))).collect()
}

async fn revision(api: &Api) -> u64 {
    let reply = api.call("GET", "/api/v1/namespaces/default/configmaps?limit=1", None).await.unwrap();
    resource_version(&reply.json())
}

fn resource_version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    text.parse().unwrap_or_else(|_| panic!("no resourceVersion in {object}"))
}

/// The revisions a watch of ConfigMaps shows after `since`.
async fn watched_revisions(hub: &Hub, since: u64) -> Vec<u64> {
    let path = format!("/api/v1/configmaps?watch=true&resourceVersion={since}&timeoutSeconds=1");
    let reply = tokio::time::timeout(Duration::from_secs(20), async { hub.api().call("GET", &path, None).await });
    let reply = reply.await.expect("a watch ends at its timeout").unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    let lines = reply.body.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice::<Value>(l).ok());
    lines.filter(|e| e["type"] == "ADDED").map(|e| resource_version(&e["object"])).collect()
}

/// The SQLite file in a hub's directory, whatever it is called.
fn database(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir).unwrap().flatten().map(|f| f.path());
    files.into_iter().find(|f| f.extension().is_some_and(|e| e == "db" || e == "sqlite")).expect("a hub has a database")
}

async fn open(dir: &Path) -> sqlx::SqliteConnection {
    SqliteConnectOptions::new().filename(database(dir)).connect().await.unwrap()
}

async fn integrity_check(dir: &Path) {
    let mut connection = open(dir).await;
    let row = sqlx::query("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "ok");
    connection.close().await.unwrap();
}

/// Every revision the change log holds follows the one before it.
async fn no_gap_in(dir: &Path) {
    let mut connection = open(dir).await;
    let rows = sqlx::query("SELECT revision FROM changes ORDER BY revision").fetch_all(&mut connection).await.unwrap();
    let revisions: Vec<i64> = rows.iter().map(|r| r.get(0)).collect();
    let gap = revisions.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert_eq!(gap, None, "the change log has a gap");
    assert!(revisions.len() > WRITES, "the change log holds what was written");
    connection.close().await.unwrap();
}

/// A stopped writer is no writer: the harness itself notices a hub that dies.
#[test]
fn a_killed_process_is_seen_to_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut sleep = skiff_tests::process::command(None, "sleep");
    sleep.arg("60");
    let mut process = Process::start("sleep", sleep, &dir.path().join("log"));
    assert!(process.exited().is_none());
    process.kill9();
    assert!(process.exited().is_some());
}
