//! Subresources that are views of a part of an object: `status`, `scale`, `finalize`, `approval`.

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_shared::selector::{LabelSelector, Operator, Requirement};

use super::delete::is_pod;
use super::{Error, Target, meta};
use crate::registry::{Kind, printers};

/// The `scale` subresource.
pub const SCALE: &str = "scale";
/// The `status` subresource.
pub const STATUS: &str = "status";
/// The `binding` subresource of pods.
pub const BINDING: &str = "binding";
/// The `finalize` subresource of namespaces.
pub const FINALIZE: &str = "finalize";
/// The `approval` subresource of certificate signing requests.
pub const APPROVAL: &str = "approval";

/// Whether what a target takes is a Binding: of the pod that its path names, or that the Binding names.
pub(super) fn is_binding(target: &Target) -> bool {
    target.subresource == BINDING || target.kind.group.is_empty() && target.kind.kind == "Binding"
}

/// Whether admission looks at a part of an object that is no part of its spec: what is decided on certificate signing
/// requests, and what nodes say of their pods.
pub(super) fn is_judged(target: &Target) -> bool {
    matches!(
        (target.kind.plural, target.subresource.as_str()),
        ("certificatesigningrequests", APPROVAL | STATUS) | ("pods", STATUS)
    )
}

/// Definition name of a Scale.
pub(super) const SCALE_SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

/// What a Scale's resource is called where it is missing: `deployments/scale.apps`.
pub fn scale_resource(kind: &Kind) -> String {
    if kind.plural == "statefulsets" {
        return kind.group_resource();
    }
    // A ReplicationController's Scale is found by its own group.
    let group = if kind.group.is_empty() { "autoscaling" } else { kind.group };
    format!("{}/{SCALE}.{group}", kind.plural)
}

/// The `autoscaling/v1` Scale of an object with `spec.replicas` and `spec.selector`.
pub fn scale_of(_kind: &Kind, object: &Value) -> Value {
    let mut metadata = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.into(), value.clone());
        }
    }
    let mut status = json!({"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)});
    let selector = selector_text(&object["spec"]["selector"]);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    // None at all are not written.
    let replicas = object["spec"]["replicas"].as_i64().filter(|replicas| *replicas != 0);
    let spec = replicas.map_or_else(|| json!({}), |replicas| json!({"replicas": replicas}));
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec, "status": status})
}

/// A `LabelSelector` object (or a plain map of labels) in its query form.
fn selector_text(selector: &Value) -> String {
    let structured = ["matchLabels", "matchExpressions"].iter().any(|field| selector.get(field).is_some());
    let text = if structured { printers::selector(Some(selector)) } else { printers::labels(Some(selector)) };
    if text.starts_with('<') { String::new() } else { text }
}

/// A `LabelSelector` object (or a plain map of labels); one that is no object selects everything.
pub(super) fn label_selector(selector: &Value) -> LabelSelector {
    let Some(map) = selector.as_object() else { return LabelSelector::default() };
    let structured = map.contains_key("matchLabels") || map.contains_key("matchExpressions");
    let labels = if structured { &selector["matchLabels"] } else { selector };
    let pairs = labels.as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)));
    let mut parsed = LabelSelector::equal(pairs);
    for expression in selector["matchExpressions"].as_array().into_iter().flatten().filter(|_| structured) {
        let operator = match expression["operator"].as_str() {
            Some("In") => Operator::In,
            Some("NotIn") => Operator::NotIn,
            Some("Exists") => Operator::Exists,
            _ => Operator::DoesNotExist,
        };
        let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let key = expression["key"].as_str().unwrap_or_default().to_owned();
        parsed.requirements.push(Requirement { key, operator, values: values.collect() });
    }
    parsed
}

/// The object that results from writing `body` to the target's subresource (or to the object itself).
pub(super) fn merge(target: &Target, old: &Value, body: Value) -> Result<Value, Error> {
    match target.subresource.as_str() {
        "" => Ok(body),
        STATUS => {
            let mut new = with_status(target, old, body);
            keep_decisions(target, &mut new, old);
            keep_class(target, &mut new, old);
            stamp(target, &mut new, old);
            Ok(new)
        }
        SCALE => with_replicas(target, old, &body),
        APPROVAL => {
            let mut new = old.clone();
            take_metadata(&mut new, &body, &["annotations", "labels"]);
            new["status"]["conditions"] = body["status"]["conditions"].as_array().cloned().unwrap_or_default().into();
            stamp(target, &mut new, old);
            Ok(new)
        }
        FINALIZE => {
            let mut new = old.clone();
            take_metadata(&mut new, &body, &["annotations", "labels"]);
            new["spec"]["finalizers"] = body["spec"]["finalizers"].as_array().cloned().unwrap_or_default().into();
            Ok(new)
        }
        other => {
            let unknown = || {
                let plural = target.kind.plural;
                Error::MethodNotAllowed(format!("the subresource {other} of {plural} cannot be written so"))
            };
            let part = target.kind.part(other).ok_or_else(unknown)?;
            let mut new = old.clone();
            (part.put)(&mut new, &body);
            Ok(new)
        }
    }
}

