//! One agent's session: the digests are compared, differences are sent, reports are written.
//!
//! The session's task owns the control stream's sending half; its loop is the only writer. While it writes it does
//! not read, which cannot lock up: an agent reads whatever it is writing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use skiff_shared::ids::NodeName;
use skiff_shared::limits::MAX_FRAME;
use skiff_shared::pod::{Item, ItemKey};
use skiff_shared::report::{EventReport, NodeReport, PodReport};
use skiff_shared::tls::io::{FrameReader, write};
use skiff_shared::wire::frame::digest;
use skiff_shared::wire::token::fingerprint;
use skiff_shared::wire::{Change, Digest, Hello, PodResources, ToAgent, ToHub, TokenAnswer, TokenRequest, Welcome};
use tokio::sync::OwnedSemaphorePermit;

use super::assign::{Assignment, CONFIG_MAPS, NODES, SECRETS, key};
use super::endpoint::{STEP, hex};
use super::reports::{Outcome, Reports, check_owner, read, write_node, write_pod};
use super::sessions::Handle;
use super::{PeerError, Shared};
use crate::auth::tokens;
use crate::objects::new_uid;
use crate::pki::identity;
use crate::store::Key;

/// How often reports that could not be written are tried again and the heartbeat's age is looked at.
const TICK: Duration = Duration::from_secs(30);
/// Size of the items in one change, beyond the first.
const BATCH: usize = 256 * 1024;
/// Largest item, which leaves room for the frame around it.
const MAX_ITEM: usize = MAX_FRAME - 1024;

/// Serves one connection of a joined agent to its end. `permit` counts it among the not yet established.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    connection: &quinn::Connection,
    node: NodeName,
    agent_key: String,
    permit: OwnedSemaphorePermit,
) -> Result<(), PeerError> {
    let late = |what| move |_| PeerError::Timeout(what, STEP.as_secs());
    let (send, recv) = tokio::time::timeout(STEP, connection.accept_bi()).await.map_err(late("control stream"))??;
    let mut reader = FrameReader::new(recv, MAX_FRAME);
    let frame = tokio::time::timeout(STEP, reader.read::<ToHub>()).await.map_err(late("first frame"))??;
    let Some(ToHub::Hello(hello)) = frame else {
        return Err(PeerError::Protocol("the first frame of a session must be Hello".into()));
    };
    if let Some(stored) = read(&*shared.parts.cluster, &key(NODES, "", node.as_str())) {
        check_owner(&stored, &node, &agent_key)?;
    }
    drop(permit);
    let handle = shared.sessions.insert(&node, agent_key, connection.clone());
    shared.parts.life.connected(&node);
    tracing::info!(%node, version = %hello.version, remote = %connection.remote_address(), "an agent's session starts");
    let ended = Session::new(shared, handle.clone(), send).run(&hello, reader).await;
    if shared.sessions.remove(&handle) {
        shared.parts.life.lost(&node, Timestamp::now());
        tracing::info!(%node, "the agent's session ended");
        return ended;
    }
    Ok(())
}

