//! What a pod spec that is accepted is warned of: old names, fields without effect, and parts that hide each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::affinity::{PREFERRED, REQUIRED};
use super::annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD};
use super::containers::visit;
use super::resources::parse;
use crate::registry::fields::{Path, quoted};
use crate::registry::json::{at, entries, get, int, list, list_at, text};

const OLD_LABELS: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];

const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

/// Volumes that are deprecated or gone; those of PersistentVolumes are worded alike.
pub(crate) const OLD_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Pairs of ports that are compared: a body has room for ports that make thousands of millions.
const COMPARED_PORTS: usize = 10_000;
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const PROFILE_FIELD: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

/// What a pod, or the template at `template`, is warned of.
pub(crate) fn warnings(pod: &Value, template: Option<&Path>) -> Vec<String> {
    let whole = Path::new("");
    let root = template.unwrap_or(&whole);
    let (path, spec) = (root.child("spec"), pod.get("spec").unwrap_or(&Value::Null));
    let annotated =
        Annotated { all: at(pod, &["metadata", "annotations"]), path: root.child("metadata").child("annotations") };
    let mut said = Vec::new();
    selectors(spec, &path, &mut said);
    for (key, message) in OLD_ANNOTATIONS {
        annotated.warn(key, message, &mut said);
    }
    volumes(spec, &path, &mut said);
    repeated(spec, "hostAliases", "ip", &path, &mut said);
    repeated(spec, "imagePullSecrets", "name", &path, &mut said);
    for (i, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            said.push(format!("{}: invalid empty name \"\"", path.child("imagePullSecrets").index(i).child("name")));
        }
    }
    fractional(spec.get("overhead"), &path.child("overhead"), &mut said);
    if at(spec, &["securityContext", "seccompProfile"]).is_none() {
        annotated.warn(SECCOMP_POD, PROFILE_FIELD, &mut said);
    }
    for (container, path) in visit(spec, &path) {
        of_container(container, &path, &annotated, &mut said);
        if template.is_some() && at(spec, &["securityContext", "appArmorProfile"]).is_none() {
            old_app_armor(container, &annotated, &mut said);
        }
    }
    ports(spec, &path, &mut said);
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let path = path.child("terminationGracePeriodSeconds");
        said.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    pod_affinity(spec, &path.child("affinity"), &mut said);
    said
}

/// Why a label of nodes should no longer be used.
pub(crate) fn old_label(key: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(old, _)| *old == key).map(|(_, message)| *message)
}

/// The old labels in the terms of a node selector.
pub(crate) fn node_terms(terms: &[Value], path: &Path, said: &mut Vec<String>) {
    for (i, term) in terms.iter().enumerate() {
        node_term(term, &path.index(i), said);
    }
}

fn node_term(term: &Value, path: &Path, said: &mut Vec<String>) {
    for (i, expression) in list(term, "matchExpressions").iter().enumerate() {
        old_key(text(expression, "key"), &path.child("matchExpressions").index(i).child("key"), said);
    }
}

/// Warns of an old label that a field names.
pub(crate) fn old_key(key: &str, path: &Path, said: &mut Vec<String>) {
    if let Some(message) = old_label(key) {
        said.push(format!("{path}: {key} is {message}"));
    }
}

/// Amounts of bytes that are no whole number.
pub(crate) fn fractional_amount(amounts: Option<&Value>, name: &str, path: &Path, said: &mut Vec<String>) {
    let amount = amounts.and_then(|a| a.get(name)).and_then(parse);
    if let Some(amount) = amount.filter(|a| a.milli() % 1000 != 0) {
        let (path, amount) = (path.key(name), quoted(&amount.to_string()));
        said.push(format!("{path}: fractional byte value {amount} is invalid, must be an integer"));
    }
}

fn fractional(amounts: Option<&Value>, path: &Path, said: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        fractional_amount(amounts, name, path, said);
    }
}

struct Annotated<'a> {
    all: Option<&'a Value>,
    path: Path,
}

impl Annotated<'_> {
    fn warn(&self, key: &str, message: &str, said: &mut Vec<String>) {
        if self.all.is_some_and(|all| all.get(key).is_some()) {
            said.push(format!("{}: {message}", self.path.key(key)));
        }
    }
}

fn selectors(spec: &Value, path: &Path, said: &mut Vec<String>) {
    for (key, _) in entries(spec.get("nodeSelector")) {
        if let Some(message) = old_label(key) {
            said.push(format!("{}: {message}", path.child("nodeSelector").key(key)));
        }
    }
    let node = path.child("affinity").child("nodeAffinity");
    let terms = list_at(spec, &["affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms"]);
    node_terms(terms, &node.child(REQUIRED).child("nodeSelectorTerms"), said);
    for (i, wish) in list_at(spec, &["affinity", "nodeAffinity", PREFERRED]).iter().enumerate() {
        let path = node.child(PREFERRED).index(i).child("preference");
        node_term(wish.get("preference").unwrap_or(&Value::Null), &path, said);
    }
    for (i, spread) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(i);
        old_key(text(spread, "topologyKey"), &path.child("topologyKey"), said);
        without_selector(spread, &path, said);
    }
}

