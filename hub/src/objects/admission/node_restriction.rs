//! What a node may write through the API: itself without its taints and restricted labels, and mirror pods of its own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Request, refuse};
use crate::auth::node_name;
use crate::objects::error::Error;
use crate::objects::{Objects, meta};
use crate::store::{Key, Snapshot};

const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels of the `kubernetes.io` and `k8s.io` namespaces that a node may set on itself.
const OWN_LABELS: [&str; 11] = [
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
];
/// Fields of pods, at any depth, that name Secrets.
const SECRETS: [&str; 6] =
    ["imagePullSecrets", "nodePublishSecretRef", "secret", "secretKeyRef", "secretName", "secretRef"];
/// Fields of pods, at any depth, that name ConfigMaps.
const CONFIG_MAPS: [&str; 3] = ["configMap", "configMapKeyRef", "configMapRef"];

/// Checks what nodes write.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    let Some(node) = node_name(request.user) else { return Ok(()) };
    let kind = &request.target.kind;
    let complaint = if &*kind.storage == Objects::PODS {
        match (request.target.subresource.as_str(), request.old) {
            ("", None) => pod(node, request.snapshot, object),
            ("", Some(_)) => Some(format!("node {node:?} can only update pod status")),
            (_, Some(old)) => labels_of(node, old, object),
            (_, None) => None,
        }
    } else if kind.group.is_empty() && kind.kind == "Node" {
        self::node(node, request.old, object)
    } else if let name @ ("CSINode" | "Lease") = kind.kind {
        let what = if name == "Lease" { "node lease" } else { name };
        (meta::text(object, "name") != node)
            .then(|| format!("can only access {what} with the same name as the requesting node"))
    } else {
        None
    };
    complaint.map_or(Ok(()), |detail| Err(refuse(request, object, detail)))
}

fn labels_of(node: &str, old: &Value, pod: &Value) -> Option<String> {
    let labels = |pod: &Value| pod["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    (labels(old) != labels(pod)).then(|| format!("node {node:?} cannot update labels through pod status"))
}

/// What is wrong with a pod that a node creates. Whatever its pods refer to, the node may read: so new ones refer to
/// nothing.
fn pod(node: &str, snapshot: &Snapshot, pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    if pod["metadata"]["annotations"][MIRROR].is_null() {
        return Some(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if spec["nodeName"] != node {
        return Some(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    if let Some(complaint) = owners(node, snapshot, pod) {
        return Some(complaint);
    }
    let account = spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty());
    let what = match () {
        () if account || names(spec, &["serviceAccountToken"]) => "a service account",
        () if names(spec, &SECRETS) => "secrets",
        () if names(spec, &CONFIG_MAPS) => "configmaps",
        () if names(spec, &["persistentVolumeClaim"]) => "persistentvolumeclaims",
        () => return None,
    };
    Some(format!("node {node:?} can not create pods that reference {what}"))
}

/// A mirror pod belongs to its node.
fn owners(node: &str, snapshot: &Snapshot, pod: &Value) -> Option<String> {
    let owner = match pod["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice) {
        [owner] => owner,
        [] => return Some(format!("node {node:?} can only create pods with an owner reference set to itself")),
        [..] => return Some(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return Some(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return Some(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if owner["blockOwnerDeletion"] == true {
        return Some(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let key = Key { resource: "nodes".into(), namespace: "".into(), name: node.into() };
    let uid = snapshot.get(&key).map(|node| node.meta.uid.to_string()).unwrap_or_default();
    let given = owner["uid"].as_str().unwrap_or_default();
    (given != uid).then(|| format!("node {node} UID mismatch: expected {given} got {uid}"))
}

/// Whether one of these fields is set at any depth.
fn names(value: &Value, fields: &[&str]) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| names(item, fields)),
        Value::Object(map) => map.iter().any(|(field, inner)| {
            let set = !inner.is_null() && inner.as_array().is_none_or(|list| !list.is_empty());
            (set && fields.contains(&field.as_str())) || names(inner, fields)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
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
    let owners = |node: &Value| list(&node["metadata"]["ownerReferences"]).to_vec();
    if old.is_some() && owners(node) != owners(before) {
        // Whoever owns itself by a wrong uid is collected.
        return Some(format!("node {own:?} is not allowed to modify ownerReferences"));
    }
    let labels = changed_labels(&node["metadata"]["labels"], &before["metadata"]["labels"]);
    let restricted: Vec<&str> = labels.into_iter().filter(|l| is_restricted(l)).collect();
    if restricted.is_empty() {
        return None;
    }
    let head = match old {
        Some(_) => "is not allowed to modify labels".to_owned(),
        None => format!("node {own:?} is not allowed to set the following labels"),
    };
    Some(format!("{head}: {}", restricted.join(", ")))
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
