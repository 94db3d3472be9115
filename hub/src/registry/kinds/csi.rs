//! `storage.k8s.io/v1` CSIDriver, CSINode and VolumeAttachment.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::registry::fields::{Errors, IMMUTABLE, Path, quoted};
use crate::registry::go_values::{shown_list, shown_pointer, shown_struct};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{
    at, ensure, entries, get, int, int_at, is_true, list, list_at, same, set, set_default, set_missing, text, text_at,
    texts,
};
use crate::registry::printers::{self, AGE, NAME, integer, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

const LIFECYCLE_MODES: [&str; 2] = ["Persistent", "Ephemeral"];
const TOKEN_SECONDS_MIN: i64 = 600;
const DRIVER_NAME_MAX: usize = 63;
const NODE_ID_MAX: usize = 256;
const METADATA_MAX: usize = 256 << 10;
const MESSAGE_MAX: usize = 1024;
const GROUP_POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];

/// The row of CSIDriver.
pub(in crate::registry) fn driver() -> Kind {
    Kind {
        group: "storage.k8s.io",
        version: "v1",
        kind: "CSIDriver",
        list_kind: "CSIDriverList",
        plural: "csidrivers",
        singular: "csidriver",
        short_names: &[],
        categories: &[],
        namespaced: false,
        subresources: &[],
        schema: "io.k8s.api.storage.v1.CSIDriver",
        storage: "csidrivers.storage.k8s.io".into(),
        hooks: Hooks {
            default: default_driver,
            validate: validate_driver,
            columns: DRIVER_COLUMNS,
            row: driver_row,
            ..PLAIN
        },
    }
}

/// The row of CSINode.
pub(in crate::registry) fn node() -> Kind {
    Kind {
        kind: "CSINode",
        list_kind: "CSINodeList",
        plural: "csinodes",
        singular: "csinode",
        schema: "io.k8s.api.storage.v1.CSINode",
        storage: "csinodes.storage.k8s.io".into(),
        hooks: Hooks { validate: validate_node, columns: NODE_COLUMNS, row: node_row, ..PLAIN },
        ..driver()
    }
}

/// The row of VolumeAttachment.
pub(in crate::registry) fn attachment() -> Kind {
    Kind {
        kind: "VolumeAttachment",
        list_kind: "VolumeAttachmentList",
        plural: "volumeattachments",
        singular: "volumeattachment",
        subresources: &["status"],
        schema: "io.k8s.api.storage.v1.VolumeAttachment",
        storage: "volumeattachments.storage.k8s.io".into(),
        hooks: Hooks {
            prepare_create: |object| set(object, "status", json!({"attached": false})),
            prepare_update: keep_status,
            validate: validate_attachment,
            columns: ATTACHMENT_COLUMNS,
            row: attachment_row,
            ..PLAIN
        },
        ..driver()
    }
}

const fn flag(name: &'static str, description: &'static str) -> Column {
    Column { kind: "boolean", ..text_column(name, description) }
}

