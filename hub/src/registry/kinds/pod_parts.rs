//! Parts of a pod that are written by themselves: its ephemeral containers, and the resources of its containers.

use serde_json::{Map, Value};

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{at, copy, ensure, entries, get, get_mut, items_mut, list, list_at, same, text, text_at};
use crate::registry::podspec::{differences, parse_quantity, qos_class};
use crate::registry::{FieldError, Part, names, objectmeta, podspec};

/// `pods/NAME/ephemeralcontainers`.
pub(super) const EPHEMERAL_CONTAINERS: Part = Part {
    name: "ephemeralcontainers",
    put: |pod, body| {
        let empty = Value::Object(Map::new());
        if let Some(spec) = get_mut(pod, "spec") {
            copy(spec, body.get("spec").unwrap_or(&empty), EPHEMERAL);
        }
    },
    validate: ephemeral_containers,
    keep: |spec| {
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|name, _| name == EPHEMERAL);
        }
    },
};

/// `pods/NAME/resize`.
pub(super) const RESIZE: Part = Part {
    name: "resize",
    put: |pod, body| {
        let empty = Value::Object(Map::new());
        if let Some(spec) = get_mut(pod, "spec") {
            LISTS.iter().for_each(|list| put_resources(spec, body.get("spec").unwrap_or(&empty), list));
        }
    },
    validate: resize,
    keep: |spec| {
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|name, _| LISTS.contains(&name.as_str()));
        }
        for list in LISTS {
            for fields in items_mut(spec, list).filter_map(Value::as_object_mut) {
                fields.retain(|name, _| name == "name" || RESIZED.contains(&name.as_str()));
            }
        }
    },
};

const EPHEMERAL: &str = "ephemeralContainers";
const LISTS: [&str; 2] = ["containers", "initContainers"];
/// What of a container a resize changes.
const RESIZED: [&str; 2] = ["resources", "resizePolicy"];

