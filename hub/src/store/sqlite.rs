//! The default store: SQLite on one disk, everything current in memory, one task that owns the writing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::database::{Database, IN_MEMORY, Loaded, OpenError};
use super::log::{LogLimits, Published};
use super::state::State;
use super::{Event, Object, Revision, Snapshot, Store, StoreError, Write};

/// Most commits that one transaction takes. Enough that one sync of the disk pays for many writers; few enough that
/// none of them waits long.
const GROUP: usize = 256;

/// Commits that may wait for the writer before callers wait to hand theirs over.
const INBOX: usize = 256;

/// Quiet time after which the write-ahead log is emptied.
const IDLE: Duration = Duration::from_secs(5);

/// A store in an SQLite file.
///
/// Readers never touch SQLite. The writer task owns the connection and the authoritative state; it commits what waits
/// as one transaction, and shows and acknowledges it only then.
#[derive(Debug)]
pub struct SqliteStore {
    published: Arc<Published>,
    revisions: watch::Receiver<Revision>,
    inbox: Mutex<Option<mpsc::Sender<Command>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer is asked for.
#[derive(Debug)]
enum Command {
    Commit(Vec<Write>, oneshot::Sender<Committed>),
    Compact(Revision, oneshot::Sender<Result<(), StoreError>>),
}

type Committed = Result<Vec<Arc<Object>>, StoreError>;

impl SqliteStore {
    /// Opens the database file, creating it if it is missing, and loads and checks what it holds.
    ///
    /// Two stores must not have one file open at the same time: see [`super::lock`].
    ///
    /// # Errors
    /// [`OpenError`], which names the file.
    pub async fn open(path: &Path, limits: LogLimits) -> Result<Arc<Self>, OpenError> {
        let mut database = Database::open(path).await?;
        let Loaded { state, log } = database.load(limits).await?;
        Ok(Self::start(path.to_owned(), database, state, log))
    }

    /// An empty store in a private database that lives in memory: real SQL without a file.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_in_memory() -> Result<Arc<Self>, OpenError> {
        Self::open(Path::new(IN_MEMORY), LogLimits::default()).await
    }

    fn start(path: PathBuf, database: Database, state: State, log: super::log::EventLog) -> Arc<Self> {
        let published = Arc::new(Published::new(state.snapshot.clone(), log));
        let (wake, revisions) = watch::channel(state.snapshot.revision());
        let (sender, inbox) = mpsc::channel(INBOX);
        let writer = Writer { path, database: Some(database), state, published: published.clone(), wake, dirty: false };
        let task = tokio::spawn(writer.run(inbox));
        Arc::new(Self { published, revisions, inbox: Mutex::new(Some(sender)), writer: Mutex::new(Some(task)) })
    }

