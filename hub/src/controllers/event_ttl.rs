//! Deletes events an hour after they last happened (kube-apiserver's `--event-ttl`).

use jiff::Timestamp;
use serde::Deserialize;

use crate::reconcile::view::{self, Metadata, later};
use crate::reconcile::{Controller, Memo, Plan, PlannedWrite};
use crate::store::{Event, Key, Object, Snapshot};

const TTL_SECONDS: i64 = 3600;

/// Most events deleted in one pass; the next one follows at once.
const MAX_PER_PASS: usize = 500;

/// The controller that lets events expire. New events do not wake it: none of them expires before its next full resync,
/// from which on it sleeps until the next expiry.
#[derive(Debug)]
pub struct EventTtl {
    events: Memo<Times>,
}

impl Default for EventTtl {
    fn default() -> Self {
        Self { events: Memo::new(8192) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Times {
    metadata: Metadata,
    event_time: Option<Timestamp>,
    last_timestamp: Option<Timestamp>,
    series: Option<Series>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    last_observed_time: Option<Timestamp>,
}

impl Times {
    fn expires(&self) -> Timestamp {
        let series = self.series.as_ref().and_then(|series| series.last_observed_time);
        let times = [series, self.last_timestamp, self.event_time, self.metadata.creation_timestamp];
        let last = times.into_iter().flatten().max();
        later(last.unwrap_or(Timestamp::UNIX_EPOCH), TTL_SECONDS)
    }
}

impl Controller for EventTtl {
    fn name(&self) -> &'static str {
        "event-ttl-controller"
    }

    fn keys(&self, _event: &Event, _snapshot: &Snapshot) -> Vec<Key> {
        Vec::new()
    }

    fn all(&self, _snapshot: &Snapshot) -> Vec<Key> {
        vec![view::key("events", "", "")]
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        for object in snapshot.list(&key.resource, None) {
            let Some(times) = self.events.get(object) else { continue };
            let expires = times.expires();
            if expires > now || plan.writes.len() >= MAX_PER_PASS {
                plan.requeue(expires.max(now));
            } else {
                plan.writes.push(delete(object));
            }
        }
        if !plan.writes.is_empty() {
            plan.why = format!("{} events expired", plan.writes.len());
        }
        plan
    }
}

fn delete(event: &Object) -> PlannedWrite {
    PlannedWrite::Delete {
        key: event.key.clone(),
        uid: event.meta.uid.to_string(),
        grace_seconds: None,
        propagation: None,
        event: None,
    }
}
