//! Lists as answers: written item by item as the client takes them, so that no list is ever in memory as a whole.
//!
//! What a list holds while it is sent: pointers to its objects, which are shared with the store, and one piece of text.
//! It holds no lock and no transaction.

use std::io;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper::Response;
use serde_json::Value;

use super::negotiate::{Format, Negotiated, View};
use super::render::{LIST_TAIL, ListMeta, Renderer};
use super::respond::{self, Body, GZIP_FROM, JSON, PROTOBUF, YAML};
use crate::registry::schema::{ENVELOPE_END, ListEncoder, Schema, envelope};
use crate::store::Object;

/// Size of the pieces in which a list goes out: large enough for few TLS records and system calls, small enough to
/// hold for each of many clients.
const PIECE: usize = 64 * 1024;

/// A list in protobuf begins with its length, so its items are encoded twice: once to be counted and once to be sent.
/// This much of it is kept from the first time, so that most lists are encoded once.
const KEPT: usize = 256 * 1024;

/// How many items are counted before others get their turn.
const COUNTED_AT_ONCE: usize = 64;

/// One page of a list.
pub(crate) struct Page {
    pub(crate) items: Vec<Arc<Object>>,
    pub(crate) meta: ListMeta,
}

/// A page as an answer. A short one is compressed never and has its length, as apiserver has it.
pub(crate) async fn answer(form: &Negotiated, renderer: Renderer, page: Page) -> Response<Body> {
    let mut listing = Listing::new(form, renderer, page).await;
    let content_type = listing.content_type();
    let mut start = Vec::new();
    while start.len() <= GZIP_FROM {
        if !listing.write(&mut start) {
            return respond::bytes(200, content_type, start);
        }
    }
    let pieces = stream::iter([Ok(start.into())]).chain(listing.pieces());
    if form.gzip { respond::gzipped(content_type, Box::pin(pieces)) } else { respond::streamed(content_type, pieces) }
}

/// A list that is being written.
struct Listing {
    renderer: Renderer,
    layout: Layout,
    /// What comes before the items, until it is written.
    head: Option<Vec<u8>>,
    items: vec::IntoIter<Arc<Object>>,
    first: bool,
    /// What comes after the items, until it is written.
    tail: Option<Vec<u8>>,
}

/// How items are written.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Json,
    /// JSON for people.
    Pretty,
    Yaml,
    Protobuf(ListEncoder),
}

impl Listing {
    async fn new(form: &Negotiated, renderer: Renderer, page: Page) -> Self {
        let names = renderer.list_names();
        let encoder = || ListEncoder::new(Schema::builtin(), &names.api_version, names.item_kind);
        let split = |text: Option<String>, list: &str| split(&text?, list, page.items.is_empty());
        let parts = match (form.format, form.pretty) {
            (Format::Json, false) => None,
            (Format::Json, true) => {
                let text = serde_json::to_string_pretty(&renderer.empty_list(&page.meta)).ok();
                split(text, &format!("\n  {:?}: ", names.list)).map(|parts| (Layout::Pretty, parts))
            }
            (Format::Yaml, _) => {
                let text = serde_saphyr::to_string(&renderer.empty_list(&page.meta)).ok();
                split(text, &format!("\n{}: ", names.list)).map(|parts| (Layout::Yaml, parts))
            }
            (Format::Protobuf, _) => match encoder() {
                Some(encoder) => return Self::protobuf(encoder, renderer, page).await,
                None => None,
            },
        };
        let json = || (Layout::Json, (renderer.list_head(&page.meta), LIST_TAIL.to_vec()));
        let (layout, (head, tail)) = parts.unwrap_or_else(json);
        Self { renderer, layout, head: Some(head), items: page.items.into_iter(), first: true, tail: Some(tail) }
    }

