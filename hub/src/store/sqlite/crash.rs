//! Kills a process that writes, again and again, and looks for everything that it acknowledged.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::SqliteStore;
use crate::store::contract::{create, delete, key, update};
use crate::store::{Key, LogLimits, Revision, Store};

const ROUNDS: usize = 20;

/// Set for the process that writes: the database and a prefix for names.
const DATABASE: &str = "SKIFF_TEST_CRASH_DATABASE";
const PREFIX: &str = "SKIFF_TEST_CRASH_PREFIX";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_survives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let mut acknowledged = HashMap::new();
    let mut newest = 0;
    for round in 0..ROUNDS {
        let mut child = start_writer(&path, round);
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut count = 0;
        // Killed after another number of writes each time; what is still in the pipe was acknowledged, too.
        for (name, revision) in lines.filter_map(|line| acknowledgement(&line)) {
            newest = newest.max(revision.unsigned_abs());
            acknowledged.insert(name, revision);
            count += 1;
            if count == 20 + round * 7 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= 20 + round * 7, "the writer ended after {count} writes of round {round}");
        check(&path, &acknowledged, newest).await;
    }
}

/// Opening checks the file, the log for gaps, and objects against the log; here what was acknowledged is looked up.
async fn check(path: &Path, acknowledged: &HashMap<String, i64>, newest: Revision) {
    let store = SqliteStore::open(path, LogLimits::default()).await.unwrap();
    let snapshot = store.snapshot();
    assert!(snapshot.revision() >= newest);
    for (name, revision) in acknowledged {
        let found = snapshot.get(&pod(name)).map(|object| object.revision.cast_signed());
        let fits = match found {
            // Its task can be one write ahead of what it acknowledged: a change, or the removal of what may go.
            Some(found) => *revision > 0 && found >= *revision,
            None => name.ends_with("-go"),
        };
        assert!(fits, "{name} acknowledged at {revision}, found {found:?}");
    }
    store.close().await;
}

fn pod(name: &str) -> Key {
    key("pods", "default", name)
}

fn start_writer(path: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "store::sqlite::crash::writer", "--nocapture"])
        .env(DATABASE, path)
        .env(PREFIX, round.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Parses `ack NAME REVISION`; that of a deletion is negative.
fn acknowledgement(line: &str) -> Option<(String, i64)> {
    let (name, revision) = line.strip_prefix("ack ")?.split_once(' ')?;
    Some((name.to_owned(), revision.parse().ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that is killed; started by the test above"]
async fn writer() {
    let (Ok(path), Ok(prefix)) = (std::env::var(DATABASE), std::env::var(PREFIX)) else { return };
    let store = SqliteStore::open(Path::new(&path), LogLimits::default()).await.unwrap();
    let tasks = (0..8).map(|task| tokio::spawn(write_for_ever(store.clone(), format!("{prefix}-{task}"))));
    futures_util::future::try_join_all(tasks).await.unwrap();
}

/// One object that stays, one that changes and goes, over and over.
async fn write_for_ever(store: Arc<SqliteStore>, prefix: String) {
    for n in 0_u32.. {
        let (keep, go) = (format!("{prefix}-{n}-keep"), format!("{prefix}-{n}-go"));
        let kept = store.commit(vec![create(&pod(&keep)), create(&pod(&go))]).await.unwrap();
        acknowledge(&keep, kept[0].revision.cast_signed());
        acknowledge(&go, kept[1].revision.cast_signed());
        let changed = store.commit(vec![update(&pod(&go), kept[1].revision, n)]).await.unwrap();
        acknowledge(&go, changed[0].revision.cast_signed());
        let gone = store.commit(vec![delete(&pod(&go), changed[0].revision)]).await.unwrap();
        acknowledge(&go, -gone[0].revision.cast_signed());
    }
}

fn acknowledge(name: &str, revision: i64) {
    eprintln!("ack {name} {revision}");
}
