//! A small world for tests: objects in a store that keeps nothing, and plans that are applied to it and come back as text.

use std::sync::Arc;

use futures_util::FutureExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::reconcile::events::seconds;
use crate::reconcile::{Controller, EventDraft, Plan, PlannedWrite};
use crate::registry::Registry;
use crate::registry::patch::apply_merge;
use crate::store::{Event, Expected, Key, MemoryStore, Op, Snapshot, Store, Write};

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    store: Arc<MemoryStore>,
    registry: Registry,
    /// What time it is.
    pub(crate) now: Timestamp,
    named: u32,
}

impl World {
    /// An empty world at a round hour.
    pub(crate) fn new() -> Self {
        let now = "2026-01-01T10:00:00Z".parse().unwrap();
        Self { store: MemoryStore::new(), registry: Registry::builtin(), now, named: 0 }
    }

    /// A world with the objects of a YAML stream. What is missing is filled in: namespace `default`, a uid, a creation time.
    pub(crate) fn of(yaml: &str) -> Self {
        let mut world = Self::new();
        for object in yaml_objects(yaml) {
            world.put(object);
        }
        world
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// The events after a revision.
    pub(crate) fn changes(&self, revision: u64) -> Vec<Event> {
        self.store.changes(revision, 10_000).unwrap()
    }

    /// Moves time on.
    pub(crate) fn wait(&mut self, seconds: i64) {
        self.now = crate::reconcile::view::later(self.now, seconds);
    }

    /// Creates or replaces an object.
    pub(crate) fn put(&mut self, mut object: Value) -> Key {
        let kind =
            self.registry.kind(text(&object["apiVersion"]), text(&object["kind"])).expect("a known kind").clone();
        if text(&object["metadata"]["name"]).is_empty() {
            self.named += 1;
            object["metadata"]["name"] = format!("{}{}", text(&object["metadata"]["generateName"]), self.named).into();
        }
        if kind.namespaced && text(&object["metadata"]["namespace"]).is_empty() {
            object["metadata"]["namespace"] = "default".into();
        }
        let metadata = &mut object["metadata"];
        let namespace = if kind.namespaced { text(&metadata["namespace"]) } else { "" };
        let key =
            Key { resource: kind.storage.clone(), namespace: namespace.into(), name: text(&metadata["name"]).into() };
        if metadata["uid"].is_null() {
            metadata["uid"] = format!("uid-{}", key.name).into();
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = seconds(self.now).into();
        }
        if kind.hooks.has_generation {
            let old = self.get(&key);
            let generation = old.as_ref().map_or(0, |o| o["metadata"]["generation"].as_i64().unwrap_or(0));
            let same = old.is_some_and(|o| o["spec"] == object["spec"]);
            object["metadata"]["generation"] = json!(if same { generation } else { generation + 1 });
        }
        let expected = self.snapshot().get(&key).map_or(Expected::Absent, |o| Expected::At(o.revision));
        self.commit(Write { key: key.clone(), expected, op: Op::Put(object) });
        key
    }

    /// An object as it now is.
    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        self.snapshot().get(key).map(|o| o.parse().unwrap())
    }

    /// Changes an object.
    pub(crate) fn edit(&mut self, key: &Key, edit: impl FnOnce(&mut Value)) {
        let mut object = self.get(key).expect("an object to edit");
        edit(&mut object);
        self.put(object);
    }

    /// Removes an object, or only marks it where something holds it.
    pub(crate) fn delete(&mut self, key: &Key) {
        let Some(object) = self.get(key) else { return };
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
            || (&*key.resource == "pods" && !object["spec"]["nodeName"].is_null())
            || &*key.resource == "namespaces";
        if held {
            let now = seconds(self.now);
            self.edit(key, |o| o["metadata"]["deletionTimestamp"] = now.into());
        } else {
            self.remove(key);
        }
    }

    /// Removes an object whatever holds it.
    pub(crate) fn remove(&mut self, key: &Key) {
        let revision = self.snapshot().get(key).expect("an object to remove").revision;
        self.commit(Write { key: key.clone(), expected: Expected::At(revision), op: Op::Delete(None) });
    }

