//! The SQL of the SQLite store: schema, loading with its checks, and making a group of events durable.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::log::{EventLog, LogLimits};
use super::state::State;
use super::{Event, EventKind, Key, Object, Revision};

/// SQLite's name for a database without a file.
pub(super) const IN_MEMORY: &str = ":memory:";

/// The newest schema this release reads and writes.
const SCHEMA: i64 = 1;

/// Older ones can corrupt a database in WAL mode (<https://sqlite.org/releaselog/3_51_3.html>).
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Rows of a statement, largest first: few statements to prepare, few round trips to SQLite's thread.
const ROWS: [usize; 3] = [32, 8, 1];

/// Changes are removed at least this many at a time (a removal costs about as much as a write) …
const TRIM_AT: u64 = 256;
/// … and at most this many, so that no commit waits long.
const TRIM_MOST: u64 = 1024;

const CREATE: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    revision INTEGER NOT NULL, json BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) STRICT;
CREATE TABLE changes (
    revision INTEGER PRIMARY KEY,
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    kind INTEGER NOT NULL, json BLOB NOT NULL,
    previous_revision INTEGER, previous BLOB
) STRICT;
INSERT INTO meta VALUES ('schema', 1), ('revision', 0);
";

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite or the file system refused.
    #[error("cannot {operation} the database {}", path.display())]
    Failed {
        /// What was being done.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The file is damaged, or its contents contradict each other.
    #[error("the database {} is corrupt: {detail}", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A newer release wrote it.
    #[error("the database {} has schema {found}, this release knows schemas up to {SCHEMA}", path.display())]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
    },
    /// The binary was linked with an SQLite that can damage databases.
    #[error("SQLite {found} can corrupt databases in WAL mode; 3.51.3 or newer is needed")]
    OldSqlite {
        /// Its version.
        found: String,
    },
}

/// An open database: one connection, which means one OS thread.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    connection: SqliteConnection,
    /// The revision before the first row of `changes`.
    floor: Revision,
}

/// What a database holds.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) log: EventLog,
}

impl Database {
    /// Opens or creates, and checks that the file is sound.
    pub(super) async fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |operation| move |e| open_error(path, operation, e);
        if path != Path::new(IN_MEMORY) {
            create_private(path).map_err(sqlx::Error::Io).map_err(failed("create"))?;
        }
        let mut connection = options(path).connect().await.map_err(failed("open"))?;
        check_version(&mut connection, path).await?;
        check_integrity(&mut connection, path).await?;
        create_schema(&mut connection).await.map_err(failed("create the tables of"))?;
        let found = meta(&mut connection, "schema").await.map_err(failed("read the schema version of"))?;
        if found > SCHEMA {
            return Err(OpenError::TooNew { path: path.to_owned(), found });
        }
        Ok(Self { path: path.to_owned(), connection, floor: 0 })
    }

    /// The newest committed revision.
    pub(super) async fn revision(&mut self) -> Result<Revision, sqlx::Error> {
        meta(&mut self.connection, "revision").await.map(i64::cast_unsigned)
    }

    /// Reads everything, and checks that it fits together.
    pub(super) async fn load(&mut self, limits: LogLimits) -> Result<Loaded, OpenError> {
        let path = self.path.clone();
        self.try_load(limits).await.map_err(|e| open_error(&path, "load", e))
    }

    async fn try_load(&mut self, limits: LogLimits) -> Result<Loaded, sqlx::Error> {
        let revision = self.revision().await?;
        let mut state = State::default();
        state.set_revision(revision);
        self.load_objects(&mut state).await?;
        let log = self.load_changes(&mut state, limits).await?;
        Ok(Loaded { state, log })
    }

    async fn load_objects(&mut self, state: &mut State) -> Result<(), sqlx::Error> {
        let mut rows =
            sqlx::query("SELECT resource, namespace, name, revision, json FROM objects").fetch(&mut self.connection);
        while let Some(row) = rows.try_next().await? {
            let key = state.intern(key(&row)?);
            let object = decode(key, row.try_get("revision")?, row.try_get("json")?)?;
            if object.revision > state.snapshot.revision() {
                return Err(inconsistent(format!("{:?} is newer than the newest revision", object.key)));
            }
            state.load(object);
        }
        Ok(())
    }

    async fn load_changes(&mut self, state: &mut State, limits: LogLimits) -> Result<EventLog, sqlx::Error> {
        let newest = state.snapshot.revision();
        let oldest: Option<i64> =
            sqlx::query_scalar("SELECT min(revision) FROM changes").fetch_one(&mut self.connection).await?;
        self.floor = oldest.map_or(newest, |first| first.cast_unsigned().saturating_sub(1));
        let mut log = EventLog::new(self.floor, limits);
        let mut last: HashMap<Key, Event> = HashMap::new();
        let mut rows = sqlx::query("SELECT * FROM changes ORDER BY revision").fetch(&mut self.connection);
        while let Some(row) = rows.try_next().await? {
            let key = state.intern(key(&row)?);
            let event = event(&row, key, state, &last)?;
            if event.revision != log.newest() + 1 {
                return Err(inconsistent(format!("the change log has a gap after revision {}", log.newest())));
            }
            last.insert(event.object.key.clone(), event.clone());
            log.push(event);
        }
        if log.newest() != newest {
            return Err(inconsistent(format!("the change log ends at {}, not at {newest}", log.newest())));
        }
        check_against_log(state, &last)?;
        Ok(log)
    }

    /// Makes events durable in one transaction, and drops changes up to `keep_after` once that is worth it.
    pub(super) async fn persist(&mut self, events: &[Event], keep_after: Revision) -> Result<(), sqlx::Error> {
        let Some(newest) = events.last().map(|e| e.revision) else { return Ok(()) };
        let floor = self.trim_to(keep_after);
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        insert_changes(&mut transaction, events).await?;
        write_objects(&mut transaction, events).await?;
        set_revision(&mut transaction, newest).await?;
        if floor != self.floor {
            delete_changes(&mut transaction, floor).await?;
        }
        transaction.commit().await?;
        self.floor = floor;
        Ok(())
    }

    fn trim_to(&self, keep_after: Revision) -> Revision {
        match keep_after.saturating_sub(self.floor) {
            behind if behind >= TRIM_AT => self.floor + behind.min(TRIM_MOST),
            _ => self.floor,
        }
    }

    /// Drops changes up to `revision`, which must be committed.
    pub(super) async fn compact(&mut self, revision: Revision) -> Result<(), sqlx::Error> {
        delete_changes(&mut self.connection, revision).await?;
        self.floor = self.floor.max(revision);
        Ok(())
    }

    /// Moves the write-ahead log into the database and empties it.
    pub(super) async fn checkpoint(&mut self) -> Result<(), sqlx::Error> {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await.map(drop)
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

/// Creates a missing file for its owner only: Secrets are in it. SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    let file = match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    };
    file.sync_all()?;
    // The name survives power loss only once the directory is on disk as well.
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged write survives power loss: the log is synced at every commit.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        // 2,000 KiB: everything current is in memory already, the page cache serves writes only.
        .pragma("cache_size", "-2000")
        .pragma("wal_autocheckpoint", "1000")
        .statement_cache_capacity(16)
        .thread_name(|_| "store".into())
        .disable_statement_logging()
}

