//! What a node may write through the API: itself without its taints and restricted labels, and mirror pods of its own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Request, is_pod, refuse};
use crate::auth::node_name;
use crate::objects::error::Error;
use crate::objects::meta;

const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels of the `kubernetes.io` and `k8s.io` namespaces that a node may set on itself.
const OWN_LABELS: [&str; 14] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "beta.kubernetes.io/fluentd-ds-ready",
];

/// Checks what nodes write.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    let Some(node) = node_name(request.user) else { return Ok(()) };
    let complaint = if is_pod(request.target) {
        pod(node, request.old, object)
    } else if request.target.kind.group.is_empty() && request.target.kind.kind == "Node" {
        self::node(node, request.old, object)
    } else if let kind @ ("CSINode" | "Lease") = request.target.kind.kind {
        let name = meta::text(object, "name");
        let what = if kind == "Lease" { "lease" } else { "CSINode" };
        (name != node).then(|| format!("can only access {what} with the same name as the requesting node"))
    } else {
        None
    };
    complaint.map_or(Ok(()), |detail| Err(refuse(request, object, detail)))
}

fn pod(node: &str, old: Option<&Value>, pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    if old.is_some() {
        return Some(format!("node {node:?} can only update pod status"));
    }
    if pod["metadata"]["annotations"][MIRROR].is_null() {
        return Some(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if spec["nodeName"] != node {
        return Some(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let mentioned = ["secret", "configMap", "persistentVolumeClaim"];
    let refers = volumes.flat_map(|v| mentioned.iter().filter(|f| !v[**f].is_null())).next();
    refers.map(|what| format!("node {node:?} can not create pods that reference {what}s"))
}

fn node(own: &str, old: Option<&Value>, node: &Value) -> Option<String> {
    let name = meta::text(node, "name");
    if name != own {
        return Some(format!("node {own:?} is not allowed to modify node {name:?}"));
    }
    let empty = Value::Null;
    let before = old.unwrap_or(&empty);
    if old.is_some() && list(&node["spec"]["taints"]) != list(&before["spec"]["taints"]) {
        return Some(format!("node {own:?} is not allowed to modify taints"));
    }
    let labels = changed_labels(&node["metadata"]["labels"], &before["metadata"]["labels"]);
    let restricted: Vec<&str> = labels.into_iter().filter(|l| is_restricted(l)).collect();
    if restricted.is_empty() {
        return None;
    }
    let verb = if old.is_some() { "modify labels" } else { "set the following labels" };
    Some(format!("is not allowed to {verb}: {}", restricted.join(", ")))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn changed_labels<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    let names = [new, old].into_iter().filter_map(Value::as_object).flat_map(|labels| labels.keys());
    names.map(String::as_str).filter(|name| new[*name] != old[*name]).collect()
}

fn is_restricted(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return false };
    let within = |suffix: &str| domain == suffix || domain.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    let free =
        within("kubelet.kubernetes.io") || (within("node.kubernetes.io") && !within("node-restriction.kubernetes.io"));
    (within("kubernetes.io") || within("k8s.io")) && !free && !OWN_LABELS.contains(&label)
}
