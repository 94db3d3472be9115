//! The state of a controller's work queue: which keys are due when, which run, which back off. Pure; time is an argument.
//!
//! Invariants: a key is handed out to one worker at a time; a mark is never lost (a key marked while it runs becomes due
//! again when it finishes); a failing key is not tried more often than its back-off allows, except that a change of the
//! world may bring it forward to [`MARK_DELAY`].

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use skiff_shared::backoff::Backoff;

use crate::store::Key;

/// A time on the runner's monotonic clock, since it started.
pub type Moment = Duration;

/// client-go's per-item back-off; its ceiling of 1000 s is lowered because nothing here is a remote service.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(5), max: Duration::from_secs(60) };

/// Conflicts in a row that are retried at once: the next snapshot already has the other write.
const FREE_CONFLICTS: u32 = 3;

/// How long after a failure a change may bring the next try forward.
const MARK_DELAY: Duration = Duration::from_secs(1);

/// How a run of a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done; run again at this moment, if given.
    Done(Option<Moment>),
    /// Someone else wrote meanwhile: the plan was made from old state.
    Conflict,
    /// A write was refused or failed.
    Failed,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    marked: bool,
    due: Option<Moment>,
    failures: u32,
    failed_at: Moment,
}

/// Keys with their due times. Holds nothing for keys that are done.
#[derive(Debug, Default)]
pub struct Queue {
    states: HashMap<Key, State>,
    due: BTreeSet<(Moment, Key)>,
}

impl Queue {
    /// Something about this key changed.
    pub fn mark(&mut self, key: Key, now: Moment) {
        let state = self.states.entry(key.clone()).or_default();
        if state.running {
            state.marked = true;
            return;
        }
        let wanted = if state.failures == 0 { now } else { now.max(state.failed_at + MARK_DELAY) };
        self.schedule(key, wanted);
    }

    /// Hands out a key that is due; it counts as running until [`Queue::finish`].
    pub fn take(&mut self, now: Moment) -> Option<Key> {
        let (moment, _) = self.due.first()?;
        if *moment > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let state = self.states.entry(key.clone()).or_default();
        state.running = true;
        state.marked = false;
        state.due = None;
        Some(key)
    }

    /// A run of this key ended.
    pub fn finish(&mut self, key: &Key, outcome: Outcome, now: Moment) {
        let Some(state) = self.states.get_mut(key) else { return };
        let marked = std::mem::take(&mut state.marked);
        state.running = false;
        let next = match outcome {
            Outcome::Done(requeue) => {
                state.failures = 0;
                if marked { Some(now) } else { requeue }
            }
            Outcome::Conflict => {
                state.fail(now);
                let counted = state.failures.saturating_sub(FREE_CONFLICTS);
                Some(if counted == 0 { now } else { now + BACKOFF.delay(counted) })
            }
            Outcome::Failed => {
                state.fail(now);
                let delay = BACKOFF.delay(state.failures);
                Some(now + if marked { delay.min(MARK_DELAY) } else { delay })
            }
        };
        match next {
            Some(moment) => self.schedule(key.clone(), moment),
            None => {
                self.states.remove(key);
            }
        }
    }

    /// When the next key becomes due.
    pub fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(moment, _)| *moment)
    }

    /// Makes a key due at a moment, or earlier where it already is.
    fn schedule(&mut self, key: Key, moment: Moment) {
        let state = self.states.entry(key.clone()).or_default();
        if state.due.is_some_and(|due| due <= moment) {
            return;
        }
        if let Some(old) = state.due.replace(moment) {
            self.due.remove(&(old, key.clone()));
        }
        self.due.insert((moment, key));
    }
}

impl State {
    fn fail(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str) -> Key {
        Key { resource: "pods".into(), namespace: "default".into(), name: name.into() }
    }

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    #[test]
    fn marks_of_one_key_are_one_run() {
        let mut queue = Queue::default();
        queue.mark(key("a"), at(0));
        queue.mark(key("a"), at(1));
        assert_eq!(queue.take(at(1)), Some(key("a")));
        assert_eq!(queue.take(at(1)), None);
    }

