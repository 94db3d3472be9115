//! What a node may do through the API: see and report itself and its pods, and read what its pods refer to.

use serde::Deserialize;
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Decision, NODES, User, defaults, nullable};
use crate::store::{Key, Snapshot};

/// Prefix of a node's user name.
pub const NODE_PREFIX: &str = "system:node:";
const NO_RELATION: &str = "no relationship found between node";

/// The node that a user is; `None` for everyone else.
pub fn node_name(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(NODE_PREFIX).filter(|n| !n.is_empty())?;
    user.groups.iter().any(|g| g == NODES).then_some(name)
}

/// Judges a node's request.
pub(super) fn authorize(node: &str, wanted: &Attributes<'_>, snapshot: &Snapshot) -> Decision {
    let judged = match (wanted.group, wanted.resource) {
        _ if !wanted.is_resource() => Ok(()),
        ("", "secrets" | "configmaps") => related_namespaced(node, wanted, snapshot),
        ("", "persistentvolumeclaims") if wanted.subresource == "status" => {
            return decided(claim_status(node, wanted, snapshot));
        }
        ("", "persistentvolumeclaims") => single(wanted).and_then(|()| related(node, wanted, snapshot)),
        ("", "persistentvolumes") => single(wanted).and_then(|()| own_volume(node, wanted, snapshot)),
        ("storage.k8s.io", "volumeattachments") => single(wanted).and_then(|()| own_attachment(node, wanted, snapshot)),
        ("storage.k8s.io", "csinodes") => return decided(own_csi_node(node, wanted)),
        ("", "serviceaccounts") => account(node, wanted, snapshot),
        ("", "nodes") => own_node(node, wanted),
        ("", "pods") => own_pod(node, wanted, snapshot),
        ("coordination.k8s.io", "leases") => own_lease(node, wanted),
        _ => Ok(()),
    };
    let ruled = || defaults::node_rules().iter().any(|rule: &Rule| rule.allows(wanted));
    match judged {
        Ok(()) => Decision { allowed: ruled(), reason: String::new() },
        Err(reason) => Decision { allowed: false, reason },
    }
}

fn decided(judged: Result<(), String>) -> Decision {
    Decision { allowed: judged.is_ok(), reason: judged.err().unwrap_or_default() }
}

fn single(wanted: &Attributes<'_>) -> Result<(), String> {
    if wanted.verb != "get" {
        return Err("can only get individual resources of this type".into());
    }
    if wanted.subresource.is_empty() { Ok(()) } else { Err("cannot get subresource".into()) }
}

/// A node reports on the claims of its pods (their growth).
fn claim_status(node: &str, wanted: &Attributes<'_>, snapshot: &Snapshot) -> Result<(), String> {
    if !matches!(wanted.verb, "update" | "patch") {
        return Err("can only get/update/patch this type".into());
    }
    let found = pods_of(node, wanted.namespace, snapshot).any(|pod| pod.refers_to(wanted.resource, wanted.name));
    if found { Ok(()) } else { Err(unrelated(node)) }
}

/// A volume is related to the node of the pods that use its claim.
fn own_volume(node: &str, wanted: &Attributes<'_>, snapshot: &Snapshot) -> Result<(), String> {
    let key = Key { resource: "persistentvolumes".into(), namespace: "".into(), name: wanted.name.into() };
    let volume: Value = snapshot.get(&key).and_then(|o| o.parse().ok()).unwrap_or_default();
    let claim = |field: &str| volume["spec"]["claimRef"][field].as_str().unwrap_or_default();
    let (namespace, name) = (claim("namespace"), claim("name"));
    let used = || pods_of(node, namespace, snapshot).any(|pod| pod.refers_to("persistentvolumeclaims", name));
    if !namespace.is_empty() && !name.is_empty() && used() { Ok(()) } else { Err(unrelated(node)) }
}

fn own_attachment(node: &str, wanted: &Attributes<'_>, snapshot: &Snapshot) -> Result<(), String> {
    let resource = "volumeattachments.storage.k8s.io".into();
    let key = Key { resource, namespace: "".into(), name: wanted.name.into() };
    let attachment: Value = snapshot.get(&key).and_then(|o| o.parse().ok()).unwrap_or_default();
    if attachment["spec"]["nodeName"] == node { Ok(()) } else { Err(unrelated(node)) }
}

fn own_csi_node(node: &str, wanted: &Attributes<'_>) -> Result<(), String> {
    if !matches!(wanted.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a CSINode".into());
    }
    if !wanted.subresource.is_empty() {
        return Err("cannot authorize CSINode subresources".into());
    }
    if wanted.verb == "create" || wanted.name == node {
        return Ok(());
    }
    Err("can only access CSINode with the same name as the requesting node".into())
}

fn related_namespaced(node: &str, wanted: &Attributes<'_>, snapshot: &Snapshot) -> Result<(), String> {
    if !matches!(wanted.verb, "get" | "list" | "watch") {
        return Err("can only read resources of this type".into());
    }
    if wanted.namespace.is_empty() {
        return Err("can only read namespaced object of this type".into());
    }
    related(node, wanted, snapshot)
}

/// Whether a pod of the node refers to what is asked for.
fn related(node: &str, wanted: &Attributes<'_>, snapshot: &Snapshot) -> Result<(), String> {
    if wanted.name.is_empty() {
        return Err("No Object name found".into());
    }
    if !wanted.subresource.is_empty() {
        return Err("cannot get subresource".into());
    }
    let found = pods_of(node, wanted.namespace, snapshot).any(|pod| pod.refers_to(wanted.resource, wanted.name));
    if found { Ok(()) } else { Err(unrelated(node)) }
}

