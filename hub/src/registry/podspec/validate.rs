//! Validation of pod specs and templates, and of updates to pods.

use serde_json::Value;

use super::{containers, scheduling, security, volumes};
use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::json::{get, int, is_true, list, same, set, text, text_at, texts};
use crate::registry::names;
use crate::registry::objectmeta;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const NAMESERVERS_MAX: usize = 3;
const ONLY_CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Validates a pod spec, of a pod or a template.
pub(crate) fn spec(spec: &Value, path: &Path, errors: &mut Errors) {
    volumes::volumes(spec, &path.child("volumes"), errors);
    containers::all(spec, path, errors);
    policies(spec, path, errors);
    security::context(spec, &path.child("securityContext"), errors);
    objectmeta::labels(spec.get("nodeSelector"), &path.child("nodeSelector"), errors);
    if let Some(affinity) = get(spec, "affinity") {
        scheduling::affinity(affinity, &path.child("affinity"), errors);
    }
    scheduling::spreading(spec, &path.child("topologySpreadConstraints"), errors);
    scheduling::tolerations(spec, &path.child("tolerations"), errors);
    dns_config(spec, &path.child("dnsConfig"), errors);
    named_things(spec, path, errors);
    host_namespaces(spec, path, errors);
    errors.non_negative(&path.child("terminationGracePeriodSeconds"), int(spec, "terminationGracePeriodSeconds"));
    if let Some(seconds) = int(spec, "activeDeadlineSeconds").filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        errors.invalid(
            &path.child("activeDeadlineSeconds"),
            seconds.to_string(),
            "must be between 1 and 2147483647, inclusive",
        );
    }
    host_aliases(spec, &path.child("hostAliases"), errors);
    scheduling::gates(spec, path, errors);
}

fn host_aliases(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = path.index(i);
        let ip = text(alias, "ip");
        errors.invalid_text(&path.child("ip"), ip, names::ip(ip));
        for (j, name) in texts(alias, "hostnames").into_iter().enumerate() {
            errors.invalid_text(&path.child("hostnames").index(j), name, names::dns_subdomain(name));
        }
    }
}

fn policies(spec: &Value, path: &Path, errors: &mut Errors) {
    for (field, supported) in [("restartPolicy", &RESTART_POLICIES[..]), ("dnsPolicy", &DNS_POLICIES[..])] {
        match text(spec, field) {
            "" => errors.required(&path.child(field), ""),
            policy if supported.contains(&policy) => {}
            policy => errors.not_supported(&path.child(field), policy, supported),
        }
    }
    let preemption = text(spec, "preemptionPolicy");
    if !["", "PreemptLowerPriority", "Never"].contains(&preemption) {
        errors.not_supported(&path.child("preemptionPolicy"), preemption, &["PreemptLowerPriority", "Never"]);
    }
}

fn named_things(spec: &Value, path: &Path, errors: &mut Errors) {
    let rules: [(&str, names::Rule); 5] = [
        ("serviceAccountName", names::dns_subdomain),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
    ];
    for (field, rule) in rules {
        let name = text(spec, field);
        if !name.is_empty() {
            errors.invalid_text(&path.child(field), name, rule(name));
        }
    }
}

