//! `v1` Node.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::registry::excerpt::{Field, fields};
use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, entries, get, get_mut, is_true, list, list_at, set, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, or_none, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec, warnings};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";
const SYSTEM_UNKNOWN: &str = "<unknown>";

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "Node",
        list_kind: "NodeList",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        categories: &[],
        namespaced: false,
        subresources: &["proxy", "status"],
        schema: "io.k8s.api.core.v1.Node",
        storage: "nodes".into(),
        // Unlike most, a node may be created with its status: it registers itself.
        hooks: Hooks {
            default,
            prepare_update: keep_status,
            validate,
            warn: warnings::node,
            field,
            columns: COLUMNS,
            row,
            row_fields: ROW_FIELDS,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Status", "The status of the node"),
    text_column("Roles", "The roles of the node"),
    AGE,
    text_column("Version", "Kubelet Version reported by the node."),
    wide(text_column(
        "Internal-IP",
        "List of addresses reachable to the node. Queried from cloud provider, if available.",
    )),
    wide(text_column(
        "External-IP",
        "List of addresses reachable to the node. Queried from cloud provider, if available.",
    )),
    wide(text_column(
        "OS-Image",
        "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).",
    )),
    wide(text_column(
        "Kernel-Version",
        "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).",
    )),
    wide(text_column(
        "Container-Runtime",
        "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
    )),
];

/// `podCIDR` is the older name of the first of `podCIDRs`.
fn first_range(spec: &mut Value) {
    let range = text(spec, "podCIDR").to_owned();
    let first = texts(spec, "podCIDRs").first().map(|first| (*first).to_owned());
    match first {
        None if !range.is_empty() => set(spec, "podCIDRs", vec![range]),
        Some(first) if range.is_empty() => set(spec, "podCIDR", first),
        Some(first) if first != range => set(spec, "podCIDRs", vec![range]),
        None | Some(_) => {}
    }
}

fn default(node: &mut Value) {
    if let Some(spec) = get_mut(node, "spec") {
        first_range(spec);
    }
    let Some(status) = get_mut(node, "status") else { return };
    for list in ["capacity", "allocatable"] {
        if let Some(list) = get_mut(status, list) {
            podspec::canonical(list);
        }
    }
    if get(status, "allocatable").is_none()
        && let Some(capacity) = get(status, "capacity").cloned()
    {
        set(status, "allocatable", capacity);
    }
}

fn validate(node: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(node, old, false, names::dns_subdomain, &mut errors);
    let spec = node.get("spec").unwrap_or(&Value::Null);
    // Kubernetes' own field here, though taints are in `spec`.
    taints(spec, &Path::new("metadata").child("taints"), &mut errors);
    let status = Path::new("status");
    for field in ["capacity", "allocatable"] {
        podspec::resource_list(at(node, &["status", field]), &status.child(field), &mut errors);
    }
    match old {
        None => pod_ranges(spec, &Path::new("spec").child("podCIDRs"), &mut errors),
        Some(old) => {
            addresses(node, &mut errors);
            unchanged(spec, old.get("spec").unwrap_or(&Value::Null), &Path::new("spec"), &mut errors);
        }
    }
    errors.into_vec()
}

/// At most one range of each family of addresses.
fn pod_ranges(spec: &Value, path: &Path, errors: &mut Errors) {
    let ranges = texts(spec, "podCIDRs");
    for (i, range) in ranges.iter().enumerate() {
        errors.invalid_text(&path.index(i), range, names::cidr(range));
    }
    let sixth: BTreeSet<bool> = ranges.iter().map(|range| range.contains(':')).collect();
    if ranges.len() > 2 || ranges.len() == 2 && sixth.len() != 2 {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.invalid(path, shown(&spec["podCIDRs"]), detail);
    }
    let mut seen = BTreeSet::new();
    for (i, range) in ranges.iter().enumerate().filter(|(_, range)| !seen.insert(**range)) {
        errors.duplicate(&path.index(i), quoted(range));
    }
}

fn addresses(node: &Value, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, address) in list_at(node, &["status", "addresses"]).iter().enumerate() {
        let [kind, place] = ["type", "address"].map(|field| text(address, field));
        if !seen.insert((kind, place)) {
            let shown = format!("core.NodeAddress{{Type:{}, Address:{}}}", quoted(kind), quoted(place));
            errors.duplicate(&Path::new("status").child("addresses").index(i), shown);
        }
    }
}

fn unchanged(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let (new_ranges, old_ranges) = (texts(spec, "podCIDRs"), texts(old, "podCIDRs"));
    let changes = old_ranges.iter().zip(&new_ranges).filter(|(old, new)| old != new).count();
    let changes = if new_ranges.len() == old_ranges.len() { changes } else { 1 };
    for _ in 0..if old_ranges.is_empty() { 0 } else { changes } {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden(&path.child("podCIDRs"), detail);
    }
    let before = text(old, "providerID");
    if !before.is_empty() && before != text(spec, "providerID") {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(&path.child("providerID"), detail);
    }
    if text(spec, "externalID") != text(old, "externalID") {
        errors.forbidden(&path.child("externalID"), "may not be updated");
    }
}

