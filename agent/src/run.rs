//! Puts the agent together: ledger, pods, node status and the link; knows all modules, and nothing knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use skiff_shared::ids::{NodeName, PodUid};
use skiff_shared::pod::{Deletion, Item, ItemKey, Pod};
use skiff_shared::report::{EventReport, NodeReport};
use skiff_shared::wire::stream::StreamRequest;
use skiff_shared::wire::{Change, TokenAnswer, TokenRequest, Welcome};
use tokio::sync::{Semaphore, watch};

use crate::desired::{Desired, Reported};
use crate::ledger::events::EventQueue;
use crate::ledger::facts::PodFacts;
use crate::ledger::{Contents, Ledger, LedgerError};
use crate::link::Node;
use crate::node::{self, Health};
use crate::podman::{Info, Podman, PodmanError};
use crate::pods::Pods;
use crate::pods::context::{Clock, Context, DISK_WRITERS, EventLog, PROBES_AT_ONCE};
use crate::pods::followers::Followers;
use crate::pods::network::{PodNetwork, Subnet};
use crate::streams;
use crate::volumes;
use crate::volumes::tokens::Tokens;

/// How often the machine is looked at; its pressures change slowly.
const HEALTH_EVERY: Duration = Duration::from_secs(60);
/// Podman is asked about its disk once in so many looks: the call costs it tens of milliseconds.
const INFO_EVERY: u32 = 5;
/// Events are made safe against power cuts this long after the first of a burst.
const EVENT_SYNC: Duration = Duration::from_secs(2);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Podman does not answer.
    #[error("Podman is needed and does not answer at {socket}")]
    Podman {
        /// The socket.
        socket: String,
        /// The cause.
        #[source]
        source: PodmanError,
    },
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The link gave up.
    #[error(transparent)]
    Link(Box<dyn std::error::Error + Send + Sync>),
}

/// What one agent runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// This node's name.
    pub node: NodeName,
    /// This node's address.
    pub node_ip: IpAddr,
    /// Podman's address, for messages.
    pub podman: String,
    /// The clock.
    pub clock: Clock,
}

/// A running agent, as the link sees it.
pub struct Agent {
    ctx: Arc<Context>,
    pods: Pods,
    /// Facts of pods from before the start, until their workers have them.
    facts: Mutex<BTreeMap<PodUid, PodFacts>>,
    /// Changes are applied one after the other.
    applying: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("node", &self.ctx.node).finish_non_exhaustive()
    }
}

