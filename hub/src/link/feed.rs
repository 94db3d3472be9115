//! Reads the store's changes once and tells each to the sessions it concerns.

use skiff_shared::ids::NodeName;

use super::Shared;
use super::assign::{CONFIG_MAPS, NODES, PODS, SECRETS, SERVICES, bound_to};
use crate::store::{Event, EventKind, Revision};

/// Changes read at a time.
const BATCH: usize = 512;

/// Runs until the store closes.
pub(super) async fn run(shared: &Shared) {
    let store = shared.parts.cluster.store();
    let mut revisions = store.revisions();
    let mut seen = store.snapshot().revision();
    while revisions.changed().await.is_ok() {
        seen = drain(shared, seen);
    }
}

fn drain(shared: &Shared, mut seen: Revision) -> Revision {
    let store = shared.parts.cluster.store();
    loop {
        match store.changes(seen, BATCH) {
            Ok(events) => {
                events.iter().for_each(|event| tell(shared, event));
                match events.last() {
                    Some(last) => seen = last.revision,
                    None => return seen,
                }
            }
            Err(error) => {
                tracing::debug!(%error, "changes were missed: every session looks at everything");
                seen = store.snapshot().revision();
                shared.sessions.touch_all();
                return seen;
            }
        }
    }
}

fn tell(shared: &Shared, event: &Event) {
    let key = &event.object.key;
    if event.kind == EventKind::Deleted && &*key.resource == NODES {
        forget(shared, &key.name);
    }
    if shared.sessions.is_empty() {
        return;
    }
    match &*key.resource {
        PODS => {
            let mut nodes = vec![bound_to(&event.object)];
            nodes.extend(event.previous.as_ref().map(|p| bound_to(p)));
            nodes.dedup();
            shared.sessions.route(key, &nodes);
        }
        NODES => shared.sessions.route(key, &[key.name.to_string()]),
        CONFIG_MAPS | SECRETS | SERVICES => shared.sessions.route(key, &[]),
        _ => {}
    }
}

/// A removed node's reports are of no more use, unless its agent is still connected.
fn forget(shared: &Shared, name: &str) {
    if let Ok(node) = NodeName::parse(name)
        && shared.sessions.get(&node).is_none()
    {
        shared.reports.forget(&node);
    }
}
