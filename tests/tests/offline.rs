//! A node without its hub, and an agent that dies: pods go on, and nothing is made twice when things return.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::Value;
use skiff_tests::wait::ensure;
use skiff_tests::{Cluster, wait_for};

const WEB: &str = "create deployment web --image=localhost/test:1 --replicas=3";

/// Ends with an error soon after its file is made.
const FRAGILE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: fragile}
spec:
  containers:
    - name: main
      image: localhost/test:1
      command: [sh, -c, "while [ ! -e /tmp/crash ]; do sleep 0.1; done; exit 5"]
"#;

/// Uid, name and restarts of every pod: what must not change.
fn pods(cluster: &Cluster) -> Vec<(String, String, u64)> {
    let list = cluster.kubectl.json("get pods");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut pods: Vec<_> = list["items"]
        .as_array()
        .expect("a list has items")
        .iter()
        .map(|p| {
            let restarts = p["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default();
            (text(&p["metadata"]["name"]), text(&p["metadata"]["uid"]), restarts)
        })
        .collect();
    pods.sort();
    pods
}

fn started() -> Cluster {
    let cluster = Cluster::start(1);
    cluster.kubectl.ok(WEB);
    cluster.kubectl.ok("rollout status deployment/web --timeout=60s");
    cluster
}

#[test]
fn kill_9_of_the_agent_leaves_pods_running_and_the_next_start_adopts_them() {
    let mut cluster = started();
    let (containers, before) = (cluster.nodes[0].podman.running(), pods(&cluster));
    for _ in 0..3 {
        cluster.nodes[0].kill9();
        assert_eq!(cluster.nodes[0].podman.running(), containers, "containers outlive the agent");
        cluster.nodes[0].start();
        // A new pod shows that the agent works again; by then it has looked at all of its pods.
        cluster.kubectl.ok("run probe --image=localhost/test:1");
        cluster.wait_value(40, "pod/probe", "{.status.phase}", "Running");
        cluster.kubectl.ok("delete pod probe");
        assert_eq!(cluster.nodes[0].podman.running(), containers, "adopted, not restarted");
        assert_eq!(pods(&cluster), before);
    }
}

#[test]
fn the_agent_stops_in_order_and_leaves_pods_running() {
    let mut cluster = started();
    let containers = cluster.nodes[0].podman.running();
    cluster.nodes[0].stop();
    assert_eq!(cluster.nodes[0].podman.running(), containers);
}

#[test]
fn without_the_hub_a_crashed_container_is_restarted_and_reported_on_return_with_its_true_times() {
    let mut cluster = started();
    cluster.kubectl.with_input("apply -f -", FRAGILE);
    cluster.wait_value(30, "pod/fragile", "{.status.phase}", "Running");
    let before = pods(&cluster);
    let id = container_of(&cluster, "fragile");

    cluster.hub.stop();
    let crashed_at = jiff::Timestamp::now();
    cluster.nodes[0].podman.cli(&format!("exec {id} touch /tmp/crash"));
    wait_for(40, "another container of the pod", || {
        let running = cluster.nodes[0].podman.running();
        ensure(running.len() == 8 && !running.iter().any(|r| r.starts_with(&id)), || format!("{running:?} run"))
    });
    let restarted_by = jiff::Timestamp::now();
    cluster.hub.start_again();

    cluster.wait_value(60, "pod/fragile", "{.status.containerStatuses[0].restartCount}", "1");
    let fragile = cluster.kubectl.json("get pod fragile");
    let status = &fragile["status"]["containerStatuses"][0];
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 5, "{status}");
    let time = |v: &Value| v.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()).expect("a time");
    let (ended, began) =
        (time(&status["lastState"]["terminated"]["finishedAt"]), time(&status["state"]["running"]["startedAt"]));
    // Kubernetes' times have whole seconds.
    assert!(ended.as_second() >= crashed_at.as_second() && began <= restarted_by, "{ended} and {began}");
    let after = pods(&cluster);
    let uids = |pods: &[(String, String, u64)]| pods.iter().map(|p| p.1.clone()).collect::<Vec<_>>();
    assert_eq!(uids(&after), uids(&before), "no pod is made again by the return");
    assert!(after.iter().filter(|p| p.0 != "fragile").all(|p| p.2 == 0), "{after:?}");
}

#[test]
fn without_the_hub_a_cold_node_brings_its_pods_back_from_its_ledger() {
    let mut cluster = started();
    let before = pods(&cluster);
    let containers = cluster.nodes[0].podman.running().len();
    cluster.hub.stop();
    cluster.nodes[0].kill9();
    cluster.nodes[0].podman.lose_containers();
    assert_eq!(cluster.nodes[0].podman.running().len(), 0);

    cluster.nodes[0].start();
    wait_for(60, "all pods to run again", || {
        let running = cluster.nodes[0].podman.running();
        ensure(running.len() == containers, || format!("{} of {containers} containers run", running.len()))
    });
    let alone = cluster.nodes[0].podman.running();
    cluster.hub.start_again();
    cluster.wait_node("node-0", "True");
    cluster.kubectl.ok("wait --for=condition=Ready pod --all --timeout=60s");
    let after = pods(&cluster);
    let names = |pods: &[(String, String, u64)]| pods.iter().map(|p| (p.0.clone(), p.1.clone())).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "the same pods, not new ones");
    assert_eq!(cluster.nodes[0].podman.running(), alone, "the return restarts nothing");
}

#[test]
fn a_cut_node_goes_notready_keeps_its_pods_and_catches_up() {
    let cluster = Cluster::start_with(1, &["--node-grace", "5s"]);
    cluster.kubectl.ok(WEB);
    cluster.kubectl.ok("rollout status deployment/web --timeout=60s");
    let containers = cluster.nodes[0].podman.running();
    cluster.nodes[0].netns.cut();
    cluster.wait_node("node-0", "Unknown");
    cluster.wait_value(20, "pods -l app=web", "{.items[0].status.conditions[?(@.type==\"Ready\")].status}", "False");
    cluster.kubectl.ok("scale deployment web --replicas=1");
    assert_eq!(cluster.nodes[0].podman.running(), containers);

    cluster.nodes[0].netns.mend();
    cluster.wait_node("node-0", "True");
    wait_for(60, "one pod to be left", || {
        let running = cluster.nodes[0].podman.running().len();
        ensure(running == 2, || format!("{running} containers run"))
    });
}

fn container_of(cluster: &Cluster, pod: &str) -> String {
    let id = cluster.kubectl.ok(&format!("get pod {pod} -o jsonpath={{.status.containerStatuses[0].containerID}}"));
    id.trim_start_matches("podman://").to_owned()
}
