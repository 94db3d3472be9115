//! One process with a hub's link over a store in memory, and agents' links with a node that only remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_agent::desired::{Desired, Reported};
use skiff_agent::link::{LinkConfig, LinkError, Node};
use skiff_hub::link::{ClusterInfo, Link, LinkParts, NodeEvents, NodeLife};
use skiff_hub::objects::{Networks, Objects, Target, User, WriteOptions};
use skiff_hub::pki::{Pki, PkiOptions};
use skiff_hub::registry::Registry;
use skiff_hub::store::{Key, MemoryStore};
use skiff_shared::ids::{NodeName, PodUid};
use skiff_shared::pod::{Item, ItemKey};
use skiff_shared::report::{EventReport, NodeCondition, NodeInfo, NodeReport, Phase, PodReport, Subject};
use skiff_shared::wire::frame::digest;
use skiff_shared::wire::stream::{StreamReply, StreamRequest};
use skiff_shared::wire::{Change, TokenAnswer, TokenRequest, Welcome};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Waits for a condition; panics with `what` after ten seconds.
pub(crate) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(value) = condition() {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited 10 s for {what}");
}

/// What the link tells the rest of the hub.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) life: Mutex<Vec<String>>,
    pub(crate) events: Mutex<Vec<(String, u64)>>,
}

#[async_trait]
impl NodeEvents for Heard {
    async fn record_node_event(&self, node: &NodeName, _node_uid: &str, event: &EventReport) {
        self.events.lock().unwrap().push((node.to_string(), event.seq));
    }
}

impl NodeLife for Heard {
    fn connected(&self, node: &NodeName) {
        self.life.lock().unwrap().push(format!("connected {node}"));
    }
    fn lost(&self, node: &NodeName, _at: Timestamp) {
        self.life.lock().unwrap().push(format!("lost {node}"));
    }
}

/// A hub, as far as agents see it.
pub(crate) struct Hub {
    pub(crate) objects: Objects,
    pub(crate) pki: Arc<Pki>,
    pub(crate) link: Link,
    pub(crate) heard: Arc<Heard>,
    pub(crate) address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Hub {
    /// A hub with its PKI in `dir` and an empty store.
    pub(crate) async fn start(dir: &Path) -> Self {
        let objects =
            Objects::new(MemoryStore::new(), Arc::new(Registry::builtin()), Networks::new([10, 43, 0, 0].into(), 16));
        let hub = Self::with_objects(dir, objects, "127.0.0.1:0".parse().unwrap());
        hub.create("namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}))
            .await;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
        hub.create("serviceaccounts", account).await;
        hub
    }

    fn with_objects(dir: &Path, objects: Objects, address: SocketAddr) -> Self {
        let options = PkiOptions {
            advertise: None,
            port: 6443,
            addresses: vec![],
            hostname: String::new(),
            service_ip: "10.43.0.1".parse().unwrap(),
            cluster_domain: "cluster.local".into(),
        };
        let pki = Arc::new(Pki::open_or_create(dir, &options, Timestamp::now()).unwrap());
        let heard = Arc::new(Heard::default());
        let link = Link::new(LinkParts {
            pki: pki.clone(),
            cluster: Arc::new(objects.clone()),
            events: heard.clone(),
            life: heard.clone(),
            signer: Arc::new(skiff_hub::auth::jwt::Signer::new(pki.account_key()).unwrap()),
            info: ClusterInfo {
                version: "1".into(),
                cluster_dns: "10.43.0.10".into(),
                cluster_domain: "cluster.local".into(),
            },
        });
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = {
            let link = link.clone();
            tokio::spawn(async move { link.serve(socket, stopped).await.unwrap() })
        };
        Self { objects, pki, link, heard, address, stop, serving }
    }

    /// Stops the link and starts another at the same address over the same objects: what it held in memory is gone.
    pub(crate) async fn restart(self, dir: &Path) -> Self {
        self.stop.send_replace(true);
        self.serving.await.unwrap();
        Self::with_objects(dir, self.objects, self.address)
    }

    /// A new join token.
    pub(crate) fn token(&self) -> String {
        self.pki.tokens().create(Duration::from_secs(60), Timestamp::now()).unwrap().to_string()
    }

    fn target(&self, resource: &str, name: &str, subresource: &str) -> Target {
        let kind = self.objects.registry().resource("", "v1", resource).unwrap().clone();
        let namespace = if kind.namespaced { "default" } else { "" };
        Target { kind, namespace: namespace.into(), name: name.into(), subresource: subresource.into() }
    }

    pub(crate) fn get(&self, resource: &str, name: &str) -> Option<Value> {
        let target = self.target(resource, name, "");
        let key = Key {
            resource: resource.into(),
            namespace: target.namespace.as_str().into(),
            name: target.name.as_str().into(),
        };
        self.objects.snapshot().get(&key).map(|o| o.parse().unwrap())
    }

    pub(crate) async fn create(&self, resource: &str, object: Value) -> Value {
        let options = WriteOptions { user: User::component("test"), ..WriteOptions::default() };
        self.objects.create(&self.target(resource, "", ""), object, &options).await.unwrap().object.parse().unwrap()
    }

    pub(crate) async fn change(&self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(resource, name).unwrap();
        change(&mut object);
        object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let options = WriteOptions { user: User::component("test"), ..WriteOptions::default() };
        self.objects.update(&self.target(resource, name, ""), object, &options).await.unwrap();
    }

    pub(crate) async fn delete(&self, resource: &str, name: &str, grace: i64) {
        let options = skiff_hub::objects::DeleteOptions {
            grace_period_seconds: Some(grace),
            ..skiff_hub::objects::DeleteOptions::default()
        };
        self.objects.delete(&self.target(resource, name, ""), &options).await.unwrap();
    }

    /// Waits until the node is registered and gives it a subnet, as the controller would.
    pub(crate) async fn give_subnet(&self, node: &str) {
        until("the node to be registered", || self.get("nodes", node)).await;
        self.change("nodes", node, |n| {
            n["spec"]["podCIDR"] = json!("10.42.0.0/24");
            n["spec"]["podCIDRs"] = json!(["10.42.0.0/24"]);
        })
        .await;
    }

    /// Creates a pod that is bound to a node and returns its uid.
    pub(crate) async fn pod(&self, node: &str, name: &str, config: Option<&str>) -> PodUid {
        let from: Vec<Value> = config.iter().map(|c| json!({"configMapRef": {"name": c, "optional": true}})).collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "img:1", "envFrom": from}]},
        });
        let pod = self.create("pods", pod).await;
        PodUid::parse(pod["metadata"]["uid"].as_str().unwrap()).unwrap()
    }
}