/// Ephemeral containers are only ever added.
fn ephemeral_containers(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(new, Some(old), true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    podspec::pod(new, &mut errors);
    let path = path.child(EPHEMERAL);
    for old in list_at(old, &["spec", EPHEMERAL]) {
        let name = quoted(text(old, "name"));
        match list_at(new, &["spec", EPHEMERAL]).iter().rfind(|c| text(c, "name") == text(old, "name")) {
            None => errors.forbidden(&path, format!("existing ephemeral containers {name} may not be removed\n")),
            Some(new) if !same(Some(new), Some(old)) => {
                let lines = differences(new, old).join("\n");
                errors.forbidden(&path, format!("existing ephemeral containers {name} may not be changed\n{lines}"));
            }
            Some(_) => {}
        }
    }
    errors.into_vec()
}

/// Takes over the containers' resources. Other containers than before are taken as they are, for validation to refuse.
fn put_resources(spec: &mut Value, body: &Value, field: &str) {
    let names = |spec: &Value| list(spec, field).iter().map(|c| text(c, "name").to_owned()).collect::<Vec<_>>();
    if names(spec) != names(body) {
        return copy(spec, body, field);
    }
    for (container, new) in items_mut(spec, field).zip(list(body, field)) {
        RESIZED.iter().for_each(|field| copy(container, new, field));
    }
}

/// Only CPU and memory change, none of it goes away, and the pod stays in its class.
fn resize(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(new, Some(old), true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let (empty, status) = (Value::Object(Map::new()), old.get("status"));
    podspec::pod(new, &mut errors);
    let (new, old_spec) = (new.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
    if let Some(why) = never_resized(new, old) {
        let mut only = Errors::default();
        only.forbidden(&Path::whole(), why);
        return only.into_vec();
    }
    let had = status.map(|s| text(s, "qosClass")).filter(|class| !class.is_empty());
    let class = had.unwrap_or_else(|| qos_class(old_spec));
    if qos_class(new) != class {
        // The class that the pod has: it is its status that is shown.
        errors.invalid(&path, quoted(class), "Pod QOS Class may not change as a result of resizing");
    }
    if !list_at(old, &["status", "containerStatuses"]).iter().find(|c| runs(c)).is_none_or(|c| has(c, "resources")) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    if !LISTS.iter().all(|field| same_containers(new, old_spec, field, &path, &mut errors)) {
        return errors.into_vec();
    }
    for field in LISTS {
        for (i, (new, old)) in list(new, field).iter().zip(list(old_spec, field)).enumerate() {
            if field == "containers" || is_sidecar(old) {
                resources(new, old, &path.child(field).index(i).child("resources"), &mut errors);
            }
        }
    }
    let munged = with_resources_of(new, old_spec);
    if !same(Some(&munged), Some(old_spec)) {
        let lines = differences(&munged, old_spec).join("\n");
        errors.forbidden(&path, format!("only cpu and memory resources are mutable\n{lines}"));
    }
    errors.into_vec()
}

/// Why a pod is none that can be resized at all.
fn never_resized(new: &Value, old: &Value) -> Option<&'static str> {
    let old_spec = old.get("spec").unwrap_or(&Value::Null);
    let of_pod = |spec: &Value| ["requests", "limits"].iter().any(|kind| at(spec, &["resources", kind]).is_some());
    if of_pod(old_spec) || of_pod(new) {
        Some("pods with pod-level resources cannot be resized")
    } else if at(old, &["metadata", "annotations", "kubernetes.io/config.mirror"]).is_some() {
        Some("static pods cannot be resized")
    } else if text_at(old_spec, &["os", "name"]) == "windows" {
        Some("windows pods cannot be resized")
    } else {
        None
    }
}

/// Whether a container runs, by its status.
fn runs(status: &Value) -> bool {
    at(status, &["state", "running"]).is_some()
}

fn has(object: &Value, field: &str) -> bool {
    get(object, field).is_some()
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// Whether the containers of one sort are those there were, in their order.
fn same_containers(new: &Value, old: &Value, field: &str, path: &Path, errors: &mut Errors) -> bool {
    let (new, old) = (list(new, field), list(old, field));
    if new.len() != old.len() {
        errors.forbidden(&path.child(field), "containers may not be added or removed on resize");
        return false;
    }
    let other = new.iter().zip(old).position(|(new, old)| text(new, "name") != text(old, "name"));
    if let Some(i) = other {
        let path = path.child(field).index(i).child("name");
        errors.forbidden(&path, "containers may not be renamed or reordered on resize");
    }
    other.is_none()
}

/// What a container asks for may change but not go away, and memory that it may have used is not taken from it.
fn resources(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    for field in ["requests", "limits"] {
        let new = at(new, &["resources", field]);
        if entries(at(old, &["resources", field])).any(|(name, _)| new.and_then(|n| get(n, name)).is_none()) {
            errors.forbidden(&path.child(field), format!("resource {field} cannot be removed"));
        }
    }
    let policies = list(new, "resizePolicy");
    let restarts = policies.iter().find(|p| text(p, "resourceName") == "memory");
    let limit = |c: &Value| at(c, &["resources", "limits", "memory"]).and_then(parse_quantity).map(|q| q.nano());
    if restarts.is_none_or(|p| text(p, "restartPolicy") != "RestartContainer")
        && limit(new).zip(limit(old)).is_some_and(|(new, old)| new < old)
    {
        let why = "memory limits cannot be decreased unless resizePolicy is RestartContainer";
        errors.forbidden(&path.child("limits").key("memory"), why);
    }
}

/// `new`, but with CPU, memory and resize policies as they are in `old`.
fn with_resources_of(new: &Value, old: &Value) -> Value {
    let mut munged = new.clone();
    for field in LISTS {
        for (container, old) in items_mut(&mut munged, field).zip(list(old, field)) {
            if field != "containers" && !is_sidecar(old) {
                continue;
            }
            copy(container, old, "resizePolicy");
            for kind in ["requests", "limits"] {
                let before = at(old, &["resources", kind]).cloned().unwrap_or_default();
                let Some(amounts) = ensure(container, "resources").and_then(|r| ensure(r, kind)) else { continue };
                ["cpu", "memory"].iter().for_each(|name| copy(amounts, &before, name));
            }
        }
    }
    munged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A pod with these ephemeral containers.
    fn pod(ephemeral: Value) -> Value {
        let spec = json!({
            "containers": [{"name": "a", "image": "x"}], "initContainers": [{"name": "i", "image": "x"}],
            "ephemeralContainers": ephemeral,
        });
        let mut pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec});
        (super::super::pod::kind().hooks.default)(&mut pod);
        pod
    }

    #[test]
    fn ephemeral_containers_are_only_added() {
        let one = json!({"name": "d", "image": "x"});
        let with = |field: &str, value: Value| {
            let mut container = one.clone();
            container[field] = value;
            json!([container])
        };
        let first = "spec.ephemeralContainers[0]";
        let no = "Forbidden: cannot be set for an Ephemeral Container";
        let table = [
            (json!([]), json!([one]), vec![]),
            (json!([one]), json!([{"name": "e", "image": "y"}, one]), vec![]),
            (with("targetContainerName", json!("a")), with("targetContainerName", json!("a")), vec![]),
            (
                json!([one]),
                json!([]),
                vec!["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n".to_owned()],
            ),
            (
                json!([one]),
                with("image", json!("y")),
                vec!["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n- image: \"x\"\n+ image: \"y\"".to_owned()],
            ),
            (json!([]), with("image", json!("")), vec![format!("{first}.image: Required value")]),
            (json!([]), with("image", json!(" x")), vec![format!("{first}.image: Invalid value: \" x\": must not have leading or trailing whitespace")]),
            (json!([]), with("name", json!("a")), vec![format!("{first}.name: Duplicate value: \"a\"")]),
            (json!([]), with("name", json!("i")), vec![format!("{first}.name: Duplicate value: \"i\"")]),
            (json!([]), json!([one, one]), vec!["spec.ephemeralContainers[1].name: Duplicate value: \"d\"".to_owned()]),
            (json!([]), with("targetContainerName", json!("d")), vec![format!("{first}.targetContainerName: Not found: \"d\"")]),
            (json!([]), with("ports", json!([{"containerPort": 1}])), vec![format!("{first}.ports: {no}")]),
            (json!([]), with("resources", json!({"limits": {"cpu": "1"}})), vec![format!("{first}.resources: {no}")]),
            (json!([]), with("lifecycle", json!({"preStop": {"sleep": {"seconds": 1}}})), vec![format!("{first}.lifecycle: {no}")]),
            (json!([]), with("readinessProbe", json!({"tcpSocket": {"port": 1}})), vec![format!("{first}.readinessProbe: {no}")]),
            (json!([]), with("restartPolicy", json!("Always")), vec![format!("{first}.restartPolicy: {no}")]),
        ];
        for (old, new, expected) in table {
            let found: Vec<_> =
                ephemeral_containers(&pod(new.clone()), &pod(old)).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{new}");
        }
    }

    #[test]
    fn a_resize_changes_cpu_and_memory_only() {
        let pod = |containers: Value| {
            let mut spec = json!({"containers": containers, "initContainers": [
                {"name": "i", "image": "x"},
                {"name": "s", "image": "x", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
            ]});
            if containers[0]["name"] == "i" {
                spec = json!({"containers": [{"name": "a", "image": "x"}], "initContainers": containers});
            }
            let mut pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec});
            (super::super::pod::kind().hooks.default)(&mut pod);
            pod
        };
        let with = |resources: Value| json!([{"name": "a", "image": "x", "resources": resources}]);
        let old = with(json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}));
        let init = |cpu: &str| json!([{"name": "i", "image": "x", "resources": {"requests": {"cpu": cpu}}}]);
        let first = "spec.containers[0].resources";
        let mut restarts = with(json!({"requests": {"cpu": "1", "memory": "32Mi"}, "limits": {"memory": "32Mi"}}));
        restarts[0]["resizePolicy"] = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        let table = [
            (old.clone(), with(json!({"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}})), vec![]),
            (old.clone(), restarts, vec![]),
            (
                old.clone(),
                with(json!({"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}})),
                vec![format!("{first}.requests: Forbidden: resource requests cannot be removed")],
            ),
            (
                old.clone(),
                with(json!({"requests": {"cpu": "100m", "memory": "64Mi"}})),
                vec![format!("{first}.limits: Forbidden: resource limits cannot be removed")],
            ),
            (
                old.clone(),
                with(json!({"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}})),
                vec![format!("{first}.limits[memory]: Forbidden: memory limits cannot be decreased unless resizePolicy is RestartContainer")],
            ),
            (
                old.clone(),
                with(json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi", "ephemeral-storage": "1Gi"}})),
                vec![
                    "spec: Forbidden: only cpu and memory resources are mutable\n\
                     + containers[0].resources.limits.ephemeral-storage: \"1Gi\"\n\
                     + containers[0].resources.requests.ephemeral-storage: \"1Gi\""
                        .to_owned(),
                ],
            ),
            (
                init("1"),
                init("2"),
                vec!["spec: Forbidden: only cpu and memory resources are mutable\n- initContainers[0].resources.requests.cpu: \"1\"\n+ initContainers[0].resources.requests.cpu: \"2\"".to_owned()],
            ),
            (
                old.clone(),
                json!([{"name": "b", "image": "x"}]),
                vec!["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize".to_owned()],
            ),
            (
                old.clone(),
                json!([old[0], {"name": "b", "image": "x"}]),
                vec!["spec.containers: Forbidden: containers may not be added or removed on resize".to_owned()],
            ),
        ];
        for (old, new, expected) in table {
            let found: Vec<_> = resize(&pod(new.clone()), &pod(old)).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{new}");
        }
    }

    #[test]
    fn a_resize_keeps_the_class_and_everything_else() {
        let pod = |limits: Value, image: &str| {
            let container = json!({"name": "a", "image": image, "resources": {"limits": limits}});
            let mut pod =
                json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [container]}});
            (super::super::pod::kind().hooks.default)(&mut pod);
            pod
        };
        let old = pod(json!({"cpu": "1", "memory": "1Gi"}), "x");
        let mut new = old.clone();
        (RESIZE.put)(&mut new, &pod(json!({"cpu": "2", "memory": "2Gi"}), "y"));
        assert_eq!((resize(&new, &old), &new["spec"]["containers"][0]["image"]), (vec![], &json!("x")));
        new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("1");
        let found: Vec<_> = resize(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing"]
        );
    }

    #[test]
    fn some_pods_are_not_resized() {
        let limits = json!({"limits": {"cpu": "1"}});
        let container = json!({"name": "a", "image": "x", "resources": limits});
        let running = |resources: Value| json!([{"name": "a", "state": {"running": {}}, "resources": resources}]);
        for (patch, expected) in [
            (json!({"status": {"containerStatuses": running(limits.clone())}}), vec![]),
            (
                json!({"status": {"containerStatuses": running(Value::Null)}}),
                vec!["spec: Forbidden: Pod running on node without support for resize"],
            ),
            (
                json!({"metadata": {"name": "p", "namespace": "default", "annotations": {"kubernetes.io/config.mirror": "x"}}}),
                vec!["Forbidden: static pods cannot be resized"],
            ),
            (json!({"spec": {"os": {"name": "windows"}}}), vec!["Forbidden: windows pods cannot be resized"]),
            (
                json!({"spec": {"resources": limits}}),
                vec!["Forbidden: pods with pod-level resources cannot be resized"],
            ),
        ] {
            let mut pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {}});
            for (part, value) in patch.as_object().into_iter().flatten() {
                pod[part] = value.clone();
            }
            pod["spec"]["containers"] = json!([container]);
            (super::super::pod::kind().hooks.default)(&mut pod);
            let found: Vec<_> = resize(&pod, &pod).iter().map(ToString::to_string).collect();
            let ends = found.iter().zip(&expected).all(|(found, expected)| found.ends_with(expected));
            assert!(found.len() == expected.len() && ends, "{found:?} {expected:?}");
        }
    }
}
