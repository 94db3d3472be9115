//! The ReplicaSet controller: objects in, plans out.

use super::*;
use crate::controllers::testing::{World, yaml};
use crate::reconcile::view::key;

const SET: &str = "
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-1, uid: set}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
";

fn controller() -> ReplicaSets {
    ReplicaSets::new(Arc::new(Memo::new(1000)))
}

fn pod(name: &str, owner: &str, app: &str) -> Value {
    let mut pod = yaml(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {app}}}}}, spec: {{nodeName: a}}, status: {{phase: Running}}}}"
    ));
    if !owner.is_empty() {
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]);
    }
    pod
}

fn ready(mut pod: Value, since: &str) -> Value {
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
    pod
}

fn set() -> Key {
    key("replicasets.apps", "default", "web-1")
}

#[test]
fn missing_pods_are_created_from_the_template_and_counted() {
    let mut world = World::of(SET);
    let controller = controller();
    assert_eq!(
        world.step(&controller, &set()),
        "create pods/web-1-1\ncreate pods/web-1-2\n\
         patch replicasets.apps/web-1/status {\"status\":{\"availableReplicas\":null,\"conditions\":null,\"fullyLabeledReplicas\":null,\"observedGeneration\":1,\"readyReplicas\":null,\"replicas\":0}}\n\
         event Normal SuccessfulCreate: Created pod: web-1-1\nevent Normal SuccessfulCreate: Created pod: web-1-2"
    );
    let pod = world.get(&key("pods", "default", "web-1-1")).unwrap();
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "set");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"], true);
    assert_eq!(pod["spec"]["containers"][0]["image"], "web");
    world.settle(&controller, &set());
    let status = world.get(&set()).unwrap()["status"].clone();
    assert_eq!(status, json!({"replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": 1}));
}

#[test]
fn ended_and_terminating_pods_are_replaced() {
    let mut world = World::of(SET);
    let mut failed = pod("failed", "set", "web");
    failed["status"]["phase"] = "Failed".into();
    world.put(failed);
    let mut going = pod("going", "set", "web");
    going["metadata"]["deletionTimestamp"] = "2026-01-01T09:00:00Z".into();
    world.put(going);
    let text = world.step(&controller(), &set());
    assert_eq!(text.matches("create pods/").count(), 2, "{text}");
    assert!(!text.contains("delete"), "{text}");
}

#[test]
fn orphans_are_adopted_strangers_ignored_and_misfits_released() {
    let mut world = World::of(SET);
    world.put(pod("orphan", "", "web"));
    world.put(pod("mine", "set", "web"));
    world.put(pod("misfit", "set", "other"));
    world.put(pod("theirs", "another", "web"));
    let text = world.step(&controller(), &set());
    assert!(text.contains("patch pods/orphan {\"metadata\":{\"ownerReferences\":[{"), "{text}");
    assert!(text.contains("patch pods/misfit {\"metadata\":{\"ownerReferences\":null}}"), "{text}");
    assert!(!text.contains("theirs") && !text.contains("create"), "{text}");
}

#[test]
fn the_least_valuable_pods_go_first() {
    let mut world = World::of(SET);
    world.put(ready(pod("old", "set", "web"), "2026-01-01T01:00:00Z"));
    world.put(pod("unready", "set", "web"));
    world.put(ready(pod("young", "set", "web"), "2026-01-01T09:59:00Z"));
    world.edit(&set(), |s| s["spec"]["replicas"] = json!(1));
    let text = world.step(&controller(), &set());
    assert!(text.starts_with("delete pods/unready\ndelete pods/young\n"), "{text}");
    assert!(text.contains("event Normal SuccessfulDelete: Deleted pod: unready"), "{text}");
}

#[test]
fn pods_become_available_after_min_ready_seconds() {
    let mut world = World::of(SET);
    world.edit(&set(), |s| s["spec"]["minReadySeconds"] = json!(30));
    world.put(ready(pod("a", "set", "web"), "2026-01-01T09:59:50Z"));
    world.put(ready(pod("b", "set", "web"), "2026-01-01T09:00:00Z"));
    let controller = controller();
    let plan = world.plan(&controller, &set());
    assert_eq!(plan.requeue_at, Some("2026-01-01T10:00:20Z".parse().unwrap()));
    world.apply(plan);
    assert_eq!(world.get(&set()).unwrap()["status"]["availableReplicas"], 1);
    world.wait(20);
    world.step(&controller, &set());
    assert_eq!(world.get(&set()).unwrap()["status"]["availableReplicas"], 2);
}

#[test]
fn a_failure_is_shown_until_the_pods_are_there() {
    let mut world = World::of(SET);
    let controller = controller();
    let plan = world.plan(&controller, &set());
    let Some(PlannedWrite::Patch { patch, .. }) = plan.on_failure.as_deref() else { panic!("no report of a failure") };
    assert_eq!(patch["status"]["conditions"][0]["reason"], "FailedCreate");
    let conditions = patch["status"]["conditions"].clone();
    world.edit(&set(), |s| s["status"]["conditions"] = conditions);
    world.settle(&controller, &set());
    assert_eq!(world.get(&set()).unwrap()["status"].get("conditions"), None);
}

#[test]
fn nothing_is_created_in_a_namespace_that_goes_or_by_a_set_that_goes() {
    let mut world = World::of(SET);
    world.put(yaml(
        "{apiVersion: v1, kind: Namespace, metadata: {name: default, deletionTimestamp: '2026-01-01T09:00:00Z'}}",
    ));
    assert!(!world.step(&controller(), &set()).contains("create"));
    let mut world = World::of(SET);
    world.edit(&set(), |s| s["metadata"]["deletionTimestamp"] = "2026-01-01T09:00:00Z".into());
    assert!(!world.step(&controller(), &set()).contains("create"));
}

#[test]
fn changes_of_pods_lead_to_their_set() {
    let mut world = World::of(SET);
    let controller = controller();
    let revision = world.snapshot().revision();
    world.put(pod("mine", "set", "web"));
    world.edit(&key("pods", "default", "mine"), |p| p["metadata"]["ownerReferences"][0]["name"] = "web-1".into());
    world.put(pod("orphan", "", "web"));
    world.put(pod("stranger", "", "other"));
    let keys: Vec<Vec<Key>> = world.changes(revision).iter().map(|e| controller.keys(e, &world.snapshot())).collect();
    assert_eq!(keys[2], vec![set()], "an orphan that matches");
    assert!(keys[3].is_empty(), "a stranger");
    assert!(keys[1].contains(&set()), "the owner");
}

#[test]
fn a_status_is_written_over_the_one_that_was_seen() {
    let world = World::of(SET);
    let seen = world.snapshot().get(&set()).unwrap().revision.to_string();
    let plan = world.plan(&controller(), &set());
    let patches = plan.writes.iter().chain(plan.on_failure.as_deref()).filter_map(|write| {
        let PlannedWrite::Patch { patch, subresource: "status", .. } = write else { return None };
        Some(&patch["metadata"]["resourceVersion"])
    });
    assert_eq!(patches.collect::<Vec<_>>(), [&json!(seen), &json!(seen)]);
}
