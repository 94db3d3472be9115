//! `v1` Pod.

use serde_json::{Value, json};

use super::pod_table;
use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, ensure, get_mut, is_true, list_at, set, text, text_at};
use crate::registry::{FieldError, Hooks, Kind, names, objectmeta, podspec};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "Pod",
        list_kind: "PodList",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        namespaced: true,
        subresources: &["binding", "log", "status"],
        schema: "io.k8s.api.core.v1.Pod",
        storage: "pods".into(),
        hooks: Hooks {
            default,
            prepare_create,
            prepare_update: keep_status,
            validate,
            field,
            // Kubernetes counts the generation of pods since 1.33.
            has_generation: true,
            columns: pod_table::COLUMNS,
            row: pod_table::row,
            ..PLAIN
        },
    }
}

fn default(pod: &mut Value) {
    if let Some(spec) = ensure(pod, "spec") {
        // Requests follow limits after both are canonical.
        podspec::default_spec(spec);
        podspec::default_pod_only(spec);
    }
}

fn prepare_create(pod: &mut Value) {
    let class = get_mut(pod, "spec").map_or("BestEffort", |spec| podspec::qos_class(spec));
    set(pod, "status", json!({"phase": "Pending", "qosClass": class}));
}

fn validate(pod: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(pod, old, true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    match old {
        None => podspec::spec(spec, &path, &mut errors),
        Some(old) => {
            podspec::pod_update(spec, old.get("spec").unwrap_or(&Value::Null), &path, &mut errors);
            podspec::tolerations(spec, &path.child("tolerations"), &mut errors);
        }
    }
    podspec::image_whitespace(spec, &path, &mut errors);
    errors.into_vec()
}

fn field(pod: &Value, path: &str) -> Option<String> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let status = pod.get("status").unwrap_or(&Value::Null);
    Some(match path {
        "spec.nodeName" => text(spec, "nodeName").to_owned(),
        "spec.restartPolicy" => text(spec, "restartPolicy").to_owned(),
        "spec.schedulerName" => text(spec, "schedulerName").to_owned(),
        "spec.serviceAccountName" => text(spec, "serviceAccountName").to_owned(),
        "spec.hostNetwork" => is_true(spec, "hostNetwork").to_string(),
        "status.phase" => text(status, "phase").to_owned(),
        // Both are the first address: Kubernetes reads one from the other.
        "status.podIP" | "status.podIPs" => list_at(status, &["podIPs"])
            .first()
            .map_or_else(|| text_at(status, &["podIP"]), |ip| text(ip, "ip"))
            .to_owned(),
        "status.nominatedNodeName" => {
            at(status, &["nominatedNodeName"]).and_then(Value::as_str).unwrap_or("").to_owned()
        }
        _ => return None,
    })
}