fn taints(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, taint) in list(spec, "taints").iter().enumerate() {
        let path = path.index(i);
        let [key, value, effect] = ["key", "value", "effect"].map(|f| text(taint, f));
        errors.invalid_text(&path.child("key"), key, names::qualified_name(key));
        let complaints = names::label_value(value);
        if !complaints.is_empty() {
            errors.invalid(&path.child("value"), quoted(value), complaints.join(";"));
        }
        if effect.is_empty() {
            errors.required(&path.child("effect"), "");
        } else {
            podspec::taint_effect(effect, &path.child("effect"), errors);
        }
        if !seen.insert((key, effect)) {
            let shown = format!(
                "core.Taint{{Key:{}, Value:{}, Effect:{}, TimeAdded:<nil>}}",
                quoted(key),
                quoted(value),
                quoted(effect)
            );
            errors.duplicate_because(&path, shown, "taints must be unique by key and effect pair");
        }
    }
}

fn field(node: &Value, path: &str) -> Option<String> {
    (path == "spec.unschedulable").then(|| node.get("spec").is_some_and(|s| is_true(s, "unschedulable")).to_string())
}

/// What the row looks at; images and the rest of the status are not.
const ROW_FIELDS: &[Field] = fields! {
    metadata { name creationTimestamp labels }
    spec { unschedulable }
    status {
        addresses
        conditions { type status }
        nodeInfo { kubeletVersion osImage kernelVersion containerRuntimeVersion }
    }
};

fn row(node: &Value, now: i64) -> Vec<Value> {
    let info = |field| match text_at(node, &["status", "nodeInfo", field]) {
        "" => SYSTEM_UNKNOWN.to_owned(),
        text => text.to_owned(),
    };
    vec![
        printers::name(node),
        status(node).into(),
        roles(node).into(),
        printers::age(node, now),
        text_at(node, &["status", "nodeInfo", "kubeletVersion"]).into(),
        address(node, "InternalIP").into(),
        address(node, "ExternalIP").into(),
        info("osImage").into(),
        info("kernelVersion").into(),
        info("containerRuntimeVersion").into(),
    ]
}

fn status(node: &Value) -> String {
    let ready = list_at(node, &["status", "conditions"]).iter().find(|c| text(c, "type") == "Ready");
    let mut status = match ready.map(|c| text(c, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.get("spec").is_some_and(|s| is_true(s, "unschedulable")) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let roles: BTreeSet<&str> = entries(at(node, &["metadata", "labels"]))
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    or_none(&roles.into_iter().collect::<Vec<_>>().join(",")).to_owned()
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let found = list_at(node, &["status", "addresses"]).iter().find(|a| text(a, "type") == kind);
    found.map_or("<none>", |a| text(a, "address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::cells;
    use serde_json::json;

    #[test]
    fn printed() {
        let node = json!({
            "metadata": {"name": "n1", "creationTimestamp": "2025-12-31T23:59:00Z",
                "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/edge": "", "x": "y"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.33.0", "osImage": "Debian"}},
        });
        let cells = cells(&kind(), &node, 1_767_225_600);
        assert_eq!(
            cells,
            [
                json!("n1"),
                json!("NotReady,SchedulingDisabled"),
                json!("edge,worker"),
                json!("60s"),
                json!("v1.33.0"),
                json!("10.0.0.1"),
                json!("<none>"),
                json!("Debian"),
                json!("<unknown>"),
                json!("<unknown>"),
            ]
        );
        assert_eq!(cells.len(), COLUMNS.len());
        assert_eq!(row(&json!({}), 0)[1..3], [json!("Unknown"), json!("<none>")]);
        assert_eq!(field(&node, "spec.unschedulable").as_deref(), Some("true"));
        assert_eq!(field(&json!({}), "spec.unschedulable").as_deref(), Some("false"));
    }

    #[test]
    fn validation() {
        let node = |spec: Value| json!({"metadata": {"name": "n"}, "spec": spec});
        let texts = |n: &Value, old: Option<&Value>| -> Vec<String> {
            validate(n, old).iter().map(ToString::to_string).collect()
        };
        let taint = json!({"key": "a", "effect": "NoSchedule"});
        assert_eq!(texts(&node(json!({"taints": [taint]})), None), Vec::<String>::new());
        assert_eq!(
            texts(&node(json!({"taints": [{"key": "a"}]})), None),
            ["metadata.taints[0].effect: Required value"]
        );
        assert_eq!(validate(&node(json!({"taints": [taint, taint]})), None).len(), 1);
        assert_eq!(
            texts(&node(json!({"podCIDRs": ["10.1.0.0/24"]})), Some(&node(json!({"podCIDRs": ["10.2.0.0/24"]})))),
            ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",]
        );
    }

    #[test]
    fn ranges_of_pods() {
        for (ranges, expected) in [
            (json!(["10.1.0.0/24", "fd00::/64"]), vec![]),
            (
                json!(["x"]),
                vec![
                    "spec.podCIDRs[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ],
            ),
            (
                json!(["10.1.0.0/24", "10.1.0.0/24"]),
                vec![
                    "spec.podCIDRs: Invalid value: []string{\"10.1.0.0/24\", \"10.1.0.0/24\"}: may specify no more than one CIDR for each IP family",
                    "spec.podCIDRs[1]: Duplicate value: \"10.1.0.0/24\"",
                ],
            ),
        ] {
            let node = json!({"metadata": {"name": "n"}, "spec": {"podCIDRs": ranges}});
            let texts: Vec<String> = validate(&node, None).iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{node}");
        }
        let mut node = json!({"spec": {"podCIDR": "10.1.0.0/24"}});
        default(&mut node);
        assert_eq!(node["spec"]["podCIDRs"], json!(["10.1.0.0/24"]));
    }

    #[test]
    fn allocatable_is_capacity() {
        let mut node = json!({"status": {"capacity": {"cpu": 2}}});
        default(&mut node);
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "2"}));
    }
}
