//! What nodes have reported, kept in memory so that a returning agent need not say it again, and written to the
//! objects' statuses where those differ.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use skiff_shared::ids::{NodeName, PodUid};
use skiff_shared::limits::MAX_PODS_PER_NODE;
use skiff_shared::report::{NodeReport, PodReport};
use skiff_shared::wire::Digest;
use skiff_shared::wire::frame::reported_digest;

use super::assign::{NODES, PODS, key};
use super::status::{AGENT_KEY, apply_labels, apply_node, apply_pod, new_node};
use super::{Cluster, PeerError};
use crate::objects::Error;
use crate::store::Key;

/// Most pods one node may report: those it runs, and as many that are ending.
const MAX_REPORTS: usize = 4 * MAX_PODS_PER_NODE as usize;
/// How often a write is tried again because somebody else was faster.
const TRIES: usize = 8;

/// What one node has reported.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Whose word it is: another agent of the same name starts afresh.
    agent_key: String,
    pub(super) node: Option<Arc<NodeReport>>,
    /// Encoded, which takes a quarter of the memory: there are thousands, and they are looked at when an agent returns.
    pods: BTreeMap<PodUid, Box<[u8]>>,
    /// Number of the newest event that is recorded.
    pub(super) events: u64,
}

impl Reports {
    /// The digest to compare with the agent's.
    pub(super) fn digest(&self) -> Digest {
        reported_digest(self.node.as_deref(), self.pods().iter().map(|report| (&report.uid, report)))
    }

    /// What is reported of pods, sorted by uid.
    pub(super) fn pods(&self) -> Vec<PodReport> {
        // Encoded by `keep`.
        self.pods.values().filter_map(|report| postcard::from_bytes(report).ok()).collect()
    }

    /// Keeps a pod's report.
    pub(super) fn keep(&mut self, report: &PodReport) -> Result<(), PeerError> {
        if self.pods.len() >= MAX_REPORTS && !self.pods.contains_key(&report.uid) {
            return Err(PeerError::Protocol(format!("a node may report at most {MAX_REPORTS} pods")));
        }
        let encoded =
            postcard::to_stdvec(report).map_err(|e| PeerError::Protocol(format!("a report of a pod: {e}")))?;
        self.pods.insert(report.uid.clone(), encoded.into_boxed_slice());
        Ok(())
    }

    /// Forgets a pod, which its node has forgotten.
    pub(super) fn forget(&mut self, uid: &PodUid) {
        self.pods.remove(uid);
    }

    /// Forgets all pods: the agent tells anew.
    pub(super) fn forget_all(&mut self) {
        self.pods.clear();
    }
}

/// The reports of all nodes with a session since this hub started. One session of a node at a time uses them.
#[derive(Debug, Default)]
pub(super) struct AllReports {
    nodes: Mutex<HashMap<NodeName, Arc<Mutex<Reports>>>>,
}

impl AllReports {
    /// The reports of one node's agent.
    pub(super) fn of(&self, node: &NodeName, agent_key: &str) -> Arc<Mutex<Reports>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = nodes.entry(node.clone()).or_default();
        let same = reports.lock().unwrap_or_else(PoisonError::into_inner).agent_key == agent_key;
        if !same {
            let fresh = Reports { agent_key: agent_key.to_owned(), ..Reports::default() };
            *reports = Arc::new(Mutex::new(fresh));
        }
        reports.clone()
    }

    /// Forgets a node that was removed from the cluster.
    pub(super) fn forget(&self, node: &NodeName) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Written, or nothing to write.
    Done,
    /// The hub knows no such pod on this node (any more).
    Stale,
}

/// Writes a pod's report to its status, or removes the pod that is gone.
///
/// # Errors
/// [`Error`] when it should be tried again later.
pub(super) async fn write_pod(cluster: &dyn Cluster, node: &NodeName, report: &PodReport) -> Result<Outcome, Error> {
    let key = key(PODS, &report.namespace, &report.name);
    for _ in 1..TRIES {
        match try_pod(cluster, node, &key, report).await {
            Err(Error::Conflict { .. }) => {}
            Err(Error::NotFound { .. }) => return Ok(Outcome::Stale),
            done => return done,
        }
    }
    try_pod(cluster, node, &key, report).await
}

