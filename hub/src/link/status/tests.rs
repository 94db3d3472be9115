//! Reports in, JSON out.

use serde_json::json;
use skiff_shared::report::{ContainerResources, NodeCondition, NodeInfo, PodCondition};

use super::*;
use crate::registry::schema::Schema;

fn report(phase: Phase, state: ContainerState) -> PodReport {
    PodReport {
        uid: skiff_shared::ids::PodUid::parse("u").unwrap(),
        namespace: "default".into(),
        name: "web".into(),
        phase,
        reason: String::new(),
        message: String::new(),
        pod_ip: "10.42.0.2".into(),
        host_ip: "192.0.2.1".into(),
        start_ms: 1000,
        conditions: vec![PodCondition {
            kind: "Ready".into(),
            status: false,
            reason: "ContainersNotReady".into(),
            message: String::new(),
            since_ms: 2999,
        }],
        init_containers: vec![],
        containers: vec![ContainerReport {
            name: "c".into(),
            image: "i:1".into(),
            image_id: "sha256:1".into(),
            container_id: "podman://1".into(),
            state,
            last: None,
            restarts: 1,
            ready: false,
            started: true,
        }],
        gone: false,
        resources: vec![],
    }
}

#[test]
fn a_report_replaces_what_agents_own_and_keeps_the_rest() {
    let stored = json!({"metadata": {"name": "web"}, "status": {
        "phase": "Pending", "qosClass": "BestEffort", "reason": "old", "observedGeneration": 3,
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True", "observedGeneration": 3},
        ],
    }});
    let waiting = ContainerState::Waiting { reason: "CrashLoopBackOff".into(), message: String::new() };
    let pod = apply_pod(&stored, &report(Phase::Running, waiting)).unwrap();
    assert_eq!(
        pod["status"],
        json!({
            "phase": "Running", "qosClass": "BestEffort", "observedGeneration": 3,
            "podIP": "10.42.0.2", "podIPs": [{"ip": "10.42.0.2"}], "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}],
            "startTime": "1970-01-01T00:00:01Z",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "lastProbeTime": null,
                    "lastTransitionTime": "1970-01-01T00:00:02Z", "observedGeneration": 3},
            ],
            "containerStatuses": [{
                "name": "c", "image": "i:1", "imageID": "sha256:1", "containerID": "podman://1", "restartCount": 1,
                "ready": false, "started": true, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {},
            }],
        })
    );
}

#[test]
fn the_same_report_again_changes_nothing() {
    let ended = ContainerState::Terminated(Terminated {
        exit_code: 1,
        reason: "Error".into(),
        message: String::new(),
        started_ms: 1,
        finished_ms: 2,
        container_id: String::new(),
    });
    let report = report(Phase::Failed, ended);
    let pod = apply_pod(&json!({}), &report).unwrap();
    assert_eq!(apply_pod(&pod, &report), None);
}

fn node_report() -> NodeReport {
    NodeReport {
        internal_ip: "192.0.2.1".into(),
        hostname: "edge".into(),
        cpu_milli: 2000,
        memory_bytes: 1 << 30,
        storage_bytes: 1 << 34,
        pods: 110,
        cpu_reserved_milli: 50,
        memory_reserved_bytes: 1 << 26,
        info: NodeInfo { architecture: "arm64".into(), ..NodeInfo::default() },
        conditions: vec![NodeCondition {
            kind: "Ready".into(),
            status: true,
            reason: "KubeletReady".into(),
            message: "m".into(),
            since_ms: 1000,
        }],
        labels: vec![("zone".into(), "a".into())],
    }
}

#[test]
fn a_node_is_written_when_it_changes_and_every_five_minutes() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let node = apply_node(&new_node("edge", "key", &node_report()), &node_report(), at(100)).unwrap();
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/arch"], "arm64");
    assert_eq!(
        (&node["status"]["capacity"]["cpu"], &node["status"]["allocatable"]["memory"]),
        (&json!("2"), &json!("960Mi"))
    );
    assert_eq!(apply_node(&node, &node_report(), at(399)), None);
    let beat = apply_node(&node, &node_report(), at(400)).unwrap();
    assert_eq!(beat["status"]["conditions"][0]["lastHeartbeatTime"], "1970-01-01T00:06:40Z");
    assert_eq!(beat["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:01Z");
    let mut unknown = node.clone();
    unknown["status"]["conditions"][0]["status"] = json!("Unknown");
    assert!(apply_node(&unknown, &node_report(), at(101)).is_some(), "the agent's word overrides the life cycle's");
}

