//! The node's pods: a worker for each, woken by changes of what is wanted, by Podman's events and by a slow resync.

mod act;
pub mod allocation;
pub mod build;
mod calling;
pub mod context;
pub mod decide;
pub mod env;
pub mod followers;
pub mod history;
pub mod hosts;
mod images;
pub mod logins;
mod mounting;
pub mod network;
mod observe;
pub mod probes;
pub mod resolv;
pub mod status;
pub mod sysctls;
pub mod view;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use skiff_shared::backoff::Backoff;
use skiff_shared::ids::PodUid;
use skiff_shared::pod::{Deletion, Pod, Qos, RestartPolicy};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ledger::facts::PodFacts;
use crate::podman::Labels;
use context::Context;
use network::Subnet;
use worker::{Wanted, Worker};

/// Every pod is looked at this often even when nothing seems to happen: a lost event only delays.
const RESYNC: Duration = Duration::from_secs(300);
/// Grace of pods of which only the containers are known: Kubernetes' default.
const STRANGER_GRACE_SECONDS: u32 = 30;
/// Delays between tries to open the event stream.
const EVENTS_BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };

/// The workers of all pods.
#[derive(Debug)]
pub struct Pods {
    ctx: Arc<Context>,
    workers: Mutex<Workers>,
    /// The hub has been heard since the start: what it did not name until the next resync, it does not want.
    heard_hub: AtomicBool,
}

/// What workers are told, and their tasks, which end with this.
#[derive(Debug, Default)]
struct Workers {
    told: BTreeMap<PodUid, watch::Sender<Wanted>>,
    tasks: JoinSet<()>,
}

impl Pods {
    /// No pods yet.
    pub fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, workers: Mutex::default(), heard_hub: AtomicBool::new(false) }
    }

    /// Wants a pod as given; starts its worker where there is none. `facts` is what is known of a pod from before.
    pub fn want(&self, pod: Arc<Pod>, facts: Option<PodFacts>) {
        self.tell(pod, false, facts);
    }

    /// Stops and forgets a pod that the hub no longer has, with the grace it was to have.
    pub fn leave(&self, pod: Arc<Pod>, facts: Option<PodFacts>) {
        self.tell(pod, true, facts);
    }

    fn tell(&self, pod: Arc<Pod>, leaving: bool, facts: Option<PodFacts>) {
        let uid = pod.uid.clone();
        let mut workers = self.workers();
        if let Some(sender) = workers.told.get(&uid).filter(|s| !s.is_closed()) {
            sender.send_modify(|wanted| {
                wanted.pod = pod;
                wanted.leaving = leaving;
            });
            return;
        }
        let (sender, receiver) = watch::channel(Wanted { pod, leaving, look: 0, data: 0 });
        let worker = Worker::new(Arc::clone(&self.ctx), receiver, facts.unwrap_or_default());
        workers.tasks.spawn(worker.run());
        workers.told.insert(uid, sender);
        // Workers of forgotten pods have ended.
        while workers.tasks.try_join_next().is_some() {}
        workers.told.retain(|_, sender| !sender.is_closed());
    }

    /// ConfigMaps or Secrets of these namespaces changed.
    pub fn data_changed(&self, namespaces: &BTreeSet<String>) {
        for sender in self.workers().told.values() {
            sender.send_if_modified(|wanted| {
                let touched = namespaces.contains(&wanted.pod.namespace);
                wanted.data += u64::from(touched);
                touched
            });
        }
    }

    /// A token of this pod came, or was refused.
    pub fn token_changed(&self, uid: &PodUid) {
        if let Some(sender) = self.workers().told.get(uid) {
            sender.send_modify(|wanted| wanted.data += 1);
        }
    }

    /// Makes one pod's worker look at Podman again.
    pub fn look_at(&self, uid: &PodUid) {
        if let Some(sender) = self.workers().told.get(uid) {
            sender.send_modify(|wanted| wanted.look += 1);
        }
    }

    /// The hub has welcomed this node, and told it its pod subnet and the cluster's domain.
    pub fn hub_heard(&self, subnet: Option<Subnet>, domain: &str) {
        self.heard_hub.store(true, Ordering::Relaxed);
        self.ctx.network.learn_domain(domain);
        if let Some(subnet) = subnet
            && self.ctx.network.learn(subnet)
        {
            // Pods may be waiting for it.
            self.look_at_all();
        }
    }

    /// Stops pods that are in Podman but neither in the ledger nor named by the hub: leftovers of a lost ledger.
    async fn stop_strangers(&self) {
        if !self.heard_hub.load(Ordering::Relaxed) {
            return;
        }
        match self.ctx.podman.list(None).await {
            Ok(listed) => {
                for container in listed {
                    if let Ok(uid) = PodUid::parse(&container.labels.pod_uid)
                        && !self.workers().told.contains_key(&uid)
                    {
                        tracing::warn!(pod = %uid, "stopping a pod that nobody knows");
                        self.leave(Arc::new(stranger(uid, &container.labels)), None);
                    }
                }
            }
            Err(error) => tracing::warn!(error = error.chain(), "cannot look for pods that nobody knows"),
        }
    }

    fn look_at_all(&self) {
        for sender in self.workers().told.values() {
            sender.send_modify(|wanted| wanted.look += 1);
        }
    }

    /// Wakes workers by Podman's events and by the resync, for ever. `reachable` is told whether Podman is.
    pub async fn watch_podman(&self, reachable: &watch::Sender<bool>) {
        let mut failures = 0;
        loop {
            match self.ctx.podman.events().await {
                Ok(events) => {
                    failures = 0;
                    reachable.send_replace(true);
                    // What happened before the stream was open is found by looking.
                    self.look_at_all();
                    self.follow(events).await;
                }
                Err(error) => {
                    reachable.send_replace(!error.is_unreachable());
                    tracing::warn!(error = error.chain(), "cannot watch Podman's events");
                }
            }
            failures += 1;
            tokio::time::sleep(EVENTS_BACKOFF.delay(failures)).await;
        }
    }

    async fn follow(&self, mut events: crate::podman::EventStream) {
        let mut resync = tokio::time::interval_at(Instant::now() + RESYNC, RESYNC);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(uid)) => self.look_at(&uid),
                    Some(Err(error)) => {
                        tracing::warn!(error = error.chain(), "Podman's event stream broke");
                        return;
                    }
                    None => return,
                },
                _ = resync.tick() => {
                    self.look_at_all();
                    self.stop_strangers().await;
                }
            }
        }
    }

    /// Ends all workers, wherever they are; the pods run on.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.workers()).tasks;
        tasks.shutdown().await;
        self.ctx.disk_idle().await;
    }

    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As much of an unknown pod as is needed to stop it.
fn stranger(uid: PodUid, labels: &Labels) -> Pod {
    Pod {
        uid,
        namespace: labels.namespace.clone(),
        name: labels.pod.clone(),
        labels: Vec::new(),
        annotations: Vec::new(),
        init_containers: Vec::new(),
        containers: Vec::new(),
        restart_policy: RestartPolicy::Never,
        termination_grace_seconds: STRANGER_GRACE_SECONDS,
        active_deadline_seconds: None,
        hostname: String::new(),
        host_network: false,
        service_account: String::new(),
        qos: Qos::BestEffort,
        deletion: Some(Deletion { grace_seconds: STRANGER_GRACE_SECONDS, deadline_unix_ms: 0 }),
        created_unix_ms: 0,
        extras: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