const DRIVER_COLUMNS: &[Column] = &[
    NAME,
    flag("AttachRequired", "attachRequired indicates this CSI volume driver requires an attach operation."),
    flag("PodInfoOnMount", "podInfoOnMount indicates this CSI volume driver requires additional pod information."),
    flag(
        "StorageCapacity",
        "storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage capacity that the driver deployment will report.",
    ),
    text_column(
        "TokenRequests",
        "tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for to do necessary authentication.",
    ),
    flag(
        "RequiresRepublish",
        "requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to reflect any possible change in the mounted volume.",
    ),
    text_column("Modes", "volumeLifecycleModes defines what kind of volumes this CSI volume driver supports."),
    AGE,
];
const NODE_COLUMNS: &[Column] =
    &[NAME, integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node"), AGE];
const ATTACHMENT_COLUMNS: &[Column] = &[
    NAME,
    Column {
        format: "name",
        ..text_column("Attacher", "attacher indicates the name of the volume driver that MUST handle this request.")
    },
    text_column("PV", "persistentVolumeName represents the name of the persistent volume to attach."),
    text_column("Node", "nodeName represents the node that the volume should be attached to."),
    flag("Attached", "attached indicates the volume is successfully attached."),
    AGE,
];

fn default_driver(driver: &mut Value) {
    let Some(spec) = ensure(driver, "spec") else { return };
    set_default(spec, "attachRequired", true);
    for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        set_default(spec, field, false);
    }
    set_missing(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if texts(spec, "volumeLifecycleModes").is_empty() {
        set(spec, "volumeLifecycleModes", json!(["Persistent"]));
    }
}

fn validate_driver(driver: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(driver, old, false, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = driver.get("spec").unwrap_or(&Value::Null);
    let policy = text(spec, "fsGroupPolicy");
    if !GROUP_POLICIES.contains(&policy) {
        errors.not_supported(&path.child("fsGroupPolicy"), policy, &GROUP_POLICIES);
    }
    token_requests(list(spec, "tokenRequests"), &path.child("tokenRequests"), &mut errors);
    let modes = texts(spec, "volumeLifecycleModes");
    for mode in modes.iter().filter(|m| !LIFECYCLE_MODES.contains(m)) {
        errors.not_supported(&path.child("volumeLifecycleModes"), mode, &LIFECYCLE_MODES);
    }
    if let Some(old) = old.and_then(|o| o.get("spec")) {
        // Kubernetes names the first field so.
        errors.immutable(&path.child("attachedRequired"), spec.get("attachRequired"), old.get("attachRequired"));
        if !same(spec.get("volumeLifecycleModes"), old.get("volumeLifecycleModes")) {
            let shown = shown_list("storage.VolumeLifecycleMode", &modes);
            errors.invalid(&path.child("volumeLifecycleModes"), shown, IMMUTABLE);
        }
    }
    errors.into_vec()
}

fn token_requests(requests: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, request) in requests.iter().enumerate() {
        let (path, audience) = (path.index(i), text(request, "audience"));
        if !seen.insert(audience) {
            errors.duplicate(&path.child("audience"), quoted(audience));
            continue;
        }
        let seconds = int(request, "expirationSeconds");
        let detail = match seconds {
            Some(seconds) if seconds < TOKEN_SECONDS_MIN => "may not specify a duration less than 10 minutes",
            Some(seconds) if seconds > 1 << 32 => "may not specify a duration larger than 2^32 seconds",
            Some(_) | None => continue,
        };
        errors.invalid(&path.child("expirationSeconds"), seconds.unwrap_or(0).to_string(), detail);
    }
}

fn driver_row(driver: &Value, now: i64) -> Vec<Value> {
    let spec = driver.get("spec").unwrap_or(&Value::Null);
    let audiences: Vec<&str> = list_at(spec, &["tokenRequests"]).iter().map(|r| text(r, "audience")).collect();
    let audiences = if get(spec, "tokenRequests").is_none() { "<unset>".to_owned() } else { audiences.join(",") };
    let modes = match texts(spec, "volumeLifecycleModes")[..] {
        [] => "<none>".to_owned(),
        ref modes => modes.join(","),
    };
    vec![
        printers::name(driver),
        get(spec, "attachRequired").is_none_or(|a| a.as_bool() == Some(true)).into(),
        is_true(spec, "podInfoOnMount").into(),
        is_true(spec, "storageCapacity").into(),
        audiences.into(),
        is_true(spec, "requiresRepublish").into(),
        modes.into(),
        printers::age(driver, now),
    ]
}

fn validate_node(node: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(node, old, false, names::dns_subdomain, &mut errors);
    let path = Path::new("spec").child("drivers");
    let mut seen = BTreeSet::new();
    let drivers = list_at(node, &["spec", "drivers"]);
    for (i, driver) in drivers.iter().enumerate() {
        node_driver(driver, &mut seen, &path.index(i), &mut errors);
    }
    for before in old.map(|old| list_at(old, &["spec", "drivers"])).unwrap_or_default() {
        for driver in drivers.iter().filter(|d| text(d, "name") == text(before, "name") && !same(Some(d), Some(before)))
        {
            errors.invalid(&path, shown_driver(driver), IMMUTABLE);
        }
    }
    errors.into_vec()
}

fn node_driver<'a>(driver: &'a Value, seen: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    let [name, id] = ["name", "nodeID"].map(|field| text(driver, field));
    driver_name(name, &path.child("name"), errors);
    if id.is_empty() {
        errors.required(&path.child("nodeID"), "");
    }
    if id.len() > NODE_ID_MAX {
        errors.invalid(&path.child("nodeID"), quoted(id), format!("must be {NODE_ID_MAX} characters or less"));
    }
    errors.non_negative(&path.child("allocatable").child("count"), int_at(driver, &["allocatable", "count"]));
    if !seen.insert(name) {
        errors.duplicate(&path.child("name"), quoted(name));
    }
    let mut keys = BTreeSet::new();
    for key in texts(driver, "topologyKeys") {
        if key.is_empty() {
            errors.required(path, "");
        }
        if !keys.insert(key) {
            errors.duplicate(path, quoted(key));
        }
        errors.invalid_text(path, key, names::qualified_name(key));
    }
}

