//! Resource quantities: canonical form, requests and limits, quality of service.

use serde_json::Value;
use skiff_shared::quantity::Quantity;

use crate::registry::fields::{Errors, NOT_NEGATIVE, Path, quoted};
use crate::registry::json::{entries, get, list};
use crate::registry::names::qualified_name;

const CONTAINER_RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Resources without a prefix, beside huge pages.
const STANDARD_RESOURCES: [&str; 20] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
/// Resources of which there are whole numbers only, beside extended ones.
pub(crate) const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const HUGE_PAGES: &str = "hugepages-";
const ONE: i128 = 1_000_000_000;

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
        let path = path.child(name);
        quantity(value, &path, errors);
        integral(name, value, &path, errors);
    }
}

/// Validates the name of a standard or qualified resource.
pub(crate) fn resource_name(name: &str, path: &Path, errors: &mut Errors) {
    let complaints = qualified_name(name);
    let standard = STANDARD_RESOURCES.contains(&name)
        || name.starts_with(HUGE_PAGES)
        || name.strip_prefix("requests.").is_some_and(|name| name.starts_with(HUGE_PAGES));
    if complaints.is_empty() && !name.contains('/') && !standard {
        errors.invalid(path, quoted(name), "must be a standard resource type or fully qualified");
    }
    errors.invalid_text(path, name, complaints);
}

/// Validates the name of a resource that containers can have.
pub(crate) fn container_resource_name(name: &str, path: &Path, errors: &mut Errors) {
    resource_name(name, path, errors);
    if !name.contains('/') {
        if !CONTAINER_RESOURCES.contains(&name) && !name.starts_with(HUGE_PAGES) {
            errors.invalid(path, quoted(name), "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, quoted(name), "doesn't follow extended resource name standard");
    }
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is one that nodes report by themselves; quotas must be able to name it.
fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether requests may stay below limits: not for huge pages and extended resources.
pub(crate) fn overcommits(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}

/// Validates that there is a whole number of what can only be counted.
pub(crate) fn integral(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    let Some(amount) = parse(value).filter(|_| COUNTED.contains(&name) || is_extended(name)) else { return };
    if amount.nano() % ONE != 0 {
        errors.invalid(path, amount.to_string(), "must be an integer");
    }
}

/// Validates the `resources` of a container, or the limits of an overhead.
pub(crate) fn requirements(resources: &Value, path: &Path, errors: &mut Errors) {
    let (limits, requests) = (get(resources, "limits"), get(resources, "requests"));
    for (name, value) in entries(limits) {
        container_resource(name, value, &path.child("limits").key(name), errors);
        huge_pages(name, value, &path.child("limits").key(name), errors);
    }
    for (name, value) in entries(requests) {
        let own = path.child("requests").key(name);
        container_resource(name, value, &own, errors);
        request_within_limit(name, value, limits.and_then(|l| get(l, name)), path, errors);
        huge_pages(name, value, &own, errors);
    }
    let names = || entries(limits).chain(entries(requests)).map(|(name, _)| name);
    if names().any(|n| n.starts_with(HUGE_PAGES)) && !names().any(|n| ["cpu", "memory"].contains(&n)) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn container_resource(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    container_resource_name(name, path, errors);
    quantity(value, path, errors);
    integral(name, value, path, errors);
}

/// Huge pages are taken whole.
fn huge_pages(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    let Some((size, amount)) = name.strip_prefix(HUGE_PAGES).zip(parse(value)) else { return };
    let size = Quantity::parse(size).map_or(0, |size| size.nano());
    if size <= 0 || size % ONE != 0 || amount.nano() % size != 0 {
        let detail = format!("{amount} is not positive integer multiple of {name}");
        errors.invalid(path, quoted(&amount.to_string()), detail);
    }
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
                vec!["r.limits[example.com/gpu]: Invalid value: 500m: must be an integer"],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi"}, "requests": {"hugepages-2Mi": "3Mi"}}),
                vec![
                    r#"r.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi"#,
                    r#"r.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi"#,
                    "r: Forbidden: HugePages require cpu or memory",
                ],
            ),
            (
                json!({"limits": {"requests.a.b/c": "1"}}),
                vec![
                    r#"r.limits[requests.a.b/c]: Invalid value: "requests.a.b/c": doesn't follow extended resource name standard"#,
                ],
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
}
