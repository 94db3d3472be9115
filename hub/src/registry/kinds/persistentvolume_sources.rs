//! Validation of what a PersistentVolume is made of.

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, text, text_at};
use crate::registry::{names, podspec};

/// What a volume can be, in the order in which Kubernetes looks: the first is it, the others are too many.
pub(super) const KINDS: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
/// Secrets of CSI drivers.
const CSI_SECRETS: [&str; 4] =
    ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
const PORTAL_MAX: usize = 64;

/// Validates the source in a spec; `name` is the volume's.
pub(super) fn validate(spec: &Value, name: &str, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for kind in KINDS {
        let Some(source) = get(spec, kind) else { continue };
        if found && kind != "flexVolume" {
            // Kubernetes' own spelling.
            let kind = if kind == "cephfs" { "cephFS" } else { kind };
            errors.forbidden(&path.child(kind), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        podspec::source(kind, source, path, errors);
        persistent(kind, source, name, path, errors);
        if kind == "local" && get(spec, "nodeAffinity").is_none() {
            errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if !found {
        errors.required(path, "must specify a volume type");
    }
    if is_root(text_at(spec, &["hostPath", "path"])) && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let path = path.child("persistentVolumeReclaimPolicy");
        errors.forbidden(&path, "may not be 'recycle' for a hostPath mount of '/'");
    }
}

fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|step| step.is_empty() || step == ".")
}

/// What sources of PersistentVolumes have beyond those of volumes of pods.
fn persistent(kind: &str, source: &Value, name: &str, path: &Path, errors: &mut Errors) {
    let own = path.child(kind);
    match kind {
        "azureFile" if source.get("secretNamespace").and_then(Value::as_str) == Some("") => {
            errors.required(&own.child("secretNamespace"), "");
        }
        "cinder" | "storageos"
            if get(source, "secretRef").is_some_and(|secret| text(secret, "namespace").is_empty()) =>
        {
            errors.required(&own.child("secretRef").child("namespace"), "");
        }
        "csi" => csi(source, &own, errors),
        "glusterfs" => endpoints_namespace(source, &own.child("endpointsNamespace"), errors),
        "iscsi" => {
            let portal = text(source, "targetPortal");
            if get(source, "initiatorName").is_some() && name.len() + 1 + portal.len() > PORTAL_MAX {
                let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
                errors.invalid(&own.child("targetportal"), quoted(portal), detail);
            }
            podspec::iscsi(source, true, path, errors);
        }
        _ => {}
    }
}

fn csi(source: &Value, path: &Path, errors: &mut Errors) {
    podspec::csi_driver(text(source, "driver"), &path.child("driver"), errors);
    if text(source, "volumeHandle").is_empty() {
        errors.required(&path.child("volumeHandle"), "");
    }
    for field in CSI_SECRETS {
        let Some(secret) = get(source, field) else { continue };
        for (part, rule) in [("name", names::dns_subdomain as names::Rule), ("namespace", names::dns_label)] {
            let path = path.child(field).child(part);
            match text(secret, part) {
                "" => errors.required(&path, ""),
                name => errors.invalid_text(&path, name, rule(name)),
            }
        }
    }
}

fn endpoints_namespace(source: &Value, path: &Path, errors: &mut Errors) {
    match source.get("endpointsNamespace").and_then(Value::as_str) {
        None => {}
        Some("") => {
            let detail = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.invalid(path, quoted(""), detail);
        }
        Some(name) => errors.invalid_text(path, name, names::dns_label(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sources_of_persistent_volumes() {
        let table = [
            (json!({"hostPath": {"path": "/a"}}), vec![]),
            (json!({}), vec!["s: Required value: must specify a volume type"]),
            (
                json!({"hostPath": {"path": "/./"}, "persistentVolumeReclaimPolicy": "Recycle"}),
                vec!["s.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
            ),
            (
                json!({"hostPath": {"path": "/a"}, "cephfs": {}}),
                vec!["s.cephFS: Forbidden: may not specify more than 1 volume type"],
            ),
            (
                json!({"local": {"path": "/a"}}),
                vec!["s.nodeAffinity: Required value: Local volume requires node affinity"],
            ),
            (
                json!({"csi": {"driver": "d", "nodePublishSecretRef": {"name": "n"}}}),
                vec!["s.csi.volumeHandle: Required value", "s.csi.nodePublishSecretRef.namespace: Required value"],
            ),
            (
                json!({"cinder": {"volumeID": "v", "secretRef": {}}}),
                vec!["s.cinder.secretRef.name: Required value", "s.cinder.secretRef.namespace: Required value"],
            ),
            (
                json!({"glusterfs": {"endpoints": "e", "path": "p", "endpointsNamespace": ""}}),
                vec![
                    "s.glusterfs.endpointsNamespace: Invalid value: \"\": if the endpointnamespace is set, it must be a valid namespace name",
                ],
            ),
            (
                json!({"iscsi": {"targetPortal": "t", "iqn": "x", "secretRef": {}}}),
                vec![
                    "s.iscsi.iqn: Invalid value: \"x\": must be valid format",
                    "s.iscsi.secretRef.name: Required value",
                ],
            ),
        ];
        for (spec, expected) in table {
            let mut errors = Errors::default();
            validate(&spec, "v", &Path::new("s"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{spec}");
        }
    }
}
