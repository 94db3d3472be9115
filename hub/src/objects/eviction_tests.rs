//! Evictions as tables of a pod, its budgets, and what becomes of it.

use std::net::Ipv4Addr;

use super::*;
use crate::objects::Networks;
use crate::registry::Registry;
use crate::store::{Expected, Key, MemoryStore, Op, Store, Write};

/// A healthy pod, and what the budget says about two such pods of which one must stay.
fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "a", "name": "one", "uid": "u", "labels": {"app": "web"}},
        "spec": {"nodeName": "edge"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn budget(name: &str, change: Value) -> Value {
    let mut budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"namespace": "a", "name": name, "uid": name, "generation": 1},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2, "disruptionsAllowed": 1},
    });
    json_patch::merge(&mut budget, &change);
    budget
}

struct World(Objects, Arc<MemoryStore>);

impl World {
    async fn of(pod: Value, budgets: Vec<Value>) -> Self {
        let store = MemoryStore::new();
        let networks = Networks::new(Ipv4Addr::new(10, 43, 0, 0), 16);
        let world = Self(Objects::new(store.clone(), Arc::new(Registry::builtin()), networks), store);
        world.put("pods", pod).await;
        for budget in budgets {
            world.put(BUDGETS, budget).await;
        }
        world
    }

    async fn put(&self, resource: &str, object: Value) {
        let key = key(resource, meta::text(&object, "name"));
        self.1.commit(vec![Write { key, expected: Expected::Absent, op: Op::Put(object) }]).await.unwrap();
    }

    async fn evict(&self, options: DeleteOptions) -> Result<Written, Error> {
        let kind = self.0.registry().kind("v1", "Pod").unwrap().clone();
        let target = Target { kind, namespace: "a".into(), name: "one".into(), subresource: EVICTION.into() };
        self.0.evict(&target, &options).await
    }

    fn get(&self, resource: &str, name: &str) -> Option<Value> {
        self.1.snapshot().get(&key(resource, name)).map(|o| o.parse().unwrap())
    }
}

fn key(resource: &str, name: &str) -> Key {
    Key { resource: resource.into(), namespace: "a".into(), name: name.into() }
}

fn why(error: &Error) -> String {
    if let Error::TooManyRequests { cause, retry_after_seconds, .. } = error {
        return format!("429 in {retry_after_seconds}: {cause}");
    }
    error.to_string()
}

const STILL: &str = "429 in 10: The disruption budget b is still being processed by the server.";

/// What a row is about, what is changed in the pod, what in each budget (`b`, `c`), and whether the eviction is counted,
/// or why it is refused.
type Row<'a> = (&'a str, Value, Vec<Value>, Result<bool, &'a str>);

async fn assert_rows(rows: Vec<Row<'_>>) {
    for (what, pod_change, changes, expected) in rows {
        let mut pod = pod();
        json_patch::merge(&mut pod, &pod_change);
        let budgets = ["b", "c"].into_iter().zip(changes).map(|(name, change)| budget(name, change)).collect();
        let world = World::of(pod, budgets).await;
        let evicted = world.evict(DeleteOptions::default()).await;
        let status = world.get(BUDGETS, "b").map_or(Value::Null, |b| b["status"].clone());
        let counted = evicted.map(|_| status["disruptedPods"]["one"].is_string()).map_err(|e| why(&e));
        assert_eq!(counted, expected.map_err(str::to_owned), "{what}");
    }
}

fn exhausted() -> Value {
    json!({"status": {"disruptionsAllowed": 0, "currentHealthy": 1}})
}

#[tokio::test]
async fn budgets_decide() {
    let selector = |selector: Value| json!({"spec": {"selector": selector}});
    let failed = json!([{"type": DISRUPTION_ALLOWED, "reason": SYNC_FAILED, "message": "no owner"}]);
    assert_rows(vec![
        ("no budget", json!({}), vec![], Ok(false)),
        ("allowed", json!({}), vec![json!({})], Ok(true)),
        ("of others", json!({}), vec![selector(json!({"matchLabels": {"app": "db"}}))], Ok(false)),
        ("of none", json!({}), vec![selector(json!(null))], Ok(false)),
        ("of all", json!({}), vec![selector(json!({"matchLabels": null}))], Ok(true)),
        (
            "exhausted",
            json!({}),
            vec![exhausted()],
            Err("429 in 0: The disruption budget b needs 1 healthy pods and has 1 currently"),
        ),
        ("stale", json!({}), vec![json!({"metadata": {"generation": 2}})], Err(STILL)),
        (
            "negative",
            json!({}),
            vec![json!({"status": {"disruptionsAllowed": -1}})],
            Err("poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative"),
        ),
        (
            "failed",
            json!({}),
            vec![json!({"status": {"disruptionsAllowed": 0, "conditions": failed}})],
            Err(
                "429 in 0: The disruption budget b does not allow evicting pods currently because it failed sync: no owner",
            ),
        ),
        (
            "two budgets",
            json!({}),
            vec![json!({}), json!({})],
            Err("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."),
        ),
    ])
    .await;
}

