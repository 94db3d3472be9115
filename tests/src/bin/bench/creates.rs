//! Pod creations a second, every one durable, with 1, 16 and 64 connections.

use std::time::Instant;

use skiff_tests::Hub;
use skiff_tests::measure::usage;

use crate::lean::fill;
use crate::table::{Aim, Table};
use crate::{hub, runtime};

/// Connections, pods created over them, what is aimed at, and what kube-apiserver 1.20 with etcd does.
const RUNS: [(usize, usize, Aim, &str); 3] = [
    (1, 500, Aim::None, "Kubernetes 1.20 with etcd: 351 /s"),
    (16, 2_000, Aim::None, "Kubernetes 1.20 with etcd: 1018 /s"),
    (64, 5_000, Aim::Least(2_000.0), "Kubernetes 1.20 with etcd: 976 /s"),
];

pub(crate) fn measure(table: &mut Table) {
    let (hub, _dir) = hub();
    for (connections, pods, aim, reference) in RUNS {
        let what = format!("pod creations, {connections} connections");
        run(table, &hub, &what, (connections, pods, "none"), aim, reference);
    }
    // These also become events and conditions that say that there is no node.
    let what = "pod creations, 64 connections, scheduler at work";
    run(table, &hub, what, (64, 2_000, "default-scheduler"), Aim::None, "no node: each pod waits");
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn run(
    table: &mut Table,
    hub: &Hub,
    what: &str,
    (connections, pods, scheduler): (usize, usize, &'static str),
    aim: Aim,
    reference: &str,
) {
    let (client, server) = (std::process::id(), hub.pid().expect("the hub runs"));
    let before = [usage(server).cpu_ms, usage(client).cpu_ms];
    let begin = Instant::now();
    runtime().block_on(fill(&hub.api(), &format!("c{connections}-{scheduler}"), pods, connections, scheduler));
    let rate = pods as f64 / begin.elapsed().as_secs_f64();
    let each = |at: usize, after: f64| (after - before[at]) * 1e3 / pods as f64;
    table.add(what, rate, "/s", aim, reference);
    let of_client = each(1, usage(client).cpu_ms);
    let note = format!("the client beside it: {of_client:.0} us");
    table.add(&format!("{what}: the hub's CPU for each"), each(0, usage(server).cpu_ms), "us", Aim::None, &note);
}
