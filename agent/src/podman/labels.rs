//! The labels by which the agent knows its containers again, also after losing everything else.

use std::collections::BTreeMap;

use skiff_shared::ids::PodUid;

use super::Limits;

/// Label with the name of the node an agent runs.
pub(super) const NODE: &str = "io.skiff.node";
const POD_UID: &str = "io.skiff.pod-uid";
const POD_NAMESPACE: &str = "io.skiff.pod-namespace";
const POD_NAME: &str = "io.skiff.pod-name";
const CONTAINER: &str = "io.skiff.container";
const ATTEMPT: &str = "io.skiff.restart-count";
const IMAGE: &str = "io.skiff.image";
const JOINS: &str = "io.skiff.joins";
const LIMITS: &str = "io.skiff.limits";
const STOP_SIGNAL: &str = "io.skiff.stop-signal";

/// Whose container this is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The agent's node name: several agents may share one Podman.
    pub node: String,
    /// The pod's uid as text (checked when it is read back).
    pub pod_uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name in the pod; empty for the pod and its infra container.
    pub container: String,
    /// How often the container had been restarted when this one was made.
    pub attempt: u32,
    /// The image as the spec had it then; another image means another container.
    pub image: String,
    /// The signal that stops it gently; empty for `SIGTERM`.
    pub stop_signal: String,
    /// Id of the container whose process namespace it joins; empty for none.
    pub joins: String,
    /// What it may use, as it was made; `None` where an older agent made it.
    pub limits: Option<Limits>,
}

impl Labels {
    /// As Podman wants them.
    pub fn to_map(&self) -> BTreeMap<&'static str, String> {
        let mut map = BTreeMap::from([
            (NODE, self.node.clone()),
            (POD_UID, self.pod_uid.clone()),
            (POD_NAMESPACE, self.namespace.clone()),
            (POD_NAME, self.pod.clone()),
        ]);
        if !self.container.is_empty() {
            map.insert(CONTAINER, self.container.clone());
            map.insert(ATTEMPT, self.attempt.to_string());
            map.insert(IMAGE, self.image.clone());
        }
        if !self.joins.is_empty() {
            map.insert(JOINS, self.joins.clone());
        }
        if let Some(limits) = &self.limits {
            map.insert(LIMITS, limits_text(limits));
        }
        if !self.stop_signal.is_empty() {
            map.insert(STOP_SIGNAL, self.stop_signal.clone());
        }
        map
    }

    /// From a container's labels; `None` where it is not one of this program's.
    pub fn parse(map: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| map.get(key).cloned().unwrap_or_default();
        PodUid::parse(map.get(POD_UID)?).ok()?;
        Some(Self {
            node: text(NODE),
            pod_uid: text(POD_UID),
            namespace: text(POD_NAMESPACE),
            pod: text(POD_NAME),
            container: text(CONTAINER),
            attempt: text(ATTEMPT).parse().unwrap_or(0),
            image: text(IMAGE),
            stop_signal: text(STOP_SIGNAL),
            joins: text(JOINS),
            limits: map.get(LIMITS).and_then(|text| parse_limits(text)),
        })
    }

    /// The filter that matches everything of one node.
    pub fn node_filter(node: &str) -> String {
        format!("{NODE}={node}")
    }

    /// The filter that matches everything of one pod.
    pub fn pod_filter(uid: &PodUid) -> String {
        format!("{POD_UID}={uid}")
    }

    /// The pod's uid among an event's attributes.
    pub fn pod_of(attributes: &BTreeMap<String, String>) -> Option<PodUid> {
        attributes.get(POD_UID).and_then(|uid| PodUid::parse(uid).ok())
    }
}

/// `shares/quota/memory`; 0 where there is no limit.
fn limits_text(limits: &Limits) -> String {
    let Limits { cpu_shares, cpu_quota_us, memory_bytes } = limits;
    format!("{cpu_shares}/{}/{}", cpu_quota_us.unwrap_or(0), memory_bytes.unwrap_or(0))
}

fn parse_limits(text: &str) -> Option<Limits> {
    let mut parts = text.split('/');
    let cpu_shares = parts.next()?.parse().ok()?;
    let mut limit = || Some(parts.next()?.parse::<i64>().ok()?).map(|n| Some(n).filter(|n| *n > 0));
    Some(Limits { cpu_shares, cpu_quota_us: limit()?, memory_bytes: limit()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_survive_a_round_trip_and_strangers_are_ignored() {
        let labels = Labels {
            node: "n1".into(),
            pod_uid: "u-1".into(),
            namespace: "default".into(),
            pod: "web".into(),
            container: "c".into(),
            attempt: 3,
            image: "localhost/bb:1".into(),
            stop_signal: "SIGINT".into(),
            joins: "c0ffee".into(),
            limits: Some(Limits { cpu_shares: 102, cpu_quota_us: None, memory_bytes: Some(1 << 26) }),
        };
        let map = labels.to_map().into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        assert_eq!(Labels::parse(&map), Some(labels));
        assert_eq!(Labels::parse(&BTreeMap::new()), None);
        assert_eq!(Labels::parse(&BTreeMap::from([(POD_UID.to_owned(), "../x".to_owned())])), None);
    }
}