    /// Refuses new commits, finishes those that wait, empties the write-ahead log and closes the database. Reads go on
    /// to work; watchers see the channel of [`Store::revisions`] close. The first caller waits until all is done.
    pub async fn close(&self) {
        take(&self.inbox);
        if let Some(writer) = take(&self.writer)
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the store's writer ended abnormally");
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, StoreError> {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        inbox.send(command(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[async_trait]
impl Store for SqliteStore {
    fn snapshot(&self) -> Snapshot {
        self.published.snapshot()
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Object>>, StoreError> {
        self.ask(|reply| Command::Commit(writes, reply)).await?
    }

    fn changes(&self, revision: Revision, max: usize) -> Result<Vec<Event>, StoreError> {
        self.published.changes(revision, max)
    }

    fn revisions(&self) -> watch::Receiver<Revision> {
        self.revisions.clone()
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.ask(|reply| Command::Compact(revision, reply)).await?
    }
}

/// The one task that writes.
///
/// Invariant between commands: `state`, what is published, and the database are at the same revision.
struct Writer {
    path: PathBuf,
    /// `None` after a failure: the next command opens it again.
    database: Option<Database>,
    state: State,
    published: Arc<Published>,
    wake: watch::Sender<Revision>,
    /// Something was written since the write-ahead log was last emptied.
    dirty: bool,
}

impl Writer {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut waiting = Vec::with_capacity(GROUP);
        while self.receive(&mut inbox, &mut waiting).await {
            let (commits, compactions) = sort(waiting.drain(..));
            self.commit(commits).await;
            for (revision, reply) in compactions {
                // The asker may have gone away; the work is done all the same.
                let _ = reply.send(self.compact(revision).await);
            }
        }
        self.finish().await;
    }

    /// Waits for commands; `false` once there will be no more.
    async fn receive(&mut self, inbox: &mut mpsc::Receiver<Command>, waiting: &mut Vec<Command>) -> bool {
        while self.dirty {
            match tokio::time::timeout(IDLE, inbox.recv_many(waiting, GROUP)).await {
                Ok(received) => return received > 0,
                Err(_) => self.checkpoint().await,
            }
        }
        inbox.recv_many(waiting, GROUP).await > 0
    }

    /// Answers come last: whoever is refused because of a commit of the same group can then see that commit.
    async fn commit(&mut self, commits: Vec<(Vec<Write>, oneshot::Sender<Committed>)>) {
        let before = self.state.snapshot.clone();
        let mut events = Vec::new();
        let mut answers = Vec::with_capacity(commits.len());
        for (writes, reply) in commits {
            let outcome = self.state.apply(writes).map(|new| {
                let objects = new.iter().map(|event| event.object.clone()).collect();
                events.extend(new);
                objects
            });
            answers.push((reply, outcome));
        }
        let failure = match self.persist(&events).await {
            Ok(()) => None,
            Err(error) => {
                self.state.snapshot = before;
                tracing::error!(error = &error as &dyn std::error::Error, writes = events.len(), "a commit failed");
                Some(Arc::new(error))
            }
        };
        if failure.is_none() && !events.is_empty() {
            self.published.publish(self.state.snapshot.clone(), events, &self.wake);
        }
        for (reply, outcome) in answers {
            let answer = match &failure {
                None => outcome,
                Some(error) => Err(StoreError::backend("commit", error.clone())),
            };
            // The asker may have gone away; its write stands.
            let _ = reply.send(answer);
        }
    }

    async fn persist(&mut self, events: &[Event]) -> Result<(), WriteError> {
        if events.is_empty() {
            return Ok(());
        }
        let keep_after = self.published.floor();
        let mut database = self.take_database().await?;
        database.persist(events, keep_after).await?;
        self.dirty = true;
        self.database = Some(database);
        Ok(())
    }

    async fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        let revision = revision.min(self.state.snapshot.revision());
        self.compact_database(revision).await.map_err(|e| StoreError::backend("compact", e))?;
        self.published.compact(revision);
        Ok(())
    }

    async fn compact_database(&mut self, revision: Revision) -> Result<(), WriteError> {
        let mut database = self.take_database().await?;
        database.compact(revision).await?;
        self.dirty = true;
        self.database = Some(database);
        Ok(())
    }

    /// The open database, to be put back after success. Whatever fails drops the connection with its transaction; the
    /// next command then starts from what is on disk, which must be what was acknowledged.
    async fn take_database(&mut self) -> Result<Database, WriteError> {
        if let Some(database) = self.database.take() {
            return Ok(database);
        }
        let mut database = Database::open(&self.path).await?;
        let (found, expected) = (database.revision().await?, self.published.snapshot().revision());
        if found == expected { Ok(database) } else { Err(WriteError::Diverged { found, expected }) }
    }

    async fn checkpoint(&mut self) {
        self.dirty = false;
        if let Some(database) = &mut self.database
            && let Err(error) = database.checkpoint().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot empty the write-ahead log");
        }
    }

    async fn finish(mut self) {
        self.checkpoint().await;
        if let Some(database) = self.database
            && let Err(error) = database.close().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot close the database");
        }
    }
}

type Commit = (Vec<Write>, oneshot::Sender<Committed>);
type Compaction = (Revision, oneshot::Sender<Result<(), StoreError>>);

fn sort(commands: impl Iterator<Item = Command>) -> (Vec<Commit>, Vec<Compaction>) {
    let (mut commits, mut compactions) = (Vec::new(), Vec::new());
    for command in commands {
        match command {
            Command::Commit(writes, reply) => commits.push((writes, reply)),
            Command::Compact(revision, reply) => compactions.push((revision, reply)),
        }
    }
    (commits, compactions)
}

/// Why the writer could not make something durable.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("SQLite refused")]
    Sqlite(#[from] sqlx::Error),
    #[error("the database could not be opened again")]
    Reopen(#[from] OpenError),
    #[error("the database is at revision {found}, but {expected} was acknowledged last; a restart loads what it has")]
    Diverged { found: Revision, expected: Revision },
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;