impl Agent {
    /// Opens the ledger and starts the workers of all pods in it, with or without a hub.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn start(settings: &Settings, podman: Arc<dyn Podman>) -> Result<Arc<Self>, RunError> {
        let (ledger, contents) = Ledger::open(&settings.data_dir)?;
        let events = EventLog::new(EventQueue::open(ledger.events_path())?);
        let refused = |source| RunError::Podman { socket: settings.podman.clone(), source };
        podman.version().await.map_err(refused)?;
        let mut desired = Desired::default();
        for item in &contents.items {
            desired.put(item.clone());
        }
        let machine =
            node::report(settings.node.as_str(), settings.node_ip, &Info::default(), Health::default(), None, 0);
        let ctx = Arc::new(Context {
            node: settings.node.to_string(),
            host_ip: settings.node_ip.to_string(),
            cpu_milli: machine.cpu_milli - machine.cpu_reserved_milli.min(machine.cpu_milli),
            memory_bytes: machine.memory_bytes.saturating_sub(machine.memory_reserved_bytes),
            data_dir: settings.data_dir.clone(),
            podman,
            ledger: Arc::new(ledger),
            desired: watch::Sender::new(Arc::new(desired)),
            reported: watch::Sender::new(Arc::default()),
            events,
            pulls: Semaphore::new(1),
            checks: Semaphore::new(PROBES_AT_ONCE),
            followers: Followers::default(),
            disk: Arc::new(Semaphore::new(DISK_WRITERS as usize)),
            tokens: Tokens::new(contents.tokens.clone()),
            network: network(settings.node.as_str(), contents.welcome.as_ref()),
            clock: settings.clock,
        });
        let agent = Arc::new(Self {
            pods: Pods::new(Arc::clone(&ctx)),
            ctx,
            facts: Mutex::new(contents.facts.clone()),
            applying: tokio::sync::Mutex::default(),
        });
        agent.ctx.node_event(false, "Starting", "Starting kubelet.".to_owned());
        agent.sweep(&contents).await;
        agent.resume(contents);
        Ok(agent)
    }

    /// Removes what pods that are no longer known have left.
    async fn sweep(&self, contents: &Contents) {
        let desired = contents.items.iter().filter_map(|item| match item {
            Item::Pod(pod) => Some(pod),
            Item::ConfigMap(_) | Item::Secret(_) => None,
        });
        let known: BTreeSet<String> = desired.chain(&contents.leaving).map(|pod| pod.uid.to_string()).collect();
        let lost: Vec<PodUid> = contents
            .tokens
            .iter()
            .map(|t| &t.request.pod)
            .filter(|uid| !known.contains(uid.as_str()))
            .cloned()
            .collect();
        lost.iter().for_each(|uid| self.ctx.tokens.forget(uid));
        let pods = self.ctx.data_dir.join("pods");
        let swept = self.ctx.on_disk(move |ledger| {
            volumes::sweep(&pods, &known);
            lost.iter().try_for_each(|uid| ledger.forget(uid))
        });
        if let Ok(Err(error)) = swept.await {
            tracing::warn!(%error, "tokens of pods that are gone stay in the ledger");
        }
    }

    fn resume(&self, contents: Contents) {
        for pod in contents.leaving {
            let facts = self.take_facts(&pod.uid);
            self.pods.leave(Arc::new(pod), facts);
        }
        for item in contents.items {
            if let Item::Pod(pod) = item {
                let facts = self.take_facts(&pod.uid);
                self.pods.want(Arc::new(pod), facts);
            }
        }
    }

    fn take_facts(&self, uid: &PodUid) -> Option<PodFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).remove(uid)
    }

    /// Watches Podman and the machine, for ever.
    pub async fn watch(&self) {
        let reachable = watch::Sender::new(true);
        tokio::join!(self.pods.watch_podman(&reachable), self.watch_machine(reachable.subscribe()), self.sync_events());
    }

    /// Ends all work; the pods run on. The data directory is free once the last handle of this agent is dropped.
    pub async fn stop(&self) {
        self.pods.stop().await;
        self.ctx.events.sync();
    }

    async fn watch_machine(&self, mut reachable: watch::Receiver<bool>) {
        let mut info = Info::default();
        for look in 0_u32.. {
            let up = *reachable.borrow_and_update();
            if up && look.is_multiple_of(INFO_EVERY) {
                match self.ctx.podman.info().await {
                    Ok(answer) => info = answer,
                    Err(error) => tracing::warn!(error = error.chain(), "cannot ask Podman about the machine"),
                }
            }
            self.report_node(&info, Health::measure(&info, up));
            tokio::select! {
                changed = reachable.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(HEALTH_EVERY) => {}
            }
        }
    }

    fn report_node(&self, info: &Info, health: Health) {
        let before: Option<Arc<NodeReport>> = self.ctx.reported.borrow().node.clone();
        let ip = self.ctx.host_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let report = node::report(&self.ctx.node, ip, info, health, before.as_deref(), self.ctx.clock.now_ms());
        if before.as_deref() == Some(&report) {
            return;
        }
        for (reason, message) in node::transitions(&self.ctx.node, before.as_deref(), &report) {
            self.ctx.node_event(false, reason, message);
        }
        if before.is_none() {
            self.ctx.node_event(
                false,
                "NodeAllocatableEnforced",
                "Updated Node Allocatable limit across pods".to_owned(),
            );
        }
        self.ctx.reported.send_modify(|all| Arc::make_mut(all).node = Some(Arc::new(report)));
    }

    async fn sync_events(&self) {
        let mut changed = self.ctx.events.changed();
        while changed.changed().await.is_ok() {
            tokio::time::sleep(EVENT_SYNC).await;
            self.ctx.events.sync();
        }
    }

    /// Pods among `removals`, as they are to leave: with a deletion, so that they stop with their grace.
    fn leaving(&self, removals: &[ItemKey]) -> Vec<Pod> {
        let desired = self.ctx.desired.borrow();
        let leave = |key: &ItemKey| {
            let ItemKey::Pod(uid) = key else { return None };
            let mut pod = desired.pod(uid)?.clone();
            let grace_seconds = pod.termination_grace_seconds;
            let deadline_unix_ms = self.ctx.clock.now_ms().saturating_add(i64::from(grace_seconds) * 1000);
            pod.deletion.get_or_insert(Deletion { grace_seconds, deadline_unix_ms });
            Some(pod)
        };
        removals.iter().filter_map(leave).collect()
    }

    /// Tells the workers what changed; it is on disk already.
    fn tell(&self, upserts: &[Item], leaving: Vec<Pod>) {
        let mut namespaces = BTreeSet::new();
        for pod in leaving {
            self.pods.leave(Arc::new(pod), None);
        }
        for item in upserts {
            match item {
                Item::Pod(pod) => self.pods.want(Arc::new(pod.clone()), None),
                Item::ConfigMap(data) | Item::Secret(data) => {
                    namespaces.insert(data.namespace.clone());
                }
            }
        }
        self.pods.data_changed(&namespaces);
    }
}

