//! WATCH: a stream of frames, one event a line.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::Response;
use jiff::Timestamp;
use skiff_shared::selector::FieldTerm;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::ApiState;
use super::frames::line;
use super::negotiate::View;
use super::options::{Freshness, ListOptions};
use super::read::scope;
use super::render::Renderer;
use super::request::ResourcePath;
use super::respond::{self, Body};
use super::router::Call;
use super::server::ended;
use super::status::Status;
use crate::registry::Kind;
use crate::store::StoreError;
use crate::watch::{Item, Start, Watch};

/// A watch without `timeoutSeconds` ends after this to twice this, so that clients of one moment do not all come back
/// in another: apiserver's `--min-request-timeout`.
const MIN_WATCH: Duration = Duration::from_secs(1800);

/// Answers with the events of a collection (or of one object, by the old `/watch/` paths).
pub(crate) async fn watch(call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let mut options = ListOptions::parse(&call.query, kind, true)?;
    if !path.name.is_empty() {
        options.fields.terms.push(FieldTerm { path: "metadata.name".into(), equal: true, value: path.name.clone() });
    }
    let start = start(call, &options).await?;
    let objects = &call.state.objects;
    let renderer = call.renderer(kind, &form);
    match Watch::start(
        objects.store().clone(),
        objects.registry().clone(),
        scope(kind, path, &options),
        start,
        options.bookmarks,
    ) {
        Ok(watch) => {
            let (state, shutdown) = (call.state.clone(), call.shutdown.clone());
            let watching =
                Watching { watch, renderer, state, shutdown, deadline: deadline(&options), first: true, over: false };
            Ok(respond::streamed(respond::JSON, frames(watching)))
        }
        // As apiserver: a watch from too far back is opened, and told so by its only event.
        Err(e @ StoreError::Compacted { .. }) => {
            Ok(respond::streamed(respond::JSON, stream::iter([Ok(error_frame(e))])))
        }
        Err(e) => Err(e.into()),
    }
}

async fn start(call: &Call, options: &ListOptions) -> Result<Start, Status> {
    let asked = match options.freshness {
        Freshness::Newest | Freshness::Any => None,
        Freshness::NotOlderThan(revision) | Freshness::Exact(revision) => Some(revision),
    };
    if let Some(revision) = asked {
        call.wait_for(revision).await?;
    }
    Ok(match (options.send_initial_events, asked) {
        (Some(true), _) => Start::Initial { end_mark: options.bookmarks },
        (Some(false) | None, Some(revision)) => Start::After(revision),
        (Some(false), None) => Start::After(call.state.objects.snapshot().revision()),
        (None, None) => Start::Initial { end_mark: false },
    })
}

fn deadline(options: &ListOptions) -> Instant {
    let now = Instant::now();
    // The low bits of the clock are random enough to spread clients.
    let jitter =
        || Duration::from_secs(u64::from(Timestamp::now().subsec_nanosecond().unsigned_abs()) % MIN_WATCH.as_secs());
    now + options.timeout_seconds.map_or_else(|| MIN_WATCH + jitter(), Duration::from_secs)
}

struct Watching {
    watch: Watch,
    renderer: Renderer,
    state: Arc<ApiState>,
    shutdown: watch::Receiver<bool>,
    deadline: Instant,
    first: bool,
    over: bool,
}

impl Watching {
    /// The next frame; `None` at the deadline and on shutdown.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let item = tokio::select! {
            biased;
            () = ended(&mut self.shutdown) => return None,
            () = sleep_until(self.deadline) => return None,
            item = self.watch.next() => item,
        };
        match item {
            Ok(item) => Some(self.frame(item)),
            Err(error) => {
                self.over = true;
                Some(error_frame(error))
            }
        }
    }

    fn frame(&mut self, item: Item) -> Bytes {
        match item {
            Item::Event { kind, object } => {
                if matches!(self.renderer.view, View::Table { .. }) {
                    // Ages are those of the event.
                    self.renderer.now = Timestamp::now().as_second();
                }
                let first = std::mem::take(&mut self.first);
                self.state.frames.event(&self.renderer, kind, &object, first)
            }
            Item::Bookmark { revision, initial_events_end } => {
                line(r#"{"type":"BOOKMARK","object":"#, &self.renderer.bookmark(revision, initial_events_end))
            }
        }
    }
}

fn error_frame(error: StoreError) -> Bytes {
    line(r#"{"type":"ERROR","object":"#, &Bytes::from(Status::from(error).to_json()))
}

fn frames(watching: Watching) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(watching, |mut watching| async move { watching.next().await.map(|frame| (Ok(frame), watching)) })
}