fn shown_driver(driver: &Value) -> String {
    let fields = [
        ("Name", quoted(text(driver, "name"))),
        ("NodeID", quoted(text(driver, "nodeID"))),
        ("TopologyKeys", shown_list("string", &texts(driver, "topologyKeys"))),
        ("Allocatable", shown_pointer("storage.VolumeNodeResources", driver, "allocatable")),
    ];
    shown_struct("storage.CSINodeDriver", &fields)
}

/// The name of a driver, which may be written in capitals.
fn driver_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
    }
    if name.len() > DRIVER_NAME_MAX {
        errors.too_long(path, DRIVER_NAME_MAX);
    }
    errors.invalid_text(path, name, names::dns_subdomain(&name.to_lowercase()));
}

fn node_row(node: &Value, now: i64) -> Vec<Value> {
    vec![printers::name(node), list_at(node, &["spec", "drivers"]).len().into(), printers::age(node, now)]
}

fn validate_attachment(attachment: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(attachment, old, false, names::dns_subdomain, &mut errors);
    let path = Path::new("spec");
    let spec = attachment.get("spec").unwrap_or(&Value::Null);
    let attacher = text(spec, "attacher");
    if attacher.is_empty() {
        errors.required(&path.child("attacher"), "");
    }
    let source = ["inlineVolumeSpec", "persistentVolumeName"].map(|f| at(spec, &["source", f]).is_some());
    match source {
        [false, false] => errors
            .required(&path.child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        [true, true] => errors
            .forbidden(&path.child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        [true, false] | [false, true] => {}
    }
    let volume = at(spec, &["source", "persistentVolumeName"]).and_then(Value::as_str);
    let volume_path = path.child("source").child("persistentVolumeName");
    if volume == Some("") {
        errors.required(&volume_path, "must specify non empty persistentVolumeName");
    }
    let node = text(spec, "nodeName");
    errors.invalid_text(&path.child("nodeName"), node, names::dns_subdomain(node));
    attachment_status(attachment.get("status").unwrap_or(&Value::Null), &Path::new("status"), &mut errors);
    match old {
        // What this version of the API asks beyond the ones before.
        None => {
            driver_name(attacher, &path.child("attacher"), &mut errors);
            if let Some(volume) = volume {
                errors.invalid_text(&volume_path, volume, names::dns_subdomain(volume));
            }
        }
        Some(old) if !same(Some(spec), old.get("spec")) => errors.invalid(&path, shown_attachment(spec), IMMUTABLE),
        Some(_) => {}
    }
    errors.into_vec()
}

fn attachment_status(status: &Value, path: &Path, errors: &mut Errors) {
    let pairs = entries(get(status, "attachmentMetadata"));
    if pairs.map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum::<usize>() > METADATA_MAX {
        errors.too_long(&path.child("attachmentMetadata"), METADATA_MAX);
    }
    for field in ["attachError", "detachError"] {
        if text_at(status, &[field, "message"]).len() > MESSAGE_MAX {
            // Kubernetes names the limit of the metadata here.
            errors.too_long(&path.child(field).child("message"), METADATA_MAX);
        }
    }
}

fn shown_attachment(spec: &Value) -> String {
    let source = spec.get("source").unwrap_or(&Value::Null);
    let source = shown_struct(
        "storage.VolumeAttachmentSource",
        &[
            ("PersistentVolumeName", shown_pointer("string", source, "persistentVolumeName")),
            ("InlineVolumeSpec", shown_pointer("core.PersistentVolumeSpec", source, "inlineVolumeSpec")),
        ],
    );
    let [attacher, node] = ["attacher", "nodeName"].map(|field| quoted(text(spec, field)));
    shown_struct("storage.VolumeAttachmentSpec", &[("Attacher", attacher), ("Source", source), ("NodeName", node)])
}

fn attachment_row(attachment: &Value, now: i64) -> Vec<Value> {
    let spec = attachment.get("spec").unwrap_or(&Value::Null);
    vec![
        printers::name(attachment),
        text(spec, "attacher").into(),
        text_at(spec, &["source", "persistentVolumeName"]).into(),
        text(spec, "nodeName").into(),
        at(attachment, &["status", "attached"]).and_then(Value::as_bool).unwrap_or(false).into(),
        printers::age(attachment, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};

    #[test]
    fn drivers() {
        let object = created(&driver(), json!({}));
        assert_eq!(
            driver_row(&object, 1_767_225_600)[1..],
            [
                json!(true),
                json!(false),
                json!(false),
                json!("<unset>"),
                json!(false),
                json!("Persistent"),
                json!("60s"),
            ]
        );
        assert_eq!(
            complaints(&driver(), json!({"spec": {"attachRequired": false}}), Some(json!({}))),
            ["spec.attachedRequired: Invalid value: false: field is immutable"]
        );
        for (spec, expected) in [
            (
                json!({"tokenRequests": [{"audience": "a"}, {"audience": "a"}, {"audience": "b", "expirationSeconds": 5}]}),
                vec![
                    "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                    "spec.tokenRequests[2].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
                ],
            ),
            (
                json!({"volumeLifecycleModes": ["Odd"], "fsGroupPolicy": ""}),
                vec![
                    "spec.fsGroupPolicy: Unsupported value: \"\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
                    "spec.volumeLifecycleModes: Unsupported value: \"Odd\": supported values: \"Persistent\", \"Ephemeral\"",
                ],
            ),
        ] {
            assert_eq!(complaints(&driver(), json!({"spec": spec}), None), expected, "{spec}");
        }
    }

    #[test]
    fn nodes() {
        let spec = json!({"spec": {"drivers": [{"name": "x.io", "nodeID": "n"}, {"name": "x.io"}]}});
        assert_eq!(node_row(&created(&node(), spec.clone()), 1_767_225_600)[1], json!(2));
        assert_eq!(
            complaints(&node(), spec, None),
            ["spec.drivers[1].nodeID: Required value", "spec.drivers[1].name: Duplicate value: \"x.io\""]
        );
        let driver = |fields: Value| {
            let mut driver = json!({"name": "x.io", "nodeID": "n"});
            json_patch::merge(&mut driver, &fields);
            json!({"spec": {"drivers": [driver]}})
        };
        for (new, old, expected) in [
            (driver(json!({"topologyKeys": ["a/b"], "allocatable": {"count": 1}})), None, vec![]),
            (
                driver(json!({"topologyKeys": ["a", "a"], "allocatable": {"count": -1}})),
                None,
                vec![
                    "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                    "spec.drivers[0]: Duplicate value: \"a\"",
                ],
            ),
            (
                driver(json!({"nodeID": "m"})),
                Some(driver(json!({}))),
                vec![
                    "spec.drivers: Invalid value: storage.CSINodeDriver{Name:\"x.io\", NodeID:\"m\", TopologyKeys:[]string(nil), Allocatable:(*storage.VolumeNodeResources)(nil)}: field is immutable",
                ],
            ),
            (
                driver(json!({"name": "x".repeat(64)})),
                None,
                vec!["spec.drivers[0].name: Too long: may not be more than 63 bytes"],
            ),
        ] {
            assert_eq!(complaints(&node(), new.clone(), old), expected, "{new}");
        }
    }

    #[test]
    fn attachments() {
        let spec = |node: &str| json!({"spec": {"attacher": "x.io", "nodeName": node, "source": {"persistentVolumeName": "v"}}});
        let object = created(&attachment(), spec("n"));
        let cells = attachment_row(&object, 1_767_225_600);
        assert_eq!(cells[1..], [json!("x.io"), json!("v"), json!("n"), json!(false), json!("60s")]);
        assert_eq!(complaints(&attachment(), spec("m"), None), Vec::<String>::new());
        assert_eq!(
            complaints(&attachment(), spec("m"), Some(spec("n"))),
            [
                "spec: Invalid value: storage.VolumeAttachmentSpec{Attacher:\"x.io\", Source:storage.VolumeAttachmentSource{PersistentVolumeName:(*string)(0xc000000000), InlineVolumeSpec:(*core.PersistentVolumeSpec)(nil)}, NodeName:\"m\"}: field is immutable",
            ]
        );
        let mut failed = created(&attachment(), spec("n"));
        failed["status"]["attachError"] = json!({"message": "x".repeat(1025)});
        let found = validate_attachment(&failed, Some(&failed));
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["status.attachError.message: Too long: may not be more than 262144 bytes"]
        );
    }
}
