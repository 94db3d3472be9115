//! What users ask of a cluster in which nothing fails but their containers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_tests::sim::{DEPLOYMENTS, IMAGES, Pod, World, deployment};
use skiff_tests::wait::ensure;

/// How many pods each node has.
fn spread(pods: &[Pod]) -> Vec<usize> {
    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    pods.iter().for_each(|pod| *nodes.entry(&pod.node).or_default() += 1);
    let mut counts: Vec<_> = nodes.into_values().collect();
    counts.sort_unstable();
    counts
}

/// Waits until a pod's container status is as wanted, and gives it.
#[track_caller]
fn container(world: &World, pod: &Pod, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    world.wait(what, || {
        let now = world.api.get(&format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name))?;
        let status = &now["status"]["containerStatuses"][0];
        ensure(wanted(status), || format!("it is {status}")).map(|()| status.clone())
    })
}

/// Ends a pod's container twice: the second restart has to wait.
fn crash_loop(world: &World, pod: &Pod) {
    world.crash(pod, 1);
    container(world, pod, "the first restart", |c| c["restartCount"] == 1 && c["ready"] == true);
    world.crash(pod, 3);
    container(world, pod, "the back-off", |c| c["state"]["waiting"]["reason"] == "CrashLoopBackOff");
}

#[test]
fn a_deployment_becomes_available_and_spreads() {
    let world = World::start(2);
    world.deploy("web", 3, IMAGES[0]);
    let pods = world.settle();
    assert_eq!(spread(&pods), [1, 2]);
    let web = world.api.get(&format!("{DEPLOYMENTS}/web")).unwrap();
    assert_eq!(skiff_tests::sim::condition(&web, "Available"), "True");
}

#[test]
fn scaling_down_takes_what_does_not_work_first_and_keeps_the_spread() {
    let world = World::start(2);
    world.deploy("web", 5, IMAGES[0]);
    let before = world.settle();
    crash_loop(&world, &before[0]);
    world.scale("web", 4);
    let four = world.settle();
    assert_eq!(four, before[1..], "the broken pod went");
    world.scale("web", 2);
    let two = world.settle();
    assert_eq!(two.len(), 2);
    assert!(two.iter().all(|pod| four.contains(pod)), "{two:?} are not of {four:?}");
    world.scale("web", 0);
    assert_eq!(world.settle(), []);
}

#[test]
fn a_rolling_update_never_has_too_few_or_too_many_pods() {
    let world = World::start(2);
    world.deploy("web", 4, IMAGES[0]);
    let old = world.settle();
    let path = "/api/v1/namespaces/default/pods";
    let list = world.api.get(path).unwrap();
    world.change("web", &json!({"template": {"spec": {"containers": [{"name": "main", "image": IMAGES[1]}]}}}));
    let new = world.settle();
    assert!(new.iter().all(|pod| pod.image == IMAGES[1]), "{new:?}");

    let mut pods: BTreeMap<String, Pod> = old.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
    for event in world.api.history(path, list["metadata"]["resourceVersion"].as_str().unwrap()).unwrap() {
        let pod = Pod::new(&event["object"]);
        match event["type"].as_str().unwrap() {
            "DELETED" => pods.remove(&pod.uid),
            _ => pods.insert(pod.uid.clone(), pod),
        };
        let (serve, stay) =
            (pods.values().filter(|p| p.serves()).count(), pods.values().filter(|p| !p.deleting).count());
        assert!(serve >= 3, "25% of 4 may be unavailable, but there is {pods:#?}");
        assert!(stay <= 5, "25% of 4 may be too many, but there is {pods:#?}");
    }
    assert_eq!(
        pods.into_values().collect::<std::collections::BTreeSet<_>>(),
        new.into_iter().collect(),
        "all was seen"
    );
}

#[test]
fn a_crashed_container_is_restarted_with_back_off() {
    let world = World::start(1);
    world.deploy("web", 1, IMAGES[0]);
    let pod = &world.settle()[0];
    crash_loop(&world, pod);
    let last = container(&world, pod, "the second restart", |c| c["restartCount"] == 2 && c["ready"] == true);
    let ended = &last["lastState"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(3), &json!("Error")));
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    let waited = time(&last["state"]["running"]["startedAt"]).duration_since(time(&ended["finishedAt"]));
    assert!((10..20).contains(&waited.as_secs()), "the first back-off is 10 s, not {waited:#}");
    assert_eq!(world.settle(), [Pod { restarts: 2, ..pod.clone() }]);
    let events = world.api.get("/api/v1/namespaces/default/events").unwrap();
    assert!(skiff_tests::sim::items(&events).iter().any(|e| e["reason"] == "BackOff"), "{events}");
}

#[test]
fn a_deleted_namespace_takes_everything_in_it() {
    let world = World::start(2);
    let data = json!({"metadata": {"name": "settings"}, "data": {"MODE": "fast"}});
    world.api.create("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).unwrap();
    world.api.create("/apis/apps/v1/namespaces/team/deployments", &deployment("web", 3, IMAGES[0])).unwrap();
    world.api.create("/api/v1/namespaces/team/configmaps", &data).unwrap();
    world.deploy("other", 1, IMAGES[0]);
    let pods = world.settle();
    assert_eq!(pods.len(), 4);

    world.api.delete("/api/v1/namespaces/team").unwrap();
    world.wait("the namespace to be gone", || match world.api.get("/api/v1/namespaces/team") {
        Err(why) if why.contains("404") => Ok(()),
        other => Err(format!("it is {other:?}")),
    });
    for kind in ["/api/v1/pods", "/api/v1/configmaps", "/api/v1/serviceaccounts", "/apis/apps/v1/replicasets"] {
        let list = world.api.get(kind).unwrap();
        assert!(skiff_tests::sim::items(&list).iter().all(|o| o["metadata"]["namespace"] != "team"), "{list}");
    }
    assert_eq!(world.settle(), pods[..1], "the other namespace is as it was");
}

#[test]
fn a_changed_config_map_reaches_the_environment_of_a_restarted_container() {
    let world = World::start(1);
    let maps = "/api/v1/namespaces/default/configmaps";
    world.api.create(maps, &json!({"metadata": {"name": "settings"}, "data": {"MODE": "slow"}})).unwrap();
    let mut web = deployment("web", 1, IMAGES[0]);
    web["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
    world.api.create(DEPLOYMENTS, &web).unwrap();
    let pod = &world.settle()[0];
    let podman = &world.nodes[0].podman;
    let mode = || podman.env(&pod.name, "main").into_iter().find(|(name, _)| name == "MODE").map(|(_, value)| value);
    assert_eq!(mode().as_deref(), Some("slow"));

    world.api.patch(&format!("{maps}/settings"), &json!({"data": {"MODE": "fast"}})).unwrap();
    // Pods bound later are sent later: this one runs only once the node has the change.
    world.deploy("probe", 1, IMAGES[0]);
    world.settle();
    assert_eq!(mode().as_deref(), Some("slow"), "a running container keeps its environment");
    world.crash(pod, 1);
    container(&world, pod, "the restart", |c| c["restartCount"] == 1 && c["ready"] == true);
    assert_eq!(mode().as_deref(), Some("fast"));
}