struct Session<'a> {
    shared: &'a Shared,
    handle: Arc<Handle>,
    send: quinn::SendStream,
    reports: Arc<Mutex<Reports>>,
    assignment: Assignment,
    /// What the agent has or was sent; unknown until its inventory comes, if the digests differ.
    has: Option<BTreeMap<ItemKey, Digest>>,
    /// The pod subnet it was told.
    welcomed: Option<String>,
    seq: u64,
    /// The node was registered in this session.
    registered: bool,
    /// Some report could not be written.
    unwritten: bool,
    /// What comes with the next report of a pod.
    resources: Option<PodResources>,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, handle: Arc<Handle>, send: quinn::SendStream) -> Self {
        // After the handle is in place, so that every later change reaches this session.
        let snapshot = shared.parts.cluster.store().snapshot();
        let assignment = Assignment::of(&handle.node, &snapshot);
        Self {
            shared,
            reports: shared.reports.of(&handle.node, &handle.agent_key),
            handle,
            send,
            assignment,
            has: None,
            welcomed: None,
            seq: 0,
            registered: false,
            unwritten: false,
            resources: None,
        }
    }

    async fn run(mut self, hello: &Hello, mut reader: FrameReader<quinn::RecvStream>) -> Result<(), PeerError> {
        self.start(hello).await?;
        let mut tick = tokio::time::interval(TICK);
        let handle = self.handle.clone();
        loop {
            // Reading is cancel-safe; the work happens outside the raced futures.
            tokio::select! {
                frame = reader.read::<ToHub>() => match frame? {
                    Some(frame) => self.frame(frame).await?,
                    None => return Ok(()),
                },
                () = handle.wake.notified() => self.changed().await?,
                _ = tick.tick() => self.tick().await?,
            }
        }
    }

    /// Compares the digests and asks for what differs.
    async fn start(&mut self, hello: &Hello) -> Result<(), PeerError> {
        self.publish_references();
        let known = self.reports().digest();
        if known == hello.reported {
            self.write_all().await?;
        } else {
            self.reports().forget_all();
            self.tell(ToAgent::SendReports).await?;
        }
        if hello.desired == self.assignment.digest() {
            self.has = Some(self.assignment.items().clone());
        } else {
            self.tell(ToAgent::SendInventory).await?;
        }
        self.welcome().await
    }

    async fn frame(&mut self, frame: ToHub) -> Result<(), PeerError> {
        match frame {
            ToHub::Inventory(items) => {
                self.has = Some(items.into_iter().collect());
                self.send_missing().await
            }
            ToHub::Node(report) => self.node_report(Arc::new(*report)).await,
            ToHub::Pod(mut report) => {
                let resources = self.resources.take().filter(|r| r.pod == report.uid);
                report.resources = resources.map(|r| r.containers).unwrap_or_default();
                self.pod_report(&report).await
            }
            ToHub::PodResources(resources) => {
                self.resources = Some(resources);
                Ok(())
            }
            ToHub::PodForgotten(uid) => {
                self.reports().forget(&uid);
                Ok(())
            }
            ToHub::Events(events) => self.events(&events).await,
            ToHub::Applied(seq) => {
                tracing::debug!(node = %self.handle.node, seq, "changes are on the node's disk");
                Ok(())
            }
            ToHub::Renew(request) => self.renew(&request).await,
            ToHub::TokenRequest(request) => {
                let result = self.token(&request);
                self.tell(ToAgent::Token(TokenAnswer { request, result })).await
            }
            ToHub::Join(_) | ToHub::Hello(_) => {
                Err(PeerError::Protocol("Join and Hello may only be a connection's first frame".into()))
            }
        }
    }

    /// Something that concerns this node changed in the store.
    async fn changed(&mut self) -> Result<(), PeerError> {
        let touched = self.handle.take_touched();
        let snapshot = self.shared.parts.cluster.store().snapshot();
        if touched.all {
            self.assignment = Assignment::of(&self.handle.node, &snapshot);
        } else {
            self.assignment.update(&touched.keys, &snapshot);
        }
        self.publish_references();
        self.welcome().await?;
        self.send_missing().await
    }

    fn publish_references(&self) {
        let keys: BTreeSet<Key> = self
            .assignment
            .references()
            .filter_map(|item| match item {
                ItemKey::Pod(_) => None,
                ItemKey::ConfigMap { namespace, name } => Some(key(CONFIG_MAPS, namespace, name)),
                ItemKey::Secret { namespace, name } => Some(key(SECRETS, namespace, name)),
            })
            .collect();
        self.handle.set_references(keys);
    }

    /// Tells the agent its pod subnet, once the node has one and whenever it is another.
    async fn welcome(&mut self) -> Result<(), PeerError> {
        let stored = read(&*self.shared.parts.cluster, &key(NODES, "", self.handle.node.as_str())).unwrap_or_default();
        let Some(pod_cidr) = stored["spec"]["podCIDR"].as_str().filter(|cidr| !cidr.is_empty()) else { return Ok(()) };
        if self.welcomed.as_deref() == Some(pod_cidr) {
            return Ok(());
        }
        let info = &self.shared.parts.info;
        self.welcomed = Some(pod_cidr.to_owned());
        let welcome = Welcome {
            version: info.version.clone(),
            pod_cidr: pod_cidr.to_owned(),
            cluster_dns: info.cluster_dns.clone(),
            cluster_domain: info.cluster_domain.clone(),
        };
        self.tell(ToAgent::Welcome(welcome)).await?;
        self.send_missing().await
    }

    /// Sends what the agent lacks and names what it no longer needs.
    async fn send_missing(&mut self) -> Result<(), PeerError> {
        let (Some(has), Some(_)) = (&self.has, &self.welcomed) else { return Ok(()) };
        // A snapshot is not kept between changes: it would hold every object that has been replaced since. One newer
        // than the assignment does no harm, for what was really sent is remembered.
        let snapshot = self.shared.parts.cluster.store().snapshot();
        let (items, removals) = self.assignment.missing(has, &snapshot);
        drop(snapshot);
        let mut batch = Vec::new();
        let mut size = 0;
        for item in items {
            let length = postcard::to_stdvec(&item).map_or(usize::MAX, |bytes| bytes.len());
            if length > MAX_ITEM {
                tracing::error!(node = %self.handle.node, item = ?item.key(), length, "too large to be sent to its node");
                self.remember(&item);
                continue;
            }
            if size + length > BATCH && !batch.is_empty() {
                self.send_change(std::mem::take(&mut batch), Vec::new()).await?;
                size = 0;
            }
            size += length;
            batch.push(item);
        }
        if batch.is_empty() && removals.is_empty() {
            return Ok(());
        }
        self.send_change(batch, removals).await
    }

    async fn send_change(&mut self, upserts: Vec<Item>, removals: Vec<ItemKey>) -> Result<(), PeerError> {
        upserts.iter().for_each(|item| self.remember(item));
        if let Some(has) = &mut self.has {
            has.retain(|key, _| !removals.contains(key));
        }
        self.seq += 1;
        self.tell(ToAgent::Change(Change { seq: self.seq, upserts, removals })).await
    }

    fn remember(&mut self, item: &Item) {
        if let Some(has) = &mut self.has {
            has.insert(item.key(), digest(item));
        }
    }

    async fn node_report(&mut self, report: Arc<NodeReport>) -> Result<(), PeerError> {
        self.reports().node = Some(report.clone());
        self.write_node(&report).await?;
        self.welcome().await
    }

    async fn pod_report(&mut self, report: &PodReport) -> Result<(), PeerError> {
        self.reports().keep(report)?;
        if self.write_pod(report).await == Outcome::Stale {
            // The agent runs a pod that the hub does not know. One that it was told of is named by `send_missing`.
            let orphan = ItemKey::Pod(report.uid.clone());
            let known = self.has.as_ref().is_none_or(|has| has.contains_key(&orphan));
            if !known && self.welcomed.is_some() {
                self.send_change(Vec::new(), vec![orphan]).await?;
            }
        }
        Ok(())
    }

    async fn write_pod(&mut self, report: &PodReport) -> Outcome {
        match write_pod(&*self.shared.parts.cluster, &self.handle.node, report).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let (node, pod) = (&self.handle.node, &report.name);
                tracing::warn!(%node, %pod, error = &error as &dyn std::error::Error, "a pod's status was not written");
                self.unwritten = true;
                Outcome::Done
            }
        }
    }

    async fn write_node(&mut self, report: &NodeReport) -> Result<(), PeerError> {
        let (cluster, handle) = (&*self.shared.parts.cluster, &self.handle);
        match write_node(cluster, &handle.node, &handle.agent_key, report, !self.registered).await {
            Ok(()) => {
                self.registered = true;
                self.shared.reservations.release(&handle.node);
                Ok(())
            }
            Err(error @ PeerError::Failed(..)) => {
                tracing::warn!(node = %handle.node, error = &error as &dyn std::error::Error, "the node was not written");
                self.unwritten = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Brings all statuses to what the node has reported, after others may have changed them.
    async fn write_all(&mut self) -> Result<(), PeerError> {
        self.unwritten = false;
        let (node, pods) = {
            let reports = self.reports();
            (reports.node.clone(), reports.pods())
        };
        if let Some(node) = node {
            self.write_node(&node).await?;
        }
        for pod in pods {
            self.write_pod(&pod).await;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), PeerError> {
        if self.unwritten {
            return self.write_all().await;
        }
        let node = self.reports().node.clone();
        match node {
            Some(node) => self.write_node(&node).await,
            None => Ok(()),
        }
    }

    async fn events(&mut self, events: &[EventReport]) -> Result<(), PeerError> {
        let node = &self.handle.node;
        let stored = read(&*self.shared.parts.cluster, &key(NODES, "", node.as_str())).unwrap_or_default();
        let uid = stored["metadata"]["uid"].as_str().unwrap_or_default();
        for event in events {
            if event.seq > self.reports().events {
                self.shared.parts.events.record_node_event(node, uid, event).await;
                self.reports().events = event.seq;
            }
        }
        match events.last() {
            Some(last) => self.tell(ToAgent::EventsStored(last.seq)).await,
            None => Ok(()),
        }
    }

    /// Signs anew for the key that the agent has already.
    async fn renew(&mut self, request: &[u8]) -> Result<(), PeerError> {
        let node = &self.handle.node;
        let certificate = self
            .shared
            .parts
            .pki
            .sign_node(node, request, Timestamp::now())
            .map_err(|_| PeerError::Refused("the certificate request is not valid".into()))?;
        let same_key =
            identity(&certificate).is_some_and(|i| hex(&fingerprint(&i.public_key)) == self.handle.agent_key);
        if !same_key {
            return Err(PeerError::Refused("a certificate is renewed for the same key only".into()));
        }
        tracing::info!(%node, "the node's certificate is renewed");
        self.tell(ToAgent::Renewed(certificate.to_vec())).await
    }

    /// A token for a pod that is bound to this node, and for no other.
    fn token(&self, request: &TokenRequest) -> Result<String, String> {
        let parts = &self.shared.parts;
        let TokenRequest { pod, audience, expiration_seconds } = request;
        let key = self.assignment.pod_key(pod).ok_or_else(|| format!("pod {pod} is not bound to this node"))?;
        let snapshot = parts.cluster.store().snapshot();
        let grant = tokens::grant_for_pod(key, audience, *expiration_seconds, new_uid(), &snapshot)?;
        if grant.bound.as_ref().is_none_or(|(_, bound)| bound.uid != pod.as_str()) {
            return Err(format!("pods {:?} not found", key.name));
        }
        let signed = parts.signer.sign(&tokens::claims(&grant, Timestamp::now()));
        signed.ok_or_else(|| "the system gives no random numbers".to_owned())
    }

    async fn tell(&mut self, message: ToAgent) -> Result<(), PeerError> {
        Ok(write(&mut self.send, &message).await?)
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
