//! What one object uses of a quota, and which scopes it is in.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use skiff_shared::quantity::{Format, Quantity};

use crate::objects::admission::resources::{Amounts, amounts, containers, larger, of_pod};

/// Kinds with quota names of their own, beside `count/…`.
const COUNTED: [&str; 7] =
    ["configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"];
/// Resources of containers that have their own name in quotas beside that of their requests.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What every container must name where a quota limits it.
pub(super) const MANDATORY: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// What one object uses, and what scopes ask about it.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    pub(super) amounts: Amounts,
    /// When a pod no longer counts that should have ended by then: its node may be lost.
    pub(super) until: Option<Timestamp>,
    best_effort: bool,
    terminating: bool,
    cross_namespace_affinity: bool,
    priority_class: String,
}

impl Usage {
    /// What an object uses.
    pub(super) fn of(kind: &str, object: &Value) -> Self {
        let mut amounts = counts(kind, 1);
        match kind {
            "pods" => return of_a_pod(object, amounts),
            "services" => of_a_service(object, &mut amounts),
            "persistentvolumeclaims" => of_a_claim(object, &mut amounts),
            _ => {}
        }
        Self { amounts, ..Self::default() }
    }

    /// What so many objects use of which nothing but their number is counted.
    pub(super) fn of_many(kind: &str, count: usize) -> Self {
        Self { amounts: counts(kind, count), ..Self::default() }
    }

    /// What is used at this time.
    pub(super) fn at(&self, now: Timestamp) -> Cow<'_, Amounts> {
        if self.until.is_some_and(|until| until < now) { Cow::Owned(ended_pod()) } else { Cow::Borrowed(&self.amounts) }
    }

    /// Whether a quota is about the object: with scopes, about some pods only.
    pub(super) fn in_scope(&self, spec: &Value, kind: &str) -> bool {
        let scopes = spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
        let selected = selected.map(|e| (e["scopeName"].as_str().unwrap_or_default(), e));
        scopes
            .map(|s| (s, &Value::Null))
            .chain(selected)
            .all(|(scope, expression)| kind == "pods" && self.matches(scope, expression))
    }

    fn matches(&self, scope: &str, expression: &Value) -> bool {
        let listed = || {
            let values = expression["values"].as_array().into_iter().flatten();
            values.into_iter().any(|v| v.as_str() == Some(&self.priority_class))
        };
        match scope {
            "BestEffort" => self.best_effort,
            "NotBestEffort" => !self.best_effort,
            "Terminating" => self.terminating,
            "NotTerminating" => !self.terminating,
            "CrossNamespacePodAffinity" => self.cross_namespace_affinity,
            "PriorityClass" => match expression["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("DoesNotExist") => self.priority_class.is_empty(),
                _ => !self.priority_class.is_empty(),
            },
            _ => false,
        }
    }
}

fn number(count: usize) -> Quantity {
    Quantity::of(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi)
}

fn counts(kind: &str, count: usize) -> Amounts {
    let count = number(count);
    let mut amounts = Amounts::from([(format!("count/{kind}"), count)]);
    if COUNTED.contains(&kind) {
        amounts.insert(kind.to_owned(), count);
    }
    amounts
}

/// A pod that has ended still counts as an object.
fn ended_pod() -> Amounts {
    Amounts::from([("count/pods".to_owned(), number(1))])
}

fn of_a_pod(pod: &Value, mut used: Amounts) -> Usage {
    let spec = &pod["spec"];
    let usage = Usage {
        best_effort: is_best_effort(pod),
        terminating: spec["activeDeadlineSeconds"].is_i64(),
        cross_namespace_affinity: has_cross_namespace_affinity(&spec["affinity"]),
        priority_class: spec["priorityClassName"].as_str().unwrap_or_default().to_owned(),
        until: overdue(&pod["metadata"]),
        ..Usage::default()
    };
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return Usage { amounts: ended_pod(), until: None, ..usage };
    }
    let resized = under_resize(pod);
    let pod = resized.as_ref().unwrap_or(pod);
    for (name, amount) in of_pod(pod, "requests") {
        if COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            used.insert(name.clone(), amount);
        }
        used.insert(format!("requests.{name}"), amount);
    }
    used.extend(of_pod(pod, "limits").into_iter().map(|(name, amount)| (format!("limits.{name}"), amount)));
    Usage { amounts: used, ..usage }
}

