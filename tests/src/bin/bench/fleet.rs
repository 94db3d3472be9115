//! A hub with 100 nodes and 5,000 pods: what it holds, and what they cost it while nothing happens.

use std::time::{Duration, Instant};

use serde_json::Value;
use skiff_tests::Hub;
use skiff_tests::api::Api;
use skiff_tests::measure::{pss_mb, usage};
use tokio::sync::watch;

use crate::lean::fill;
use crate::table::{Aim, Table};
use crate::{hub, nodes, runtime};

const NODES: usize = 100;
const PODS: usize = 5_000;
/// How long nothing changes before memory is read.
const SETTLE: Duration = Duration::from_secs(15);
/// The idle time of which CPU and writes are counted.
const IDLE: Duration = Duration::from_secs(30);
/// Most time for everything to come up.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn measure(table: &mut Table) {
    let (hub, dir) = hub();
    let (stop, stopped) = watch::channel(false);
    runtime().block_on(async {
        let address = format!("127.0.0.1:{}", hub.port());
        for number in 0..NODES {
            nodes::start(&address, dir.path(), &format!("node-{number:03}"), &hub.token(), stopped.clone());
        }
        let api = hub.api();
        until(&api, "/api/v1/nodes", NODES, |node| condition(node, "Ready") == "True").await;
        memory(table, &hub, &api).await;
        idle(table, &hub, &api).await;
        stop.send_replace(true);
    });
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
async fn memory(table: &mut Table, hub: &Hub, api: &Api) {
    let pid = hub.pid().expect("the hub runs");
    tokio::time::sleep(SETTLE).await;
    let empty = pss_mb(pid);
    table.add(
        &format!("hub, PSS with {NODES} nodes and no pods"),
        empty,
        "MB",
        Aim::None,
        "agents' real links, no Podman",
    );
    let (begin, cpu) = (Instant::now(), usage(pid).cpu_ms);
    fill(api, "fleet", PODS, 16, "default-scheduler").await;
    until(api, "/api/v1/namespaces/fleet/pods", PODS, |pod| pod["status"]["phase"] == "Running").await;
    let each = (usage(pid).cpu_ms - cpu) / PODS as f64;
    let what = format!("{PODS} pods on {NODES} nodes: from the first created to the last running");
    table.add(&what, begin.elapsed().as_secs_f64(), "s", Aim::None, &format!("the hub's CPU for each: {each:.2} ms"));
    tokio::time::sleep(SETTLE).await;
    let full = pss_mb(pid);
    table.add(
        &format!("hub, PSS with {NODES} nodes and {PODS} pods"),
        full,
        "MB",
        Aim::None,
        "the log of changes included",
    );
    let each = (full - empty) * 1e3 / PODS as f64;
    table.add("hub, memory of an idle pod", each, "kB", Aim::Most(10.0), "with its events");
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
async fn idle(table: &mut Table, hub: &Hub, api: &Api) {
    let pid = hub.pid().expect("the hub runs");
    let (cpu, revision) = (usage(pid).cpu_ms, revision(api).await);
    tokio::time::sleep(IDLE).await;
    let a_minute = 60.0 / IDLE.as_secs_f64();
    let cpu = (usage(pid).cpu_ms - cpu) * a_minute;
    table.add(&format!("hub, CPU of an idle minute, {NODES} nodes, {PODS} pods"), cpu, "ms", Aim::None, "");
    let writes = (self::revision(api).await - revision) * a_minute;
    table.add("hub, writes in that minute", writes, "", Aim::Most(0.0), "heartbeats are not written");
}

/// Waits until so many objects of a collection are as they should be.
async fn until(api: &Api, path: &str, wanted: usize, holds: impl Fn(&Value) -> bool) {
    let begin = Instant::now();
    loop {
        let list = api.call("GET", path, None).await.expect("the hub answers").json();
        let count = list["items"].as_array().map_or(0, |items| items.iter().filter(|item| holds(item)).count());
        if count == wanted {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{count} of {wanted} at {path}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn revision(api: &Api) -> f64 {
    let list = api.call("GET", "/api/v1/nodes?limit=1", None).await.expect("the hub answers").json();
    list["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok()).unwrap_or_default()
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|c| c["type"] == kind).find_map(|c| c["status"].as_str()).unwrap_or_default()
}
