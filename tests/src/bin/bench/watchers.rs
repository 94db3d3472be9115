//! A thousand watchers of one kind: how long a write takes to reach the last of them, and what each costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use skiff_tests::Hub;
use skiff_tests::api::Api;
use skiff_tests::measure::{percentile, pss_mb, usage};
use tokio::sync::Notify;

use crate::lean::{Lean, fill, get, patch};
use crate::table::{Aim, Table};
use crate::{hub, runtime};

const WATCHERS: usize = 1_000;
/// Watches on one HTTP/2 connection: as many as the hub lets one client have, which is apiserver's bound too.
const STREAMS: usize = 100;
/// Writes that are timed.
const WRITES: usize = 50;
/// How long nothing happens before memory is read.
const SETTLE: Duration = Duration::from_secs(2);
const POD: &str = "/api/v1/namespaces/watched/pods/pod-00000";
const WATCH: &str =
    "/api/v1/namespaces/watched/pods?watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";

pub(crate) fn measure(table: &mut Table) {
    for shared in [true, false] {
        let (hub, _dir) = hub();
        // Watchers end with their runtime, before the hub does.
        runtime().block_on(run(table, &hub, shared));
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
async fn run(table: &mut Table, hub: &Hub, shared: bool) {
    let (api, pid, tally) = (hub.api(), hub.pid().expect("the hub runs"), Arc::<Tally>::default());
    fill(&api, "watched", 1, 1, "none").await;
    tokio::time::sleep(SETTLE).await;
    let before = pss_mb(pid);
    if shared {
        open_shared(&api, &tally).await
    } else {
        open_own(&api, &tally).await
    }
    tally.wait(&tally.open, WATCHERS).await;
    tokio::time::sleep(SETTLE).await;
    let each = (pss_mb(pid) - before) * 1e3 / WATCHERS as f64;
    let how = if shared { format!("{STREAMS} a connection") } else { "a connection each".to_owned() };
    let aim = if shared { Aim::Most(6.0) } else { Aim::None };
    table.add(
        &format!("{WATCHERS} watchers, {how}: memory of each"),
        each,
        "kB",
        aim,
        "with its share of TLS and HTTP",
    );
    let cpu = usage(pid).cpu_ms;
    let milliseconds = write(&api, &tally).await;
    let each = (usage(pid).cpu_ms - cpu) * 1e3 / (WRITES * WATCHERS) as f64;
    for percent in [50, 99] {
        let what = format!("{WATCHERS} watchers, {how}: write to last delivery, p{percent}");
        let note = format!("of {WRITES}; the hub's CPU for a delivery: {each:.1} us");
        table.add(&what, percentile(&milliseconds, percent), "ms", Aim::None, &note);
    }
}

/// Changes the watched pod, each time after everyone has seen the change before; gives what each took.
async fn write(api: &Api, tally: &Tally) -> Vec<f64> {
    let mut lean = Lean::connect(api).await;
    let mut milliseconds = Vec::with_capacity(WRITES);
    for number in 1..=WRITES {
        let change = patch(POD, &json!({"metadata": {"annotations": {"number": number.to_string()}}}));
        let begin = Instant::now();
        let (status, _) = lean.send(&change).await.expect("the hub answers");
        assert_eq!(status, 200);
        tally.wait(&tally.events, number * WATCHERS).await;
        milliseconds.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    milliseconds
}

/// Opens all watches over HTTP/2, many on a connection.
async fn open_shared(api: &Api, tally: &Arc<Tally>) {
    for _ in 0..WATCHERS / STREAMS {
        let tls = api.tls().await.expect("the hub takes a connection");
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.expect("the hub speaks HTTP/2");
        tokio::spawn(connection);
        for _ in 0..STREAMS {
            let request = Request::get(format!("https://hub{WATCH}")).body(Empty::<Bytes>::new());
            let response = sender.send_request(request.expect("a valid request")).await.expect("the hub answers");
            assert_eq!(response.status(), 200);
            tokio::spawn(follow_body(response.into_body(), tally.clone()));
        }
        // Dropping the sender does not end the connection: its bodies hold it.
    }
}

async fn follow_body(mut body: hyper::body::Incoming, tally: Arc<Tally>) {
    tally.opened();
    let mut lines = Lines::default();
    while let Some(Ok(frame)) = body.frame().await {
        tally.arrived(frame.data_ref().map_or(0, |data| lines.count(data)));
    }
}

/// Opens a connection for each watch.
async fn open_own(api: &Api, tally: &Arc<Tally>) {
    for _ in 0..WATCHERS {
        let mut lean = Lean::connect(api).await;
        let head = lean.begin(&get(WATCH, "application/json")).await;
        assert!(head.is_ok(), "{head:?}");
        tokio::spawn(follow_connection(lean, tally.clone()));
    }
}

async fn follow_connection(mut lean: Lean, tally: Arc<Tally>) {
    tally.opened();
    let mut lines = Lines::default();
    while let Ok(data) = lean.next().await
        && !data.is_empty()
    {
        tally.arrived(lines.count(data));
    }
}

/// Counts the events of a stream, each of which ends with a brace and a line end.
#[derive(Debug, Default)]
struct Lines {
    last: u8,
}

impl Lines {
    fn count(&mut self, data: &[u8]) -> usize {
        let ends = |&byte: &u8| std::mem::replace(&mut self.last, byte) == b'}' && byte == b'\n';
        data.iter().copied().filter(ends).count()
    }
}

/// Events that have arrived, at all watchers together.
#[derive(Debug, Default)]
struct Tally {
    open: AtomicUsize,
    events: AtomicUsize,
    changed: Notify,
}

impl Tally {
    fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn arrived(&self, events: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.changed.notify_one();
    }

    async fn wait(&self, counter: &AtomicUsize, wanted: usize) {
        while counter.load(Ordering::Relaxed) < wanted {
            let patience = tokio::time::timeout(Duration::from_secs(30), self.changed.notified());
            assert!(patience.await.is_ok(), "{self:?} while waiting for {wanted}");
        }
    }
}
