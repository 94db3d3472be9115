//! Validation of containers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::volumes::Volumes;
use super::{contexts, env, mounts, probes, resources};
use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::json::{get, int, is_true, list, text};
use crate::registry::names::{dns_label, port_name, port_number};

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const NO_FIELD: &str = "cannot be set for an Ephemeral Container";
const MESSAGE_POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
const RESIZED: [&str; 2] = ["cpu", "memory"];
const RESIZE_POLICIES: [&str; 2] = ["NotRequired", "RestartContainer"];

/// What ephemeral containers may not have, in the order in which Kubernetes looks.
const NOT_EPHEMERAL: [&str; 8] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Validates the containers of a pod spec, of every sort.
pub(super) fn all(spec: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    normal(spec, volumes, &mut names, &path.child("containers"), errors);
    init(spec, volumes, &mut names, &path.child("initContainers"), errors);
    ephemeral(spec, volumes, &mut names, &path.child("ephemeralContainers"), errors);
}

/// The containers that a pod spec has, with their paths, in the order in which Kubernetes visits them.
pub(super) fn visit<'a>(spec: &'a Value, path: &'a Path) -> impl Iterator<Item = (&'a Value, Path)> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |field| {
        let path = path.child(field);
        list(spec, field).iter().enumerate().map(move |(i, container)| (container, path.index(i)))
    })
}

fn normal<'a>(spec: &'a Value, volumes: &Volumes<'_>, names: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    let containers = list(spec, "containers");
    if containers.is_empty() {
        errors.required(path, "");
    }
    for (i, container) in containers.iter().enumerate() {
        let path = path.index(i);
        one(container, spec, volumes, &path, errors);
        unique_name(container, names, &path, errors);
        running(container, grace(spec), &path, errors);
        if get(container, "restartPolicy").is_some() {
            errors.forbidden(&path.child("restartPolicy"), "may not be set for non-init containers");
        }
    }
    let mut taken = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        host_ports(container, &mut taken, &path.index(i), errors);
    }
}

fn init<'a>(spec: &'a Value, volumes: &Volumes<'_>, names: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    for (i, container) in list(spec, "initContainers").iter().enumerate() {
        let own = path.index(i);
        one(container, spec, volumes, &own, errors);
        let policy = text(container, "restartPolicy");
        if get(container, "restartPolicy").is_some() && policy != "Always" {
            errors.not_supported(&own.child("restartPolicy"), policy, &["Always"]);
        }
        unique_name(container, names, &own, errors);
        // Init containers run one by one, so only their own ports can collide. Kubernetes names the first container.
        host_ports(container, &mut BTreeSet::new(), &path.index(0), errors);
        if policy == "Always" {
            running(container, grace(spec), &own, errors);
        } else {
            not_for_init(container, &own, errors);
        }
    }
}

fn grace(spec: &Value) -> Option<i64> {
    int(spec, "terminationGracePeriodSeconds")
}

fn ephemeral<'a>(
    spec: &'a Value,
    volumes: &Volumes<'_>,
    names: &mut BTreeSet<&'a str>,
    path: &Path,
    errors: &mut Errors,
) {
    let others = names.clone();
    for (i, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = path.index(i);
        one(container, spec, volumes, &path, errors);
        image_whitespace(container, &path, errors);
        unique_name(container, names, &path, errors);
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        for field in NOT_EPHEMERAL {
            if get(container, field).is_some_and(is_set) {
                errors.forbidden(&path.child(field), NO_FIELD);
            }
        }
        for (j, mount) in list(container, "volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !text(mount, field).is_empty() {
                    errors.forbidden(&path.child("volumeMounts").index(j).child(field), NO_FIELD);
                }
            }
        }
    }
}

/// Validates that an image has no spaces around it.
pub(super) fn image_whitespace(container: &Value, path: &Path, errors: &mut Errors) {
    let image = text(container, "image");
    if image.trim() != image {
        errors.invalid(&path.child("image"), quoted(image), "must not have leading or trailing whitespace");
    }
}

/// Whether a field holds anything.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn unique_name<'a>(container: &'a Value, names: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    let name = text(container, "name");
    if !names.insert(name) {
        errors.duplicate(&path.child("name"), quoted(name));
    }
}

/// Validates what containers of every sort have.
fn one(container: &Value, spec: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    match text(container, "name") {
        "" => errors.required(&path.child("name"), ""),
        name => errors.invalid_text(&path.child("name"), name, dns_label(name)),
    }
    if text(container, "image").is_empty() {
        errors.required(&path.child("image"), "");
    }
    let policy = text(container, "terminationMessagePolicy");
    one_of(policy, &MESSAGE_POLICIES, &path.child("terminationMessagePolicy"), errors);
    ports(container, &path.child("ports"), errors);
    env::env(container, &path.child("env"), errors);
    env::env_from(container, &path.child("envFrom"), errors);
    mounts::mounts(container, volumes, &path.child("volumeMounts"), errors);
    mounts::devices(container, volumes, &path.child("volumeDevices"), errors);
    pull_policy(text(container, "imagePullPolicy"), &path.child("imagePullPolicy"), errors);
    if let Some(requirements) = get(container, "resources") {
        resources::requirements(requirements, &path.child("resources"), errors);
    }
    resize_policies(container, text(spec, "restartPolicy"), &path.child("resizePolicy"), errors);
    if let Some(context) = get(container, "securityContext") {
        contexts::of_container(context, spec, &path.child("securityContext"), errors);
    }
}