    fn commit(&self, write: Write) {
        self.store.commit(vec![write]).now_or_never().expect("the memory store does not wait").unwrap();
    }

    /// The plan of a controller for a key.
    pub(crate) fn plan(&self, controller: &dyn Controller, key: &Key) -> Plan {
        controller.reconcile(key, &self.snapshot(), self.now)
    }

    /// Applies a plan, and tells it as text: one line a write, then one a recorded event.
    pub(crate) fn apply(&mut self, plan: Plan) -> String {
        let mut lines = Vec::new();
        let mut events = Vec::new();
        for write in plan.writes {
            let (line, event) = self.write(write);
            lines.push(line);
            events.extend(event);
        }
        events.extend(plan.events);
        lines.extend(events.iter().map(event_line));
        lines.join("\n")
    }

    /// Reconciles a key once.
    pub(crate) fn step(&mut self, controller: &dyn Controller, key: &Key) -> String {
        let plan = self.plan(controller, key);
        self.apply(plan)
    }

    /// Reconciles a key until there is nothing left to do.
    pub(crate) fn settle(&mut self, controller: &dyn Controller, key: &Key) -> String {
        let mut told = Vec::new();
        for _ in 0..50 {
            let text = self.step(controller, key);
            if text.is_empty() {
                return told.join("\n");
            }
            told.push(text);
        }
        panic!("it does not settle:\n{}", told.join("\n"));
    }

    fn write(&mut self, write: PlannedWrite) -> (String, Option<EventDraft>) {
        match write {
            PlannedWrite::Create { object, event, .. } => {
                let key = self.put(object);
                let name = key.name.to_string();
                (
                    format!("create {}", shown(&key)),
                    event.map(|e| EventDraft { message: e.message.replace("{name}", &name), ..e }),
                )
            }
            PlannedWrite::Update { key, subresource, object, .. } => {
                let line = format!("update {}{}", shown(&key), slash(subresource));
                let gone = subresource == "finalize"
                    || !object["metadata"]["deletionTimestamp"].is_null() && no_finalizers(&object);
                if gone {
                    self.remove(&key);
                } else {
                    self.put(object);
                }
                (line, None)
            }
            PlannedWrite::Patch { key, subresource, mut patch } => {
                if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("resourceVersion");
                    metadata.remove("uid");
                    if metadata.is_empty() {
                        patch.as_object_mut().unwrap().remove("metadata");
                    }
                }
                let line = format!("patch {}{} {patch}", shown(&key), slash(subresource));
                self.edit(&key, |object| apply_merge(object, &patch).unwrap());
                (line, None)
            }
            PlannedWrite::Delete { key, event, grace_seconds, .. } => {
                if grace_seconds == Some(0) {
                    self.remove(&key)
                } else {
                    self.delete(&key)
                }
                (format!("delete {}", shown(&key)), event)
            }
            PlannedWrite::Bind { pod, node, event, .. } => {
                self.edit(&pod, |p| p["spec"]["nodeName"] = node.clone().into());
                (format!("bind {} to {node}", shown(&pod)), event)
            }
        }
    }
}

fn no_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_none_or(|f| f.is_empty())
}

fn event_line(event: &EventDraft) -> String {
    let kind = if event.warning { "Warning" } else { "Normal" };
    format!("event {kind} {}: {}", event.reason, event.message)
}

fn shown(key: &Key) -> String {
    format!("{}/{}", key.resource, key.name)
}

fn slash(subresource: &str) -> String {
    if subresource.is_empty() { String::new() } else { format!("/{subresource}") }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The objects of a YAML stream.
pub(crate) fn yaml_objects(yaml: &str) -> Vec<Value> {
    let documents = yaml.split("\n---\n").filter(|d| !d.trim().is_empty());
    documents.map(|d| serde_saphyr::from_str(d).unwrap_or_else(|e| panic!("{e} in:\n{d}"))).collect()
}

/// One object in YAML.
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{e} in:\n{text}"))
}