    #[test]
    fn a_key_marked_while_it_runs_runs_once_more_and_never_twice_at_once() {
        let mut queue = Queue::default();
        queue.mark(key("a"), at(0));
        queue.take(at(0)).unwrap();
        queue.mark(key("a"), at(1));
        assert_eq!(queue.take(at(1)), None);
        queue.finish(&key("a"), Outcome::Done(Some(at(900))), at(2));
        assert_eq!(queue.take(at(2)), Some(key("a")), "the mark is older than the requeue");
        queue.finish(&key("a"), Outcome::Done(None), at(3));
        assert_eq!(queue.next_due(), None);
        assert!(queue.states.is_empty(), "nothing is kept of a key that is done");
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        let mut queue = Queue::default();
        queue.mark(key("a"), at(0));
        let mut now = at(0);
        let mut delays = Vec::new();
        for _ in 0..16 {
            queue.take(now).unwrap();
            queue.finish(&key("a"), Outcome::Failed, now);
            let due = queue.next_due().unwrap();
            delays.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(delays[..4], [5, 10, 20, 40]);
        assert_eq!(delays[15], 60_000);
        queue.mark(key("a"), now);
        queue.take(now).unwrap();
        queue.finish(&key("a"), Outcome::Done(None), now);
        queue.mark(key("a"), now);
        assert_eq!(queue.next_due(), Some(now));
    }

    #[test]
    fn a_change_brings_a_failing_key_forward_but_not_to_at_once() {
        let mut queue = Queue::default();
        queue.mark(key("a"), at(0));
        let mut now = at(0);
        for _ in 0..12 {
            now = queue.next_due().unwrap();
            queue.take(now).unwrap();
            queue.finish(&key("a"), Outcome::Failed, now);
        }
        assert!(queue.next_due().unwrap() > now + at(5000));
        queue.mark(key("a"), now + at(10));
        assert_eq!(queue.next_due(), Some(now + MARK_DELAY));
    }

    #[test]
    fn conflicts_are_retried_at_once_a_few_times() {
        let mut queue = Queue::default();
        queue.mark(key("a"), at(0));
        let mut waits = Vec::new();
        let mut now = at(0);
        for _ in 0..5 {
            queue.take(now).unwrap();
            queue.finish(&key("a"), Outcome::Conflict, now);
            waits.push((queue.next_due().unwrap() - now).as_millis());
            now = queue.next_due().unwrap();
        }
        assert_eq!(waits, [0, 0, 0, 5, 10]);
    }

    proptest! {
        /// However marks, runs and failures interleave: one key runs once at a time, and every mark is followed by a run.
        #[test]
        fn no_mark_is_lost(steps in prop::collection::vec((0..3_u8, 0..3_u8, 0..50_u64), 1..200)) {
            let mut queue = Queue::default();
            let mut now = at(0);
            let mut running: Vec<Key> = Vec::new();
            let mut unseen: HashMap<Key, bool> = HashMap::new();
            for (action, which, wait) in steps {
                now += at(wait);
                let name = key(&which.to_string());
                match action {
                    0 => { queue.mark(name.clone(), now); unseen.insert(name, true); }
                    1 => if let Some(k) = queue.take(now) {
                        prop_assert!(!running.contains(&k), "{:?} runs twice", k);
                        unseen.insert(k.clone(), false);
                        running.push(k);
                    },
                    _ => if let Some(k) = running.pop() {
                        let outcome = [Outcome::Done(None), Outcome::Failed, Outcome::Conflict][usize::from(which)];
                        queue.finish(&k, outcome, now);
                    },
                }
            }
            for k in running { queue.finish(&k, Outcome::Done(None), now); }
            while let Some(due) = queue.next_due() {
                let k = queue.take(due).unwrap();
                unseen.insert(k.clone(), false);
                queue.finish(&k, Outcome::Done(None), due);
            }
            prop_assert!(unseen.values().all(|u| !u));
        }
    }
}
