//! WATCH: a stream of frames: one event a line, or in protobuf one event after its length.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper::Response;
use skiff_shared::selector::FieldTerm;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::ApiState;
use super::frames::{Frame, Wanted};
use super::negotiate::{Format, View};
use super::options::{Freshness, ListOptions};
use super::read::scope;
use super::render::Renderer;
use super::request::ResourcePath;
use super::respond::{self, Body};
use super::router::Call;
use super::server::ended;
use super::status::Status;
use crate::registry::Kind;
use crate::registry::schema::watch_frame;
use crate::store::{EventKind, Revision, StoreError};
use crate::watch::{Item, Start, Watch};

/// A watch without `timeoutSeconds` ends after this to twice this, so that clients of one moment do not all come back
/// in another: apiserver's `--min-request-timeout`.
const MIN_WATCH: Duration = Duration::from_secs(1800);

/// Answers with the events of a collection (or of one object, by the old `/watch/` paths).
pub(crate) async fn watch(call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Result<Response<Body>, Status> {
    let form = call.events_form()?;
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
        Ok(mut watch) => {
            let deadline = deadline(&options);
            watch.ends_at(deadline);
            let watching = Watching {
                state: call.state.clone(),
                live_after: objects.snapshot().revision(),
                watch,
                renderer,
                format: form.format,
                shutdown: call.shutdown.clone(),
                deadline,
                first: true,
                over: false,
            };
            Ok(respond::streamed(content_type(form.format), pieces(watching.frames())))
        }
        // As apiserver: a watch from too far back is opened, and told so by its only event.
        Err(e @ StoreError::Compacted { .. }) => {
            let frames = pieces(stream::iter([error_frame(form.format, e)]));
            Ok(respond::streamed(content_type(form.format), frames))
        }
        Err(e) => Err(e.into()),
    }
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json | Format::Yaml => respond::JSON,
        Format::Protobuf => respond::PROTOBUF_WATCH,
    }
}

async fn start(call: &Call, options: &ListOptions) -> Result<Start, Status> {
    let asked = match options.freshness {
        Freshness::Newest | Freshness::Any => None,
        Freshness::NotOlderThan(revision) | Freshness::Exact(revision) => Some(revision),
    };
    // A watch that only follows is opened at once, and gives nothing before its revision has come about.
    if let (Some(revision), Some(true)) = (asked, options.send_initial_events) {
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
    let jitter = || {
        Duration::from_secs(u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs()) % MIN_WATCH.as_secs())
    };
    now + options.timeout_seconds.map_or_else(|| MIN_WATCH + jitter(), Duration::from_secs)
}

struct Watching {
    state: Arc<ApiState>,
    /// Events of later revisions come to others at the same time; earlier ones are this watch's own beginning.
    live_after: Revision,
    watch: Watch,
    renderer: Renderer,
    format: Format,
    shutdown: watch::Receiver<bool>,
    deadline: Instant,
    first: bool,
    over: bool,
}

impl Watching {
    fn frames(self) -> impl Stream<Item = Frame> + Send {
        stream::unfold(self, |mut watching| async move { watching.next().await.map(|frame| (frame, watching)) })
    }

    /// The next frame; `None` at the deadline and on shutdown.
    async fn next(&mut self) -> Option<Frame> {
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
                Some(error_frame(self.format, error))
            }
        }
    }

    fn frame(&mut self, item: Item) -> Frame {
        match item {
            Item::Event { kind, object } => {
                let with_columns = std::mem::take(&mut self.first);
                if matches!(self.renderer.view, View::Table { .. }) {
                    // Ages are told as of now, not as of the watch's beginning.
                    self.renderer.now = jiff::Timestamp::now().as_second();
                }
                let (event, revision) = (event_name(kind), object.revision);
                let make = || frame(self.format, event, self.renderer.single(&object, with_columns));
                let wanted = Wanted::of(&self.renderer.kind, self.format, self.renderer.view, event, revision);
                match wanted.filter(|_| revision > self.live_after) {
                    Some(wanted) => self.state.frames.get(wanted, make),
                    None => make(),
                }
            }
            Item::Bookmark { revision, initial_events_end } => {
                frame(self.format, "BOOKMARK", self.renderer.bookmark(revision, initial_events_end))
            }
        }
    }
}

fn event_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Added => "ADDED",
        EventKind::Modified => "MODIFIED",
        EventKind::Deleted => "DELETED",
    }
}

fn frame(format: Format, event: &'static str, object: Bytes) -> Frame {
    match format {
        Format::Json | Format::Yaml => {
            [Bytes::from_static(line_head(event).as_bytes()), object, Bytes::from_static(b"}\n")]
        }
        Format::Protobuf => {
            let (_, object) = respond::encoded(format, object);
            [watch_frame(event, object.len()).into(), object, Bytes::new()]
        }
    }
}

fn line_head(event: &str) -> &'static str {
    match event {
        "ADDED" => r#"{"type":"ADDED","object":"#,
        "MODIFIED" => r#"{"type":"MODIFIED","object":"#,
        "DELETED" => r#"{"type":"DELETED","object":"#,
        "BOOKMARK" => r#"{"type":"BOOKMARK","object":"#,
        _ => r#"{"type":"ERROR","object":"#,
    }
}

fn error_frame(format: Format, error: StoreError) -> Frame {
    frame(format, "ERROR", Status::from(error).to_json().into())
}

/// The pieces of frames, none of them copied.
fn pieces(frames: impl Stream<Item = Frame> + Send) -> impl Stream<Item = io::Result<Bytes>> + Send {
    frames.flat_map(|frame| stream::iter(frame.into_iter().filter(|piece| !piece.is_empty()).map(Ok)))
}
