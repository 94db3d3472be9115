//! What all pods' workers share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skiff_shared::ids::PodUid;
use skiff_shared::pod::{Item, Pod};
use skiff_shared::report::{EventReport, Phase, Subject};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::allocation::{self, Room};
use super::followers::Followers;
use super::network::PodNetwork;
use super::view::Progress;
use crate::desired::{Desired, Reported};
use crate::ledger::Ledger;
use crate::ledger::events::EventQueue;
use crate::ledger::facts::PodFacts;
use crate::podman::Podman;
use crate::volumes::tokens::Tokens;

/// Where the time comes from.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The system's clock.
    System,
    /// Tokio's clock, which tests pause and advance; counts from the given Unix milliseconds.
    Tokio {
        /// Unix milliseconds at `start`.
        base_ms: i64,
        /// When the clock read `base_ms`.
        start: Instant,
    },
}

impl Clock {
    /// Now, Unix milliseconds.
    pub fn now_ms(self) -> i64 {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
            Self::Tokio { base_ms, start } => base_ms.saturating_add(millis(start.elapsed())),
        }
    }
}

/// What all workers share.
#[derive(Debug)]
pub struct Context {
    /// This node's name.
    pub node: String,
    /// The node's address.
    pub host_ip: String,
    /// What pods may have of the node, which stands in for limits that are not set: thousandths of a CPU.
    pub cpu_milli: u64,
    /// The same in bytes of memory.
    pub memory_bytes: u64,
    /// The agent's data directory.
    pub data_dir: PathBuf,
    /// Podman.
    pub podman: Arc<dyn Podman>,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The desired state as it is on disk.
    pub desired: watch::Sender<Arc<Desired>>,
    /// The reported state.
    pub reported: watch::Sender<Arc<Reported>>,
    /// Events on their way to the hub.
    pub events: EventLog,
    /// Images are pulled one at a time, as a kubelet does: a small link is not shared to death.
    pub pulls: Semaphore,
    /// So many probes are carried out at a time.
    pub checks: Semaphore,
    /// Who follows pods' logs.
    pub followers: Followers,
    /// Disk work in progress; see [`Context::on_disk`].
    pub disk: Arc<Semaphore>,
    /// The tokens of pods' service accounts.
    pub tokens: Tokens,
    /// The network that pods are in.
    pub network: PodNetwork,
    /// The clock.
    pub clock: Clock,
}

/// So many probes of all pods are carried out at a time at most.
pub const PROBES_AT_ONCE: usize = 16;

/// So many threads write to the disk at most.
pub const DISK_WRITERS: u32 = 2;

