//! Pod Security: the standards that a namespace's labels, or the hub's configuration, ask for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Request, refuse};
use crate::objects::error::Error;
use crate::objects::pod_security::{Level, PREFIX, Policy, Standard};
use crate::objects::{Objects, meta, pod_standards};
use crate::store::{Key, Snapshot};

/// Subresources of pods that change nothing that is judged here.
const IGNORED: [&str; 9] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "resize", "status"];
/// Most pods that are looked at when a namespace changes (Kubernetes' bound).
const MAX_PODS: usize = 3000;

/// Refuses pods below the namespace's `enforce` standard, warns of pods and templates below its `warn` standard, tells
/// the audit log of those below its `audit` standard, and checks the labels of namespaces.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    let (kind, subresource) = (&request.target.kind, request.target.subresource.as_str());
    if &*kind.storage == Objects::NAMESPACES && subresource.is_empty() {
        return namespace(request, object);
    }
    let enforced = &*kind.storage == Objects::PODS;
    if enforced {
        if IGNORED.contains(&subresource) || request.old.is_some_and(|old| !is_significant(object, old)) {
            return Ok(());
        }
    } else if !subresource.is_empty() {
        return Ok(());
    }
    match pod_of(kind.kind, object) {
        Some(pod) if pod["spec"].is_object() => judge(request, object, pod, enforced),
        Some(_) | None => Ok(()),
    }
}

/// The pod, or the template of pods, in an object.
fn pod_of<'a>(kind: &str, object: &'a Value) -> Option<&'a Value> {
    match kind {
        "Pod" => Some(object),
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            Some(&object["spec"]["template"])
        }
        "PodTemplate" => Some(&object["template"]),
        _ => None,
    }
}

fn judge(request: &Request<'_>, object: &Value, pod: &Value, enforced: bool) -> Result<(), Error> {
    let exemptions = &request.pod_security.exemptions;
    let class = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default();
    let exempt = [
        ("namespace", exemptions.namespaces.contains(&request.target.namespace)),
        ("user", exemptions.usernames.contains(&request.user.name)),
        ("runtimeClass", exemptions.runtime_classes.iter().any(|c| c == class)),
    ];
    if let Some((why, _)) = exempt.iter().find(|(_, exempt)| *exempt) {
        annotate(request, "exempt", (*why).to_owned());
        return Ok(());
    }
    let (policy, errors) = policy_of(request);
    if !errors.is_empty() {
        annotate(request, "error", format!("Failed to parse policy: {}", errors.join(", ")));
    }
    let complaint = |standard: Standard| {
        let found = pod_standards::violations(standard, pod);
        (!found.is_empty()).then(|| format!("violate PodSecurity {:?}: {}", standard.to_string(), found.join(", ")))
    };
    if let Some(text) = complaint(policy.audit) {
        annotate(request, "audit-violations", format!("would {text}"));
    }
    if enforced {
        annotate(request, "enforce-policy", policy.enforce.to_string());
        if let Some(text) = complaint(policy.enforce) {
            return Err(refuse(request, object, text.replacen("violate", "violates", 1)));
        }
    }
    if let Some(text) = complaint(policy.warn) {
        request.warnings.borrow_mut().push(format!("would {text}"));
    }
    Ok(())
}

fn annotate(request: &Request<'_>, key: &str, value: String) {
    request.audit.set(format!("{PREFIX}{key}"), value);
}

/// The policy of the request's namespace, and what is wrong with its labels.
fn policy_of(request: &Request<'_>) -> (Policy, Vec<String>) {
    let (resource, name) = (Objects::NAMESPACES.into(), request.target.namespace.as_str().into());
    let key = Key { resource, namespace: "".into(), name };
    let labels = request.snapshot.get(&key).map(|n| &n.meta.labels);
    let labels = labels.into_iter().flat_map(|l| l.iter()).map(|(key, value)| (&**key, &**value));
    let (policy, errors) = request.pod_security.defaults.of(labels);
    (policy, errors.iter().map(ToString::to_string).collect())
}

