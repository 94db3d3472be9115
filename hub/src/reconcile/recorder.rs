//! Records events without holding anyone up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::Value;
use skiff_shared::ids::NodeName;
use skiff_shared::report::{EventReport, Subject};
use tokio::sync::{mpsc, watch};

use super::EventDraft;
use super::apply::{chain, stored_kind};
use super::events::{About, Correlator, Occurrence, Record};
use crate::objects::{Error, Objects, Patch, Target, User, WriteOptions};
use crate::store::Key;

/// Occurrences that wait to be written; beyond that new ones are dropped, since events only explain and never decide.
const QUEUED: usize = 4096;

/// Occurrences written at the same time, so that they share commits.
const BATCH: usize = 64;

/// Records events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
    writer: Arc<Writer>,
    last_stamp: Arc<AtomicU64>,
}

/// The background half of a [`Recorder`].
#[derive(Debug)]
pub struct RecorderTask {
    queue: mpsc::Receiver<Occurrence>,
    writer: Arc<Writer>,
}

impl Recorder {
    /// A recorder and the task that writes what it is given.
    pub fn new(objects: Objects) -> (Self, RecorderTask) {
        let (sender, queue) = mpsc::channel(QUEUED);
        let writer = Arc::new(Writer { objects, correlator: Mutex::default() });
        let recorder = Self { queue: sender, writer: Arc::clone(&writer), last_stamp: Arc::default() };
        (recorder, RecorderTask { queue, writer })
    }

    /// Records an event of one of the hub's own parts. Never waits; dropped (and logged) when too many are waiting.
    pub fn record(&self, component: &'static str, event: EventDraft, now: Timestamp) {
        let Some(occurrence) = self.occurrence(component, event, now) else { return };
        if self.queue.try_send(occurrence).is_err() {
            tracing::warn!(component, "an event was dropped: too many are waiting to be written");
        }
    }

    /// Records an event that a node reported, with the node's own time; done when it is written (or refused, which is
    /// logged). Recording the same report again has no effect beyond its count.
    pub async fn record_node_event(&self, node: &NodeName, node_uid: &str, report: &EventReport) {
        self.writer.write(node_occurrence(node, node_uid, report)).await;
    }

    fn occurrence(&self, component: &str, event: EventDraft, now: Timestamp) -> Option<Occurrence> {
        let kind = stored_kind(&self.writer.objects, &event.about)?;
        let stored = self.writer.objects.snapshot().get(&event.about).map(|o| o.revision.to_string());
        Some(Occurrence {
            component: component.to_owned(),
            host: String::new(),
            about: About {
                api_version: kind.api_version(),
                kind: kind.kind.to_owned(),
                namespace: event.about.namespace.to_string(),
                name: event.about.name.to_string(),
                uid: event.uid,
                field_path: String::new(),
            },
            resource_version: stored.unwrap_or_default(),
            warning: event.warning,
            reason: event.reason.to_owned(),
            message: event.message,
            at: now,
            count: 1,
            stamp: self.stamp(now),
        })
    }

    /// The time in nanoseconds, made unique: events of one pass share their time.
    fn stamp(&self, now: Timestamp) -> u64 {
        let wanted = u64::try_from(now.as_nanosecond()).unwrap_or_default();
        let next = |last: u64| wanted.max(last + 1);
        let update = self.last_stamp.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        next(update.unwrap_or_default())
    }
}

impl RecorderTask {
    /// Writes events until `shutdown` is true; what waits then is still written.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break,
                received = self.queue.recv_many(&mut batch, BATCH) => if received == 0 { return },
            }
            self.writer.write_all(&mut batch).await;
        }
        self.queue.close();
        while self.queue.recv_many(&mut batch, BATCH).await > 0 {
            self.writer.write_all(&mut batch).await;
        }
    }
}

#[derive(Debug)]
struct Writer {
    objects: Objects,
    correlator: Mutex<Correlator>,
}

impl Writer {
    async fn write_all(&self, batch: &mut Vec<Occurrence>) {
        join_all(batch.drain(..).map(|occurrence| self.write(occurrence))).await;
    }