#[tokio::test]
async fn pods_that_do_no_work_are_not_guarded() {
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let unhealthy = json!({"status": {"disruptionsAllowed": 0, "currentHealthy": 0}});
    let mut always = unhealthy.clone();
    always["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
    assert_rows(vec![
        ("pending", json!({"status": {"phase": "Pending"}}), vec![exhausted()], Ok(false)),
        ("ended", json!({"status": {"phase": "Failed"}}), vec![exhausted()], Ok(false)),
        ("going", going, vec![exhausted()], Ok(false)),
        ("unhealthy, healthy budget", not_ready.clone(), vec![exhausted()], Ok(false)),
        (
            "unhealthy, unhealthy budget",
            not_ready.clone(),
            vec![unhealthy],
            Err("429 in 0: The disruption budget b needs 1 healthy pods and has 0 currently"),
        ),
        ("unhealthy, always allowed", not_ready, vec![always], Ok(false)),
    ])
    .await;
}

#[tokio::test]
async fn an_eviction_is_counted_and_told() {
    let world = World::of(pod(), vec![budget("b", json!({}))]).await;
    world.evict(DeleteOptions { grace_period_seconds: Some(7), ..DeleteOptions::default() }).await.unwrap();
    let status = world.get(BUDGETS, "b").unwrap()["status"].clone();
    assert_eq!(status["disruptionsAllowed"], 0);
    assert_eq!(status["conditions"][0]["reason"], "InsufficientPods");
    let pod = world.get("pods", "one").unwrap();
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 7);
    assert_eq!(pod["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
}

#[tokio::test]
async fn a_dry_run_and_a_failed_precondition_change_nothing() {
    for (options, fine) in [
        (DeleteOptions { dry_run: true, ..DeleteOptions::default() }, true),
        (DeleteOptions { uid: Some("other".into()), ..DeleteOptions::default() }, false),
        (DeleteOptions { resource_version: Some("99".into()), ..DeleteOptions::default() }, false),
    ] {
        let world = World::of(pod(), vec![]).await;
        let revision = world.1.snapshot().revision();
        let evicted = world.evict(options).await;
        assert!(evicted.is_ok() == fine && (fine || matches!(evicted, Err(Error::Conflict { .. }))), "{evicted:?}");
        assert_eq!(world.1.snapshot().revision(), revision);
    }
}

#[tokio::test]
async fn concurrent_evictions_take_no_more_than_there_is() {
    let world = World::of(pod(), vec![budget("b", json!({"status": {"disruptionsAllowed": 3}}))]).await;
    for i in 0..8 {
        let mut pod = pod();
        pod["metadata"]["name"] = format!("p{i}").into();
        world.put("pods", pod).await;
    }
    let kind = world.0.registry().kind("v1", "Pod").unwrap().clone();
    let evictions = (0..8).map(|i| {
        let target =
            Target { kind: kind.clone(), namespace: "a".into(), name: format!("p{i}"), subresource: EVICTION.into() };
        let objects = world.0.clone();
        async move { objects.evict(&target, &DeleteOptions::default()).await.is_ok() }
    });
    let gone = futures_util::future::join_all(evictions).await.into_iter().filter(|gone| *gone).count();
    assert_eq!(gone, 3);
}

#[tokio::test]
async fn a_node_evicts_its_own_pods() {
    for (node, expected) in [
        ("edge", None),
        ("far", Some(r#"pods "one" is forbidden: node "far" can only evict pods with spec.nodeName set to itself"#)),
    ] {
        let world = World::of(pod(), vec![]).await;
        let user = User { name: format!("system:node:{node}"), groups: vec!["system:nodes".into()], ..User::default() };
        let evicted = world.evict(DeleteOptions { user, ..DeleteOptions::default() }).await;
        assert_eq!(evicted.err().map(|e| e.to_string()).as_deref(), expected);
    }
}