/// A node that applies everything and reports what the test says.
#[derive(Debug)]
pub(crate) struct Remembers {
    pub(crate) desired: Mutex<Arc<Desired>>,
    pub(crate) changes: Mutex<Vec<Change>>,
    pub(crate) welcomes: Mutex<Vec<Welcome>>,
    pub(crate) reported: watch::Sender<Arc<Reported>>,
    pub(crate) events: Mutex<Vec<EventReport>>,
    pub(crate) newest_event: watch::Sender<u64>,
    pub(crate) wishes: watch::Sender<Arc<BTreeSet<TokenRequest>>>,
    pub(crate) tokens: Mutex<Vec<TokenAnswer>>,
}

impl Remembers {
    pub(crate) fn new() -> Arc<Self> {
        let node = Some(Arc::new(node_report()));
        Arc::new(Self {
            desired: Mutex::default(),
            changes: Mutex::default(),
            welcomes: Mutex::default(),
            reported: watch::Sender::new(Arc::new(Reported { node, pods: BTreeMap::new() })),
            events: Mutex::default(),
            newest_event: watch::Sender::new(0),
            wishes: watch::Sender::default(),
            tokens: Mutex::default(),
        })
    }

    /// The keys on this node's disk.
    pub(crate) fn keys(&self) -> Vec<ItemKey> {
        self.desired.lock().unwrap().items.keys().cloned().collect()
    }

    pub(crate) fn has(&self, key: &ItemKey) -> bool {
        self.desired.lock().unwrap().items.contains_key(key)
    }

    /// How many items were sent here, and how many were named for removal.
    pub(crate) fn received(&self) -> (usize, usize) {
        let changes = self.changes.lock().unwrap();
        (changes.iter().map(|c| c.upserts.len()).sum(), changes.iter().map(|c| c.removals.len()).sum())
    }

    pub(crate) fn forget_changes(&self) {
        self.changes.lock().unwrap().clear();
    }

    pub(crate) fn report(&self, report: PodReport) {
        self.reported.send_modify(|reported| {
            let mut next = Reported::clone(reported);
            next.pods.insert(report.uid.clone(), Arc::new(report));
            *reported = Arc::new(next);
        });
    }

    pub(crate) fn event(&self, seq: u64) {
        self.events.lock().unwrap().push(EventReport {
            seq,
            at_ms: 1,
            warning: false,
            reason: "Started".into(),
            message: "Started container c".into(),
            subject: Subject::Node,
            count: 1,
        });
        self.newest_event.send_replace(seq);
    }
}

#[async_trait]
impl Node for Remembers {
    fn desired(&self) -> Arc<Desired> {
        self.desired.lock().unwrap().clone()
    }