fn without_selector(term: &Value, path: &Path, said: &mut Vec<String>) {
    if get(term, "labelSelector").is_none() {
        said.push(format!("{}: {NO_SELECTOR}", path.child("labelSelector")));
    }
}

fn pod_affinity(spec: &Value, path: &Path, said: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        for (i, term) in list_at(spec, &["affinity", kind, REQUIRED]).iter().enumerate() {
            without_selector(term, &path.child(REQUIRED).index(i), said);
        }
        for (i, wish) in list_at(spec, &["affinity", kind, PREFERRED]).iter().enumerate() {
            let path = path.child(PREFERRED).index(i).child("podAffinityTerm");
            without_selector(wish.get("podAffinityTerm").unwrap_or(&Value::Null), &path, said);
        }
    }
}

fn volumes(spec: &Value, path: &Path, said: &mut Vec<String>) {
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.child("volumes").index(i);
        for (kind, message) in OLD_VOLUMES {
            if get(volume, kind).is_some() {
                said.push(format!("{}: {message}", path.child(kind)));
            }
        }
        if let Some(claim) = at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]) {
            let path = path.child("ephemeral").child("volumeClaimTemplate").child("spec");
            claim_warnings(claim, &path, said);
        }
    }
}

/// What the spec of a claim for a volume is warned of.
pub(crate) fn claim_warnings(spec: &Value, path: &Path, said: &mut Vec<String>) {
    let path = path.child("resources").child("requests");
    fractional_amount(at(spec, &["resources", "requests"]), "storage", &path, said);
}

fn repeated(spec: &Value, field: &str, key: &str, path: &Path, said: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (i, item) in list(spec, field).iter().enumerate() {
        if !seen.insert(text(item, key)) {
            let value = quoted(text(item, key));
            said.push(format!("{}: duplicate {key} {value}", path.child(field).index(i).child(key)));
        }
    }
}

fn of_container(container: &Value, path: &Path, annotated: &Annotated<'_>, said: &mut Vec<String>) {
    if at(container, &["securityContext", "seccompProfile"]).is_none() {
        annotated.warn(&format!("{SECCOMP_CONTAINER}{}", text(container, "name")), PROFILE_FIELD, said);
    }
    for name in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            let amounts = at(container, &["resources", kind]);
            fractional_amount(amounts, name, &path.child("resources").child(kind), said);
        }
    }
    let mut seen = BTreeSet::new();
    for (i, variable) in list(container, "env").iter().enumerate() {
        let name = text(variable, "name");
        if !seen.insert(name) && hides(variable, name) {
            let (path, name) = (path.child("env").index(i), quoted(name));
            said.push(format!("{path}: hides previous definition of {name}, which may be dropped when using apply"));
        }
    }
}

/// Whether a variable takes the place of an earlier one, rather than adding to its value.
fn hides(variable: &Value, name: &str) -> bool {
    let (value, earlier) = (text(variable, "value"), format!("$({name})"));
    get(variable, "valueFrom").is_some() || value == earlier || !value.contains(&earlier)
}

fn old_app_armor(container: &Value, annotated: &Annotated<'_>, said: &mut Vec<String>) {
    if at(container, &["securityContext", "appArmorProfile"]).is_none() {
        let message = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
        annotated.warn(&format!("{APP_ARMOR}{}", text(container, "name")), message, said);
    }
}

fn ports(spec: &Value, path: &Path, said: &mut Vec<String>) {
    let mut seen: BTreeMap<(i64, &str), Vec<(Path, &Value)>> = BTreeMap::new();
    let mut pairs = COMPARED_PORTS;
    for (container, path) in visit(spec, path) {
        for (i, port) in list(container, "ports").iter().enumerate() {
            let path = path.child("ports").index(i);
            let (host, number) = (int(port, "hostPort").unwrap_or(0), int(port, "containerPort").unwrap_or(0));
            let (address, protocol) = (text(port, "hostIP"), text(port, "protocol"));
            if !address.is_empty() && host == 0 {
                let name = text(port, "name");
                said.push(format!(
                    "{path}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{address}}}"
                ));
            }
            let others = seen.entry((number, protocol)).or_default();
            for (other, o) in others.iter().take(pairs) {
                said.extend(clash(port, o).map(|how| format!("{path}: {how} with {other}")));
            }
            pairs = pairs.saturating_sub(others.len());
            others.push((path, port));
        }
    }
}

/// How two definitions of one port of a pod stand to each other.
fn clash(port: &Value, other: &Value) -> Option<&'static str> {
    let (address, other_address) = (text(port, "hostIP"), text(other, "hostIP"));
    let (number, other_number) = (int(port, "hostPort").unwrap_or(0), int(other, "hostPort").unwrap_or(0));
    if (address, number) == (other_address, other_number) {
        Some("duplicate port definition")
    } else if number == 0 || other_number == 0 {
        Some("overlapping port definition")
    } else if number == other_number && address.is_empty() != other_address.is_empty() {
        Some("dangerously ambiguous port definition")
    } else {
        None
    }
}