/// Labels must be right; a stricter `enforce` warns about the pods that are there.
fn namespace(request: &Request<'_>, namespace: &Value) -> Result<(), Error> {
    let (new, errors) = labelled(request, namespace);
    let Some(old) = request.old else { return invalid(namespace, errors) };
    let (old, old_errors) = labelled(request, old);
    if errors != old_errors {
        invalid(namespace, errors)?;
    }
    let (new, old) = (new.enforce, old.enforce);
    let relaxed = new.version == old.version && new.level <= old.level;
    let name = meta::text(namespace, "name");
    if new.level == Level::Privileged || relaxed {
        return Ok(());
    }
    if request.pod_security.exemptions.namespaces.iter().any(|n| n == name) {
        annotate(request, "exempt", "namespace".to_owned());
        return Ok(());
    }
    request.warnings.borrow_mut().extend(warnings_of(request, name, new));
    Ok(())
}

fn labelled(request: &Request<'_>, namespace: &Value) -> (Policy, Vec<crate::registry::FieldError>) {
    let labels = namespace["metadata"]["labels"].as_object().into_iter().flatten();
    request.pod_security.defaults.of(labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))))
}

fn invalid(namespace: &Value, errors: Vec<crate::registry::FieldError>) -> Result<(), Error> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = meta::text(namespace, "name").to_owned();
    Err(Error::Invalid { kind: "Namespace".into(), group: String::new(), name, errors })
}

/// What to warn of when a namespace with pods is to have this standard.
fn warnings_of(request: &Request<'_>, namespace: &str, standard: Standard) -> Vec<String> {
    let pods = prioritized(request, request.snapshot, namespace);
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for pod in pods.iter().take(MAX_PODS) {
        let violations = pod_standards::violations(standard, pod);
        if !violations.is_empty() {
            let reasons: Vec<&str> = violations.iter().map(|v| pod_standards::reason(v)).collect();
            found.entry(reasons.join(", ")).or_default().insert(meta::text(pod, "name"));
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > MAX_PODS {
        let all = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS} of {all} existing pods"
        ));
    }
    if !found.is_empty() {
        let standard = standard.to_string();
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {standard:?}"
        ));
    }
    let mut lines: Vec<String> = found.iter().map(|(reasons, names)| line(reasons, names)).collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

fn line(reasons: &str, names: &BTreeSet<&str>) -> String {
    let first = names.first().copied().unwrap_or_default();
    match names.len() {
        0 | 1 => format!("{first}: {reasons}"),
        2 => format!("{first} (and 1 other pod): {reasons}"),
        more => format!("{first} (and {} other pods): {reasons}", more - 1),
    }
}

/// The pods of a namespace that are not exempt; one of each controller comes before its siblings.
fn prioritized(request: &Request<'_>, snapshot: &Snapshot, namespace: &str) -> Vec<Value> {
    let exempt = &request.pod_security.exemptions.runtime_classes;
    let (mut first, mut siblings, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for pod in snapshot.list(&Objects::PODS.into(), Some(namespace)).filter_map(|o| o.parse::<Value>().ok()) {
        if pod["spec"]["runtimeClassName"].as_str().is_some_and(|class| exempt.iter().any(|c| c == class)) {
            continue;
        }
        let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let owner = owners.filter(|o| o["controller"] == true).find_map(|o| o["uid"].as_str()).map(str::to_owned);
        let known = owner.is_some_and(|owner| !seen.insert(owner));
        if known { siblings.push(pod) } else { first.push(pod) }
    }
    first.extend(siblings);
    first
}

/// Whether an update of a pod changes what is judged: of what can change, images and seccomp annotations.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let list = |pod: &Value, field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    let seccomp = |pod: &Value| -> Vec<(String, Value)> {
        let all = pod["metadata"]["annotations"].as_object().into_iter().flatten();
        let ours = all.filter(|(key, _)| key.contains("seccomp.security.alpha.kubernetes.io/"));
        ours.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let images = |pod: &Value, field: &str| -> Vec<(Value, Value)> {
        list(pod, field).iter().map(|c| (c["name"].clone(), c["image"].clone())).collect()
    };
    ["containers", "initContainers", "ephemeralContainers"].iter().any(|f| images(pod, f) != images(old, f))
        || seccomp(pod) != seccomp(old)
}
