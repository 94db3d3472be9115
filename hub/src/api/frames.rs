//! Events in forms that are not stored (protobuf, metadata alone, another version): made once for all watchers who want
//! them alike, not once for each.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::negotiate::{Format, View};
use crate::registry::Kind;
use crate::store::Revision;

/// One event: what comes before its object, the object's bytes, what comes after. Cheap to clone.
pub(crate) type Frame = [Bytes; 3];

/// Most events kept, and most bytes of them: watchers take an event within moments of each other.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 1 << 20;

/// What a frame shows. A write has a revision of its own, so with the type of the event it names the object's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) revision: Revision,
    /// `ADDED`, ….
    pub(crate) event: &'static str,
    /// Group, version and resource.
    pub(crate) kind: (&'static str, &'static str, &'static str),
    pub(crate) format: Format,
    pub(crate) view: View,
}

impl Wanted {
    /// What a watcher wants to see of an event; `None` where it is made as cheaply as found, or is no one else's: stored
    /// bytes, and Tables, which tell ages.
    pub(crate) fn of(kind: &Kind, format: Format, view: View, event: &'static str, revision: Revision) -> Option<Self> {
        let stored = format == Format::Json && view == View::Object && kind.hooks.from_stored.is_none();
        let shared = !stored && !matches!(view, View::Table { .. });
        shared.then_some(Self { revision, event, kind: (kind.group, kind.version, kind.plural), format, view })
    }
}

/// The newest events, as they were made.
#[derive(Debug, Default)]
pub(crate) struct Frames(Mutex<Newest>);

#[derive(Debug, Default)]
struct Newest {
    frames: VecDeque<(Wanted, Frame)>,
    bytes: usize,
}

impl Frames {
    /// The frame that was made before, else the one that is made now.
    pub(crate) fn get(&self, wanted: Wanted, make: impl FnOnce() -> Frame) -> Frame {
        let known = |newest: &Newest| newest.frames.iter().rev().find(|(w, _)| *w == wanted).map(|(_, f)| f.clone());
        if let Some(frame) = known(&self.lock()) {
            return frame;
        }
        // Not under the lock: others need not wait, though two may make the same.
        let frame = make();
        self.lock().push(wanted, frame.clone());
        frame
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newest {
    fn push(&mut self, wanted: Wanted, frame: Frame) {
        self.bytes += length(&frame);
        self.frames.push_back((wanted, frame));
        while self.frames.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some((_, frame)) = self.frames.pop_front() else { return };
            self.bytes -= length(&frame);
        }
    }
}

fn length(frame: &Frame) -> usize {
    frame.iter().map(Bytes::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(revision: Revision, event: &'static str) -> Wanted {
        Wanted { revision, event, kind: ("", "v1", "pods"), format: Format::Protobuf, view: View::Object }
    }

    fn frame(length: usize) -> Frame {
        [Bytes::new(), Bytes::from(vec![0; length]), Bytes::new()]
    }

    #[test]
    fn what_is_wanted_alike_is_made_once() {
        let frames = Frames::default();
        let mut made = 0;
        for wanted in [wanted(1, "ADDED"), wanted(2, "ADDED"), wanted(1, "ADDED"), wanted(2, "DELETED")] {
            frames.get(wanted, || {
                made += 1;
                frame(1)
            });
        }
        assert_eq!(made, 3);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let frames = Frames::default();
        for (n, size) in [(1000, 10), (50, KEPT_BYTES / 10), (3, 2 * KEPT_BYTES)] {
            (0..n).for_each(|revision| drop(frames.get(wanted(revision, "MODIFIED"), || frame(size))));
            let newest = frames.lock();
            let bytes: usize = newest.frames.iter().map(|(_, frame)| length(frame)).sum();
            assert!(newest.frames.len() <= KEPT && bytes <= KEPT_BYTES && bytes == newest.bytes, "{size}: {bytes}");
        }
    }
}
