//! Turns occurrences into `v1.Event` objects: one object for the first, a higher count for each repeat. Pure.

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::bounded::Bounded;

/// Repeats are recognised among this many different occurrences (client-go's event cache has the same size).
const REMEMBERED: usize = 4096;
/// So many events that differ in their messages only are written as they are (client-go's `defaultAggregateMaxEvents`);
/// later ones count one combined event up.
const DIFFERENT: usize = 10;
/// When nothing similar happened for so long, messages count as new ones again (`defaultAggregateIntervalInSeconds`).
const FORGET_SECONDS: i64 = 600;
/// How a combined event's message begins.
const COMBINED: &str = "(combined from similar events): ";

/// What an event is about (`involvedObject`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct About {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `Pod`.
    pub kind: String,
    /// Empty for cluster-scoped objects: their events live in `default`.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// `spec.containers{web}`; empty for the whole object.
    pub field_path: String,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Occurrence {
    /// `source.component`.
    pub component: String,
    /// `source.host`; empty for the hub's own parts.
    pub host: String,
    /// About what.
    pub about: About,
    /// The object's `resourceVersion`, if known; else empty.
    pub resource_version: String,
    /// `Warning`, else `Normal`.
    pub warning: bool,
    /// E.g. `Pulled`.
    pub reason: String,
    /// Text.
    pub message: String,
    /// When it (last) happened.
    pub at: Timestamp,
    /// How often it happened, at least 1.
    pub count: u32,
    /// Makes the event's name unique: nanoseconds since 1970, or an equally unique number.
    pub stamp: u64,
}

/// How an occurrence is to be written.
#[derive(Debug, PartialEq)]
pub enum Record {
    /// As a new object.
    Create(Value),
    /// As a merge patch to the event of this name, which counts it up.
    Count {
        /// Namespace of the event.
        namespace: String,
        /// Its name.
        name: String,
        /// The patch.
        patch: Value,
    },
}

/// What makes two occurrences the same, as a hash under a key that nobody knows: all of it would take half a kilobyte of
/// each of thousands, and an event counted for another explains a little less, no more.
type Identity = u64;

/// Recognises repeats. Remembers a bounded number of events.
#[derive(Debug)]
pub struct Correlator {
    key: RandomState,
    seen: Bounded<Identity, (Box<str>, u64)>,
    similar: Bounded<Identity, Similar>,
}

/// Occurrences that differ in their messages only.
#[derive(Debug)]
struct Similar {
    /// Hashes of these.
    messages: Vec<u64>,
    last: Timestamp,
}

impl Default for Correlator {
    fn default() -> Self {
        Self { key: RandomState::new(), seen: Bounded::new(REMEMBERED), similar: Bounded::new(REMEMBERED) }
    }
}

impl Correlator {
    /// How to write an occurrence.
    pub fn record(&mut self, occurrence: &Occurrence) -> Record {
        let combined = self.is_one_of_many(occurrence);
        let identity = self.identity(occurrence, combined);
        let message = message(occurrence, combined);
        let repeat = self.seen.get(&identity).map(|(name, count)| {
            *count += u64::from(occurrence.count);
            (name.to_string(), *count)
        });
        match repeat {
            Some((name, count)) => Record::Count {
                namespace: event_namespace(&occurrence.about),
                name,
                patch: repeated(count, occurrence, combined.then_some(&message)),
            },
            None => {
                let name = format!("{}.{:x}", occurrence.about.name, occurrence.stamp);
                self.seen.insert(identity, (name.as_str().into(), u64::from(occurrence.count)));
                Record::Create(event(&name, occurrence, &message))
            }
        }
    }

    /// The event of this occurrence is gone: the next one is written as new.
    pub fn forget(&mut self, occurrence: &Occurrence) {
        for combined in [false, true] {
            self.seen.remove(&self.identity(occurrence, combined));
        }
    }

    /// Whether so many similar events were written lately that this one is to be combined with others.
    fn is_one_of_many(&mut self, occurrence: &Occurrence) -> bool {
        let (key, message) = (self.identity(occurrence, true), self.key.hash_one(&occurrence.message));
        let Some(similar) = self.similar.get(&key) else {
            self.similar.insert(key, Similar { messages: vec![message], last: occurrence.at });
            return false;
        };
        if occurrence.at.as_second() - similar.last.as_second() > FORGET_SECONDS {
            similar.messages.clear();
        }
        similar.last = occurrence.at;
        if similar.messages.contains(&message) {
            return false;
        }
        let many = similar.messages.len() >= DIFFERENT - 1;
        if !many {
            similar.messages.push(message);
        }
        many
    }

    /// What makes occurrences the same; for combined ones, whatever their messages.
    fn identity(&self, occurrence: &Occurrence, combined: bool) -> Identity {
        let Occurrence { component, host, about, warning, reason, message, .. } = occurrence;
        self.key.hash_one((component, host, about, warning, reason, (!combined).then_some(message)))
    }
}

