//! The frames of watches: an event is put into words once, and shared by all watchers that see it in the same form.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::negotiate::View;
use super::render::Renderer;
use crate::store::{EventKind, Object, Revision};

/// Frames that are kept: watchers that keep up read the same few events within moments.
const KEPT: usize = 64;

/// Larger frames are not kept, so that what is kept stays below 2 MiB.
const LARGEST: usize = 32 * 1024;

/// The newest frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    recent: Mutex<VecDeque<Kept>>,
}

/// A frame, and what it depends on. A revision belongs to one object.
#[derive(Debug)]
struct Kept {
    revision: Revision,
    event: EventKind,
    with_columns: bool,
    renderer: Renderer,
    frame: Bytes,
}

impl Frames {
    /// The frame of an event; only the first of a watch has column definitions.
    pub(crate) fn event(&self, renderer: &Renderer, event: EventKind, object: &Object, first: bool) -> Bytes {
        let with_columns = first && matches!(renderer.view, View::Table { .. });
        if let Some(frame) = self.find(renderer, event, object.revision, with_columns) {
            return frame;
        }
        let frame = line(head(event), &renderer.single(object, with_columns));
        if frame.len() <= LARGEST {
            let (revision, renderer, frame) = (object.revision, renderer.clone(), frame.clone());
            self.keep(Kept { revision, event, with_columns, renderer, frame });
        }
        frame
    }

    fn find(&self, renderer: &Renderer, event: EventKind, revision: Revision, with_columns: bool) -> Option<Bytes> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |k: &&Kept| {
            k.revision == revision && k.event == event && k.with_columns == with_columns && alike(&k.renderer, renderer)
        };
        recent.iter().rev().find(same).map(|kept| kept.frame.clone())
    }

    fn keep(&self, kept: Kept) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= KEPT {
            recent.pop_front();
        }
        recent.push_back(kept);
    }
}

/// Whether two renderers write the same: ages show in Tables only.
fn alike(a: &Renderer, b: &Renderer) -> bool {
    let aged = matches!(a.view, View::Table { .. });
    Arc::ptr_eq(&a.kind, &b.kind) && a.view == b.view && (!aged || a.now == b.now)
}

fn head(event: EventKind) -> &'static str {
    match event {
        EventKind::Added => r#"{"type":"ADDED","object":"#,
        EventKind::Modified => r#"{"type":"MODIFIED","object":"#,
        EventKind::Deleted => r#"{"type":"DELETED","object":"#,
    }
}

/// One line of a watch: an event's head, its object, its end.
pub(crate) fn line(head: &str, object: &[u8]) -> Bytes {
    [head.as_bytes(), object, b"}\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;
    use crate::store::Key;

    fn pod(revision: Revision) -> Object {
        let key = Key { resource: "pods".into(), namespace: "default".into(), name: "a".into() };
        Object::encode(key, revision, json!({"metadata": {"name": "a"}})).unwrap()
    }

    #[test]
    fn an_event_has_one_frame_for_all_who_see_it_alike() {
        let (frames, registry) = (Frames::default(), Registry::builtin());
        let kind = registry.resource("", "v1", "pods").unwrap().clone();
        let renderer = |view, now| Renderer { kind: kind.clone(), view, now };
        let first = frames.event(&renderer(View::Object, 1), EventKind::Added, &pod(7), true);
        let same = |view, now, event, revision| {
            frames.event(&renderer(view, now), event, &pod(revision), false).as_ptr() == first.as_ptr()
        };
        assert!(first.starts_with(br#"{"type":"ADDED","object":{"#) && first.ends_with(b"}}\n"), "{first:?}");
        assert!(same(View::Object, 2, EventKind::Added, 7), "another watcher");
        assert!(!same(View::Object, 1, EventKind::Modified, 7), "another event");
        assert!(!same(View::Object, 1, EventKind::Added, 8), "another revision");
        assert!(!same(View::Metadata, 1, EventKind::Added, 7), "another form");
    }

    #[test]
    fn only_the_newest_frames_are_kept() {
        let (frames, registry) = (Frames::default(), Registry::builtin());
        let kind = registry.resource("", "v1", "pods").unwrap().clone();
        let renderer = Renderer { kind, view: View::Object, now: 0 };
        (1..=200).for_each(|revision| drop(frames.event(&renderer, EventKind::Added, &pod(revision), false)));
        assert_eq!(frames.recent.lock().unwrap().len(), KEPT);
    }
}
