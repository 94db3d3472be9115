//! `v1` Pod.

use serde_json::{Value, json};

use super::{pod_parts, pod_status, pod_table};
use crate::registry::fields::Errors;
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, ensure, get_mut, is_true, list_at, set, text, text_at};
use crate::registry::{FieldError, Hooks, Kind, names, objectmeta, podspec, warnings};

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
        subresources: &[
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
            "status",
        ],
        schema: "io.k8s.api.core.v1.Pod",
        storage: "pods".into(),
        hooks: Hooks {
            default,
            prepare_create,
            prepare_update: keep_status,
            validate,
            warn: warnings::pod,
            field,
            // Kubernetes counts the generation of pods since 1.33.
            has_generation: true,
            parts: &[pod_parts::EPHEMERAL_CONTAINERS, pod_parts::RESIZE],
            columns: pod_table::COLUMNS,
            row: pod_table::row,
            row_fields: pod_table::FIELDS,
            completed: pod_table::completed,
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
    if let Some(status) = get_mut(pod, "status") {
        first_address(status);
    }
}

/// `podIP` is the first of `podIPs`: either may be given alone, and of two the former decides.
fn first_address(status: &mut Value) {
    let first = list_at(status, &["podIPs"]).first().map(|address| text(address, "ip").to_owned());
    let address = text(status, "podIP").to_owned();
    match first {
        Some(first) if address.is_empty() => set(status, "podIP", first),
        Some(first) if first == address => {}
        None if address.is_empty() => {}
        Some(_) | None => set(status, "podIPs", json!([{"ip": address}])),
    }
}

fn prepare_create(pod: &mut Value) {
    let class = get_mut(pod, "spec").map_or("BestEffort", |spec| podspec::qos_class(spec));
    set(pod, "status", json!({"phase": "Pending", "qosClass": class}));
}

fn validate(pod: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(pod, old, true, names::dns_subdomain, &mut errors);
    match old {
        Some(old) if old.get("spec") == pod.get("spec") => changes(pod, old, &mut errors),
        Some(old) => {
            // A pod stored by an older hub may lack defaults of today, which are no change.
            let mut old = old.clone();
            default(&mut old);
            changes(pod, &old, &mut errors);
        }
        None => {
            podspec::pod(pod, &mut errors);
            podspec::pod_create(pod, &mut errors);
        }
    }
    errors.into_vec()
}

fn changes(pod: &Value, old: &Value, errors: &mut Errors) {
    podspec::pod_update(pod, old, errors);
    if old.get("status") != pod.get("status") {
        let empty = Value::Null;
        let [new, old] = [pod, old].map(|pod| pod.get("status").unwrap_or(&empty));
        pod_status::validate(new, old, errors);
    }
}

fn field(pod: &Value, path: &str) -> Option<String> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let status = pod.get("status").unwrap_or(&Value::Null);
    Some(match path {
        // Before v1 it was the host.
        "spec.nodeName" | "spec.host" => text(spec, "nodeName").to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec});
        default(&mut pod);
        prepare_create(&mut pod);
        pod
    }

    fn check(new: Value, old: Option<Value>) -> Vec<String> {
        let old = old.map(pod);
        let texts = validate(&pod(new), old.as_ref());
        texts.iter().map(|e| e.to_string().lines().next().unwrap_or_default().chars().take(70).collect()).collect()
    }

    #[test]
    fn a_new_pod_is_pending() {
        let pod = pod(
            json!({"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}),
        );
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    }

    #[test]
    fn creation_and_update() {
        let good = json!({"containers": [{"name": "a", "image": "x"}]});
        let image = |image: &str| json!({"containers": [{"name": "a", "image": image, "imagePullPolicy": "Always"}]});
        let table = [
            (good.clone(), None, vec![]),
            (json!({}), None, vec!["spec.containers: Required value"]),
            (image(" x"), None, vec!["spec.containers[0].image: Invalid value: \" x\": must not have leading o"]),
            (
                json!({"containers": good["containers"], "ephemeralContainers": [{"name": "e", "image": "x"}]}),
                None,
                vec!["spec.ephemeralContainers: Forbidden: cannot be set on create"],
            ),
            (good.clone(), Some(good.clone()), vec![]),
            (image("y"), Some(good.clone()), vec![]),
            (
                json!({"containers": good["containers"], "nodeName": "n", "schedulingGates": [{"name": "g"}]}),
                None,
                vec!["spec.nodeName: Forbidden: cannot be set until all schedulingGates have"],
            ),
            (image(""), Some(good.clone()), vec!["spec.containers[0].image: Required value"]),
            (
                json!({"containers": good["containers"], "securityContext": {"runAsUser": 0}}),
                Some(good.clone()),
                vec!["spec: Forbidden: pod updates may not change fields other than `spec.co"],
            ),
        ];
        for (new, old, expected) in table {
            assert_eq!(check(new.clone(), old), expected, "{new}");
        }
    }

    #[test]
    fn a_pod_without_todays_defaults_can_change() {
        let mut old = pod(json!({"containers": [{"name": "a", "image": "x"}]}));
        crate::registry::json::remove(&mut old["spec"], "preemptionPolicy");
        let mut new = old.clone();
        default(&mut new);
        assert_eq!(validate(&new, Some(&old)), []);
    }

    #[test]
    fn selectable() {
        let pod = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}});
        for (path, value) in [
            ("spec.nodeName", Some("n")),
            ("status.phase", Some("Running")),
            ("status.podIP", Some("10.0.0.1")),
            ("spec.hostNetwork", Some("false")),
            ("spec.restartPolicy", Some("")),
            ("spec.image", None),
        ] {
            assert_eq!(field(&pod, path).as_deref(), value, "{path}");
        }
    }

    #[test]
    fn the_address_is_the_first_of_the_addresses() {
        let of = |ips: &[&str]| ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>();
        for (written, ip, ips) in [
            (json!({"podIP": "10.0.0.1"}), json!("10.0.0.1"), json!(of(&["10.0.0.1"]))),
            (json!({"podIPs": of(&["10.0.0.1", "fd00::1"])}), json!("10.0.0.1"), json!(of(&["10.0.0.1", "fd00::1"]))),
            (json!({"podIP": "10.0.0.2", "podIPs": of(&["10.0.0.1"])}), json!("10.0.0.2"), json!(of(&["10.0.0.2"]))),
            (json!({"podIP": "10.0.0.2", "podIPs": []}), json!("10.0.0.2"), json!(of(&["10.0.0.2"]))),
            (json!({"phase": "Running"}), Value::Null, Value::Null),
        ] {
            let mut pod = json!({"spec": {"containers": []}, "status": written.clone()});
            default(&mut pod);
            assert_eq!((&pod["status"]["podIP"], &pod["status"]["podIPs"]), (&ip, &ips), "{written}");
        }
    }
}
