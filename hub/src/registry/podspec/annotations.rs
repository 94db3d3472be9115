//! Validation of the annotations that mean something for a pod.

use serde_json::Value;

use super::containers::visit;
use super::files::descending;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{at, entries, get, text};

/// On the copies of pods that a node runs by itself.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_FORBIDDEN: &str = "seccomp type in annotation and field must match";
const APP_ARMOR_FORBIDDEN: &str = "apparmor type in annotation and field must match";

/// Validates the annotations of a pod or template by themselves.
pub(super) fn specific(annotations: Option<&Value>, spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(annotations) = annotations else { return };
    let value = |key: &str| annotations.get(key).and_then(Value::as_str);
    if let Some(mirror) = value(MIRROR).filter(|_| text(spec, "nodeName").is_empty()) {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&path.key(MIRROR), quoted(mirror), detail);
    }
    if let Some(cost) = value(DELETION_COST).filter(|cost| !is_cost(cost)) {
        errors.invalid(&path.key(DELETION_COST), quoted(cost), "must be a 32bit integer");
    }
    if let Some(profile) = value(SECCOMP_POD) {
        seccomp(profile, &path.child(SECCOMP_POD), errors);
    }
    for (key, value) in entries(Some(annotations)) {
        let value = value.as_str().unwrap_or("");
        if key.starts_with(SECCOMP_CONTAINER) {
            seccomp(value, &path.child(key), errors);
        }
        if let Some(container) = key.strip_prefix(APP_ARMOR) {
            app_armor(value, container, spec, &path.key(key), errors);
        }
    }
}

/// A decimal number as Kubernetes writes it: without `+` and leading zeros.
fn is_cost(text: &str) -> bool {
    let first = text.bytes().next();
    let canonical = text == "0" || first.is_some_and(|b| matches!(b, b'-' | b'1'..=b'9'));
    canonical && text.parse::<i32>().is_ok()
}

fn seccomp(profile: &str, path: &Path, errors: &mut Errors) {
    if ["runtime/default", "docker/default", "unconfined"].contains(&profile) {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => descending(file, path, errors),
        None => errors.invalid(path, quoted(profile), "must be a valid seccomp profile"),
    }
}

fn app_armor(profile: &str, container: &str, spec: &Value, path: &Path, errors: &mut Errors) {
    if !visit(spec, path).any(|(c, _)| text(c, "name") == container) {
        errors.invalid(path, quoted(container), "container not found");
    }
    let known = ["", "runtime/default", "unconfined"].contains(&profile) || profile.starts_with("localhost/");
    if !known {
        errors.invalid(path, quoted(profile), format!("invalid AppArmor profile name: {}", quoted(profile)));
    }
}

/// Validates that annotations of a new object say what its fields say.
pub(super) fn match_fields(annotations: Option<&Value>, spec: &Value, path: &Path, errors: &mut Errors) {
    let value = |key: &str| annotations.and_then(|a| a.get(key)).and_then(Value::as_str);
    let profile = |holder, field| at(holder, &["securityContext", field]);
    if let Some((annotation, profile)) = value(SECCOMP_POD).zip(profile(spec, "seccompProfile")) {
        let path = path.child("securityContext").child("seccompProfile");
        same_profile(annotation, profile, "seccomp", SECCOMP_FORBIDDEN, &path, errors);
    }
    for (container, path) in visit(spec, path) {
        let annotation = value(&format!("{SECCOMP_CONTAINER}{}", text(container, "name")));
        if let Some((annotation, profile)) = annotation.zip(profile(container, "seccompProfile")) {
            let path = path.child("securityContext").child("seccompProfile");
            same_profile(annotation, profile, "seccomp", SECCOMP_FORBIDDEN, &path, errors);
        }
    }
    if get(spec, "os").is_some_and(|os| text(os, "name") == "windows") {
        return;
    }
    for (container, path) in visit(spec, path) {
        let annotation = value(&format!("{APP_ARMOR}{}", text(container, "name")));
        let profile = profile(container, "appArmorProfile").or_else(|| profile(spec, "appArmorProfile"));
        if let Some((annotation, profile)) = annotation.zip(profile) {
            let path = path.child("securityContext").child("appArmorProfile");
            same_profile(annotation, profile, "apparmor", APP_ARMOR_FORBIDDEN, &path, errors);
        }
    }
}