fn unrelated(node: &str) -> String {
    format!("{NO_RELATION} '{node}' and this object")
}

/// Tokens are made for the accounts of the node's pods only.
fn account(node: &str, wanted: &Attributes<'_>, snapshot: &Snapshot) -> Result<(), String> {
    if wanted.verb != "create" || wanted.name.is_empty() {
        return Err("can only create tokens for individual service accounts".into());
    }
    if wanted.subresource != "token" {
        return Err("can only create token subresource of serviceaccount".into());
    }
    let found = pods_of(node, wanted.namespace, snapshot).any(|pod| pod.spec.service_account_name == wanted.name);
    if found { Ok(()) } else { Err(unrelated(node)) }
}

/// Why a node may not have a token that it asks for (the `spec` of a TokenRequest): it must be bound to a pod of the
/// node's, which exists, and be for an audience that the pod names. `None` where it may.
pub fn refused_token(node: &str, spec: &Value, pod: Option<&Value>) -> Option<String> {
    let bound = &spec["boundObjectRef"];
    let text = |field: &str| bound[field].as_str().unwrap_or_default();
    if text("apiVersion") != "v1" || text("kind") != "Pod" || text("name").is_empty() {
        return Some("node requested token not bound to a pod".into());
    }
    if text("uid").is_empty() {
        return Some("node requested token with a pod binding without a uid".into());
    }
    // That there is no such pod, or that it is another one, is told to everyone.
    let pod = pod.filter(|pod| pod["metadata"]["uid"] == bound["uid"])?;
    if pod["spec"]["nodeName"] != node {
        return Some("node requested token bound to a pod scheduled on a different node".into());
    }
    let audience = match spec["audiences"].as_array().map_or(&[][..], Vec::as_slice) {
        [] => "",
        [audience] => audience.as_str().unwrap_or_default(),
        [..] => return Some("node may only request 0 or 1 audiences".into()),
    };
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let sources = volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    let mut tokens = sources.map(|source| &source["serviceAccountToken"]).filter(|token| token.is_object());
    let named = tokens.any(|token| token["audience"].as_str().unwrap_or_default() == audience);
    (!named).then(|| format!("audience {audience:?} not found in pod spec volume"))
}

fn own_node(node: &str, wanted: &Attributes<'_>) -> Result<(), String> {
    if wanted.name == node || (wanted.verb == "create" && wanted.name.is_empty()) {
        return Ok(());
    }
    Err(format!("node '{node}' cannot {} '{}', only its own Node object", wanted.verb, wanted.name))
}

fn own_pod(node: &str, wanted: &Attributes<'_>, snapshot: &Snapshot) -> Result<(), String> {
    match wanted.verb {
        "list" | "watch" | "deletecollection" if wanted.node == node => Ok(()),
        "list" | "watch" if wanted.name.is_empty() => {
            Err("can only list/watch pods with spec.nodeName field selector".into())
        }
        "create" if wanted.subresource.is_empty() => Ok(()),
        _ => {
            let key = Key { resource: "pods".into(), namespace: wanted.namespace.into(), name: wanted.name.into() };
            let pod = snapshot.get(&key).and_then(|o| o.parse::<Pod>().ok());
            if pod.is_some_and(|p| p.spec.node_name == node) { Ok(()) } else { Err(unrelated(node)) }
        }
    }
}

fn own_lease(node: &str, wanted: &Attributes<'_>) -> Result<(), String> {
    if wanted.namespace != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".into());
    }
    if wanted.verb == "create" || wanted.name == node {
        return Ok(());
    }
    Err("can only access node lease with the same name as the requesting node".into())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    #[serde(deserialize_with = "nullable")]
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    #[serde(deserialize_with = "nullable")]
    node_name: String,
    #[serde(deserialize_with = "nullable")]
    service_account_name: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

fn pods_of<'a>(node: &'a str, namespace: &'a str, snapshot: &'a Snapshot) -> impl Iterator<Item = Pod> + 'a {
    let pods = snapshot.list(&"pods".into(), Some(namespace));
    pods.filter_map(|o| o.parse::<Pod>().ok()).filter(move |pod| pod.spec.node_name == node)
}

impl Pod {
    fn refers_to(&self, resource: &str, name: &str) -> bool {
        let rest = |field: &str| self.spec.rest.get(field).unwrap_or(&Value::Null);
        match resource {
            "persistentvolumeclaims" => mentions(rest("volumes"), &["claimName"], name),
            "secrets" => {
                let fields = &["secretName", "secretRef", "secretKeyRef", "secret", "nodePublishSecretRef"];
                let pulls = rest("imagePullSecrets").as_array().into_iter().flatten();
                pulls.filter_map(|p| p["name"].as_str()).any(|n| n == name) || self.anywhere(fields, name)
            }
            "configmaps" => self.anywhere(&["configMap", "configMapRef", "configMapKeyRef"], name),
            _ => false,
        }
    }

    fn anywhere(&self, fields: &[&str], name: &str) -> bool {
        let places = ["volumes", "containers", "initContainers", "ephemeralContainers"];
        places.iter().filter_map(|p| self.spec.rest.get(*p)).any(|value| mentions(value, fields, name))
    }
}

/// Whether one of these fields, at any depth, is the name or an object of that name.
fn mentions(value: &Value, fields: &[&str], name: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| mentions(item, fields, name)),
        Value::Object(map) => map.iter().any(|(field, inner)| {
            let named = inner.as_str() == Some(name) || inner["name"].as_str() == Some(name);
            (fields.contains(&field.as_str()) && named) || mentions(inner, fields, name)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
