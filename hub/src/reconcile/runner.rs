//! Drives one controller: follows the store's changes, hands due keys to a few workers, applies their plans.
//!
//! A worker takes the store's newest snapshot when it starts, and every earlier write of the same key was acknowledged
//! before; so a plan is never older than its own last writes. While nothing changes and nothing is due, it sleeps.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::apply::apply;
use super::queue::{Moment, Outcome, Queue};
use super::{Controller, Pulse, Recorder};
use crate::objects::Objects;
use crate::store::{Key, Revision, StoreError};

/// Keys of one controller that are reconciled at the same time: enough to fill the store's grouped commits, few enough
/// not to starve the API on two cores.
const WORKERS: usize = 4;

/// Events read from the store at once.
const BATCH: usize = 512;

/// How often every key is reconciled although nothing changed.
const RESYNC: Duration = Duration::from_secs(600);

/// Runs a controller until `shutdown` is true (or its sender is gone); plans being applied are finished first.
pub async fn run(
    controller: Arc<dyn Controller>,
    objects: Objects,
    recorder: Recorder,
    pulse: Arc<Pulse>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut revisions = objects.store().revisions();
    let mut liveness = controller.liveness().map(|l| l.changes());
    let mut runner = Runner::new(controller, objects, recorder, pulse);
    let mut workers = JoinSet::new();
    runner.resync();
    loop {
        runner.start_due(&mut workers);
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => break,
            Some(finished) = workers.join_next() => match finished {
                Ok((key, outcome)) => runner.finish(&key, outcome),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => break,
            },
            changed = revisions.changed() => match changed {
                Ok(()) => runner.follow(),
                Err(_) => break,
            },
            () = changed(&mut liveness) => {
                runner.mark_all();
            }
            () = tokio::time::sleep_until(runner.next_wake()) => runner.resync_if_due(),
        }
    }
    while workers.join_next().await.is_some() {}
}

/// Resolves when the channel has news; never for no channel or a closed one.
async fn changed(channel: &mut Option<watch::Receiver<u64>>) {
    if let Some(receiver) = channel
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

struct Runner {
    controller: Arc<dyn Controller>,
    objects: Objects,
    recorder: Recorder,
    pulse: Arc<Pulse>,
    queue: Queue,
    cursor: Revision,
    started: Instant,
    resync_at: Instant,
    running: usize,
}

impl Runner {
    fn new(controller: Arc<dyn Controller>, objects: Objects, recorder: Recorder, pulse: Arc<Pulse>) -> Self {
        let started = Instant::now();
        Self {
            controller,
            objects,
            recorder,
            pulse,
            queue: Queue::default(),
            cursor: 0,
            started,
            resync_at: started,
            running: 0,
        }
    }

    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    /// When to wake although nothing changed. With all workers busy a due key waits for one of them, not for a timer.
    fn next_wake(&self) -> Instant {
        match self.queue.next_due() {
            Some(due) if self.running < WORKERS => (self.started + due).min(self.resync_at),
            Some(_) | None => self.resync_at,
        }
    }

    fn start_due(&mut self, workers: &mut JoinSet<(Key, Outcome)>) {
        while self.running < WORKERS
            && let Some(key) = self.queue.take(self.now())
        {
            self.running += 1;
            self.pulse.begin();
            let work = Work {
                controller: Arc::clone(&self.controller),
                objects: self.objects.clone(),
                recorder: self.recorder.clone(),
                started: self.started,
            };
            workers.spawn(async move {
                let outcome = work.reconcile(&key).await;
                (key, outcome)
            });
        }
    }

    fn finish(&mut self, key: &Key, outcome: Outcome) {
        self.running -= 1;
        self.pulse.end();
        self.queue.finish(key, outcome, self.now());
    }

    /// Marks the keys of every change since the last one seen.
    fn follow(&mut self) {
        loop {
            let events = match self.objects.store().changes(self.cursor, BATCH) {
                Ok(events) if events.is_empty() => return,
                Ok(events) => events,
                Err(StoreError::Compacted { .. }) => return self.resync(),
                Err(error) => {
                    tracing::warn!(controller = self.controller.name(), %error, "cannot read changes");
                    return;
                }
            };
            let snapshot = self.objects.snapshot();
            let now = self.now();
            for event in &events {
                self.cursor = event.revision;
                for key in self.controller.keys(event, &snapshot) {
                    self.queue.mark(key, now);
                }
            }
        }
    }

    fn resync_if_due(&mut self) {
        if Instant::now() >= self.resync_at {
            self.resync();
        }
    }

    fn resync(&mut self) {
        self.resync_at = Instant::now() + RESYNC;
        self.cursor = self.mark_all();
        self.follow();
    }

    fn mark_all(&mut self) -> Revision {
        let snapshot = self.objects.snapshot();
        let now = self.now();
        for key in self.controller.all(&snapshot) {
            self.queue.mark(key, now);
        }
        snapshot.revision()
    }
}

/// What one worker needs.
struct Work {
    controller: Arc<dyn Controller>,
    objects: Objects,
    recorder: Recorder,
    started: Instant,
}

impl Work {
    async fn reconcile(self, key: &Key) -> Outcome {
        let snapshot = self.objects.snapshot();
        let now = Timestamp::now();
        let plan = self.controller.reconcile(key, &snapshot, now);
        drop(snapshot);
        let name = self.controller.name();
        if !plan.why.is_empty() {
            tracing::debug!(controller = name, ?key, why = plan.why, "plan");
        }
        let requeue = plan.requeue_at.map(|at| {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
            self.started.elapsed() + wait
        });
        match apply(&self.objects, &self.recorder, name, plan, now).await {
            Outcome::Done(_) => Outcome::Done(requeue),
            other @ (Outcome::Conflict | Outcome::Failed) => other,
        }
    }
}