#[async_trait]
impl Node for Agent {
    fn desired(&self) -> Arc<Desired> {
        self.ctx.desired.borrow().clone()
    }

    async fn apply(&self, change: Change) -> std::io::Result<()> {
        let _turn = self.applying.lock().await;
        let leaving = self.leaving(&change.removals);
        let Change { upserts, removals, .. } = change;
        let to_leave = leaving.clone();
        let written =
            self.ctx.on_disk(move |ledger| ledger.apply(&upserts, &removals, &to_leave).map(|()| (upserts, removals)));
        let (upserts, removals) = written.await?.map_err(std::io::Error::other)?;
        self.ctx.desired.send_modify(|desired| {
            let desired = Arc::make_mut(desired);
            for key in &removals {
                desired.items.remove(key);
            }
            for item in &upserts {
                desired.put(item.clone());
            }
        });
        self.tell(&upserts, leaving);
        Ok(())
    }

    async fn welcome(&self, welcome: Welcome) -> std::io::Result<()> {
        let (subnet, domain) = (subnet(&welcome), welcome.cluster_domain.clone());
        self.ctx.on_disk(move |ledger| ledger.put_welcome(&welcome)).await?.map_err(std::io::Error::other)?;
        self.pods.hub_heard(subnet, &domain);
        Ok(())
    }

    fn reported(&self) -> watch::Receiver<Arc<Reported>> {
        self.ctx.reported.subscribe()
    }

    fn events_changed(&self) -> watch::Receiver<u64> {
        self.ctx.events.changed()
    }

    fn events_after(&self, seq: u64, max: usize) -> Vec<EventReport> {
        self.ctx.events.after(seq, max)
    }

    fn events_stored(&self, seq: u64) {
        self.ctx.events.stored(seq);
    }

    fn token_wishes(&self) -> watch::Receiver<Arc<BTreeSet<TokenRequest>>> {
        self.ctx.tokens.wishes()
    }

