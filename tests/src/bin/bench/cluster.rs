//! A hub and a real node with Podman: sizes, memory and what an idle minute costs.

use std::time::Duration;

use skiff_tests::cluster::Cluster;
use skiff_tests::kubectl::Kubectl;
use skiff_tests::measure::{Usage, pss_mb, usage};
use skiff_tests::process::binary;
use skiff_tests::relay::Relay;
use skiff_tests::{Hub, Lab, Node};

use crate::latency;
use crate::table::{Aim, Table};

/// How long nothing changes before idle figures are taken.
const SETTLE: Duration = Duration::from_secs(10);
/// The idle minute.
const IDLE: Duration = Duration::from_secs(60);

pub(crate) fn measure(table: &mut Table) {
    let (cluster, relay) = cluster();
    sizes(table);
    memory(table, &cluster);
    idle(table, &cluster, &relay);
    latency::measure(table, &cluster);
}

/// A hub and a node that reaches it through a relay, which counts what is on the wire.
fn cluster() -> (Cluster, Relay) {
    let lab = Lab::claim();
    let hub = Hub::start(&lab.dir().join("hub"), &[]);
    let relay = Relay::start(lab.gateway(), (std::net::Ipv4Addr::LOCALHOST, hub.port()).into());
    let mut node = Node::prepare(&lab, "node-0", relay.address());
    node.join(&hub.token());
    let kubectl = Kubectl::new(&hub.kubeconfig());
    let cluster = Cluster { kubectl, nodes: vec![node], hub, lab };
    cluster.wait_node("node-0", "True");
    (cluster, relay)
}

#[allow(clippy::cast_precision_loss, reason = "a file's size is far below 2^52")]
fn sizes(table: &mut Table) {
    for (name, aim) in [("skiff-hub", 20.0), ("skiff-agent", 8.0)] {
        let bytes = std::fs::metadata(binary(name)).map_or(0, |m| m.len());
        table.add(&format!("{name}, stripped binary"), bytes as f64 / 1e6, "MB", Aim::Most(aim), "");
    }
}

fn memory(table: &mut Table, cluster: &Cluster) {
    std::thread::sleep(SETTLE);
    let hub = pss_mb(hub_pid(cluster));
    table.add("hub, PSS idle with 1 node", hub, "MB", Aim::Most(20.0), "Kubernetes 1.20 control plane: 506 MB");
    table.add("agent, PSS idle with 0 pods", pss_mb(agent_pid(cluster)), "MB", Aim::None, "");
    cluster.kubectl.ok("create deployment idle --image=localhost/test:1 --replicas=10");
    cluster.kubectl.ok("rollout status deployment/idle --timeout=120s");
    std::thread::sleep(SETTLE);
    let agent = pss_mb(agent_pid(cluster));
    table.add("agent, PSS idle with 10 pods", agent, "MB", Aim::Most(8.0), "KubeEdge: 70 MB, k3s agent: 275 MB");
    if let Some(podman) = cluster.nodes[0].podman.pid() {
        let note = "runs here without systemd; ends when idle under it";
        table.add("Podman's API service, PSS", pss_mb(podman), "MB", Aim::None, note);
    }
}

/// CPU, processes and traffic of one minute in which nothing changes.
#[allow(clippy::cast_precision_loss, reason = "counts of a minute are far below 2^52")]
fn idle(table: &mut Table, cluster: &Cluster, relay: &Relay) {
    let usages = || [usage(hub_pid(cluster)), usage(agent_pid(cluster))];
    let (before, wire) = (usages(), (relay.bytes(), relay.datagrams()));
    std::thread::sleep(IDLE);
    let (after, bytes, datagrams) = (usages(), relay.bytes() - wire.0, relay.datagrams() - wire.1);
    for (index, (name, peer)) in
        [("hub", "Kubernetes 1.20: 1500 ms"), ("agent", "Ankaios: 2400-5400 ms")].into_iter().enumerate()
    {
        let (old, new): (Usage, Usage) = (before[index], after[index]);
        table.add(&format!("{name}, CPU of 60 idle seconds (10 pods)"), new.cpu_ms - old.cpu_ms, "ms", Aim::None, peer);
        let faults = (new.child_faults - old.child_faults) as f64;
        table.add(&format!("{name}, page faults of processes started meanwhile"), faults, "", Aim::Most(0.0), "");
    }
    let per_minute = bytes as f64 / 1e3;
    table.add("wire, both ways, of an idle minute", per_minute, "kB", Aim::Most(2.0), "KubeEdge: 1.9 kB up");
    table.add("wire, datagrams of an idle minute", datagrams as f64, "", Aim::None, "");
}

fn hub_pid(cluster: &Cluster) -> u32 {
    cluster.hub.pid().expect("the hub runs")
}

fn agent_pid(cluster: &Cluster) -> u32 {
    cluster.nodes[0].pid().expect("the agent runs")
}
