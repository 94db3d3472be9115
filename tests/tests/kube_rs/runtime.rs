//! What controllers are made of: finalizers, the controller runtime, events, leader election by Leases.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event as StoredEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Event as Step, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::spawn;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Server, config_map, soon, typed};

const FINALIZER: &str = "example.com/cleanup";

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_come_and_go() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    let made = maps.create(&PostParams::default(), &config_map("f", json!({}))).await.unwrap();
    let step = async || {
        let object = Arc::new(maps.get("f").await.unwrap());
        let mut seen = "none";
        let reconcile = |event| {
            seen = match event {
                Step::Apply(_) => "apply",
                Step::Cleanup(_) => "cleanup",
            };
            async { Ok::<_, std::io::Error>(Action::await_change()) }
        };
        finalizer(&maps, FINALIZER, object, reconcile).await.unwrap();
        seen
    };
    assert_eq!(step().await, "none", "the finalizer is set first");
    assert_eq!(maps.get("f").await.unwrap().finalizers(), [FINALIZER]);
    assert_eq!(step().await, "apply");
    maps.delete("f", &DeleteParams::default()).await.unwrap();
    assert_eq!(step().await, "cleanup");
    soon(await_condition(maps, "f", conditions::is_deleted(&made.uid().unwrap()))).await.unwrap();
}

/// Keeps a Secret with the data of each ConfigMap, owned by it.
async fn reconcile(map: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let secrets: Api<Secret> = Api::default_namespaced((*client).clone());
    let owner = map.controller_owner_ref(&()).expect("what is stored has a name and a uid");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": map.name_any(), "ownerReferences": [owner]},
        "stringData": map.data,
    });
    secrets.patch(&map.name_any(), &PatchParams::apply("copier").force(), &Patch::Apply(secret)).await?;
    Ok(Action::requeue(Duration::from_secs(300)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_keeps_what_it_owns() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    let secrets: Api<Secret> = Api::default_namespaced(server.client.clone());
    let config = watcher::Config::default();
    let controller = Controller::new(maps.clone(), config.clone().labels("app=x")).owns(secrets.clone(), config);
    let retry = |_: Arc<ConfigMap>, _: &kube::Error, _: Arc<Client>| Action::requeue(Duration::from_millis(100));
    let runs = controller.run(reconcile, retry, Arc::new(server.client.clone()));
    let runs = spawn(runs.for_each(|_| async {}));

    let map = maps.create(&PostParams::default(), &config_map("c", json!({"k": "1"}))).await.unwrap();
    let holds = |value: &'static [u8]| {
        move |secret: Option<&Secret>| secret.is_some_and(|s| s.data.as_ref().unwrap()["k"].0 == value)
    };
    let first = soon(await_condition(secrets.clone(), "c", holds(b"1"))).await.unwrap().unwrap();
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    maps.patch("c", &PatchParams::default(), &patch).await.unwrap();
    soon(await_condition(secrets.clone(), "c", holds(b"2"))).await.unwrap();
    secrets.delete("c", &DeleteParams::default()).await.unwrap();
    let again = move |secret: Option<&Secret>| secret.is_some_and(|s| s.uid() != first.uid());
    let second = soon(await_condition(secrets.clone(), "c", again)).await.unwrap().unwrap();
    assert_eq!(second.owner_references()[0].uid, map.uid().unwrap());
    runs.abort();
    drop(runs.await);

    // The garbage collector takes it with its owner.
    maps.delete("c", &DeleteParams::background()).await.unwrap();
    soon(await_condition(secrets, "c", conditions::is_deleted(&second.uid().unwrap()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_become_series() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    let map = maps.create(&PostParams::default(), &config_map("e", json!({}))).await.unwrap();
    let reporter = Reporter { controller: "example.com/controller".into(), instance: Some("one".into()) };
    let recorder = Recorder::new(server.client.clone(), reporter);
    let event = Event {
        type_: EventType::Warning,
        reason: "Tested".into(),
        note: Some("a note".into()),
        action: "Testing".into(),
        secondary: None,
    };
    for _ in 0..3 {
        recorder.publish(&event, &map.object_ref(&())).await.unwrap();
    }
    let events: Api<StoredEvent> = Api::default_namespaced(server.client.clone());
    let about = ListParams::default().fields("regarding.name=e,reason=Tested,type=Warning");
    let found = events.list(&about).await.unwrap().items;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].series.as_ref().unwrap().count, 3);
    assert_eq!(found[0].regarding.as_ref().unwrap().uid, map.uid());
    assert_eq!(found[0].reporting_controller.as_deref(), Some("example.com/controller"));
}

/// A candidate that takes a Lease when it is free or expired, and renews it.
struct Candidate {
    name: &'static str,
    leases: Api<Lease>,
    leads: mpsc::Sender<&'static str>,
}

impl Candidate {
    const SECONDS: i32 = 2;

    async fn run(self, until: Instant) {
        let mut leading = false;
        while Instant::now() < until {
            let took = self.attempt().await;
            if took && !leading {
                self.leads.send(self.name).await.unwrap();
            }
            leading = took;
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// One compare-and-swap; whether the Lease is now this candidate's.
    async fn attempt(&self) -> bool {
        let now = Timestamp::now();
        let Some(mut lease) = self.leases.get_opt("leader").await.unwrap() else {
            let lease = typed(json!({"metadata": {"name": "leader"}, "spec": {"holderIdentity": self.name,
                "leaseDurationSeconds": Self::SECONDS, "acquireTime": MicroTime(now), "renewTime": MicroTime(now)}}));
            return self.leases.create(&PostParams::default(), &lease).await.is_ok();
        };
        let spec = lease.spec.as_mut().unwrap();
        let renewed = spec.renew_time.as_ref().unwrap().0;
        let mine = spec.holder_identity.as_deref() == Some(self.name);
        if !mine && now.duration_since(renewed).as_secs() < i64::from(Self::SECONDS) {
            return false;
        }
        if !mine {
            spec.holder_identity = Some(self.name.into());
            spec.acquire_time = Some(MicroTime(now));
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
        }
        spec.renew_time = Some(MicroTime(now));
        self.leases.replace("leader", &PostParams::default(), &lease).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_hold_a_lease_one_at_a_time() {
    let server = Server::start().await;
    let leases: Api<Lease> = Api::default_namespaced(server.client.clone());
    let (leads, mut leaders) = mpsc::channel(8);
    let candidate = |name| Candidate { name, leases: leases.clone(), leads: leads.clone() };
    let far = Instant::now() + Duration::from_secs(60);
    // The first leader stops renewing while the second one waits.
    spawn(candidate("one").run(Instant::now() + Duration::from_secs(1)));
    assert_eq!(soon(leaders.recv()).await, Some("one"));
    let second = spawn(candidate("two").run(far));
    assert_eq!(soon(leaders.recv()).await, Some("two"));
    let spec = leases.get("leader").await.unwrap().spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("two"), Some(1)));
    second.abort();
}
