//! The API under load: creations per second, and a list of a thousand pods.

use std::time::Instant;

use serde_json::json;
use skiff_tests::api::Api;
use skiff_tests::cluster::Cluster;
use skiff_tests::measure::percentile;

use crate::table::Table;

/// Connections that create at the same time.
const CONNECTIONS: usize = 16;
/// Pods created, and then listed.
const PODS: usize = 1_000;
/// Lists timed.
const LISTS: usize = 10;
/// Their namespace.
const NAMESPACE: &str = "load";

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn measure(table: &mut Table, cluster: &Cluster) {
    cluster.kubectl.ok(&format!("create namespace {NAMESPACE}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let begin = Instant::now();
    runtime.block_on(create_all(&cluster.hub.api()));
    let rate = PODS as f64 / begin.elapsed().as_secs_f64();
    table.add(&format!("pod creations with {CONNECTIONS} connections"), rate, "/s", None, "every one durable");
    let (milliseconds, bytes) = runtime.block_on(list(&cluster.hub.api()));
    table.add(&format!("LIST of {PODS} pods, p50 of {LISTS}"), percentile(&milliseconds, 50), "ms", None, "");
    table.add(&format!("LIST of {PODS} pods, size"), bytes as f64 / 1e6, "MB", None, "");
}

async fn create_all(api: &Api) {
    let workers: Vec<_> = (0..CONNECTIONS).map(|first| tokio::spawn(create_some(api.clone(), first))).collect();
    for worker in workers {
        worker.await.expect("a worker ends in order");
    }
}

/// Creates every sixteenth pod. Another scheduler's name keeps them from being run: this measures the API.
async fn create_some(api: Api, first: usize) {
    let mut connection = api.connect().await.expect("the hub is there");
    for number in (first..PODS).step_by(CONNECTIONS) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("pod-{number:04}"), "labels": {"app": "load", "pod": number.to_string()}},
            "spec": {"schedulerName": "none", "containers": [{"name": "main", "image": "localhost/test:1",
                "env": [{"name": "MODE", "value": "load"}], "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}}}]}});
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let reply = connection.send("POST", &path, "application/json", pod.to_string()).await.expect("the hub answers");
        assert_eq!(reply.status, 201, "{}", reply.json());
    }
}

async fn list(api: &Api) -> (Vec<f64>, usize) {
    let mut connection = api.connect().await.expect("the hub is there");
    let (mut milliseconds, mut bytes) = (Vec::new(), 0);
    for _ in 0..LISTS {
        let begin = Instant::now();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let reply = connection.send("GET", &path, "application/json", "").await.expect("the hub answers");
        milliseconds.push(begin.elapsed().as_secs_f64() * 1e3);
        bytes = reply.body.len();
        assert_eq!(reply.json()["items"].as_array().map_or(0, Vec::len), PODS);
    }
    (milliseconds, bytes)
}
