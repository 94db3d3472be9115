//! The bounded log of recent events, from which watches resume, and how a store publishes a commit.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use super::{Event, EventKind, Object, Revision, Snapshot, StoreError};

/// Bounds of the log of events. The older events go first; a watch that needs them must list again.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Most events.
    pub events: usize,
    /// Most bytes of memory that the events may take beyond the current objects, which they share with the snapshot.
    pub bytes: usize,
}

impl Default for LogLimits {
    /// 10,000 events: minutes of a busy cluster, longer than a client needs to reconnect. 4 MiB: about two thousand
    /// changes of pods, and no more than a small machine can spare.
    fn default() -> Self {
        Self { events: 10_000, bytes: 4 << 20 }
    }
}

/// The newest events, consecutive in revision.
///
/// Invariant: `floor` is the revision before the first event, or the newest revision if there is none.
#[derive(Debug)]
pub(super) struct EventLog {
    events: VecDeque<Event>,
    bytes: usize,
    floor: Revision,
    limits: LogLimits,
}

impl EventLog {
    pub(super) fn new(floor: Revision, limits: LogLimits) -> Self {
        Self { events: VecDeque::new(), bytes: 0, floor, limits }
    }

    /// Appends an event, whose revision must be the next, and drops what is over the limits.
    pub(super) fn push(&mut self, event: Event) {
        debug_assert_eq!(event.revision, self.newest() + 1, "revisions have no gaps");
        self.bytes += weight(&event);
        self.events.push_back(event);
        while self.events.len() > self.limits.events || self.bytes > self.limits.bytes {
            self.pop();
        }
    }

    /// The revision from which all later events are here.
    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    pub(super) fn newest(&self) -> Revision {
        self.floor + self.events.len() as u64
    }

    /// At most `max` events after `revision`, oldest first.
    pub(super) fn after(&self, revision: Revision, max: usize) -> Result<Vec<Event>, StoreError> {
        let Some(skip) = revision.checked_sub(self.floor) else {
            return Err(StoreError::Compacted { asked: revision, oldest: self.floor });
        };
        let start = usize::try_from(skip).unwrap_or(usize::MAX).min(self.events.len());
        Ok(self.events.range(start..).take(max).cloned().collect())
    }

    /// Drops events up to `revision`.
    pub(super) fn compact(&mut self, revision: Revision) {
        while self.floor < revision && !self.events.is_empty() {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= weight(&event);
            self.floor = event.revision;
        }
    }
}

/// What an event keeps in memory that would be gone without it: a state that was replaced, which is the `previous` of
/// the event that replaced it, and the last state of what was deleted. The object of any other event is the current
/// one, or the `previous` of a later event, and each later event stays longer.
fn weight(event: &Event) -> usize {
    /// Boxes of [`super::Meta`], allocator overhead, reference counts.
    const OVERHEAD: usize = 400;
    let state = |object: &Object| object.json.len() + size_of::<Object>() + OVERHEAD;
    let deleted = if event.kind == EventKind::Deleted { state(&event.object) } else { 0 };
    size_of::<Event>() + event.previous.as_deref().map_or(0, state) + deleted
}

/// What readers see: changed in one step per commit, never held over an await.
#[derive(Debug)]
pub(super) struct Published {
    inner: RwLock<(Snapshot, EventLog)>,
}

impl Published {
    pub(super) fn new(snapshot: Snapshot, log: EventLog) -> Self {
        Self { inner: RwLock::new((snapshot, log)) }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.read(|snapshot, _| snapshot.clone())
    }

    pub(super) fn changes(&self, revision: Revision, max: usize) -> Result<Vec<Event>, StoreError> {
        self.read(|_, log| log.after(revision, max))
    }

    pub(super) fn floor(&self) -> Revision {
        self.read(|_, log| log.floor())
    }

    pub(super) fn compact(&self, revision: Revision) {
        self.write(|_, log| log.compact(revision));
    }

    /// Shows a new state and its events, then wakes the watchers.
    pub(super) fn publish(
        &self,
        next: Snapshot,
        events: impl IntoIterator<Item = Event>,
        wake: &watch::Sender<Revision>,
    ) {
        let revision = next.revision();
        // The old maps are freed after the lock: readers need not wait for it.
        let _old = self.write(|snapshot, log| {
            events.into_iter().for_each(|event| log.push(event));
            std::mem::replace(snapshot, next)
        });
        wake.send_replace(revision);
    }

    /// A panic elsewhere while the lock was held cannot have left half a state that matters: both parts stay readable.
    fn read<T>(&self, f: impl FnOnce(&Snapshot, &EventLog) -> T) -> T {
        let guard = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        f(&guard.0, &guard.1)
    }

    fn write<T>(&self, f: impl FnOnce(&mut Snapshot, &mut EventLog) -> T) -> T {
        let mut guard = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let (snapshot, log) = &mut *guard;
        f(snapshot, log)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::store::Key;

    fn object(revision: Revision) -> Arc<Object> {
        let key = Key { resource: "pods".into(), namespace: "".into(), name: "a".into() };
        Arc::new(Object::encode(key, revision, json!({"metadata": {}})).unwrap())
    }

    /// A change of one object, whose state before it the event alone keeps.
    fn event(revision: Revision) -> Event {
        let [previous, object] = [revision - 1, revision].map(object);
        Event { revision, kind: EventKind::Modified, object, previous: Some(previous) }
    }

    fn log(limits: LogLimits, newest: Revision) -> EventLog {
        let mut log = EventLog::new(0, limits);
        (1..=newest).for_each(|revision| log.push(event(revision)));
        log
    }

    fn revisions(log: &EventLog, after: Revision, max: usize) -> Vec<Revision> {
        log.after(after, max).unwrap().iter().map(|e| e.revision).collect()
    }

    #[test]
    fn reads_from_any_retained_revision() {
        let log = log(LogLimits { events: 3, bytes: usize::MAX }, 5);
        assert_eq!(revisions(&log, 2, 9), [3, 4, 5]);
        assert_eq!(revisions(&log, 3, 1), [4]);
        assert_eq!(revisions(&log, 5, 9), [0; 0]);
        assert_eq!(revisions(&log, 99, 9), [0; 0]);
        assert!(matches!(log.after(1, 9), Err(StoreError::Compacted { asked: 1, oldest: 2 })));
    }

    #[test]
    fn bytes_bound_the_log_too() {
        let one = weight(&event(1));
        let log = log(LogLimits { events: 100, bytes: one * 2 + one / 2 }, 50);
        assert_eq!(revisions(&log, 48, 9), [49, 50]);
        assert_eq!(log.floor(), 48);
    }

    #[test]
    fn an_event_weighs_what_only_it_keeps() {
        let changed = event(9);
        let added = Event { kind: EventKind::Added, previous: None, ..changed.clone() };
        let deleted = Event { kind: EventKind::Deleted, ..changed.clone() };
        let state = weight(&changed) - weight(&added);
        assert!(state > added.object.json.len());
        assert_eq!(weight(&added), size_of::<Event>(), "its object is the current one");
        assert_eq!(weight(&deleted), weight(&changed) + state);
    }

    #[test]
    fn compaction_drops_up_to_the_revision_and_no_further_than_there_is() {
        let mut log = log(LogLimits::default(), 5);
        log.compact(2);
        assert_eq!(revisions(&log, 2, 9), [3, 4, 5]);
        log.compact(1);
        assert_eq!(log.floor(), 2);
        log.compact(99);
        assert_eq!((log.floor(), log.newest()), (5, 5));
        log.push(event(6));
        assert_eq!(revisions(&log, 5, 9), [6]);
    }
}
