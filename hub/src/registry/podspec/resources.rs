//! Resource quantities: canonical form, requests and limits, quality of service.

use std::collections::BTreeSet;

use serde_json::Value;
use skiff_shared::quantity::Quantity;

use crate::registry::fields::{Errors, NOT_NEGATIVE, Path, quoted};
use crate::registry::json::{entries, get, list, text};
use crate::registry::names::qualified_name;

const CONTAINER_RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const STANDARD_RESOURCES: [&str; 9] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "pods",
    "services",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
];

/// Rewrites every quantity of a resource list in its canonical form (`0.5` becomes `500m`, `1024Mi` `1Gi`), as the API
/// server does on decoding. Nonsense stays as it is: validation names it.
pub(crate) fn canonical(resources: &mut Value) {
    for (_, quantity) in resources.as_object_mut().into_iter().flatten() {
        if let Some(parsed) = parse(quantity) {
            *quantity = Value::String(parsed.to_string());
        }
    }
}

/// A quantity written as text or as a number.
pub(crate) fn parse(quantity: &Value) -> Option<Quantity> {
    match quantity {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Validates one quantity: it parses and is not negative.
pub(crate) fn quantity(value: &Value, path: &Path, errors: &mut Errors) {
    match value.as_str().map(Quantity::parse) {
        Some(Err(error)) => errors.invalid(path, quoted(value.as_str().unwrap_or("")), error.to_string()),
        Some(Ok(quantity)) if quantity.nano() < 0 => errors.invalid(path, quoted(&quantity.to_string()), NOT_NEGATIVE),
        Some(Ok(_)) | None => {}
    }
}

/// Validates the quantities of a node's capacity, whose resources may have any name.
pub(crate) fn resource_list(resources: Option<&Value>, path: &Path, errors: &mut Errors) {
    for (name, value) in entries(resources) {
        quantity(value, &path.child(name), errors);
    }
}

/// Validates the name of a standard or qualified resource.
pub(crate) fn resource_name(name: &str, path: &Path, errors: &mut Errors) {
    let complaints = qualified_name(name);
    if complaints.is_empty()
        && !name.contains('/')
        && !STANDARD_RESOURCES.contains(&name)
        && !name.starts_with("hugepages-")
    {
        errors.invalid(path, quoted(name), "must be a standard resource type or fully qualified");
    }
    errors.invalid_text(path, name, complaints);
}

/// Validates a container's `resources`.
pub(crate) fn requirements(resources: &Value, path: &Path, errors: &mut Errors) {
    let limits = get(resources, "limits");
    for (name, value) in entries(limits) {
        container_resource(name, value, &path.child("limits").key(name), errors);
    }
    let requests_path = path.child("requests");
    for (name, value) in entries(get(resources, "requests")) {
        container_resource(name, value, &requests_path.key(name), errors);
        let limit = limits.and_then(|l| get(l, name));
        request_within_limit(name, value, limit, path, errors);
    }
}

fn container_resource(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    resource_name(name, path, errors);
    if !name.contains('/') && !CONTAINER_RESOURCES.contains(&name) && !name.starts_with("hugepages-") {
        errors.invalid(path, quoted(name), "must be a standard resource for containers");
    }
    quantity(value, path, errors);
    if !overcommits(name)
        && !name.starts_with("hugepages-")
        && parse(value).is_some_and(|q| q.nano() % 1_000_000_000 != 0)
    {
        errors.invalid(path, quoted(value.as_str().unwrap_or("")), "must be an integer");
    }
}

/// Whether requests may stay below limits: not for huge pages and extended resources.
fn overcommits(name: &str) -> bool {
    let native = !name.contains('/') || name.starts_with("kubernetes.io/");
    native && !name.starts_with("hugepages-")
}

fn request_within_limit(name: &str, request: &Value, limit: Option<&Value>, path: &Path, errors: &mut Errors) {
    let Some(request) = parse(request) else { return };
    let requests = path.child("requests");
    match limit.and_then(parse) {
        Some(limit) if !overcommits(name) && request.nano() != limit.nano() => {
            errors.invalid(
                &requests,
                quoted(&request.to_string()),
                format!("must be equal to {name} limit of {limit}"),
            );
        }
        Some(limit) if request.nano() > limit.nano() => {
            errors.invalid(
                &requests,
                quoted(&request.to_string()),
                format!("must be less than or equal to {name} limit of {limit}"),
            );
        }
        Some(_) => {}
        None if !overcommits(name) => {
            errors.required(&path.child("limits"), "Limit must be set for non overcommitable resources")
        }
        None => {}
    }
}

/// The quality of service class of a pod, from its containers' cpu and memory.
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    let containers = || list(spec, "initContainers").iter().chain(list(spec, "containers"));
    let amount = |c: &Value, kind: &str, name: &str| {
        c.pointer(&format!("/resources/{kind}/{name}")).and_then(parse).map(Quantity::nano).filter(|n| *n > 0)
    };
    let unset = |c: &Value| {
        ["cpu", "memory"].iter().all(|n| amount(c, "limits", n).is_none() && amount(c, "requests", n).is_none())
    };
    let fixed = |c: &Value| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = amount(c, "limits", name);
            limit.is_some() && amount(c, "requests", name).is_none_or(|r| Some(r) == limit)
        })
    };
    if containers().all(unset) {
        "BestEffort"
    } else if containers().all(fixed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Validates which resources of a container change only by its restart. One that is never restarted has none.
pub(super) fn resize_policy(container: &Value, never_restarts: bool, path: &Path, errors: &mut Errors) {
    let mut named = BTreeSet::new();
    for (i, policy) in list(container, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !named.insert(resource) {
            errors.duplicate(&path.index(i), quoted(resource));
        }
        for (value, supported) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])] {
            match value {
                "" => errors.required(path, ""),
                value if supported.contains(&value) => {}
                value => errors.not_supported(path, value, &supported),
            }
        }
        if never_restarts && restart != "NotRequired" {
            errors.invalid(path, quoted(restart), "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_and_limits() {
        let table = [
            (json!({"limits": {"cpu": "100m"}, "requests": {"cpu": "100m"}}), vec![]),
            (
                json!({"limits": {"cpu": "100m"}, "requests": {"cpu": "200m"}}),
                vec![r#"r.requests: Invalid value: "200m": must be less than or equal to cpu limit of 100m"#],
            ),
            (
                json!({"limits": {"cpu": "-1"}}),
                vec![r#"r.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#],
            ),
            (
                json!({"limits": {"cpu": "banana"}}),
                vec![
                    r#"r.limits[cpu]: Invalid value: "banana": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"#,
                ],
            ),
            (
                json!({"limits": {"gas": "1"}}),
                vec![
                    r#"r.limits[gas]: Invalid value: "gas": must be a standard resource type or fully qualified"#,
                    r#"r.limits[gas]: Invalid value: "gas": must be a standard resource for containers"#,
                ],
            ),
            (
                json!({"requests": {"example.com/gpu": "1"}}),
                vec!["r.limits: Required value: Limit must be set for non overcommitable resources"],
            ),
            (
                json!({"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "2"}}),
                vec![r#"r.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2"#],
            ),
            (
                json!({"limits": {"example.com/gpu": "500m"}}),
                vec![r#"r.limits[example.com/gpu]: Invalid value: "500m": must be an integer"#],
            ),
        ];
        for (resources, expected) in table {
            let mut errors = Errors::default();
            requirements(&resources, &Path::new("r"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{resources}");
        }
    }

    #[test]
    fn quality_of_service() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        for (resources, class) in [
            (json!({}), "BestEffort"),
            (json!({"limits": both, "requests": both}), "Guaranteed"),
            (json!({"limits": both}), "Guaranteed"),
            (json!({"limits": both, "requests": {"cpu": "500m"}}), "Burstable"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"limits": {"cpu": "1"}}), "Burstable"),
            (json!({"limits": {"cpu": "0"}}), "BestEffort"),
        ] {
            assert_eq!(qos_class(&json!({"containers": [{"resources": resources}]})), class, "{resources}");
        }
        assert_eq!(qos_class(&json!({"containers": [{"resources": {"limits": both}}, {}]})), "Burstable");
    }

    #[test]
    fn what_restarts_for_a_resize() {
        let policy = |resource: &str, restart: &str| json!({"resourceName": resource, "restartPolicy": restart});
        for (policies, never_restarts, expected) in [
            (json!([policy("cpu", "NotRequired"), policy("memory", "RestartContainer")]), false, vec![]),
            (
                json!([policy("cpu", "NotRequired"), policy("cpu", "NotRequired")]),
                false,
                vec!["p[1]: Duplicate value: \"cpu\""],
            ),
            (json!([policy("", "")]), false, vec!["p: Required value", "p: Required value"]),
            (
                json!([policy("gpu", "No")]),
                false,
                vec![
                    "p: Unsupported value: \"gpu\": supported values: \"cpu\", \"memory\"",
                    "p: Unsupported value: \"No\": supported values: \"NotRequired\", \"RestartContainer\"",
                ],
            ),
            (
                json!([policy("memory", "RestartContainer")]),
                true,
                vec!["p: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'"],
            ),
        ] {
            let mut errors = Errors::default();
            resize_policy(&json!({"resizePolicy": policies}), never_restarts, &Path::new("p"), &mut errors);
            let found: Vec<_> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{policies}");
        }
    }
}
