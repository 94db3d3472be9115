//! Validation of containers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{env, probes, resources, volumes};
use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::json::{get, int, is_true, list, text};
use crate::registry::names::{dns_label, port_name, port_number};

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const NO_FIELD: &str = "cannot be set for an Ephemeral Container";
const MESSAGE_POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];

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
pub(super) fn all(spec: &Value, path: &Path, errors: &mut Errors) {
    let volumes: BTreeSet<&str> = list(spec, "volumes").iter().map(|v| text(v, "name")).collect();
    let containers = list(spec, "containers");
    let containers_path = path.child("containers");
    if containers.is_empty() {
        errors.required(&containers_path, "");
    }
    let mut names = BTreeSet::new();
    let never_restarts = text(spec, "restartPolicy") == "Never";
    for (i, container) in containers.iter().enumerate() {
        let path = containers_path.index(i);
        one(container, &volumes, &path, errors);
        resources::resize_policy(container, never_restarts, &path.child("resizePolicy"), errors);
        unique_name(container, &mut names, &path, errors);
        running(container, &path, errors);
        if get(container, "restartPolicy").is_some() {
            errors.forbidden(&path.child("restartPolicy"), "may not be set for non-init containers");
        }
    }
    let mut taken = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        host_ports(container, &mut taken, &containers_path.index(i), errors);
    }

    let init_path = path.child("initContainers");
    for (i, container) in list(spec, "initContainers").iter().enumerate() {
        let path = init_path.index(i);
        one(container, &volumes, &path, errors);
        unique_name(container, &mut names, &path, errors);
        // Init containers run one by one, so only their own ports can collide.
        host_ports(container, &mut BTreeSet::new(), &path, errors);
        match text(container, "restartPolicy") {
            "Always" => {
                running(container, &path, errors);
                resources::resize_policy(container, never_restarts, &path.child("resizePolicy"), errors);
            }
            "" => not_for_init(container, &path, errors),
            other => errors.not_supported(&path.child("restartPolicy"), other, &["Always"]),
        }
    }
    ephemeral(spec, &volumes, &mut names, &path.child("ephemeralContainers"), errors);
    if is_true(spec, "hostNetwork") {
        host_network(containers, &containers_path, errors);
    }
}

fn ephemeral<'a>(
    spec: &'a Value,
    volumes: &BTreeSet<&str>,
    names: &mut BTreeSet<&'a str>,
    path: &Path,
    errors: &mut Errors,
) {
    let others = names.clone();
    for (i, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = path.index(i);
        one(container, volumes, &path, errors);
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
    if !name.is_empty() && !names.insert(name) {
        errors.duplicate(&path.child("name"), quoted(name));
    }
}

fn one(container: &Value, volumes: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    match text(container, "name") {
        "" => errors.required(&path.child("name"), ""),
        name => errors.invalid_text(&path.child("name"), name, dns_label(name)),
    }
    if text(container, "image").is_empty() {
        errors.required(&path.child("image"), "");
    }
    match text(container, "terminationMessagePolicy") {
        "" => errors.required(&path.child("terminationMessagePolicy"), ""),
        policy if MESSAGE_POLICIES.contains(&policy) => {}
        policy => errors.not_supported(&path.child("terminationMessagePolicy"), policy, &MESSAGE_POLICIES),
    }
    ports(container, &path.child("ports"), errors);
    env::env(container, &path.child("env"), errors);
    env::env_from(container, &path.child("envFrom"), errors);
    volumes::mounts(container, volumes, &path.child("volumeMounts"), errors);
    match text(container, "imagePullPolicy") {
        "" => errors.required(&path.child("imagePullPolicy"), ""),
        policy if PULL_POLICIES.contains(&policy) => {}
        policy => errors.not_supported(&path.child("imagePullPolicy"), policy, &PULL_POLICIES),
    }
    if let Some(requirements) = get(container, "resources") {
        resources::requirements(requirements, &path.child("resources"), errors);
    }
    if let Some(context) = get(container, "securityContext") {
        security_context(context, &path.child("securityContext"), errors);
    }
}

/// What only containers that keep running may have.
fn running(container: &Value, path: &Path, errors: &mut Errors) {
    if let Some(lifecycle) = get(container, "lifecycle") {
        probes::lifecycle(lifecycle, &path.child("lifecycle"), errors);
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
    match text(port, "protocol") {
        "" => errors.required(&path.child("protocol"), ""),
        protocol if PROTOCOLS.contains(&protocol) => {}
        protocol => errors.not_supported(&path.child("protocol"), protocol, &PROTOCOLS),
    }
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

fn host_network(containers: &[Value], path: &Path, errors: &mut Errors) {
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            // A template may leave the host port out; a pod gets it by default.
            let number = int(port, "hostPort").unwrap_or(0);
            if number != 0 && Some(number) != int(port, "containerPort") {
                let path = path.index(i).child("ports").index(j).child("hostPort");
                errors.invalid(&path, number.to_string(), "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn security_context(context: &Value, path: &Path, errors: &mut Errors) {
    for field in ["runAsUser", "runAsGroup"] {
        if let Some(id) = int(context, field).filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
            errors.invalid(&path.child(field), id.to_string(), "must be between 0 and 2147483647, inclusive");
        }
    }
    if context.get("allowPrivilegeEscalation").and_then(Value::as_bool) == Some(false) && is_true(context, "privileged")
    {
        errors.invalid(path, shown(context), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
}