    /// Counts the bytes of the items.
    async fn protobuf(encoder: ListEncoder, renderer: Renderer, page: Page) -> Self {
        let (mut kept, mut kept_items, mut counted) = (Vec::new(), 0, 0);
        for (n, object) in page.items.iter().enumerate() {
            if kept.len() < KEPT {
                encoder.item(&value(&renderer, object), &mut kept);
                kept_items = n + 1;
            } else {
                let mut item = Vec::new();
                encoder.item(&value(&renderer, object), &mut item);
                counted += item.len();
            }
            if n % COUNTED_AT_ONCE == COUNTED_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        let metadata = encoder.metadata(&serde_json::to_value(&page.meta).unwrap_or_default());
        let names = renderer.list_names();
        let mut head = envelope(&names.api_version, names.list_kind, metadata.len() + kept.len() + counted);
        head.extend(metadata);
        head.append(&mut kept);
        let mut items = page.items;
        let items = items.split_off(kept_items).into_iter();
        let tail = Some(ENVELOPE_END.to_vec());
        Self { renderer, layout: Layout::Protobuf(encoder), head: Some(head), items, first: true, tail }
    }

    fn content_type(&self) -> &'static str {
        match self.layout {
            Layout::Json | Layout::Pretty => JSON,
            Layout::Yaml => YAML,
            Layout::Protobuf(_) => PROTOBUF,
        }
    }

    /// Appends the next part; `false` when there was none left.
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(head) = self.head.take() {
            out.extend(head);
        } else if let Some(object) = self.items.next() {
            let first = std::mem::take(&mut self.first);
            self.item(&object, first, out);
        } else if let Some(tail) = self.tail.take() {
            out.extend(tail);
        } else {
            return false;
        }
        true
    }

    fn item(&self, object: &Object, first: bool, out: &mut Vec<u8>) {
        if !first && matches!(self.layout, Layout::Json | Layout::Pretty) {
            out.push(b',');
        }
        match self.layout {
            Layout::Json => push(out, &self.renderer, object),
            Layout::Pretty => {
                let text = serde_json::to_string_pretty(&value(&self.renderer, object)).unwrap_or_default();
                text.lines().for_each(|line| out.extend(["\n    ", line].concat().bytes()));
            }
            Layout::Yaml => {
                let text = serde_saphyr::to_string(&value(&self.renderer, object)).unwrap_or_default();
                for (n, line) in text.lines().enumerate() {
                    let margin = if n == 0 { "- " } else { "  " };
                    out.extend([if line.is_empty() { "" } else { margin }, line, "\n"].concat().bytes());
                }
            }
            Layout::Protobuf(encoder) => encoder.item(&value(&self.renderer, object), out),
        }
    }

    /// The list, made piece by piece as the client takes it.
    fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::unfold(self, |mut listing| async move {
            let mut out = Vec::with_capacity(PIECE);
            while out.len() < PIECE && listing.write(&mut out) {}
            (!out.is_empty()).then(|| (Ok(out.into()), listing))
        })
    }
}

fn push(out: &mut Vec<u8>, renderer: &Renderer, object: &Object) {
    match renderer.view {
        // The stored bytes go out as they are, without a parse.
        View::Object if renderer.kind.hooks.from_stored.is_none() => out.extend_from_slice(&object.json),
        View::Object | View::Metadata { .. } | View::Table { .. } => out.extend_from_slice(&renderer.item(object)),
    }
}

fn value(renderer: &Renderer, object: &Object) -> Value {
    // The hub's own text.
    serde_json::from_slice(&renderer.item(object)).unwrap_or_default()
}

/// What comes before and after the items of a list, from a list that has none: `name` begins its line.
fn split(empty: &str, name: &str, stays_empty: bool) -> Option<(Vec<u8>, Vec<u8>)> {
    let (head, tail) = empty.split_at_checked(empty.find(&format!("{name}[]"))? + name.len())?;
    Some(match tail.strip_prefix("[]") {
        _ if stays_empty => (head.into(), tail.into()),
        // In YAML, items stand on lines of their own.
        Some(rest) if !name.contains('"') => {
            ([head.trim_end(), "\n"].concat().into(), rest.strip_prefix('\n').unwrap_or(rest).into())
        }
        Some(rest) => ([head, "["].concat().into(), ["\n  ]", rest].concat().into()),
        None => return None,
    })
}

#[cfg(test)]
mod tests;