/// What a repeat changes of an event.
fn repeated(count: u64, occurrence: &Occurrence, combined: Option<&str>) -> Value {
    let mut patch = json!({"count": count, "lastTimestamp": seconds(occurrence.at)});
    if let Some(message) = combined {
        patch["message"] = message.into();
    }
    patch
}

fn message(occurrence: &Occurrence, combined: bool) -> String {
    if combined { format!("{COMBINED}{}", occurrence.message) } else { occurrence.message.clone() }
}

fn event_namespace(about: &About) -> String {
    if about.namespace.is_empty() { "default".to_owned() } else { about.namespace.clone() }
}

fn event(name: &str, occurrence: &Occurrence, message: &str) -> Value {
    let about = &occurrence.about;
    let mut involved =
        json!({"kind": about.kind, "name": about.name, "uid": about.uid, "apiVersion": about.api_version});
    let optional = [
        ("namespace", &about.namespace),
        ("resourceVersion", &occurrence.resource_version),
        ("fieldPath", &about.field_path),
    ];
    for (field, value) in optional {
        if !value.is_empty() {
            involved[field] = json!(value);
        }
    }
    let mut source = json!({"component": occurrence.component});
    if !occurrence.host.is_empty() {
        source["host"] = json!(occurrence.host);
    }
    let at = seconds(occurrence.at);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": event_namespace(about)},
        "involvedObject": involved,
        "reason": occurrence.reason,
        "message": message,
        "source": source,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": occurrence.count,
        "type": if occurrence.warning { "Warning" } else { "Normal" },
        "eventTime": null,
        "reportingComponent": occurrence.component,
        "reportingInstance": occurrence.host,
    })
}

/// A time as Kubernetes writes it: whole seconds.
pub fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(message: &str, second: i64) -> Occurrence {
        Occurrence {
            component: "kubelet".into(),
            host: "edge-1".into(),
            about: About {
                api_version: "v1".into(),
                kind: "Pod".into(),
                namespace: "shop".into(),
                name: "web-1".into(),
                uid: "u1".into(),
                field_path: "spec.containers{web}".into(),
            },
            resource_version: "7".into(),
            warning: true,
            reason: "BackOff".into(),
            message: message.into(),
            at: Timestamp::from_second(second).unwrap(),
            count: 1,
            stamp: 0xabc + u64::try_from(second).unwrap(),
        }
    }

    #[test]
    fn the_first_occurrence_becomes_an_object_and_repeats_count_up() {
        let mut correlator = Correlator::default();
        let Record::Create(event) = correlator.record(&occurrence("Back-off", 0)) else { panic!("not created") };
        assert_eq!(event["metadata"], json!({"name": "web-1.abc", "namespace": "shop"}));
        assert_eq!(event["source"], json!({"component": "kubelet", "host": "edge-1"}));
        assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(event["involvedObject"]["fieldPath"], "spec.containers{web}");
        assert_eq!(event["type"], "Warning");

        let mut repeat = occurrence("Back-off", 60);
        repeat.count = 4;
        let expected = json!({"count": 5, "lastTimestamp": "1970-01-01T00:01:00Z"});
        assert_eq!(
            correlator.record(&repeat),
            Record::Count { namespace: "shop".into(), name: "web-1.abc".into(), patch: expected }
        );
        assert!(matches!(correlator.record(&occurrence("Other text", 60)), Record::Create(_)));
        correlator.forget(&repeat);
        assert!(matches!(correlator.record(&repeat), Record::Create(_)));
    }

    #[test]
    fn events_that_differ_in_their_messages_do_not_grow_without_bound() {
        let mut correlator = Correlator::default();
        let mut record = |i: i64, at: i64| correlator.record(&occurrence(&format!("message {i}"), at));
        for i in 0..9 {
            assert!(matches!(record(i, i), Record::Create(_)), "{i}");
        }
        let Record::Create(combined) = record(9, 9) else { panic!("not created") };
        assert_eq!(combined["message"], "(combined from similar events): message 9");
        let Record::Count { patch, .. } = record(10, 10) else { panic!("not counted") };
        let expected = json!({
            "count": 2, "lastTimestamp": "1970-01-01T00:00:10Z", "message": "(combined from similar events): message 10",
        });
        assert_eq!(patch, expected);
        let Record::Count { patch, .. } = record(3, 11) else { panic!("not counted") };
        assert_eq!(patch, json!({"count": 2, "lastTimestamp": "1970-01-01T00:00:11Z"}));
        assert!(matches!(record(11, 700), Record::Create(_)));
    }

    #[test]
    fn events_of_cluster_scoped_objects_live_in_default() {
        let mut node = occurrence("x", 0);
        node.about.namespace = String::new();
        node.host = String::new();
        let Record::Create(event) = Correlator::default().record(&node) else { panic!("not created") };
        assert_eq!(event["metadata"]["namespace"], "default");
        assert_eq!(event["involvedObject"].get("namespace"), None);
        assert_eq!(event["source"], json!({"component": "kubelet"}));
    }
}