/// A pod's class is told once, at its creation; who leaves it out does not take it away.
fn keep_class(target: &Target, new: &mut Value, old: &Value) {
    let class = &old["status"]["qosClass"];
    if is_pod(&target.kind) && !class.is_null() && new["status"]["qosClass"].as_str().is_none_or(str::is_empty) {
        new["status"]["qosClass"] = class.clone();
    }
}

/// A status write leaves the decisions on a certificate signing request as they are.
fn keep_decisions(target: &Target, new: &mut Value, old: &Value) {
    if target.kind.plural != "certificatesigningrequests" {
        return;
    }
    let conditions = |object: &Value| object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for kind in ["Approved", "Denied"] {
        let of_kind = |condition: &&mut Value| condition["type"] == kind;
        let kept: Vec<Value> = conditions(old).into_iter().filter(|c| c["type"] == kind).collect();
        let mut written: Vec<&mut Value> =
            new["status"]["conditions"].as_array_mut().into_iter().flatten().filter(of_kind).collect();
        if written.len() == kept.len() {
            for (condition, kept) in written.iter_mut().zip(kept) {
                **condition = kept;
            }
        }
    }
}

/// Says when the conditions of a certificate signing request came, where their writer does not.
fn stamp(target: &Target, new: &mut Value, old: &Value) {
    if target.kind.plural != "certificatesigningrequests" {
        return;
    }
    let now = meta::timestamp(Timestamp::now());
    let before = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in new["status"]["conditions"].as_array_mut().into_iter().flatten() {
        let same = before.iter().find(|c| c["type"] == condition["type"] && c["status"] == condition["status"]);
        let since = same.map(|c| c["lastTransitionTime"].clone()).filter(|time| !time.is_null());
        for (field, value) in [("lastUpdateTime", None), ("lastTransitionTime", since)] {
            if condition[field].is_null() {
                condition[field] = value.unwrap_or_else(|| now.clone().into());
            }
        }
    }
}

/// What a status write takes of the metadata, for the kinds whose strategy keeps some of it.
const STATUS_METADATA: [(&str, &str, &[&str]); 3] = [
    ("", "pods", &["annotations", "finalizers", "labels"]),
    ("apps", "deployments", &["annotations", "finalizers", "ownerReferences"]),
    ("storage.k8s.io", "volumeattachments", &[]),
];

/// A status write takes the status, and what the kind's strategy does not keep of the metadata.
fn with_status(target: &Target, old: &Value, mut body: Value) -> Value {
    let mut new = old.clone();
    match body.get_mut("status").map(Value::take) {
        Some(status) if !status.is_null() => new["status"] = status,
        _ => new["status"] = first_status(target, old),
    }
    let (group, plural) = (target.kind.group, target.kind.plural);
    let own = STATUS_METADATA.iter().find(|(g, p, _)| (*g, *p) == (group, plural)).map(|(.., fields)| *fields);
    take_metadata(&mut new, &body, own.unwrap_or(&["annotations", "finalizers", "labels", "ownerReferences"]));
    new
}

/// Takes these fields of the metadata as the client sent them.
fn take_metadata(new: &mut Value, body: &Value, fields: &[&str]) {
    for field in fields {
        match body["metadata"].get(*field) {
            Some(value) => meta::metadata(new).insert((*field).to_owned(), value.clone()),
            None => meta::metadata(new).remove(*field),
        };
    }
}

/// The status of a new object, which one without any has. A pod is Pending once only.
fn first_status(target: &Target, object: &Value) -> Value {
    if is_pod(&target.kind) {
        return json!({});
    }
    let mut fresh = object.clone();
    if let Some(map) = fresh.as_object_mut() {
        map.remove("status");
    }
    (target.kind.hooks.prepare_create)(&mut fresh);
    fresh.get_mut("status").map_or_else(|| json!({}), Value::take)
}

fn with_replicas(target: &Target, old: &Value, scale: &Value) -> Result<Value, Error> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        return Err(Error::Invalid {
            kind: "Scale.autoscaling".into(),
            group: "autoscaling".into(),
            name: target.name.clone(),
            errors: vec![crate::registry::FieldError {
                field: "spec.replicas".into(),
                kind: crate::registry::FieldErrorKind::Invalid(replicas.to_string()),
                detail: "must be greater than or equal to 0".into(),
            }],
        });
    }
    let mut new = old.clone();
    new["spec"]["replicas"] = replicas.into();
    Ok(new)
}