/// Validates when an image is pulled.
pub(super) fn pull_policy(policy: &str, path: &Path, errors: &mut Errors) {
    one_of(policy, &PULL_POLICIES, path, errors);
}

/// Validates that one of the supported values is given.
pub(crate) fn one_of(value: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(path, "");
    } else if !supported.contains(&value) {
        errors.not_supported(path, value, supported);
    }
}

/// Kubernetes names the list here, not the item.
fn resize_policies(container: &Value, restarts: &str, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, item) in list(container, "resizePolicy").iter().enumerate() {
        let (resource, policy) = (text(item, "resourceName"), text(item, "restartPolicy"));
        if !seen.insert(resource) {
            errors.duplicate(&path.index(i), quoted(resource));
        }
        one_of(resource, &RESIZED, path, errors);
        one_of(policy, &RESIZE_POLICIES, path, errors);
        if restarts == "Never" && policy != "NotRequired" {
            errors.invalid(path, quoted(policy), "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

/// What only containers that keep running may have.
fn running(container: &Value, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(lifecycle) = get(container, "lifecycle") {
        probes::lifecycle(lifecycle, grace, &path.child("lifecycle"), errors);
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = get(container, kind) else { continue };
        probes::probe(probe, &path.child(kind), errors);
        if kind == "readinessProbe" {
            probes::no_grace_period(probe, &path.child(kind), errors);
        } else {
            probes::single_success(probe, &path.child(kind), errors);
        }
    }
}

fn not_for_init(container: &Value, path: &Path, errors: &mut Errors) {
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if get(container, field).is_some() {
            errors.forbidden(&path.child(field), "may not be set for init containers without restartPolicy=Always");
        }
    }
    if let Some(policies) = get(container, "resizePolicy").filter(|policies| is_set(policies)) {
        errors.invalid(&path.child("resizePolicy"), shown(policies), "must not be set for init containers");
    }
}

fn ports(container: &Value, path: &Path, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let path = path.index(i);
        let name = text(port, "name");
        let complaints = if name.is_empty() { Vec::new() } else { port_name(name) };
        if complaints.is_empty() && !name.is_empty() && !names.insert(name) {
            errors.duplicate(&path.child("name"), quoted(name));
        }
        errors.invalid_text(&path.child("name"), name, complaints);
        match int(port, "containerPort").unwrap_or(0) {
            0 => errors.required(&path.child("containerPort"), ""),
            number => numbered(number, &path.child("containerPort"), errors),
        }
        if let Some(number) = int(port, "hostPort").filter(|n| *n != 0) {
            numbered(number, &path.child("hostPort"), errors);
        }
        protocol(port, &path, errors);
    }
}

fn numbered(number: i64, path: &Path, errors: &mut Errors) {
    if let Some(complaint) = port_number(number) {
        errors.invalid(path, number.to_string(), complaint);
    }
}

/// Validates the `protocol` of a port.
pub(crate) fn protocol(port: &Value, path: &Path, errors: &mut Errors) {
    one_of(text(port, "protocol"), &PROTOCOLS, &path.child("protocol"), errors);
}

fn host_ports(container: &Value, taken: &mut BTreeSet<String>, path: &Path, errors: &mut Errors) {
    for (i, port) in list(container, "ports").iter().enumerate() {
        let Some(number) = int(port, "hostPort").filter(|n| *n != 0) else { continue };
        let place = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
        if taken.contains(&place) {
            errors.duplicate(&path.child("ports").index(i).child("hostPort"), quoted(&place));
        }
        taken.insert(place);
    }
}

/// With the network of the host, containers listen on its ports. A template may leave them out; a pod gets them.
pub(super) fn host_network(spec: &Value, path: &Path, errors: &mut Errors) {
    if !is_true(spec, "hostNetwork") {
        return;
    }
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            let number = int(port, "hostPort").unwrap_or(0);
            if number != 0 && Some(number) != int(port, "containerPort") {
                let path = path.child("containers").index(i).child("ports").index(j).child("hostPort");
                errors.invalid(&path, number.to_string(), "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            resize_policies(
                &json!({"resizePolicy": policies}),
                if never_restarts { "Never" } else { "Always" },
                &Path::new("p"),
                &mut errors,
            );
            let found: Vec<_> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{policies}");
        }
    }
}