fn host_namespaces(spec: &Value, path: &Path, errors: &mut Errors) {
    if is_true(spec, "shareProcessNamespace") && is_true(spec, "hostPID") {
        errors.invalid(
            &path.child("shareProcessNamespace"),
            "true",
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
}

fn dns_config(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(config) = get(spec, "dnsConfig") else {
        if text(spec, "dnsPolicy") == "None" {
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = list(config, "nameservers");
    let path = path.child("nameservers");
    if servers.is_empty() && text(spec, "dnsPolicy") == "None" {
        return errors.required(&path, "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    if servers.len() > NAMESERVERS_MAX {
        errors.invalid(&path, shown(&servers.into()), format!("must not have more than {NAMESERVERS_MAX} nameservers"));
    }
    for (i, server) in servers.iter().enumerate() {
        let server = server.as_str().unwrap_or("");
        errors.invalid_text(&path.index(i), server, names::ip(server));
    }
}

/// Validates a pod template: its labels, annotations and spec. Kubernetes names the first two without `metadata`.
pub(crate) fn template(template: &Value, path: &Path, errors: &mut Errors) {
    template_metadata(template, path, errors);
    let path = path.child("spec");
    let pod = template.get("spec").unwrap_or(&Value::Null);
    spec(pod, &path, errors);
    if !list(pod, "ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Validates labels and annotations of a pod template.
pub(crate) fn template_metadata(template: &Value, path: &Path, errors: &mut Errors) {
    let meta = template.get("metadata").unwrap_or(&Value::Null);
    objectmeta::labels(meta.get("labels"), &path.child("labels"), errors);
    objectmeta::annotations(meta.get("annotations"), &path.child("annotations"), errors);
}

/// Validates that images have no spaces around them: an error for pods, but not for templates.
pub(crate) fn image_whitespace(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["containers", "initContainers", "ephemeralContainers"] {
        for (i, container) in list(spec, field).iter().enumerate() {
            let image = text(container, "image");
            if image.trim() != image {
                let path = path.child(field).index(i).child("image");
                errors.invalid(&path, quoted(image), "must not have leading or trailing whitespace");
            }
        }
    }
}

/// Validates an update of a pod's spec: only a few fields may change.
pub(crate) fn pod_update(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    for field in ["containers", "initContainers"] {
        if list(new, field).len() != list(old, field).len() {
            return errors.forbidden(&path.child(field), "pod updates may not add or remove containers");
        }
    }
    deadline_update(new, old, &path.child("activeDeadlineSeconds"), errors);
    scheduling::only_added_tolerations(new, old, &path.child("tolerations"), errors);
    scheduling::only_deleted_gates(new, old, &path.child("schedulingGates"), errors);
    let munged = with_changeable_of(new, old);
    if !same(Some(&munged), Some(old)) {
        errors.forbidden(path, format!("{ONLY_CHANGEABLE}\n{}", differences(&munged, old).join("\n")));
    }
}

fn deadline_update(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    match (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.invalid(path, new.to_string(), "must be between 0 and 2147483647, inclusive");
        }
        (Some(new), Some(old)) if new > old => {
            errors.invalid(path, new.to_string(), "must be less than or equal to previous value");
        }
        (None, Some(_)) => errors.invalid(path, quoted("null"), "must not update from a positive integer to nil value"),
        (Some(_) | None, Some(_) | None) => {}
    }
}

/// `new`, but with the fields that may change as they are in `old`.
fn with_changeable_of(new: &Value, old: &Value) -> Value {
    let mut munged = new.clone();
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        crate::registry::json::copy(&mut munged, old, field);
    }
    if int(old, "terminationGracePeriodSeconds").is_some_and(|s| s < 0)
        && int(new, "terminationGracePeriodSeconds") == Some(1)
    {
        crate::registry::json::copy(&mut munged, old, "terminationGracePeriodSeconds");
    }
    for field in ["containers", "initContainers"] {
        for (container, old) in crate::registry::json::items_mut(&mut munged, field).zip(list(old, field)) {
            set(container, "image", text_at(old, &["image"]));
        }
    }
    munged
}

/// Lines that name each differing field with its old (`-`) and new (`+`) value.
pub(crate) fn differences(new: &Value, old: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    differing(Some(new), Some(old), &mut String::new(), &mut lines);
    lines
}

fn differing(new: Option<&Value>, old: Option<&Value>, at: &mut String, lines: &mut Vec<String>) {
    if same(new, old) {
        return;
    }
    match (new, old) {
        (Some(Value::Object(n)), Some(Value::Object(o))) => {
            let keys: std::collections::BTreeSet<&String> = n.keys().chain(o.keys()).collect();
            for key in keys {
                let length = at.len();
                if length > 0 {
                    at.push('.');
                }
                at.push_str(key);
                differing(n.get(key), o.get(key), at, lines);
                at.truncate(length);
            }
        }
        (Some(Value::Array(n)), Some(Value::Array(o))) if n.len() == o.len() => {
            for (i, (n, o)) in n.iter().zip(o).enumerate() {
                let length = at.len();
                at.push_str(&format!("[{i}]"));
                differing(Some(n), Some(o), at, lines);
                at.truncate(length);
            }
        }
        (new, old) => {
            for (sign, value) in [("-", old), ("+", new)] {
                if let Some(value) = value.filter(|v| !v.is_null()) {
                    lines.push(format!("{sign} {at}: {value}"));
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
