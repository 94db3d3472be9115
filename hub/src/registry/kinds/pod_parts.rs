//! Parts of a pod that are written by themselves: its ephemeral containers.

use serde_json::{Map, Value};

use super::pod::spec_of_pod;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{copy, get_mut, list_at, same, text};
use crate::registry::podspec::differences;
use crate::registry::{FieldError, Part, names, objectmeta};

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

const EPHEMERAL: &str = "ephemeralContainers";

/// Ephemeral containers are only ever added.
fn ephemeral_containers(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(new, Some(old), true, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    spec_of_pod(new.get("spec").unwrap_or(&Value::Null), &path, &mut errors);
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
}
