//! Validation of pods, pod specs and pod templates.

use serde_json::{Value, json};

use super::{affinity, annotations, containers, resources, scheduling, security, volumes, windows};
use crate::registry::fields::{Errors, Path, shown};
use crate::registry::json::{at, get, int, list, text, texts};
use crate::registry::names;
use crate::registry::objectmeta;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const PREEMPTION_POLICIES: [&str; 2] = ["PreemptLowerPriority", "Never"];
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_LIST_MAX: usize = 2048;

/// Validates the annotations and the spec of a pod.
pub(crate) fn pod(pod: &Value, errors: &mut Errors) {
    let meta = pod.get("metadata").unwrap_or(&Value::Null);
    annotations::specific(get(meta, "annotations"), spec_of(pod), &Path::new("metadata").child("annotations"), errors);
    pod_spec(pod, errors);
}

/// Validates the spec of a pod.
pub(super) fn pod_spec(pod: &Value, errors: &mut Errors) {
    let (path, own) = (Path::new("spec"), spec_of(pod));
    spec(own, Some(at(pod, &["metadata", "name"]).and_then(Value::as_str).unwrap_or("")), &path, errors);
    if text(own, "serviceAccountName").is_empty() {
        no_tokens(own, &path.child("volumes"), errors);
    }
    // An error for pods, but not for templates.
    for field in ["containers", "initContainers"] {
        for (i, container) in list(own, field).iter().enumerate() {
            containers::image_whitespace(container, &path.child(field).index(i), errors);
        }
    }
}

pub(super) fn spec_of(pod: &Value) -> &Value {
    pod.get("spec").unwrap_or(&Value::Null)
}

fn no_tokens(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let sources = get(volume, "projected").map_or(&[][..], |p| list(p, "sources"));
        for (j, _) in sources.iter().enumerate().filter(|(_, s)| get(s, "serviceAccountToken").is_some()) {
            let path = path.index(i).child("projected").child("sources").index(j).child("serviceAccountToken");
            errors.forbidden(&path, "must not be specified when serviceAccountName is not set");
        }
    }
}

/// Validates what a new pod may not have yet.
pub(crate) fn pod_create(pod: &Value, errors: &mut Errors) {
    let (path, spec) = (Path::new("spec"), spec_of(pod));
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        errors.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    annotations::match_fields(at(pod, &["metadata", "annotations"]), spec, &path, errors);
}

/// Validates a pod spec, in the order in which Kubernetes does; `pod` is the pod's name, `None` for a template.
fn spec(spec: &Value, pod: Option<&str>, path: &Path, errors: &mut Errors) {
    let volumes = volumes::volumes(spec, pod, &path.child("volumes"), errors);
    containers::all(spec, &volumes, path, errors);
    containers::host_network(spec, path, errors);
    for (field, supported) in [("restartPolicy", &RESTART_POLICIES[..]), ("dnsPolicy", &DNS_POLICIES[..])] {
        containers::one_of(text(spec, field), supported, &path.child(field), errors);
    }
    objectmeta::labels(spec.get("nodeSelector"), &path.child("nodeSelector"), errors);
    security::context(spec, &path.child("securityContext"), errors);
    if let Some(affinity) = get(spec, "affinity") {
        affinity::affinity(affinity, &path.child("affinity"), errors);
    }
    dns_config(spec, &path.child("dnsConfig"), errors);
    scheduling::readiness_gates(spec, &path.child("readinessGates"), errors);
    scheduling::scheduling_gates(spec, &path.child("schedulingGates"), errors);
    scheduling::spreading(spec, &path.child("topologySpreadConstraints"), errors);
    windows::host_process(spec, path, errors);
    windows::host_users(spec, path, errors);
    named(spec, "serviceAccountName", names::dns_subdomain, path, errors);
    named(spec, "nodeName", names::dns_subdomain, path, errors);
    if let Some(seconds) = int(spec, "activeDeadlineSeconds").filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.invalid(&path.child("activeDeadlineSeconds"), seconds.to_string(), detail);
    }
    named(spec, "hostname", names::dns_label, path, errors);
    named(spec, "subdomain", names::dns_label, path, errors);
    scheduling::tolerations(spec, &path.child("tolerations"), errors);
    host_aliases(spec, &path.child("hostAliases"), errors);
    named(spec, "priorityClassName", names::dns_subdomain, path, errors);
    if get(spec, "runtimeClassName").is_some() {
        let name = text(spec, "runtimeClassName");
        errors.invalid_text(&path.child("runtimeClassName"), name, names::dns_subdomain(name));
    }
    if get(spec, "preemptionPolicy").is_some() {
        let policy = text(spec, "preemptionPolicy");
        containers::one_of(policy, &PREEMPTION_POLICIES, &path.child("preemptionPolicy"), errors);
    }
    if let Some(overhead) = get(spec, "overhead") {
        resources::requirements(&json!({"limits": overhead}), &path.child("overhead"), errors);
    }
    windows::os(spec, path, errors);
}

/// A name that may be missing.
fn named(spec: &Value, field: &str, rule: names::Rule, path: &Path, errors: &mut Errors) {
    let name = text(spec, field);
    if !name.is_empty() {
        errors.invalid_text(&path.child(field), name, rule(name));
    }
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

fn dns_config(spec: &Value, path: &Path, errors: &mut Errors) {
    let alone = text(spec, "dnsPolicy") == "None";
    let Some(config) = get(spec, "dnsConfig") else {
        if alone {
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    if alone && list(config, "nameservers").is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return errors.required(&path.child("nameservers"), detail);
    }
    nameservers(list(config, "nameservers"), &path.child("nameservers"), errors);
    searches(config, &path.child("searches"), errors);
    for (i, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(&path.child("options").index(i), "must not be empty");
        }
    }
}

fn nameservers(servers: &[Value], path: &Path, errors: &mut Errors) {
    if servers.len() > NAMESERVERS_MAX {
        errors.invalid(path, shown(&servers.into()), format!("must not have more than {NAMESERVERS_MAX} nameservers"));
    }
    for (i, server) in servers.iter().enumerate() {
        let server = server.as_str().unwrap_or("");
        errors.invalid_text(&path.index(i), server, names::ip(server));
    }
}

fn searches(config: &Value, path: &Path, errors: &mut Errors) {
    let searches = texts(config, "searches");
    let mut refuse = |detail: String| {
        errors.invalid(path, shown(&list(config, "searches").into()), format!("must not have more than {detail}"));
    };
    if searches.len() > SEARCHES_MAX {
        refuse(format!("{SEARCHES_MAX} search paths"));
    }
    if searches.join(" ").len() > SEARCH_LIST_MAX {
        refuse(format!("{SEARCH_LIST_MAX} characters (including spaces) in the search list"));
    }
    for (i, search) in searches.into_iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.invalid_text(&path.index(i), search, names::search_domain(search));
    }
}

/// Validates a pod template: its labels, annotations and spec. Kubernetes names the first two without `metadata`.
pub(crate) fn template(template: &Value, path: &Path, errors: &mut Errors) {
    template_metadata(template, path, errors);
    let (marks, pod) = (at(template, &["metadata", "annotations"]), spec_of(template));
    annotations::specific(marks, pod, &path.child("annotations"), errors);
    let path = path.child("spec");
    spec(pod, None, &path, errors);
    annotations::match_fields(marks, pod, &path, errors);
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

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
