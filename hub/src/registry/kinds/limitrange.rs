//! `v1` LimitRange.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, ensure, entries, get, get_mut, items_mut, list_at, set_default, text};
use crate::registry::{FieldError, Hooks, Kind, names, objectmeta, podspec};

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
const STANDARD_TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "LimitRange",
        list_kind: "LimitRangeList",
        plural: "limitranges",
        singular: "limitrange",
        short_names: &["limits"],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.core.v1.LimitRange",
        storage: "limitranges".into(),
        hooks: Hooks { default, validate, ..PLAIN },
    }
}

fn default(range: &mut Value) {
    let Some(spec) = get_mut(range, "spec") else { return };
    for item in items_mut(spec, "limits") {
        for list in LISTS {
            if let Some(list) = get_mut(item, list) {
                podspec::canonical(list);
            }
        }
        if text(item, "type") == "Container" {
            default_container(item);
        }
    }
}

/// Containers get as default what is the most they may have, and as default request their default or the least.
fn default_container(item: &mut Value) {
    for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
        let source = get(item, from).cloned();
        let Some(target) = ensure(item, to) else { return };
        for (name, quantity) in entries(source.as_ref()) {
            set_default(target, name, quantity.clone());
        }
    }
}

fn validate(range: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(range, old, true, names::dns_subdomain, &mut errors);
    let mut seen = BTreeSet::new();
    for (i, item) in list_at(range, &["spec", "limits"]).iter().enumerate() {
        let path = Path::new("spec").child("limits").index(i);
        let kind = text(item, "type");
        limit_type(kind, &path.child("type"), &mut errors);
        if !seen.insert(kind) {
            errors.duplicate(&path.child("type"), quoted(kind));
        }
        if kind == "Pod" {
            for field in ["default", "defaultRequest"].into_iter().filter(|f| entries(get(item, f)).next().is_some()) {
                errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
            }
        }
        if kind == "PersistentVolumeClaim" && ["min", "max"].iter().all(|f| at(item, &[f, "storage"]).is_none()) {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.required(&path.child("limits"), detail);
        }
        quantities(item, &path, &mut errors);
    }
    errors.into_vec()
}

fn limit_type(kind: &str, path: &Path, errors: &mut Errors) {
    let complaints = names::qualified_name(kind);
    if complaints.is_empty() && !kind.contains('/') && !STANDARD_TYPES.contains(&kind) {
        errors.invalid(path, quoted(kind), "must be a standard limit type or fully qualified");
    }
    errors.invalid_text(path, kind, complaints);
}

/// Pairs of lists of which the first may not be above the second: field and words of each.
const ORDERED: [(&str, &str, &str, &str, &str); 6] = [
    ("min", "min", "min value", "max", "max value"),
    ("defaultRequest", "min", "min value", "defaultRequest", "default request value"),
    ("defaultRequest", "defaultRequest", "default request value", "max", "max value"),
    ("defaultRequest", "defaultRequest", "default request value", "default", "default limit value"),
    ("default", "min", "min value", "default", "default value"),
    ("default", "default", "default value", "max", "max value"),
];

fn quantities(item: &Value, path: &Path, errors: &mut Errors) {
    for field in LISTS {
        for (name, value) in entries(get(item, field)) {
            let path = path.child(field).key(name);
            podspec::resource_name(name, &path, errors);
            podspec::quantity(value, &path, errors);
        }
    }
    for (blamed, low, low_words, high, high_words) in ORDERED {
        for (name, value) in entries(get(item, low)) {
            let (Some(a), Some(b)) =
                (podspec::parse_quantity(value), at(item, &[high, name]).and_then(podspec::parse_quantity))
            else {
                continue;
            };
            if a.nano() > b.nano() {
                let detail = format!("{low_words} {a} is greater than {high_words} {b}");
                errors.invalid(&path.child(blamed).key(name), quoted(&a.to_string()), detail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};
    use serde_json::json;

    #[test]
    fn containers_get_defaults_from_the_bounds() {
        let item = json!({"type": "Container", "max": {"cpu": "1000m"}, "min": {"cpu": "0.1", "memory": "1024Ki"}});
        let object = created(&kind(), json!({"spec": {"limits": [item]}}));
        assert_eq!(
            object["spec"]["limits"][0],
            json!({
                "type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "100m", "memory": "1Mi"},
                "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1", "memory": "1Mi"},
            })
        );
    }

    #[test]
    fn validation() {
        for (item, expected) in [
            (json!({"type": "Container", "max": {"cpu": "1"}}), vec![]),
            (
                json!({"type": "Thing"}),
                vec!["spec.limits[0].type: Invalid value: \"Thing\": must be a standard limit type or fully qualified"],
            ),
            (
                json!({"type": "Pod", "default": {"cpu": "1"}}),
                vec!["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
            ),
            (
                json!({"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}),
                vec!["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"],
            ),
            (
                json!({"type": "PersistentVolumeClaim"}),
                vec![
                    "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                ],
            ),
        ] {
            assert_eq!(complaints(&kind(), json!({"spec": {"limits": [item]}}), None), expected, "{item}");
        }
    }
}