    async fn token(&self, answer: TokenAnswer) {
        let pod = answer.request.pod.clone();
        if self.ctx.desired.borrow().pod(&pod).is_none() {
            return self.ctx.tokens.forget(&pod);
        }
        if let Some(kept) = self.ctx.tokens.answered(answer, self.ctx.clock.now_ms(), random()) {
            let uid = pod.clone();
            match self.ctx.on_disk(move |ledger| ledger.put_tokens(&uid, kept)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, %pod, "a token will not survive a restart"),
                Err(error) => tracing::warn!(%error, %pod, "a token will not survive a restart"),
            }
        }
        self.pods.token_changed(&pod);
    }

    async fn stream(&self, request: StreamRequest, send: quinn::SendStream, recv: quinn::RecvStream) {
        let pod = streams::pod(&request).cloned();
        let named = |pod: &PodUid| self.ctx.reported.borrow().pods.get(pod).map(|p| p.name.clone());
        let name = pod.as_ref().and_then(named).unwrap_or_default();
        let stopped = send.stopped();
        let gone = async {
            // `None`: the hub has everything that this side sent, and its end.
            if let Ok(None) = stopped.await {
                std::future::pending::<()>().await;
            }
        };
        let follows = matches!(&request, StreamRequest::Logs(logs) if logs.follow);
        let _following = pod.as_ref().filter(|_| follows).map(|pod| self.ctx.followers.enter(pod));
        streams::serve(&*self.ctx.podman, request, &name, send, recv, gone).await;
    }
}

/// Between 0 and 1, to spread renewals.
fn random() -> f64 {
    let mut byte = [0];
    match ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut byte) {
        Ok(()) => f64::from(byte[0]) / f64::from(u8::MAX),
        Err(_) => 0.0,
    }
}

/// The network of the node's pods, as the hub's last welcome told it.
fn network(node: &str, welcome: Option<&Welcome>) -> PodNetwork {
    let domain = welcome.map(|welcome| welcome.cluster_domain.as_str()).unwrap_or_default();
    PodNetwork::new(node, welcome.and_then(subnet), domain)
}

/// The node's pod subnet, as a welcome tells it.
fn subnet(welcome: &Welcome) -> Option<Subnet> {
    let subnet = Subnet::parse(&welcome.pod_cidr);
    if subnet.is_none() {
        tracing::warn!(pod_cidr = welcome.pod_cidr, "the hub told no IPv4 subnet for pods");
    }
    subnet
}

/// Runs the agent until `shutdown` turns true or its link gives up for good. Pods outlive it.
///
/// `link` connects the agent to its hub; it ends on the same `shutdown`.
///
/// # Errors
/// [`RunError`].
pub async fn run<L, F, E>(
    settings: &Settings,
    podman: Arc<dyn Podman>,
    link: L,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), RunError>
where
    L: FnOnce(Arc<dyn Node>, watch::Receiver<bool>) -> F,
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let agent = Agent::start(settings, podman).await?;
    let linked = link(agent.clone(), shutdown.clone());
    // Nobody may be there to be told: not every agent runs under systemd.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::pin!(linked);
    let ended = tokio::select! {
        ended = &mut linked => ended.map_err(|e| RunError::Link(Box::new(e))),
        () = agent.watch() => Ok(()),
        _ = shutdown.wait_for(|stop| *stop) => linked.await.map_err(|e| RunError::Link(Box::new(e))),
    };
    agent.stop().await;
    ended
}

/// This node's address: as given, else the local address of the route to the hub, else of the default route.
pub async fn node_address(given: Option<IpAddr>, hub: &str) -> IpAddr {
    if let Some(ip) = given {
        return ip;
    }
    let mut hubs: Vec<SocketAddr> = match tokio::net::lookup_host(hub).await {
        Ok(found) => found.collect(),
        Err(error) => {
            tracing::warn!(%error, hub, "cannot look up the hub");
            Vec::new()
        }
    };
    // An address for documentation, never reached: only its route is asked for.
    hubs.push(([192, 0, 2, 1], 9).into());
    node::route_address(&hubs).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
