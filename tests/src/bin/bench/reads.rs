//! GET, and LIST of 500 and of 5,000 pods as JSON and as a Table.

use std::time::Instant;

use skiff_tests::Hub;
use skiff_tests::api::Api;
use skiff_tests::measure::{percentile, usage};

use crate::lean::{Lean, fill, get};
use crate::table::{Aim, Table};
use crate::{hub, runtime};

const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// Pods listed, how often, and the time aimed at for the median.
const LISTS: [(usize, usize, Aim); 2] = [(500, 100, Aim::None), (5_000, 40, Aim::Most(150.0))];
const GETS: usize = 2_000;

pub(crate) fn measure(table: &mut Table) {
    let (hub, _dir) = hub();
    let (api, runtime) = (hub.api(), runtime());
    for (pods, _, _) in LISTS {
        runtime.block_on(fill(&api, &format!("list-{pods}"), pods, 16, "none"));
    }
    runtime.block_on(async {
        let path = "/api/v1/namespaces/list-500/pods/pod-00250";
        time(table, &hub, &api, "GET of a pod", &get(path, JSON), GETS, Aim::None).await;
        for (pods, times, aim) in LISTS {
            for (form, accept) in [("JSON", JSON), ("Table", TABLE)] {
                let request = get(&format!("/api/v1/namespaces/list-{pods}/pods"), accept);
                time(table, &hub, &api, &format!("LIST of {pods} pods, {form}"), &request, times, aim).await;
            }
        }
    });
}

/// Times a request on a connection of its own, one after the other.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
async fn time(table: &mut Table, hub: &Hub, api: &Api, what: &str, request: &[u8], times: usize, aim: Aim) {
    let mut lean = Lean::connect(api).await;
    let (mut milliseconds, mut bytes) = (Vec::with_capacity(times), 0);
    let pid = hub.pid().expect("the hub runs");
    let before = usage(pid).cpu_ms;
    for _ in 0..times {
        let begin = Instant::now();
        let (status, length) = lean.send(request).await.expect("the hub answers");
        milliseconds.push(begin.elapsed().as_secs_f64() * 1e3);
        assert_eq!(status, 200, "{what}");
        bytes = length;
    }
    let cpu = (usage(pid).cpu_ms - before) / times as f64;
    let note = format!("{} kB; the hub's CPU: {cpu:.2} ms", bytes / 1000);
    table.add(&format!("{what}, p50 of {times}"), percentile(&milliseconds, 50), "ms", aim, &note);
    table.add(&format!("{what}, p99 of {times}"), percentile(&milliseconds, 99), "ms", Aim::None, "");
}