impl Context {
    /// Does blocking work on the ledger, beside the agent's one thread.
    ///
    /// # Errors
    /// When the work panicked.
    pub async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> T + Send + 'static,
    ) -> std::io::Result<T> {
        let turn = Arc::clone(&self.disk).acquire_owned().await.map_err(std::io::Error::other)?;
        let ledger = Arc::clone(&self.ledger);
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&ledger);
            // In this order: whoever waits for the turns then has the ledger to itself.
            drop(ledger);
            drop(turn);
            result
        });
        Ok(done.await?)
    }

    /// Waits until no work on the ledger is in progress, also of those that no longer wait for it.
    pub async fn disk_idle(&self) {
        // Nobody closes the semaphore.
        let _ = self.disk.acquire_many(DISK_WRITERS).await;
    }

    /// Gives a pod what it asks for if the node has room for it, and else leaves it what it has; the pod with that.
    pub fn allocate(&self, pod: &Arc<Pod>, facts: &mut PodFacts, progress: &mut Progress) -> Arc<Pod> {
        let (wanted, ends) = (allocation::asked(pod), pod.deletion.is_some() || facts.failed.is_some());
        let first = facts.allocated.is_empty();
        progress.resize = None;
        if wanted != facts.allocated && !first && !ends {
            let room = Room { cpu_milli: self.cpu_milli, memory_bytes: self.memory_bytes };
            progress.resize = allocation::judge(pod, self.used_by_others(&pod.uid), room, self.clock.now_ms());
        }
        if first || (progress.resize.is_none() && !ends) {
            facts.allocated = wanted;
        }
        allocation::given(pod, &facts.allocated)
    }

    /// What the other pods of this node were given of it.
    pub fn used_by_others(&self, uid: &PodUid) -> Room {
        let (desired, reported) = (self.desired.borrow().clone(), self.reported.borrow().clone());
        let others = desired.items.values().filter_map(|(_, item)| match &**item {
            Item::Pod(pod) if pod.uid != *uid => Some(pod),
            Item::Pod(_) | Item::ConfigMap(_) | Item::Secret(_) => None,
        });
        Room::sum(others.map(|pod| match reported.pods.get(&pod.uid) {
            Some(report) if report.gone || matches!(report.phase, Phase::Succeeded | Phase::Failed) => Room::default(),
            Some(report) => {
                let given = report.resources.iter().map(|r| (r.container.clone(), r.allocated)).collect();
                allocation::needs(pod, &given)
            }
            None => allocation::needs(pod, &allocation::asked(pod)),
        }))
    }

    /// Capacity of local storage that stands in for limits that are not set, bytes; 0 before it was measured.
    pub fn storage_bytes(&self) -> u64 {
        self.reported.borrow().node.as_ref().map_or(0, |node| node.storage_bytes)
    }

    /// Records an event about a pod or one of its containers.
    pub fn pod_event(&self, pod: &Pod, container: &str, warning: bool, reason: &str, message: String) {
        let subject = Subject::Pod {
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            container: container.to_owned(),
            init: pod.init_containers.iter().any(|c| c.name == container),
        };
        self.event(subject, warning, reason, message);
    }

    /// Records an event about the node.
    pub fn node_event(&self, warning: bool, reason: &str, message: String) {
        self.event(Subject::Node, warning, reason, message);
    }

    fn event(&self, subject: Subject, warning: bool, reason: &str, message: String) {
        let at_ms = self.clock.now_ms();
        self.events.push(EventReport { seq: 0, at_ms, warning, reason: reason.to_owned(), message, subject, count: 1 });
    }
}

/// The event queue, shared, with a wake-up for whoever sends them.
#[derive(Debug)]
pub struct EventLog {
    queue: Mutex<EventQueue>,
    newest: watch::Sender<u64>,
}

impl EventLog {
    /// Shares a queue.
    pub fn new(queue: EventQueue) -> Self {
        let newest = watch::Sender::new(queue.last_seq());
        Self { queue: Mutex::new(queue), newest }
    }

    /// Wakes when there are new events.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Events after `seq`, oldest first, at most `max`.
    pub fn after(&self, seq: u64, max: usize) -> Vec<EventReport> {
        self.with(|queue| queue.after(seq, max))
    }

    /// The hub has stored the events up to `seq`.
    pub fn stored(&self, seq: u64) {
        if let Err(error) = self.with(|queue| queue.stored(seq)) {
            tracing::warn!(%error, "stored events may be sent again");
        }
    }

    /// Makes what was recorded survive a power cut.
    pub fn sync(&self) {
        if let Err(error) = self.with(EventQueue::sync) {
            tracing::warn!(%error, "events may be lost in a power cut");
        }
    }

    fn push(&self, event: EventReport) {
        tracing::info!(reason = %event.reason, message = %event.message, "event");
        let newest = self.with(|queue| {
            if let Err(error) = queue.push(event) {
                tracing::warn!(%error, "an event will not survive a restart");
            }
            queue.last_seq()
        });
        self.newest.send_replace(newest);
    }

    fn with<T>(&self, work: impl FnOnce(&mut EventQueue) -> T) -> T {
        work(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