fn same_profile(annotation: &str, profile: &Value, of: &str, detail: &str, path: &Path, errors: &mut Errors) {
    let docker = of == "seccomp" && annotation == "docker/default";
    let same_type = match text(profile, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default" || docker,
        "Localhost" => annotation.starts_with("localhost/"),
        _ => true,
    };
    if !same_type {
        errors.forbidden(&path.child("type"), detail);
    } else if text(profile, "type") == "Localhost"
        && annotation.strip_prefix("localhost/") != profile.get("localhostProfile").and_then(Value::as_str)
    {
        let detail = format!("{of} profile in annotation and field must match");
        errors.forbidden(&path.child("localhostProfile"), detail);
    }
}

/// Validates what an update may not do to annotations.
pub(super) fn update(new: Option<&Value>, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let has = |annotations: Option<&Value>, key: &str| annotations.is_some_and(|a| get(a, key).is_some());
    for (key, _) in entries(old).filter(|(key, value)| new.and_then(|n| n.get(key)) != Some(value)) {
        refuse_change(key, "remove or update", path, errors);
    }
    for (key, _) in entries(new).filter(|(key, _)| !has(old, key)) {
        refuse_change(key, "add", path, errors);
    }
}

fn refuse_change(key: &str, verb: &str, path: &Path, errors: &mut Errors) {
    if key.starts_with(APP_ARMOR) {
        errors.forbidden(&path.key(key), format!("may not {verb} AppArmor annotations"));
    }
    if key == MIRROR {
        errors.forbidden(&path.key(key), format!("may not {verb} mirror pod annotation"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn annotations_of_pods() {
        let spec = json!({"containers": [{
            "name": "a", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}},
        }]});
        let table = [
            (json!({DELETION_COST: "-10", SECCOMP_POD: "localhost/a"}), vec![]),
            (
                json!({DELETION_COST: "010"}),
                vec!["a[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"010\": must be a 32bit integer"],
            ),
            (
                json!({MIRROR: "x"}),
                vec![
                    "a[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
                ],
            ),
            (
                json!({SECCOMP_POD: "mine"}),
                vec![
                    "a.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"mine\": must be a valid seccomp profile",
                ],
            ),
            (
                json!({"container.apparmor.security.beta.kubernetes.io/b": "mine"}),
                vec![
                    "a[container.apparmor.security.beta.kubernetes.io/b]: Invalid value: \"b\": container not found",
                    "a[container.apparmor.security.beta.kubernetes.io/b]: Invalid value: \"mine\": invalid AppArmor profile name: \"mine\"",
                ],
            ),
            (
                json!({"container.seccomp.security.alpha.kubernetes.io/a": "unconfined"}),
                vec![
                    "s.containers[0].securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
                ],
            ),
            (
                json!({"container.seccomp.security.alpha.kubernetes.io/a": "localhost/y"}),
                vec![
                    "s.containers[0].securityContext.seccompProfile.localhostProfile: Forbidden: seccomp profile in annotation and field must match",
                ],
            ),
        ];
        for (annotations, expected) in table {
            let mut errors = Errors::default();
            specific(Some(&annotations), &spec, &Path::new("a"), &mut errors);
            match_fields(Some(&annotations), &spec, &Path::new("s"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{annotations}");
        }
    }

    #[test]
    fn mirrors_stay_mirrors() {
        for (new, old, expected) in [
            (json!({MIRROR: "a", "b": "c"}), json!({MIRROR: "a"}), ""),
            (json!({}), json!({MIRROR: "a"}), "remove or update"),
            (json!({MIRROR: "a"}), json!({}), "add"),
        ] {
            let mut errors = Errors::default();
            update(Some(&new), Some(&old), &Path::new("a"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            let refusal =
                format!("a[kubernetes.io/config.mirror]: Forbidden: may not {expected} mirror pod annotation");
            assert_eq!(texts, if expected.is_empty() { vec![] } else { vec![refusal] }, "{new}");
        }
    }
}
