//! The Deployment controller: tables of objects in and plans out, and rollouts simulated to their end.

mod simulation;

use super::*;
use crate::controllers::testing::{World, yaml};
use crate::reconcile::PlannedWrite;
use crate::reconcile::view::key;
use serde_json::{Value, json};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}', kubernetes.io/change-cause: first}
spec:
  replicas: 4
  progressDeadlineSeconds: 600
  revisionHistoryLimit: 10
  selector: {matchLabels: {app: web}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'web:1'}]}
";

fn controller() -> Deployments {
    Deployments::new(Arc::new(Memo::new(1000)))
}

fn web() -> Key {
    key("deployments.apps", "default", "web")
}

fn sets(world: &World) -> Vec<Value> {
    let mut sets: Vec<Value> =
        world.snapshot().list(&"replicasets.apps".into(), None).map(|o| o.parse().unwrap()).collect();
    sets.sort_by_key(|s| s["metadata"]["annotations"]["deployment.kubernetes.io/revision"].to_string());
    sets
}

fn name(set: &Value) -> String {
    set["metadata"]["name"].as_str().unwrap().to_owned()
}

/// Says that all pods of a set are there and available.
fn fulfil(world: &mut World, set: &Value) {
    let key = key("replicasets.apps", "default", &name(set));
    world.edit(&key, |s| {
        let n = s["spec"]["replicas"].clone();
        s["status"] = json!({"replicas": n, "readyReplicas": n, "availableReplicas": n, "observedGeneration": 1000});
    });
}

fn set_image(world: &mut World, image: &str) {
    world.edit(&web(), |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = image.into());
}

fn roll_to_the_end(world: &mut World, controller: &Deployments) {
    for _ in 0..30 {
        for set in sets(world) {
            fulfil(world, &set);
        }
        if world.step(controller, &web()).is_empty() {
            return;
        }
        world.wait(1);
    }
    panic!("the rollout does not end");
}

fn condition(world: &World, kind: &str) -> String {
    let deployment = world.get(&web()).unwrap();
    let list = deployment["status"]["conditions"].as_array().unwrap().clone();
    let c = list.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null).clone();
    let text = |f: &str| c[f].as_str().unwrap_or("-").to_owned();
    format!("{} {}: {}", text("status"), text("reason"), text("message"))
}

