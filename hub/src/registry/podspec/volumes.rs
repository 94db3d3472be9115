//! Validation of the volumes of a pod.

use std::collections::BTreeMap;

use serde_json::Value;

use super::resources::parse;
use super::{claims, containers, files, sources};
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, list, text, text_at};
use crate::registry::names::{dns_label, dns_subdomain};

/// The valid volumes of a pod by their names. To containers the others are not there.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// What a volume can be, in the order in which Kubernetes looks: the first is it, the others are too many.
const KINDS: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
const PORTAL_MAX: usize = 64;

/// Validates `volumes`; `pod` is the pod's name, if it is one (and not a template).
pub(super) fn volumes<'a>(spec: &'a Value, pod: Option<&str>, path: &Path, errors: &mut Errors) -> Volumes<'a> {
    let mut valid = Volumes::new();
    let made = made_claims(spec, pod);
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.index(i);
        let (before, name) = (errors.len(), text(volume, "name"));
        source(volume, pod, &path, errors);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_text(&path.child("name"), name, dns_label(name));
        }
        if valid.contains_key(name) {
            errors.duplicate(&path.child("name"), quoted(name));
        }
        if errors.len() == before {
            valid.insert(name, volume);
        }
        let claim = text_at(volume, &["persistentVolumeClaim", "claimName"]);
        if made.iter().any(|made| made == claim) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&path.child("persistentVolumeClaim").child("claimName"), quoted(claim), detail);
        }
    }
    valid
}

/// The names of the claims that are made for the pod.
fn made_claims(spec: &Value, pod: Option<&str>) -> Vec<String> {
    let Some(pod) = pod.filter(|name| !name.is_empty()) else { return Vec::new() };
    let ephemeral = list(spec, "volumes").iter().filter(|v| get(v, "ephemeral").is_some());
    ephemeral.map(|v| format!("{pod}-{}", text(v, "name"))).collect()
}

fn source(volume: &Value, pod: Option<&str>, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for kind in KINDS {
        let Some(source) = get(volume, kind) else { continue };
        if found {
            let kind = match kind {
                // Kubernetes' own spellings.
                "cephfs" => "cephFS",
                "downwardAPI" => "downwarAPI",
                kind => kind,
            };
            errors.forbidden(&path.child(kind), "may not specify more than 1 volume type");
        } else {
            found = true;
            one(kind, source, volume, pod, path, errors);
        }
        if kind == "iscsi" {
            portal_length(source, text(volume, "name"), path, errors);
        }
    }
    if !found {
        errors.required(path, "must specify a volume type");
    }
}