#[test]
fn what_has_been_stored_is_no_change() {
    let stored = |definition: &str, mut object: Value| {
        Schema::builtin().renew(definition, &mut object);
        object
    };
    let mut bare = node_report();
    (bare.conditions[0].reason, bare.conditions[0].message) = (String::new(), String::new());
    for report in [node_report(), bare] {
        let now = Timestamp::from_second(100).unwrap();
        let node = apply_node(&new_node("edge", "key", &report), &report, now).unwrap();
        assert_eq!(apply_node(&stored("io.k8s.api.core.v1.Node", node), &report, now), None);
    }
    let pod = json!({"spec": {"containers": [{"name": "a"}]}});
    for state in [
        ContainerState::Running { started_ms: 1000 },
        ContainerState::Waiting { reason: String::new(), message: String::new() },
    ] {
        let report = report(Phase::Running, state);
        let pod = apply_pod(&pod, &report).unwrap();
        assert_eq!(apply_pod(&stored("io.k8s.api.core.v1.Pod", pod), &report), None);
    }
}

#[test]
fn labels_of_others_stay() {
    let mut node = json!({"metadata": {"labels": {"mine": "1"}}});
    assert!(apply_labels(&mut node, "edge", &node_report()));
    assert_eq!((&node["metadata"]["labels"]["mine"], &node["metadata"]["labels"]["zone"]), (&json!("1"), &json!("a")));
    assert!(!apply_labels(&mut node, "edge", &node_report()));
}

#[test]
fn ephemeral_containers_have_a_list_of_their_own() {
    let stored = json!({"spec": {"ephemeralContainers": [{"name": "d"}]}, "status": {}});
    let mut report = report(Phase::Running, ContainerState::Running { started_ms: 1000 });
    report.containers.push(ContainerReport { name: "d".into(), ..report.containers[0].clone() });
    let status = apply_pod(&stored, &report).unwrap()["status"].take();
    let names = |list: &str| {
        status[list]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| (c["name"].as_str().unwrap(), c.get("started").is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names("containerStatuses"), [("c", true)]);
    assert_eq!(names("ephemeralContainerStatuses"), [("d", false)]);
}

#[test]
fn a_resize_is_told_until_it_is_done() {
    let running = ContainerState::Running { started_ms: 1 };
    let mut report = report(Phase::Running, running);
    let resources = |cpu: u64, memory: u64| skiff_shared::pod::Resources {
        cpu_request_milli: Some(cpu),
        memory_limit_bytes: Some(memory << 20),
        ..skiff_shared::pod::Resources::default()
    };
    let told = ContainerResources { container: "c".into(), allocated: resources(200, 64), actual: resources(100, 64) };
    report.resources = vec![told];
    let ready = report.conditions[0].clone();
    report.conditions.push(PodCondition { kind: "PodResizeInProgress".into(), status: true, ..ready.clone() });
    let asked = json!({"requests": {"cpu": "300m", "ephemeral-storage": "1Gi"}, "limits": {"memory": "64Mi"}});
    let stored = json!({"spec": {"containers": [{"name": "c", "resources": asked}]}});
    let pod = apply_pod(&stored, &report).unwrap();
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(container["allocatedResources"], json!({"cpu": "200m", "ephemeral-storage": "1Gi"}));
    let expected = json!({"requests": {"cpu": "100m", "ephemeral-storage": "1Gi"}, "limits": {"memory": "64Mi"}});
    assert_eq!(container["resources"], expected);
    assert_eq!(pod["status"]["conditions"][1]["type"], "PodResizeInProgress");
    report.conditions = vec![ready];
    let done = apply_pod(&pod, &report).unwrap();
    assert_eq!(done["status"]["conditions"].as_array().map(Vec::len), Some(1));
    report.resources.clear();
    let silent = apply_pod(&done, &report).unwrap();
    assert_eq!(silent["status"]["containerStatuses"][0].get("resources"), None, "an agent that does not tell");
}