/// Tells damage from other failures: what a user must do about it differs.
fn open_error(path: &Path, operation: &'static str, error: sqlx::Error) -> OpenError {
    /// `SQLITE_CORRUPT` and `SQLITE_NOTADB`, the primary codes.
    const DAMAGE: [i64; 2] = [11, 26];
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<i64>().ok());
    let damaged = code.is_some_and(|code| DAMAGE.contains(&(code & 0xff)))
        || matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::RowNotFound);
    if damaged {
        OpenError::Corrupt { path: path.to_owned(), detail: error.to_string() }
    } else {
        OpenError::Failed { operation, path: path.to_owned(), source: error }
    }
}

fn inconsistent(detail: String) -> sqlx::Error {
    sqlx::Error::Decode(detail.into())
}

async fn check_version(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(connection)
        .await
        .map_err(|e| open_error(path, "ask for the version of SQLite of", e))?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version < OLDEST_SQLITE { Err(OpenError::OldSqlite { found }) } else { Ok(()) }
}

async fn check_integrity(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let verdict: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(3)")
        .fetch_all(connection)
        .await
        .map_err(|e| open_error(path, "check", e))?;
    if verdict == ["ok"] {
        return Ok(());
    }
    Err(OpenError::Corrupt { path: path.to_owned(), detail: verdict.join("; ") })
}