fn one(kind: &str, source: &Value, volume: &Value, pod: Option<&str>, path: &Path, errors: &mut Errors) {
    let own = path.child(kind);
    match kind {
        "emptyDir" => {
            if get(source, "sizeLimit").and_then(parse).is_some_and(|limit| limit.nano() < 0) {
                errors.forbidden(&own.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "secret" => files::of_object(source, "secretName", &own, errors),
        "configMap" => files::of_object(source, "name", &own, errors),
        "downwardAPI" => files::downward(source, &own, errors),
        "projected" => files::projected(source, &own, errors),
        "csi" => csi(source, &own, errors),
        "ephemeral" => ephemeral(source, text(volume, "name"), pod, path, errors),
        "image" => {
            if pod.is_some() && text(source, "reference").is_empty() {
                errors.required(&own.child("reference"), "");
            }
            containers::pull_policy(text(source, "pullPolicy"), &own.child("pullPolicy"), errors);
        }
        _ => {
            sources::source(kind, source, path, errors);
            if kind == "iscsi" {
                sources::iscsi(source, false, path, errors);
            }
        }
    }
}

fn portal_length(source: &Value, name: &str, path: &Path, errors: &mut Errors) {
    if get(source, "initiatorName").is_some() && name.len() + 1 + text(source, "targetPortal").len() > PORTAL_MAX {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.invalid(&path.child("name"), quoted(name), detail);
    }
}

fn csi(source: &Value, path: &Path, errors: &mut Errors) {
    sources::csi_driver(text(source, "driver"), &path.child("driver"), errors);
    if let Some(secret) = get(source, "nodePublishSecretRef") {
        match text(secret, "name") {
            "" => errors.required(&path.child("nodePublishSecretRef").child("name"), ""),
            name => errors.invalid_text(&path.child("name"), name, dns_subdomain(name)),
        }
    }
}

fn ephemeral(source: &Value, name: &str, pod: Option<&str>, path: &Path, errors: &mut Errors) {
    let template_path = path.child("ephemeral").child("volumeClaimTemplate");
    match get(source, "volumeClaimTemplate") {
        None => errors.required(&template_path, ""),
        Some(template) => claims::template(template, &template_path, errors),
    }
    let Some(pod) = pod.filter(|pod| !pod.is_empty() && !name.is_empty()) else { return };
    let claim = format!("{pod}-{name}");
    for complaint in dns_subdomain(&claim) {
        errors.invalid(&path.child("name"), quoted(name), format!("PVC name {}: {complaint}", quoted(&claim)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn volumes_are_one_thing() {
        let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        let table = [
            (json!({"name": "v", "emptyDir": {}}), vec![]),
            (json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "a/b"}]}}), vec![]),
            (json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}), vec![]),
            (json!({"name": "v"}), vec!["volumes[0]: Required value: must specify a volume type"]),
            (
                json!({"name": "V", "emptyDir": {}}),
                vec!["volumes[0].name: Invalid value: \"V\": a lowercase RFC 1123 label must consist of"],
            ),
            (
                json!({"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}),
                vec!["volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
            ),
            (
                json!({"name": "v", "hostPath": {"path": "/"}, "downwardAPI": {}, "cephfs": {}}),
                vec![
                    "volumes[0].cephFS: Forbidden: may not specify more than 1 volume type",
                    "volumes[0].downwarAPI: Forbidden: may not specify more than 1 volume type",
                ],
            ),
            (
                json!({"name": "v", "emptyDir": {"sizeLimit": "-1"}}),
                vec!["volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"],
            ),
            (
                json!({"name": "v", "csi": {"nodePublishSecretRef": {}}}),
                vec![
                    "volumes[0].csi.driver: Required value",
                    "volumes[0].csi.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain must",
                    "volumes[0].csi.nodePublishSecretRef.name: Required value",
                ],
            ),
            (json!({"name": "v", "ephemeral": {}}), vec!["volumes[0].ephemeral.volumeClaimTemplate: Required value"]),
            (
                json!({"name": "v", "iscsi": {"targetPortal": "p".repeat(63), "iqn": "iqn.2015-02.a:b", "initiatorName": "iqn.2015-02.a:b"}}),
                vec!["volumes[0].name: Invalid value: \"v\": Total length of <volume name>:<iscsi.targetPortal>"],
            ),
            (
                json!({"name": "v", "image": {}}),
                vec!["volumes[0].image.reference: Required value", "volumes[0].image.pullPolicy: Required value"],
            ),
        ];
        for (volume, expected) in table {
            let mut errors = Errors::default();
            volumes(&json!({"volumes": [volume]}), Some("p"), &Path::new("volumes"), &mut errors);
            let found = errors.into_vec();
            assert_eq!(found.len(), expected.len(), "{volume}: {found:?}");
            for (error, text) in found.iter().zip(expected) {
                assert!(error.to_string().starts_with(text), "{error} should be {text}");
            }
        }
    }

    #[test]
    fn only_valid_volumes_are_there() {
        let spec = json!({"volumes": [
            {"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}, {"name": "b", "secret": {}},
        ]});
        let mut errors = Errors::default();
        let valid = volumes(&spec, None, &Path::new("volumes"), &mut errors);
        assert_eq!(valid.keys().collect::<Vec<_>>(), [&"a"]);
        let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["volumes[1].name: Duplicate value: \"a\"", "volumes[2].secret.secretName: Required value"]);
    }
}