#[test]
fn a_new_deployment_gets_its_first_set() {
    let mut world = World::of(WEB);
    let text = world.step(&controller(), &web());
    let set = sets(&world).remove(0);
    let name = name(&set);
    assert!(text.starts_with(&format!("create replicasets.apps/{name}\n")), "{text}");
    assert!(
        text.ends_with(&format!("event Normal ScalingReplicaSet: Scaled up replica set {name} from 0 to 4")),
        "{text}"
    );
    let hash = name.strip_prefix("web-").unwrap();
    assert_eq!(set["metadata"]["labels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(set["spec"]["selector"]["matchLabels"], set["metadata"]["labels"]);
    assert_eq!(set["spec"]["template"]["metadata"]["labels"], set["metadata"]["labels"]);
    assert_eq!(
        set["metadata"]["annotations"],
        json!({
            "deployment.kubernetes.io/desired-replicas": "4", "deployment.kubernetes.io/max-replicas": "5",
            "deployment.kubernetes.io/revision": "1", "kubernetes.io/change-cause": "first",
        })
    );
    let owner = &set["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["controller"], &owner["blockOwnerDeletion"]),
        (&json!("Deployment"), &json!(true), &json!(true))
    );
    assert_eq!(
        condition(&world, "Progressing"),
        format!("True NewReplicaSetCreated: Created new replica set {name:?}")
    );
    assert_eq!(
        condition(&world, "Available"),
        "False MinimumReplicasUnavailable: Deployment does not have minimum availability."
    );
    assert_eq!(world.get(&web()).unwrap()["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
}

#[test]
fn a_finished_rollout_says_so_and_rests() {
    let mut world = World::of(WEB);
    let controller = controller();
    world.settle(&controller, &web());
    let name = name(&sets(&world)[0]);
    roll_to_the_end(&mut world, &controller);
    assert_eq!(
        condition(&world, "Progressing"),
        format!("True NewReplicaSetAvailable: ReplicaSet {name:?} has successfully progressed.")
    );
    assert_eq!(condition(&world, "Available"), "True MinimumReplicasAvailable: Deployment has minimum availability.");
    let mut status = world.get(&web()).unwrap()["status"].clone();
    status.as_object_mut().unwrap().remove("conditions");
    assert_eq!(
        status,
        json!({"observedGeneration": 1, "replicas": 4, "updatedReplicas": 4, "readyReplicas": 4, "availableReplicas": 4})
    );
    assert_eq!(world.plan(&controller, &web()).requeue_at, None);
}

#[test]
fn a_rolling_update_surges_and_shrinks_within_its_limits() {
    let mut world = World::of(WEB);
    let controller = controller();
    world.settle(&controller, &web());
    roll_to_the_end(&mut world, &controller);
    let old = name(&sets(&world)[0]);
    set_image(&mut world, "web:2");
    let text = world.step(&controller, &web());
    let new = name(&sets(&world)[1]);
    assert!(text.contains(&format!("Scaled up replica set {new} from 0 to 1")), "{text}");
    assert!(text.contains(&format!("Scaled down replica set {old} from 4 to 3")), "{text}");
    let text = world.step(&controller, &web());
    assert!(text.contains(&format!("Scaled up replica set {new} from 1 to 2")), "{text}");
    assert_eq!(world.step(&controller, &web()).matches("Scaled").count(), 0, "it waits for pods to become available");
    roll_to_the_end(&mut world, &controller);
    let replicas: Vec<Value> = sets(&world).iter().map(|s| s["spec"]["replicas"].clone()).collect();
    assert_eq!(replicas, [0, 4]);
    let revisions: Vec<Value> = sets(&world)
        .iter()
        .map(|s| s["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone())
        .collect();
    assert_eq!(revisions, ["1", "2"]);
}

#[test]
fn rolling_back_gives_the_old_set_a_new_revision() {
    let mut world = World::of(WEB);
    let controller = controller();
    for image in ["web:1", "web:2", "web:1"] {
        set_image(&mut world, image);
        world.step(&controller, &web());
        roll_to_the_end(&mut world, &controller);
    }
    let all = sets(&world);
    assert_eq!(all.len(), 2, "no third set");
    let annotations = &all[1]["metadata"]["annotations"];
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(all[1]["spec"]["template"]["spec"]["containers"][0]["image"], "web:1");
    assert_eq!(world.get(&web()).unwrap()["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
}

#[test]
fn old_sets_beyond_the_history_limit_are_deleted() {
    let mut world = World::of(WEB);
    world.edit(&web(), |d| d["spec"]["revisionHistoryLimit"] = json!(1));
    let controller = controller();
    for image in ["web:1", "web:2", "web:3", "web:4"] {
        set_image(&mut world, image);
        world.step(&controller, &web());
        roll_to_the_end(&mut world, &controller);
    }
    let images: Vec<Value> =
        sets(&world).iter().map(|s| s["spec"]["template"]["spec"]["containers"][0]["image"].clone()).collect();
    assert_eq!(images, ["web:3", "web:4"]);
}

#[test]
fn scaling_goes_to_the_one_active_set() {
    let mut world = World::of(WEB);
    let controller = controller();
    world.settle(&controller, &web());
    roll_to_the_end(&mut world, &controller);
    let set = name(&sets(&world)[0]);
    for (replicas, message) in [
        (6, "Scaled up replica set {} from 4 to 6"),
        (0, "Scaled down replica set {} from 6 to 0"),
        (3, "Scaled up replica set {} from 0 to 3"),
    ] {
        world.edit(&web(), |d| d["spec"]["replicas"] = json!(replicas));
        let text = world.step(&controller, &web());
        assert!(text.contains(&message.replace("{}", &set)), "{text}");
        roll_to_the_end(&mut world, &controller);
    }
}

#[test]
fn scaling_during_a_rollout_is_shared_in_proportion() {
    let mut world = World::of(WEB);
    world.edit(&web(), |d| d["spec"]["replicas"] = json!(10));
    let controller = controller();
    world.settle(&controller, &web());
    roll_to_the_end(&mut world, &controller);
    set_image(&mut world, "web:2");
    world.settle(&controller, &web());
    let sizes = |world: &World| sets(world).iter().map(|s| s["spec"]["replicas"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(sizes(&world), [8, 5], "13 at most, 8 at least");
    world.edit(&web(), |d| d["spec"]["replicas"] = json!(20));
    world.step(&controller, &web());
    assert_eq!(sizes(&world), [15, 10], "25 at most, in the proportions of 8 and 5");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::of(WEB);
    let controller = controller();
    world.settle(&controller, &web());
    roll_to_the_end(&mut world, &controller);
    world.edit(&web(), |d| d["spec"]["paused"] = json!(true));
    set_image(&mut world, "web:2");
    world.settle(&controller, &web());
    assert_eq!(sets(&world).len(), 1);
    assert_eq!(condition(&world, "Progressing"), "Unknown DeploymentPaused: Deployment is paused");
    world.edit(&web(), |d| d["spec"]["replicas"] = json!(2));
    world.settle(&controller, &web());
    assert_eq!(sets(&world)[0]["spec"]["replicas"], 2);
    world.edit(&web(), |d| d["spec"]["paused"] = json!(false));
    world.settle(&controller, &web());
    assert_eq!(sets(&world).len(), 2);
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    let mut world = World::of(WEB);
    world.edit(&web(), |d| d["spec"]["strategy"] = json!({"type": "Recreate"}));
    let controller = controller();
    world.settle(&controller, &web());
    roll_to_the_end(&mut world, &controller);
    let old = sets(&world).remove(0);
    world.put(yaml(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: {0}, uid: uid-{0}, controller: true}}]}}, status: {{phase: Running}}}}",
        name(&old)
    )));
    set_image(&mut world, "web:2");
    let text = world.step(&controller, &web());
    assert!(text.contains("from 4 to 0"), "{text}");
    fulfil(&mut world, &old);
    world.settle(&controller, &web());
    assert_eq!(sets(&world).len(), 1, "a pod of the old set still runs");
    let revision = world.snapshot().revision();
    world.remove(&key("pods", "default", "p"));
    assert_eq!(controller.keys(&world.changes(revision)[0], &world.snapshot()), vec![web()]);
    let text = world.step(&controller, &web());
    assert!(text.contains("from 0 to 4"), "{text}");
}

#[test]
fn a_rollout_without_progress_times_out() {
    let mut world = World::of(WEB);
    let controller = controller();
    world.settle(&controller, &web());
    let name = name(&sets(&world)[0]);
    let plan = world.plan(&controller, &web());
    assert_eq!(plan.requeue_at, Some("2026-01-01T10:10:01Z".parse().unwrap()));
    world.wait(601);
    world.settle(&controller, &web());
    assert_eq!(
        condition(&world, "Progressing"),
        format!("False ProgressDeadlineExceeded: ReplicaSet {name:?} has timed out progressing.")
    );
    roll_to_the_end(&mut world, &controller);
    assert_eq!(
        condition(&world, "Progressing"),
        format!("True NewReplicaSetAvailable: ReplicaSet {name:?} has successfully progressed.")
    );
}

#[test]
fn a_hash_that_is_taken_is_counted_as_a_collision() {
    let mut world = World::of(WEB);
    let controller = controller();
    world.settle(&controller, &web());
    let first = sets(&world).remove(0);
    world.edit(&key("replicasets.apps", "default", &name(&first)), |s| {
        s["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "x", "controller": true}]);
    });
    world.settle(&controller, &web());
    assert_eq!(world.get(&web()).unwrap()["status"]["collisionCount"], 1);
    assert_eq!(sets(&world).len(), 2);
}

#[test]
fn a_matching_orphan_is_adopted_as_the_current_set() {
    let mut world = World::of(WEB);
    let controller = controller();
    world.settle(&controller, &web());
    let set = key("replicasets.apps", "default", &name(&sets(&world)[0]));
    world.edit(&set, |s| {
        s["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    });
    let text = world.settle(&controller, &web());
    assert!(text.contains("\"ownerReferences\":[{"), "{text}");
    assert_eq!(sets(&world).len(), 1);
    assert_eq!(world.get(&set).unwrap()["metadata"]["ownerReferences"][0]["name"], "web");
}

#[test]
fn a_failing_set_shows_on_the_deployment() {
    let mut world = World::of(WEB);
    let controller = controller();
    world.settle(&controller, &web());
    let set = key("replicasets.apps", "default", &name(&sets(&world)[0]));
    world.edit(&set, |s| {
        s["status"]["conditions"] =
            json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no"}])
    });
    world.settle(&controller, &web());
    assert_eq!(condition(&world, "ReplicaFailure"), "True FailedCreate: no");
}

#[test]
fn a_status_is_written_over_the_one_that_was_seen() {
    let world = World::of(WEB);
    let seen = world.snapshot().get(&web()).unwrap().revision.to_string();
    let plan = world.plan(&controller(), &web());
    let patches = plan.writes.iter().chain(plan.on_failure.as_deref()).filter_map(|write| {
        let PlannedWrite::Patch { patch, subresource: "status", .. } = write else { return None };
        Some(&patch["metadata"]["resourceVersion"])
    });
    assert_eq!(patches.collect::<Vec<_>>(), [&json!(seen), &json!(seen)]);
}
