//! Applies a plan through the write path.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::Value;

use super::queue::Outcome;
use super::{EventDraft, Plan, PlannedWrite, Recorder};
use crate::objects::{DeleteOptions, Error, Objects, Patch, Target, User, WriteOptions, Written};
use crate::registry::Kind;
use crate::store::Key;

/// Most writes of one plan in flight: as many as share one commit of the store without holding it for long.
const MAX_BATCH: usize = 128;

/// Applies a plan: its writes in order, then its events. Runs of creates, deletes and bindings go out together, in
/// batches of 1, 2, 4, … so that a write that is bound to fail fails once and not a hundred times.
pub(super) async fn apply(
    objects: &Objects,
    recorder: &Recorder,
    component: &'static str,
    plan: Plan,
    now: Timestamp,
) -> Outcome {
    let applier = Applier { objects, recorder, component, now };
    let mut writes = VecDeque::from(plan.writes);
    while let Some(first) = writes.pop_front() {
        let mut run = vec![first];
        if run[0].is_independent() {
            while let Some(next) = writes.pop_front_if(|w| w.is_independent()) {
                run.push(next);
            }
        }
        if let Err(error) = applier.run(run).await {
            applier.report(&error, plan.on_failure).await;
            return if matches!(error, Error::Conflict { .. }) { Outcome::Conflict } else { Outcome::Failed };
        }
    }
    for event in plan.events {
        recorder.record(component, event, now);
    }
    Outcome::Done(None)
}

struct Applier<'a> {
    objects: &'a Objects,
    recorder: &'a Recorder,
    component: &'static str,
    now: Timestamp,
}

impl Applier<'_> {
    async fn run(&self, run: Vec<PlannedWrite>) -> Result<(), Error> {
        let mut rest = run.into_iter();
        let mut size = 1;
        loop {
            let batch: Vec<_> = rest.by_ref().take(size).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let results = join_all(batch.into_iter().map(|write| self.write(write))).await;
            results.into_iter().collect::<Result<Vec<()>, Error>>()?;
            size = (size * 2).min(MAX_BATCH);
        }
    }

    async fn write(&self, write: PlannedWrite) -> Result<(), Error> {
        match write {
            PlannedWrite::Create { object, tolerate_exists, event, failed } => {
                self.create(object, tolerate_exists, event, failed).await
            }
            PlannedWrite::Update { key, revision, subresource, mut object } => {
                let target = self.target(&key, subresource)?;
                object["metadata"]["resourceVersion"] = revision.to_string().into();
                self.objects.update(&target, object, &self.options()).await.map(drop)
            }
            PlannedWrite::Patch { key, subresource, patch } => {
                let target = self.target(&key, subresource)?;
                let patched = self.objects.patch(&target, &Patch::Merge(patch), &self.options()).await;
                missing_is_fine(patched).map(drop)
            }
            PlannedWrite::Delete { key, uid, grace_seconds, propagation, event } => {
                let options = DeleteOptions {
                    grace_period_seconds: grace_seconds,
                    uid: Some(uid),
                    propagation,
                    user: User::component(self.component),
                    ..DeleteOptions::default()
                };
                let deleted = self.objects.delete(&self.target(&key, "")?, &options).await;
                self.record_if(missing_is_fine(deleted)?.is_some(), event);
                Ok(())
            }
            PlannedWrite::Bind { pod, uid, node, event } => self.bind(&pod, &uid, &node, event).await,
        }
    }

    async fn create(
        &self,
        object: Value,
        tolerate_exists: bool,
        event: Option<EventDraft>,
        failed: Option<EventDraft>,
    ) -> Result<(), Error> {
        match self.objects.create(&self.create_target(&object)?, object, &self.options()).await {
            Ok(written) => {
                let name = &written.object.key.name;
                self.record(event.map(|e| EventDraft { message: e.message.replace("{name}", name), ..e }));
                Ok(())
            }
            Err(Error::AlreadyExists { .. }) if tolerate_exists => Ok(()),
            Err(error) => {
                self.record(
                    failed.map(|e| EventDraft { message: e.message.replace("{error}", &error.to_string()), ..e }),
                );
                Err(error)
            }
        }
    }

    /// A pod that is gone or was bound by someone else needs no binding any more.
    async fn bind(&self, pod: &Key, uid: &str, node: &str, event: Option<EventDraft>) -> Result<(), Error> {
        let target = self.target(pod, "binding")?;
        let body = serde_json::json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": &*pod.name, "namespace": &*pod.namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        match self.objects.create(&target, body, &self.options()).await {
            Ok(_) => {
                self.record(event);
                Ok(())
            }
            Err(Error::NotFound { .. } | Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Logs a failure and makes it visible on the object, as the plan says.
    async fn report(&self, error: &Error, on_failure: Option<Box<PlannedWrite>>) {
        tracing::debug!(controller = self.component, error = %chain(error), "a write failed");
        if matches!(error, Error::Conflict { .. }) {
            return;
        }
        let Some(PlannedWrite::Patch { key, subresource, mut patch }) = on_failure.map(|w| *w) else { return };
        fill_in(&mut patch, &error.to_string());
        if let Err(error) = self.write(PlannedWrite::Patch { key, subresource, patch }).await {
            tracing::debug!(controller = self.component, error = %chain(&error), "the failure could not be reported");
        }
    }

    fn record(&self, event: Option<EventDraft>) {
        if let Some(event) = event {
            self.recorder.record(self.component, event, self.now);
        }
    }

    fn record_if(&self, done: bool, event: Option<EventDraft>) {
        self.record(event.filter(|_| done));
    }

    fn options(&self) -> WriteOptions {
        WriteOptions {
            user: User::component(self.component),
            field_manager: self.component.to_owned(),
            ..WriteOptions::default()
        }
    }

    fn target(&self, key: &Key, subresource: &str) -> Result<Target, Error> {
        let kind = stored_kind(self.objects, key)
            .ok_or_else(|| Error::NotFound { resource: key.resource.to_string(), name: key.name.to_string() })?;
        Ok(Target {
            kind,
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            subresource: subresource.to_owned(),
        })
    }

    fn create_target(&self, object: &Value) -> Result<Target, Error> {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let kind = self
            .objects
            .registry()
            .kind(&api_version, &kind)
            .ok_or_else(|| Error::BadRequest(format!("no kind {kind} in {api_version}")))?;
        let metadata = &object["metadata"];
        Ok(Target {
            kind: Arc::clone(kind),
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            subresource: String::new(),
        })
    }
}

/// The first kind under which an object is served.
pub(super) fn stored_kind(objects: &Objects, key: &Key) -> Option<Arc<Kind>> {
    objects.registry().kinds().iter().find(|k| k.storage == key.resource).cloned()
}

/// An error with its sources, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn missing_is_fine(result: Result<Written, Error>) -> Result<Option<Written>, Error> {
    match result {
        Ok(written) => Ok(Some(written)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces `{error}` in every text of a value.
fn fill_in(value: &mut Value, error: &str) {
    match value {
        Value::String(text) => *text = text.replace("{error}", error),
        Value::Array(items) => items.iter_mut().for_each(|v| fill_in(v, error)),
        Value::Object(fields) => fields.values_mut().for_each(|v| fill_in(v, error)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
