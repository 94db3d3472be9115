//! Nodes without Podman: the agent's real link to the hub, behind which every pod runs at once and is never looked at.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use skiff_agent::desired::{Desired, Reported};
use skiff_agent::link::{self, LinkConfig, Node};
use skiff_shared::ids::NodeName;
use skiff_shared::pod::{Item, ItemKey, Pod};
use skiff_shared::report::{
    ContainerReport, ContainerState, EventReport, NodeCondition, NodeInfo, NodeReport, Phase, PodCondition, PodReport,
};
use skiff_shared::wire::stream::StreamRequest;
use skiff_shared::wire::{Change, TokenAnswer, TokenRequest, Welcome};
use tokio::sync::watch;

/// When everything happened, Unix milliseconds.
const SINCE: i64 = 1_700_000_000_000;

/// Starts a node's link on this runtime; it ends with `stop`.
pub(crate) fn start(hub: &str, dir: &Path, name: &str, token: &str, stop: watch::Receiver<bool>) {
    let config = LinkConfig {
        data_dir: dir.join(name),
        hub: hub.to_owned(),
        join_token: Some(token.to_owned()),
        node: NodeName::parse(name).expect("a valid name"),
        version: "0".into(),
    };
    std::fs::create_dir_all(&config.data_dir).expect("a directory can be made");
    let report = Reported { node: Some(Arc::new(node_report(name))), ..Reported::default() };
    let node = Willing {
        desired: Mutex::default(),
        reported: watch::Sender::new(Arc::new(report)),
        events: watch::Sender::new(0),
        wishes: watch::Sender::new(Arc::default()),
    };
    tokio::spawn(link::run(config, Arc::new(node), stop));
}

/// Takes every pod, and reports it as running.
#[derive(Debug)]
struct Willing {
    desired: Mutex<Arc<Desired>>,
    reported: watch::Sender<Arc<Reported>>,
    /// There never is an event.
    events: watch::Sender<u64>,
    /// Nor is a token needed.
    wishes: watch::Sender<Arc<BTreeSet<TokenRequest>>>,
}

#[async_trait]
impl Node for Willing {
    fn desired(&self) -> Arc<Desired> {
        self.desired.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn apply(&self, change: Change) -> io::Result<()> {
        let mut desired = Desired::clone(&self.desired());
        let mut reported = Reported::clone(&self.reported.borrow());
        for item in change.upserts {
            if let Item::Pod(pod) = &item {
                reported.pods.insert(pod.uid.clone(), Arc::new(pod_report(pod)));
            }
            desired.put(item);
        }
        for key in &change.removals {
            desired.items.remove(key);
            if let ItemKey::Pod(uid) = key {
                reported.pods.remove(uid);
            }
        }
        *self.desired.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(desired);
        self.reported.send_replace(Arc::new(reported));
        Ok(())
    }

    async fn welcome(&self, _welcome: Welcome) -> io::Result<()> {
        Ok(())
    }

    fn reported(&self) -> watch::Receiver<Arc<Reported>> {
        self.reported.subscribe()
    }

    fn events_changed(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    fn events_after(&self, _seq: u64, _max: usize) -> Vec<EventReport> {
        Vec::new()
    }

    fn events_stored(&self, _seq: u64) {}

    fn token_wishes(&self) -> watch::Receiver<Arc<BTreeSet<TokenRequest>>> {
        self.wishes.subscribe()
    }

    async fn token(&self, _answer: TokenAnswer) {}

    async fn stream(&self, _request: StreamRequest, _send: quinn::SendStream, _recv: quinn::RecvStream) {}
}

fn node_report(name: &str) -> NodeReport {
    let condition = |kind: &str, status, reason: &str, message: &str| NodeCondition {
        kind: kind.into(),
        status,
        reason: reason.into(),
        message: message.into(),
        since_ms: SINCE,
    };
    NodeReport {
        internal_ip: "192.0.2.1".into(),
        hostname: name.into(),
        cpu_milli: 1000,
        memory_bytes: 1 << 30,
        storage_bytes: 1 << 34,
        pods: 110,
        cpu_reserved_milli: 50,
        memory_reserved_bytes: 1 << 26,
        info: NodeInfo { architecture: "amd64".into(), ..NodeInfo::default() },
        conditions: vec![
            condition("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        ],
        labels: vec![],
    }
}

fn pod_report(pod: &Pod) -> PodReport {
    let condition = |kind: &&str| PodCondition {
        kind: (*kind).into(),
        status: true,
        reason: String::new(),
        message: String::new(),
        since_ms: SINCE,
    };
    let container = |name: &str, image: &str| ContainerReport {
        name: name.into(),
        image: image.into(),
        image_id: format!("sha256:{:064}", 1),
        container_id: format!("podman://{:064}", 1),
        state: ContainerState::Running { started_ms: SINCE },
        last: None,
        restarts: 0,
        ready: true,
        started: true,
    };
    PodReport {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        phase: Phase::Running,
        reason: String::new(),
        message: String::new(),
        pod_ip: "10.42.0.2".into(),
        host_ip: "192.0.2.1".into(),
        start_ms: SINCE,
        conditions: ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"]
            .iter()
            .map(condition)
            .collect(),
        init_containers: vec![],
        containers: pod.containers.iter().map(|c| container(&c.name, &c.image)).collect(),
        gone: false,
        resources: vec![],
    }
}