/// A pod whose containers ask for the most of what their spec says and what they have been given: while a resize goes on,
/// both may be in use. `None` where nothing differs.
fn under_resize(pod: &Value) -> Option<Value> {
    let mut resized = None;
    for (list, statuses) in [("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")] {
        for status in pod["status"][statuses].as_array().into_iter().flatten() {
            let Some(index) = containers(pod, list).position(|container| container["name"] == status["name"]) else {
                continue;
            };
            for (field, given) in [
                ("requests", &status["allocatedResources"]),
                ("requests", &status["resources"]["requests"]),
                ("limits", &status["resources"]["limits"]),
            ] {
                let own = &pod["spec"][list][index]["resources"][field];
                if given.is_object() && given != own {
                    let whole = resized.get_or_insert_with(|| pod.clone());
                    raise(&mut whole["spec"][list][index]["resources"][field], &amounts(given));
                }
            }
        }
    }
    resized
}

/// Raises amounts to what is more.
fn raise(own: &mut Value, given: &Amounts) {
    let mut most = amounts(own);
    larger(&mut most, given);
    *own = most.into_iter().map(|(name, amount)| (name, Value::from(amount.to_string()))).collect();
}

/// Whether no container asks for CPU or memory.
fn is_best_effort(pod: &Value) -> bool {
    let all = || ["containers", "initContainers"].into_iter().flat_map(|list| containers(pod, list));
    let asks = |container: &Value| {
        ["requests", "limits"].into_iter().any(|field| {
            let amounts = amounts(&container["resources"][field]);
            ["cpu", "memory"].into_iter().any(|name| amounts.get(name).is_some_and(|amount| amount.nano() > 0))
        })
    };
    !all().any(asks)
}

