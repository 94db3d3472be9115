//! A pod as the API shows it, reduced to what tests compare.

use serde_json::Value;

/// A pod with one container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.nodeName`; empty while it is not bound.
    pub node: String,
    /// Its container's image.
    pub image: String,
    /// `status.phase`.
    pub phase: String,
    /// The condition `Ready`.
    pub ready: bool,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// Its container's `restartCount`.
    pub restarts: u64,
}

impl Pod {
    /// From its JSON.
    pub fn new(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            namespace: text(&pod["metadata"]["namespace"]),
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            node: text(&pod["spec"]["nodeName"]),
            image: text(&pod["spec"]["containers"][0]["image"]),
            phase: text(&pod["status"]["phase"]),
            ready: condition(pod, "Ready") == "True",
            deleting: pod["metadata"]["deletionTimestamp"].is_string(),
            restarts: pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default(),
        }
    }

    /// It counts towards what its owner asks for.
    pub fn serves(&self) -> bool {
        self.ready && !self.deleting
    }
}

/// The status of a condition of any object; empty where it has none.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|c| c["type"] == kind).and_then(|c| c["status"].as_str()).unwrap_or_default()
}