async fn try_pod(cluster: &dyn Cluster, node: &NodeName, key: &Key, report: &PodReport) -> Result<Outcome, Error> {
    let Some(stored) = read(cluster, key) else { return Ok(Outcome::Stale) };
    let meta = &stored["metadata"];
    if meta["uid"] != report.uid.as_str() || stored["spec"]["nodeName"] != node.as_str() {
        return Ok(Outcome::Stale);
    }
    if report.gone && !meta["deletionTimestamp"].is_null() {
        cluster.remove_pod(node, key, report.uid.as_str()).await?;
    } else if let Some(pod) = apply_pod(&stored, report) {
        cluster.update(node, key, "status", pod).await?;
    }
    Ok(Outcome::Done)
}

/// Registers a node or brings its object up to date. `create` allows registering.
///
/// # Errors
/// [`PeerError::Refused`] when the name is another agent's; [`PeerError::Failed`] when it should be tried again later.
pub(super) async fn write_node(
    cluster: &dyn Cluster,
    node: &NodeName,
    agent_key: &str,
    report: &NodeReport,
    create: bool,
) -> Result<(), PeerError> {
    let key = key(NODES, "", node.as_str());
    let mut last = None;
    for _ in 0..TRIES {
        match try_node(cluster, node, &key, agent_key, report, create).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(Failure::Peer(error)) => return Err(error),
            Err(Failure::Objects(
                error @ (Error::Conflict { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. }),
            )) => {
                last = Some(error);
            }
            Err(Failure::Objects(error)) => return Err(PeerError::Failed("write the node", Box::new(error))),
        }
    }
    last.map_or(Ok(()), |error| Err(PeerError::Failed("write the node", Box::new(error))))
}

enum Failure {
    Peer(PeerError),
    Objects(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Objects(error)
    }
}

/// One step towards the node that the report describes; `true` when there is nothing left to do.
async fn try_node(
    cluster: &dyn Cluster,
    node: &NodeName,
    key: &Key,
    agent_key: &str,
    report: &NodeReport,
    create: bool,
) -> Result<bool, Failure> {
    let Some(mut stored) = read(cluster, key) else {
        if create {
            cluster.create(node, key, new_node(node.as_str(), agent_key, report)).await?;
        }
        // Deleted by somebody while its agent is connected: it comes back with the agent's next session.
        return Ok(!create);
    };
    check_owner(&stored, node, agent_key).map_err(Failure::Peer)?;
    let unowned = stored["metadata"]["annotations"][AGENT_KEY].is_null();
    if unowned {
        stored["metadata"]["annotations"][AGENT_KEY] = agent_key.into();
    }
    if apply_labels(&mut stored, node.as_str(), report) || unowned {
        cluster.update(node, key, "", stored).await?;
        return Ok(false);
    }
    if let Some(changed) = apply_node(&stored, report, Timestamp::now()) {
        cluster.update(node, key, "status", changed).await?;
    }
    Ok(true)
}

/// Whether the node object belongs to the agent with this key.
///
/// # Errors
/// [`PeerError::Refused`] when it is another's.
pub(super) fn check_owner(stored: &Value, node: &NodeName, agent_key: &str) -> Result<(), PeerError> {
    match stored["metadata"]["annotations"][AGENT_KEY].as_str() {
        Some(key) if key != agent_key => {
            Err(PeerError::Refused(format!("node name {:?} is already in use by another agent", node.as_str())))
        }
        Some(_) | None => Ok(()),
    }
}

/// A stored object as JSON.
pub(super) fn read(cluster: &dyn Cluster, key: &Key) -> Option<Value> {
    cluster.store().snapshot().get(key)?.parse().ok()
}
