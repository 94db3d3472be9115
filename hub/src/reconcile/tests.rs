//! The runner and the recorder over a real write path and a store that keeps nothing, in paused time.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use skiff_shared::ids::NodeName;
use skiff_shared::report::{EventReport, Subject};
use tokio::sync::watch;

use super::*;
use crate::objects::{Networks, Objects, Target, WriteOptions};
use crate::registry::Registry;
use crate::store::{MemoryStore, Object};

/// Gives each ConfigMap a copy, and notes each run.
#[derive(Debug, Default)]
struct Copier {
    runs: Mutex<Vec<String>>,
    fails: bool,
}

impl Controller for Copier {
    fn name(&self) -> &'static str {
        "copier"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let ours = &*event.object.key.resource == "configmaps";
        if ours { self.all(snapshot).into_iter().filter(|k| *k == event.object.key).collect() } else { Vec::new() }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        let originals = |o: &&Arc<Object>| !o.key.name.ends_with("-copy");
        snapshot.list(&"configmaps".into(), None).filter(originals).map(|o| o.key.clone()).collect()
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        self.runs.lock().unwrap().push(key.name.to_string());
        let copy = Key { name: format!("{}-copy", key.name).into(), ..key.clone() };
        if snapshot.get(&copy).is_some() {
            return Plan::nothing();
        }
        let namespace = if self.fails { "missing" } else { &*key.namespace };
        let event = EventDraft {
            about: key.clone(),
            uid: "u".into(),
            warning: false,
            reason: "Copied",
            message: "Copied to {name}".into(),
        };
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": &*copy.name, "namespace": namespace}});
        let write = PlannedWrite::Create { object, tolerate_exists: false, event: Some(event), failed: None };
        Plan { writes: vec![write], ..Plan::nothing() }
    }
}

struct Hub {
    objects: Objects,
    recorder: Recorder,
    stop: watch::Sender<bool>,
}

impl Hub {
    /// A hub in which these controllers run.
    async fn with(controllers: Vec<Arc<dyn Controller>>) -> Self {
        let network = Ipv4Addr::new(10, 43, 0, 0);
        let objects = Objects::new(MemoryStore::new(), Arc::new(Registry::builtin()), Networks::new(network, 16));
        let (recorder, task) = Recorder::new(objects.clone());
        let stop = watch::Sender::new(false);
        tokio::spawn(task.run(stop.subscribe()));
        for controller in controllers {
            let pulse = Arc::new(Pulse::new(controller.name()));
            tokio::spawn(run(controller, objects.clone(), recorder.clone(), pulse, stop.subscribe()));
        }
        let hub = Self { objects, recorder, stop };
        hub.create("v1", "Namespace", "", "default").await;
        hub
    }

    async fn create(&self, api_version: &str, kind: &str, namespace: &str, name: &str) {
        let row = self.objects.registry().kind(api_version, kind).unwrap().clone();
        let target = Target { kind: row, namespace: namespace.into(), name: name.into(), subresource: String::new() };
        let body = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
        self.objects.create(&target, body, &WriteOptions::default()).await.unwrap();
    }

    fn names(&self, resource: &str) -> Vec<String> {
        self.objects.snapshot().list(&resource.into(), None).map(|o| o.key.name.to_string()).collect()
    }

    fn events(&self) -> Vec<Value> {
        self.objects.snapshot().list(&"events".into(), None).map(|o| o.parse().unwrap()).collect()
    }
}

/// Lets every task run until all of them wait.
async fn idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_leads_to_a_plan_its_writes_and_its_event() {
    let copier = Arc::new(Copier::default());
    let hub = Hub::with(vec![copier.clone()]).await;
    hub.create("v1", "ConfigMap", "default", "a").await;
    idle().await;
    assert_eq!(hub.names("configmaps"), ["a", "a-copy"]);
    let events = hub.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["message"], "Copied to a-copy");
    assert_eq!(events[0]["source"]["component"], "copier");
    assert_eq!(events[0]["involvedObject"]["kind"], "ConfigMap");
    assert_eq!(*copier.runs.lock().unwrap(), ["a"], "nothing else wakes it");
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(*copier.runs.lock().unwrap(), ["a", "a"], "the full resync does");
    hub.stop.send_replace(true);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_fails_is_tried_again_ever_later() {
    let copier = Arc::new(Copier { fails: true, ..Copier::default() });
    let hub = Hub::with(vec![copier.clone()]).await;
    hub.create("v1", "ConfigMap", "default", "a").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let runs = copier.runs.lock().unwrap().len();
    assert!((8..=13).contains(&runs), "{runs} runs in 10 s of doubling from 5 ms");
    hub.stop.send_replace(true);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_reports_becomes_an_event_with_its_own_time_once() {
    let hub = Hub::with(Vec::new()).await;
    let mut report = EventReport {
        seq: 1,
        at_ms: 1_700_000_000_000,
        warning: true,
        reason: "BackOff".into(),
        message: "Back-off".into(),
        subject: Subject::Node,
        count: 2,
    };
    let node = NodeName::parse("edge-1").unwrap();
    hub.recorder.record_node_event(&node, "n1", &report).await;
    report.at_ms += 60_000;
    hub.recorder.record_node_event(&node, "n1", &report).await;
    let events = hub.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["count"], 4);
    assert_eq!(events[0]["firstTimestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(events[0]["lastTimestamp"], "2023-11-14T22:14:20Z");
    assert_eq!(events[0]["source"], json!({"component": "kubelet", "host": "edge-1"}));
}