    /// Writes one occurrence. An event that expired meanwhile is written as new.
    async fn write(&self, occurrence: Occurrence) {
        let written = match self.correlate(&occurrence) {
            Record::Create(event) => self.create(event).await,
            Record::Count { namespace, name, patch } => match self.count(&namespace, &name, patch).await {
                Err(Error::NotFound { .. }) => {
                    self.forget(&occurrence);
                    match self.correlate(&occurrence) {
                        Record::Create(event) => self.create(event).await,
                        Record::Count { namespace, name, patch } => self.count(&namespace, &name, patch).await,
                    }
                }
                other => other,
            },
        };
        if let Err(error) = written {
            self.forget(&occurrence);
            tracing::debug!(reason = occurrence.reason, error = %chain(&error), "an event could not be written");
        }
    }

    fn correlate(&self, occurrence: &Occurrence) -> Record {
        self.correlator.lock().unwrap_or_else(PoisonError::into_inner).record(occurrence)
    }

    fn forget(&self, occurrence: &Occurrence) {
        self.correlator.lock().unwrap_or_else(PoisonError::into_inner).forget(occurrence);
    }

    async fn create(&self, event: Value) -> Result<(), Error> {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let target = self.target(text(&event["metadata"]["namespace"]), text(&event["metadata"]["name"]))?;
        match self.objects.create(&target, event, &options()).await {
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn count(&self, namespace: &str, name: &str, patch: Value) -> Result<(), Error> {
        let target = self.target(namespace.to_owned(), name.to_owned())?;
        self.objects.patch(&target, &Patch::Merge(patch), &options()).await.map(drop)
    }

    fn target(&self, namespace: String, name: String) -> Result<Target, Error> {
        let key = Key { resource: "events".into(), namespace: "".into(), name: "".into() };
        let kind = stored_kind(&self.objects, &key)
            .ok_or_else(|| Error::NotFound { resource: "events".into(), name: name.clone() })?;
        Ok(Target { kind, namespace, name, subresource: String::new() })
    }
}

fn options() -> WriteOptions {
    WriteOptions {
        user: User::component("event-recorder"),
        field_manager: "event-recorder".into(),
        ..WriteOptions::default()
    }
}

fn node_occurrence(node: &NodeName, node_uid: &str, report: &EventReport) -> Occurrence {
    let about = match &report.subject {
        Subject::Node => About {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: node.as_str().to_owned(),
            uid: node_uid.to_owned(),
            ..About::default()
        },
        Subject::Pod { uid, namespace, name, container, init } => About {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.as_str().to_owned(),
            field_path: field_path(container, *init),
        },
    };
    let ms = u64::try_from(report.at_ms).unwrap_or_default();
    Occurrence {
        component: "kubelet".to_owned(),
        host: node.as_str().to_owned(),
        about,
        resource_version: String::new(),
        warning: report.warning,
        reason: report.reason.clone(),
        message: report.message.clone(),
        at: Timestamp::from_millisecond(report.at_ms).unwrap_or(Timestamp::UNIX_EPOCH),
        count: report.count.max(1),
        // Follows from the report alone, so that a report sent twice names the same event.
        stamp: ms.saturating_mul(1_000_000).saturating_add(report.seq % 1_000_000),
    }
}

fn field_path(container: &str, init: bool) -> String {
    match (container, init) {
        ("", _) => String::new(),
        (name, true) => format!("spec.initContainers{{{name}}}"),
        (name, false) => format!("spec.containers{{{name}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_shared::ids::PodUid;

    #[test]
    fn a_node_report_names_container_node_and_time() {
        let report = EventReport {
            seq: 7,
            at_ms: 1_500,
            warning: false,
            reason: "Started".into(),
            message: "Started container web".into(),
            subject: Subject::Pod {
                uid: PodUid::parse("u1").unwrap(),
                namespace: "shop".into(),
                name: "web-1".into(),
                container: "web".into(),
                init: false,
            },
            count: 0,
        };
        let occurrence = node_occurrence(&NodeName::parse("edge-1").unwrap(), "n1", &report);
        assert_eq!(occurrence.about.field_path, "spec.containers{web}");
        assert_eq!((occurrence.component.as_str(), occurrence.host.as_str()), ("kubelet", "edge-1"));
        assert_eq!(occurrence.at.as_millisecond(), 1500);
        assert_eq!((occurrence.stamp, occurrence.count), (1_500_000_007, 1));
    }
}
