//! `v1` LimitRange.

use std::collections::BTreeSet;

use serde_json::Value;
use skiff_shared::quantity::Quantity;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, ensure, entries, get, get_mut, items_mut, list_at, set, set_default, text, text_at};
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
        hooks: Hooks { default, prepare_create, validate, ..PLAIN },
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

/// The one kind that may come without a name: as in Kubernetes it gets a unique one.
fn prepare_create(range: &mut Value) {
    if text_at(range, &["metadata", "name"]).is_empty() {
        let unique = text_at(range, &["metadata", "uid"]).to_owned();
        if let Some(metadata) = get_mut(range, "metadata") {
            set(metadata, "name", unique);
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
        lists(item, kind, &path, &mut errors);
        let names: BTreeSet<&str> = LISTS.iter().flat_map(|f| entries(get(item, f)).map(|(name, _)| name)).collect();
        for name in names {
            ordered(item, name, &path, &mut errors);
            ratio(item, name, &path, &mut errors);
            fixed(item, name, &path, &mut errors);
        }
    }
    errors.into_vec()
}

fn lists(item: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let of_default = field.starts_with("default");
        if kind == "Pod" && of_default {
            if entries(get(item, field)).next().is_some() {
                errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, _) in entries(get(item, field)) {
            let path = path.child(field).key(name);
            if ["Pod", "Container"].contains(&kind) {
                podspec::container_resource_name(name, &path, errors);
            } else {
                podspec::resource_name(name, &path, errors);
            }
        }
        let unbound = ["min", "max"].iter().all(|f| at(item, &[f, "storage"]).is_none());
        if field == "defaultRequest" && kind == "PersistentVolumeClaim" && unbound {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.required(&path.child("limits"), detail);
        }
    }
}

fn limit_type(kind: &str, path: &Path, errors: &mut Errors) {
    let complaints = names::qualified_name(kind);
    if complaints.is_empty() && !kind.contains('/') && !STANDARD_TYPES.contains(&kind) {
        errors.invalid(path, quoted(kind), "must be a standard limit type or fully qualified");
    }
    errors.invalid_text(path, kind, complaints);
}

/// A list and how errors call its amounts.
type Words = (&'static str, &'static str);

/// Pairs of lists of which the first may not be above the second: where the error is, which amount it shows, and field
/// and words of each.
const ORDERED: [(&str, &str, Words, Words); 6] = [
    ("min", "min", ("min", "min value"), ("max", "max value")),
    ("defaultRequest", "defaultRequest", ("min", "min value"), ("defaultRequest", "default request value")),
    ("defaultRequest", "defaultRequest", ("defaultRequest", "default request value"), ("max", "max value")),
    (
        "defaultRequest",
        "defaultRequest",
        ("defaultRequest", "default request value"),
        ("default", "default limit value"),
    ),
    ("default", "min", ("min", "min value"), ("default", "default value")),
    ("default", "max", ("default", "default value"), ("max", "max value")),
];
const ONE: i128 = 1_000_000_000;

fn amount(item: &Value, field: &str, name: &str) -> Option<Quantity> {
    at(item, &[field, name]).and_then(podspec::parse_quantity).filter(|_| {
        // A Pod has no defaults, even where some are given.
        text(item, "type") != "Pod" || !field.starts_with("default")
    })
}

fn ordered(item: &Value, name: &str, path: &Path, errors: &mut Errors) {
    for (blamed, shown, (low, low_words), (high, high_words)) in ORDERED {
        let (Some(a), Some(b)) = (amount(item, low, name), amount(item, high, name)) else { continue };
        if a.nano() > b.nano() {
            let detail = format!("{low_words} {a} is greater than {high_words} {b}");
            let shown = if shown == low { a } else { b };
            errors.invalid(&path.child(blamed).key(name), shown.to_string(), detail);
        }
    }
}

fn ratio(item: &Value, name: &str, path: &Path, errors: &mut Errors) {
    let Some(ratio) = amount(item, "maxLimitRequestRatio", name) else { return };
    let path = path.child("maxLimitRequestRatio").key(name);
    if ratio.nano() < ONE {
        errors.invalid(&path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    let (Some(min), Some(max)) = (amount(item, "min", name), amount(item, "max", name)) else { return };
    #[expect(clippy::cast_precision_loss, reason = "the bound is shown with six digits")]
    let [ratio_value, bound] = [ratio.nano() as f64 / ONE as f64, max.nano() as f64 / min.nano() as f64];
    if ratio_value > bound {
        errors.invalid(&path, ratio.to_string(), format!("ratio {ratio} is greater than max/min = {bound:.6}"));
    }
}

/// Of what cannot be overcommitted, limit and request are one.
fn fixed(item: &Value, name: &str, path: &Path, errors: &mut Errors) {
    let (Some(limit), Some(request)) = (amount(item, "default", name), amount(item, "defaultRequest", name)) else {
        return;
    };
    if !podspec::overcommits(name) && limit.nano() != request.nano() {
        let detail = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
        errors.invalid(&path.child("defaultRequest").key(name), request.to_string(), detail);
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
                vec!["spec.limits[0].min[cpu]: Invalid value: 2: min value 2 is greater than max value 1"],
            ),
            (
                json!({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "4"}, "maxLimitRequestRatio": {"cpu": "3"},
                    "default": {"cpu": "5"}, "defaultRequest": {"cpu": "1"}}),
                vec![
                    "spec.limits[0].defaultRequest[cpu]: Invalid value: 1: min value 2 is greater than default request value 1",
                    "spec.limits[0].default[cpu]: Invalid value: 4: default value 5 is greater than max value 4",
                    "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: 3: ratio 3 is greater than max/min = 2.000000",
                ],
            ),
            (
                json!({"type": "Container", "default": {"a.b/c": "1"}, "defaultRequest": {"a.b/c": "2"},
                    "maxLimitRequestRatio": {"cpu": "500m"}}),
                vec![
                    "spec.limits[0].defaultRequest[a.b/c]: Invalid value: 2: default request value 2 is greater than default limit value 1",
                    "spec.limits[0].defaultRequest[a.b/c]: Invalid value: 2: default value 1 must equal to defaultRequest value 2 in a.b/c",
                    "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: 500m: ratio 500m is less than 1",
                ],
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
