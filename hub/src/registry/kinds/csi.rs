//! `storage.k8s.io/v1` CSIDriver, CSINode and VolumeAttachment.

use serde_json::{Value, json};

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::hooks::{PLAIN, keep_status};
use crate::registry::json::{at, ensure, get, is_true, list_at, same, set, set_default, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, integer, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

const LIFECYCLE_MODES: [&str; 2] = ["Ephemeral", "Persistent"];
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
    text_column("Attacher", "attacher indicates the name of the volume driver that MUST handle this request."),
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
    set_default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
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
    for mode in texts(spec, "volumeLifecycleModes").into_iter().filter(|m| !LIFECYCLE_MODES.contains(m)) {
        errors.not_supported(&path.child("volumeLifecycleModes"), mode, &LIFECYCLE_MODES);
    }
    if let Some(old) = old.and_then(|o| o.get("spec")) {
        // Kubernetes names the first field so.
        for (field, named) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            errors.immutable(&path.child(named), spec.get(field), old.get(field));
        }
    }
    errors.into_vec()
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
    let mut seen = std::collections::BTreeSet::new();
    for (i, driver) in list_at(node, &["spec", "drivers"]).iter().enumerate() {
        let path = path.index(i);
        let name = text(driver, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_text(&path.child("name"), name, names::dns_subdomain(&name.to_lowercase()));
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), quoted(name));
        }
        if text(driver, "nodeID").is_empty() {
            errors.required(&path.child("nodeID"), "");
        }
    }
    errors.into_vec()
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
    } else {
        errors.invalid_text(&path.child("attacher"), attacher, names::dns_subdomain(&attacher.to_lowercase()));
    }
    let source = ["inlineVolumeSpec", "persistentVolumeName"].map(|f| at(spec, &["source", f]).is_some());
    match source {
        [false, false] => errors
            .required(&path.child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        [true, true] => errors
            .forbidden(&path.child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        [true, false] | [false, true] => {}
    }
    let node = text(spec, "nodeName");
    errors.invalid_text(&path.child("nodeName"), node, names::dns_subdomain(node));
    if let Some(old) = old
        && !same(Some(spec), old.get("spec"))
    {
        errors.invalid(&path, spec.to_string(), "field is immutable");
    }
    errors.into_vec()
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
    }

    #[test]
    fn nodes() {
        let spec = json!({"spec": {"drivers": [{"name": "x.io", "nodeID": "n"}, {"name": "x.io"}]}});
        assert_eq!(node_row(&created(&node(), spec.clone()), 1_767_225_600)[1], json!(2));
        assert_eq!(
            complaints(&node(), spec, None),
            ["spec.drivers[1].name: Duplicate value: \"x.io\"", "spec.drivers[1].nodeID: Required value"]
        );
    }

    #[test]
    fn attachments() {
        let spec = |node: &str| json!({"spec": {"attacher": "x.io", "nodeName": node, "source": {"persistentVolumeName": "v"}}});
        let object = created(&attachment(), spec("n"));
        let cells = attachment_row(&object, 1_767_225_600);
        assert_eq!(cells[1..], [json!("x.io"), json!("v"), json!("n"), json!(false), json!("60s")]);
        assert_eq!(complaints(&attachment(), spec("m"), None), Vec::<String>::new());
        assert_eq!(complaints(&attachment(), spec("m"), Some(spec("n"))).len(), 1);
    }
}
