//! From an accepted pod to a running one, beside the bare Podman calls for the same pod in the same run.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skiff_tests::api::{Api, Connection};
use skiff_tests::cluster::Cluster;
use skiff_tests::measure::percentile;
use skiff_tests::podman::PodmanService;

use crate::table::{Aim, Table};

/// Pods of each kind, alternating so that both see the same machine.
const PODS: usize = 20;
/// Most time for one pod.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(table: &mut Table, cluster: &Cluster) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let (mut bare, mut skiff) = (Vec::new(), Vec::new());
    for number in 0..PODS {
        bare.push(bare_pod(&cluster.nodes[0].podman, &format!("bare-{number}")));
        skiff.push(runtime.block_on(skiff_pod(&cluster.hub.api(), &format!("skiff-{number}"))));
    }
    for percent in [50, 95] {
        let (bare, skiff) = (percentile(&bare, percent), percentile(&skiff, percent));
        table.add(
            &format!("bare Podman calls for a pod, p{percent} of {PODS}"),
            bare,
            "ms",
            Aim::None,
            "the reference",
        );
        table.add(&format!("create to Running, p{percent} of {PODS}"), skiff, "ms", Aim::Most(bare * 1.25), "");
        table.add(
            &format!("create to Running / bare calls, p{percent}"),
            skiff / bare,
            "",
            Aim::Most(1.25),
            "Ankaios: +50-80 ms",
        );
    }
}

/// Makes and starts a pod with one container by Podman's API alone; gives ms until it is seen to run.
fn bare_pod(podman: &PodmanService, name: &str) -> f64 {
    let call = |method: &str, path: &str, body: Option<&Value>| {
        let (status, answer) = podman.api(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    };
    let begin = Instant::now();
    call("POST", "/libpod/pods/create", Some(&json!({"name": name, "hostname": name})));
    let memory = json!({"memory": {"limit": 32 * 1024 * 1024}});
    let container =
        json!({"name": format!("{name}-main"), "pod": name, "image": "localhost/test:1", "resource_limits": memory});
    call("POST", "/libpod/containers/create", Some(&container));
    call("POST", &format!("/libpod/pods/{name}/start"), None);
    let state = call("GET", &format!("/libpod/containers/{name}-main/json"), None);
    let taken = milliseconds(begin);
    assert_eq!(state["State"]["Status"], "running");
    call("DELETE", &format!("/libpod/pods/{name}?force=true&timeout=0"), None);
    taken
}

/// Creates the same pod through the hub; gives ms until the API shows it Running.
async fn skiff_pod(api: &Api, name: &str) -> f64 {
    let container = json!({"name": "main", "image": "localhost/test:1", "resources": {"limits": {"memory": "32Mi"}}});
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}});
    let mut connection = api.connect().await.expect("the hub is there");
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    let begin = Instant::now();
    let created = send(&mut connection, "POST", "/api/v1/namespaces/default/pods", &pod.to_string()).await;
    assert_eq!(created.0, 201, "{}", created.1);
    while send(&mut connection, "GET", &path, "").await.1["status"]["phase"] != "Running" {
        assert!(begin.elapsed() < PATIENCE, "{name} does not run");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let taken = milliseconds(begin);
    send(&mut connection, "DELETE", &path, r#"{"gracePeriodSeconds": 1}"#).await;
    while send(&mut connection, "GET", &path, "").await.0 != 404 {
        assert!(begin.elapsed() < PATIENCE, "{name} does not go");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    taken
}

async fn send(connection: &mut Connection, method: &str, path: &str, body: &str) -> (u16, Value) {
    let reply = connection.send(method, path, "application/json", body.to_owned()).await.expect("the hub answers");
    (reply.status, reply.json())
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}