/// Whether a term of the affinity looks at pods of other namespaces.
fn has_cross_namespace_affinity(affinity: &Value) -> bool {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty()) || term["namespaceSelector"].is_object()
    };
    let terms = |of: &str, when: &str| affinity[of][when].as_array().into_iter().flatten();
    ["podAffinity", "podAntiAffinity"].into_iter().any(|of| {
        terms(of, REQUIRED).any(crosses) || terms(of, PREFERRED).any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}

/// A deleted pod counts for its grace period once more after its end is due.
fn overdue(metadata: &Value) -> Option<Timestamp> {
    let due: Timestamp = metadata["deletionTimestamp"].as_str()?.parse().ok()?;
    let grace = metadata["deletionGracePeriodSeconds"].as_i64()?;
    due.checked_add(SignedDuration::from_secs(grace)).ok()
}

fn of_a_service(service: &Value, used: &mut Amounts) {
    let spec = &service["spec"];
    let balanced = spec["type"] == "LoadBalancer";
    if balanced || spec["type"] == "NodePort" {
        // Where none are allocated by themselves, only the ports that are asked for count.
        let all = !balanced || spec["allocateLoadBalancerNodePorts"] != false;
        let ports = spec["ports"].as_array().into_iter().flatten();
        let open = ports.filter(|port| all || port["nodePort"].as_i64().unwrap_or(0) != 0).count();
        used.insert("services.nodeports".into(), number(open));
    }
    if balanced {
        used.insert("services.loadbalancers".into(), number(1));
    }
}

fn of_a_claim(claim: &Value, used: &mut Amounts) {
    const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
    let requested = amounts(&claim["spec"]["resources"]["requests"]).remove("storage");
    let allocated = amounts(&claim["status"]["allocatedResources"]).remove("storage");
    let storage = requested.into_iter().chain(allocated).max_by_key(|amount| amount.nano());
    let annotated = claim["metadata"]["annotations"][OLD_CLASS].as_str();
    let class = annotated.or(claim["spec"]["storageClassName"].as_str()).filter(|c| !c.is_empty());
    if let Some(storage) = storage {
        used.insert("requests.storage".into(), storage);
    }
    if let Some(class) = class {
        let name = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
        used.insert(name("persistentvolumeclaims"), number(1));
        used.extend(storage.map(|storage| (name("requests.storage"), storage)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(kind: &str, object: &Value, now: &str) -> String {
        let usage = Usage::of(kind, object);
        let amounts = usage.at(now.parse().expect("a time"));
        let texts: Vec<String> = amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        texts.join(" ")
    }

    #[test]
    fn objects_use_what_they_ask_for() {
        const NOW: &str = "2026-01-01T00:00:00Z";
        let pod = |status: Value, metadata: Value| {
            let container = json!({"resources": {"requests": {"cpu": "1", "example.com/x": "2"}}});
            json!({"metadata": metadata, "spec": {"containers": [container]}, "status": status})
        };
        let deleted = |due: &str| json!({"deletionTimestamp": due, "deletionGracePeriodSeconds": 30});
        let running = "count/pods=1 cpu=1 pods=1 requests.cpu=1 requests.example.com/x=2";
        for (kind, object, expected) in [
            ("pods", pod(json!({"phase": "Running"}), json!({})), running),
            ("pods", pod(json!({"phase": "Failed"}), json!({})), "count/pods=1"),
            (
                "pods",
                pod(
                    json!({"containerStatuses": [{"allocatedResources": {"cpu": "3", "example.com/x": "1"}}]}),
                    json!({}),
                ),
                "count/pods=1 cpu=3 pods=1 requests.cpu=3 requests.example.com/x=2",
            ),
            ("pods", pod(json!({}), deleted("2025-12-31T23:59:30Z")), running),
            ("pods", pod(json!({}), deleted("2025-12-31T23:59:29Z")), "count/pods=1"),
            (
                "services",
                json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}}),
                "count/services=1 services=1 services.loadbalancers=1 services.nodeports=2",
            ),
            (
                "services",
                json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                    "ports": [{"port": 1, "nodePort": 30000}, {"port": 2}]}}),
                "count/services=1 services=1 services.loadbalancers=1 services.nodeports=1",
            ),
            (
                "persistentvolumeclaims",
                json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "gold"}},
                    "spec": {"resources": {"requests": {"storage": "1Gi"}}},
                    "status": {"allocatedResources": {"storage": "2Gi"}}}),
                "count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
                 gold.storageclass.storage.k8s.io/requests.storage=2Gi persistentvolumeclaims=1 requests.storage=2Gi",
            ),
            ("deployments.apps", json!({}), "count/deployments.apps=1"),
        ] {
            assert_eq!(shown(kind, &object, NOW), expected, "{object}");
        }
    }

    #[test]
    fn scopes_choose_pods() {
        let term = |extra: Value| {
            let mut term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {}});
            json_patch::merge(&mut term, &extra);
            term
        };
        let preferred = |term: Value| json!([{"weight": 1, "podAffinityTerm": term}]);
        let [required, preferring] =
            ["requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"];
        let asks = |resources: Value| json!({"containers": [{"resources": resources}]});
        for (spec, scopes) in [
            (json!({}), vec!["BestEffort", "NotTerminating"]),
            (asks(json!({"requests": {"ephemeral-storage": "1"}})), vec!["BestEffort", "NotTerminating"]),
            (asks(json!({"requests": {"cpu": "0"}})), vec!["BestEffort", "NotTerminating"]),
            (asks(json!({"limits": {"memory": "1"}})), vec!["NotBestEffort", "NotTerminating"]),
            (
                json!({"activeDeadlineSeconds": 5, "priorityClassName": "high"}),
                vec!["BestEffort", "PriorityClass", "Terminating"],
            ),
            (json!({"affinity": {"podAffinity": {required: [term(json!({}))]}}}), vec!["BestEffort", "NotTerminating"]),
            (
                json!({"affinity": {"podAffinity": {required: [term(json!({"namespaces": ["a"]}))]}}}),
                vec!["BestEffort", "CrossNamespacePodAffinity", "NotTerminating"],
            ),
            (
                json!({"affinity": {"podAntiAffinity": {preferring: preferred(term(json!({"namespaceSelector": {}})))}}}),
                vec!["BestEffort", "CrossNamespacePodAffinity", "NotTerminating"],
            ),
        ] {
            let usage = Usage::of("pods", &json!({ "spec": spec }));
            let all = [
                "BestEffort",
                "CrossNamespacePodAffinity",
                "NotBestEffort",
                "NotTerminating",
                "PriorityClass",
                "Terminating",
            ];
            let chosen: Vec<_> = all.into_iter().filter(|s| usage.in_scope(&json!({"scopes": [s]}), "pods")).collect();
            assert_eq!(chosen, scopes, "{spec}");
        }
    }
}
