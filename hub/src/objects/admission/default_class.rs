//! The classes of claims and Ingresses that name none.

use std::cmp::Reverse;

use serde_json::Value;

use super::Request;
use crate::objects::error::Error;
use crate::objects::meta;
use crate::store::Resource;

/// Where a kind names its class, and which classes say that they are the default.
struct Rule {
    kind: &'static str,
    field: &'static str,
    /// The annotation that named the class before the field did.
    old_name: &'static str,
    classes: &'static str,
    marks: &'static [&'static str],
}

const RULES: [Rule; 2] = [
    Rule {
        kind: "persistentvolumeclaims",
        field: "storageClassName",
        old_name: "volume.beta.kubernetes.io/storage-class",
        classes: "storageclasses.storage.k8s.io",
        marks: &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
    },
    Rule {
        kind: "ingresses.networking.k8s.io",
        field: "ingressClassName",
        old_name: "kubernetes.io/ingress.class",
        classes: "ingressclasses.networking.k8s.io",
        marks: &["ingressclass.kubernetes.io/is-default-class"],
    },
];

/// Fills in the default class of new objects: of several the newest, and of those made at once the first by name.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    let target = request.target;
    if request.old.is_some() || !target.subresource.is_empty() {
        return Ok(());
    }
    let Some(rule) = RULES.iter().find(|rule| *rule.kind == *target.kind.storage) else { return Ok(()) };
    let named = !object["spec"][rule.field].is_null() || !object["metadata"]["annotations"][rule.old_name].is_null();
    if named || !object["spec"].is_object() {
        return Ok(());
    }
    let classes = request.snapshot.list(&Resource::from(rule.classes), None).filter_map(|o| o.parse::<Value>().ok());
    let is_default = |class: &Value| rule.marks.iter().any(|mark| class["metadata"]["annotations"][*mark] == "true");
    let newest_first = |class: &Value| {
        let text = |field: &str| meta::text(class, field).to_owned();
        (Reverse(text("creationTimestamp")), text("name"))
    };
    if let Some(class) = classes.filter(is_default).min_by_key(newest_first) {
        object["spec"][rule.field] = meta::text(&class, "name").into();
    }
    Ok(())
}