    async fn apply(&self, change: Change) -> std::io::Result<()> {
        let mut desired = self.desired.lock().unwrap();
        let mut next = Desired::clone(&desired);
        for item in &change.upserts {
            next.items.insert(item.key(), (digest::<Item>(item), Arc::new(item.clone())));
        }
        for key in &change.removals {
            next.items.remove(key);
        }
        *desired = Arc::new(next);
        self.changes.lock().unwrap().push(change);
        Ok(())
    }

    async fn welcome(&self, welcome: Welcome) -> std::io::Result<()> {
        self.welcomes.lock().unwrap().push(welcome);
        Ok(())
    }

    fn reported(&self) -> watch::Receiver<Arc<Reported>> {
        self.reported.subscribe()
    }

    fn events_changed(&self) -> watch::Receiver<u64> {
        self.newest_event.subscribe()
    }

    fn events_after(&self, seq: u64, max: usize) -> Vec<EventReport> {
        self.events.lock().unwrap().iter().filter(|e| e.seq > seq).take(max).cloned().collect()
    }

    fn events_stored(&self, seq: u64) {
        self.events.lock().unwrap().retain(|e| e.seq > seq);
    }

    fn token_wishes(&self) -> watch::Receiver<Arc<BTreeSet<TokenRequest>>> {
        self.wishes.subscribe()
    }

    async fn token(&self, answer: TokenAnswer) {
        self.wishes.send_modify(|wishes| {
            Arc::make_mut(wishes).remove(&answer.request);
        });
        self.tokens.lock().unwrap().push(answer);
    }

    async fn stream(&self, request: StreamRequest, mut send: quinn::SendStream, _recv: quinn::RecvStream) {
        let StreamRequest::Logs(logs) = request else { panic!("only logs are asked for here: {request:?}") };
        let endless = logs.container == "endless";
        let known = logs.container == "c" || endless;
        let reply = if known { StreamReply::Ok } else { StreamReply::BadRequest("no such container".into()) };
        skiff_shared::tls::io::write(&mut send, &reply).await.unwrap();
        if endless {
            while send.write_all(&[b'.'; 1000]).await.is_ok() {}
            return;
        }
        if known {
            send.write_all(b"line 1\nline 2\n").await.unwrap();
        }
        send.finish().unwrap();
        let _ = send.stopped().await;
    }
}

/// A running agent link.
pub(crate) struct Agent {
    pub(crate) node: Arc<Remembers>,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), LinkError>>,
}

impl Agent {
    pub(crate) fn start(hub: SocketAddr, dir: &Path, name: &str, token: Option<String>, node: Arc<Remembers>) -> Self {
        let config = LinkConfig {
            data_dir: dir.to_owned(),
            hub: hub.to_string(),
            join_token: token,
            node: NodeName::parse(name).unwrap(),
            version: "1".into(),
        };
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(skiff_agent::link::run(config, node.clone(), stopped));
        Self { node, stop, running }
    }

    /// Stops the agent as a signal would.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.running.await.unwrap().unwrap();
    }

    /// Stops the agent without a goodbye to the hub.
    pub(crate) fn vanish(self) {
        self.running.abort();
    }

    /// The error with which the agent gives up.
    pub(crate) async fn error(self) -> String {
        tokio::time::timeout(Duration::from_secs(10), self.running)
            .await
            .expect("the agent gives up")
            .unwrap()
            .unwrap_err()
            .to_string()
    }
}

pub(crate) fn node_report() -> NodeReport {
    NodeReport {
        internal_ip: "192.0.2.1".into(),
        hostname: "edge".into(),
        cpu_milli: 1000,
        memory_bytes: 1 << 30,
        storage_bytes: 1 << 34,
        pods: 110,
        cpu_reserved_milli: 50,
        memory_reserved_bytes: 1 << 26,
        info: NodeInfo { architecture: "amd64".into(), ..NodeInfo::default() },
        conditions: vec![NodeCondition {
            kind: "Ready".into(),
            status: true,
            reason: "KubeletReady".into(),
            message: "kubelet is posting ready status".into(),
            since_ms: 1_700_000_000_000,
        }],
        labels: vec![],
    }
}

pub(crate) fn pod_report(uid: &PodUid, name: &str, phase: Phase) -> PodReport {
    PodReport {
        uid: uid.clone(),
        namespace: "default".into(),
        name: name.into(),
        phase,
        reason: String::new(),
        message: String::new(),
        pod_ip: "10.42.0.2".into(),
        host_ip: "192.0.2.1".into(),
        start_ms: 1_700_000_000_000,
        conditions: vec![],
        init_containers: vec![],
        containers: vec![],
        gone: false,
        resources: vec![],
    }
}