async fn create_schema(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *connection).await?;
    if tables > 0 {
        return Ok(());
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(CREATE).execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn meta(connection: &mut SqliteConnection, name: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(name).fetch_one(connection).await
}

fn key(row: &SqliteRow) -> Result<Key, sqlx::Error> {
    let text = |column| row.try_get::<&str, _>(column).map(Arc::from);
    Ok(Key { resource: text("resource")?, namespace: text("namespace")?, name: text("name")? })
}

fn decode(key: Key, revision: i64, json: &[u8]) -> Result<Arc<Object>, sqlx::Error> {
    let name = format!("{key:?}");
    Object::decode(key, revision.cast_unsigned(), Bytes::copy_from_slice(json))
        .map(Arc::new)
        .map_err(|e| inconsistent(format!("{name} at revision {revision}: {e}")))
}

/// Reads an event; states that are current, or the object of an earlier event, are shared rather than decoded again.
fn event(row: &SqliteRow, key: Key, state: &State, last: &HashMap<Key, Event>) -> Result<Event, sqlx::Error> {
    let revision: i64 = row.try_get("revision")?;
    let object = match state.snapshot.get(&key) {
        Some(current) if current.revision == revision.cast_unsigned() => current.clone(),
        _ => decode(key.clone(), revision, row.try_get("json")?)?,
    };
    let previous = match row.try_get::<Option<i64>, _>("previous_revision")? {
        None => None,
        Some(before) => match last.get(&key) {
            Some(event) if event.revision == before.cast_unsigned() => Some(event.object.clone()),
            _ => Some(decode(key, before, row.try_get("previous")?)?),
        },
    };
    let kind = match row.try_get::<i64, _>("kind")? {
        0 => EventKind::Added,
        1 => EventKind::Modified,
        2 => EventKind::Deleted,
        other => return Err(inconsistent(format!("the change at revision {revision} is of kind {other}"))),
    };
    Ok(Event { revision: revision.cast_unsigned(), kind, object, previous })
}

fn code(kind: EventKind) -> i64 {
    match kind {
        EventKind::Added => 0,
        EventKind::Modified => 1,
        EventKind::Deleted => 2,
    }
}

/// The last change of each key must be what the table of objects says.
fn check_against_log(state: &State, last: &HashMap<Key, Event>) -> Result<(), sqlx::Error> {
    let wrong = last.iter().find(|(key, event)| {
        let current = state.snapshot.get(key).map(|object| object.revision);
        match event.kind {
            EventKind::Added | EventKind::Modified => current != Some(event.revision),
            EventKind::Deleted => current.is_some(),
        }
    });
    match wrong {
        None => Ok(()),
        Some((key, event)) => Err(inconsistent(format!("{key:?} is not as change {} left it", event.revision))),
    }
}

/// Splits rows into the sizes of [`ROWS`].
fn batches<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = ROWS.into_iter().find(|size| *size <= rows.len())?;
        let (batch, rest) = rows.split_at(size);
        rows = rest;
        Some(batch)
    })
}

fn multi_row(head: &str, row: &str, rows: usize, tail: &str) -> AssertSqlSafe<String> {
    // Only literals of this file and a number of repetitions make up the text.
    AssertSqlSafe(format!("{head} VALUES {}{tail}", vec![row; rows].join(",")))
}

async fn insert_changes(connection: &mut SqliteConnection, events: &[Event]) -> Result<(), sqlx::Error> {
    for batch in batches(events) {
        let mut query = sqlx::query(multi_row("INSERT INTO changes", "(?,?,?,?,?,?,?,?)", batch.len(), ""));
        for event in batch {
            let (key, previous) = (&event.object.key, event.previous.as_deref());
            query = query
                .bind(event.revision.cast_signed())
                .bind(key.resource.clone())
                .bind(key.namespace.clone())
                .bind(key.name.clone())
                .bind(code(event.kind))
                .bind(event.object.json.to_vec())
                .bind(previous.map(|object| object.revision.cast_signed()))
                .bind(previous.map(|object| object.json.to_vec()));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes the last state of each key that the events touch.
async fn write_objects(connection: &mut SqliteConnection, events: &[Event]) -> Result<(), sqlx::Error> {
    let last: HashMap<&Key, &Event> = events.iter().map(|event| (&event.object.key, event)).collect();
    let (gone, present): (Vec<&Event>, Vec<&Event>) = last.into_values().partition(|e| e.kind == EventKind::Deleted);
    const UPSERT: &str = " ON CONFLICT DO UPDATE SET revision = excluded.revision, json = excluded.json";
    for batch in batches(&present) {
        let mut query = sqlx::query(multi_row("INSERT INTO objects", "(?,?,?,?,?)", batch.len(), UPSERT));
        for event in batch {
            let key = &event.object.key;
            query = query
                .bind(key.resource.clone())
                .bind(key.namespace.clone())
                .bind(key.name.clone())
                .bind(event.revision.cast_signed())
                .bind(event.object.json.to_vec());
        }
        query.execute(&mut *connection).await?;
    }
    for event in gone {
        let key = &event.object.key;
        sqlx::query("DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?")
            .bind(key.resource.clone())
            .bind(key.namespace.clone())
            .bind(key.name.clone())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn set_revision(connection: &mut SqliteConnection, revision: Revision) -> Result<(), sqlx::Error> {
    let query = sqlx::query("UPDATE meta SET value = ? WHERE name = 'revision'").bind(revision.cast_signed());
    query.execute(connection).await.map(drop)
}

async fn delete_changes(connection: &mut SqliteConnection, up_to: Revision) -> Result<(), sqlx::Error> {
    let query = sqlx::query("DELETE FROM changes WHERE revision <= ?").bind(up_to.cast_signed());
    query.execute(connection).await.map(drop)
}
