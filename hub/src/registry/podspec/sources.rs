//! Validation of volume sources: what volumes of pods and PersistentVolumes have in common.

use serde_json::Value;

use super::files::{descending, steps_back};
use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::json::{entries, get, int, is_true, list, text};
use crate::registry::names;

/// Texts and lists that a source must have, in the order of the errors.
const REQUIRED: [(&str, &[&str]); 20] = [
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("hostPath", &["path"]),
    ("local", &["path"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("storageos", &["volumeName"]),
    ("vsphereVolume", &["volumePath"]),
    ("iscsi", &["targetPortal"]),
];
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const CACHING_MODES: [&str; 3] = ["None", "ReadOnly", "ReadWrite"];
const DISK_KINDS: [&str; 3] = ["Dedicated", "Managed", "Shared"];
const MANAGED_DISK: &str =
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
const BLOB_DISK: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
const HOST_PORTS: &str = "must be a host:port pair or multiple pairs separated by commas";
const TENANT_MAX: usize = 64;
const DRIVER_MAX: usize = 63;

/// Validates a source of one kind; `path` is the volume's (or the spec's) own.
pub(crate) fn source(kind: &str, source: &Value, path: &Path, errors: &mut Errors) {
    // Kubernetes calls this one otherwise in its errors.
    let path = &path.child(if kind == "gcePersistentDisk" { "persistentDisk" } else { kind });
    let required = REQUIRED.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, fields)| fields);
    for field in required {
        if text(source, field).is_empty() && list(source, field).is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    match kind {
        "awsElasticBlockStore" | "gcePersistentDisk" => partition(source, path, errors),
        "azureDisk" => azure_disk(source, path, errors),
        "cinder" => secret_name(source, path, errors),
        "fc" => fibre_channel(source, path, errors),
        "flexVolume" => flex_options(source, path, errors),
        "flocker" => flocker(source, path, errors),
        "gitRepo" => descending(text(source, "directory"), &path.child("directory"), errors),
        "hostPath" | "local" => host_path(source, path, errors),
        "nfs" if !text(source, "path").starts_with('/') => {
            errors.invalid(&path.child("path"), quoted(text(source, "path")), "must be an absolute path");
        }
        "quobyte" => quobyte(source, path, errors),
        "storageos" => storage_os(source, path, errors),
        _ => {}
    }
}

fn partition(source: &Value, path: &Path, errors: &mut Errors) {
    if let Some(partition) = int(source, "partition").filter(|p| !(0..=255).contains(p)) {
        errors.invalid(&path.child("partition"), partition.to_string(), "must be between 1 and 255, inclusive");
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut Errors) {
    let (place, kind) = (text(source, "path"), text(source, "type"));
    if place.is_empty() {
        return;
    }
    if steps_back(place) {
        errors.invalid(&path.child("path"), quoted(place), "must not contain '..'");
    }
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &HOST_PATH_TYPES);
    }
}

fn azure_disk(source: &Value, path: &Path, errors: &mut Errors) {
    for (field, supported) in [("cachingMode", CACHING_MODES), ("kind", DISK_KINDS)] {
        let value = text(source, field);
        if get(source, field).is_some() && !supported.contains(&value) {
            errors.not_supported(&path.child(field), value, &supported);
        }
    }
    let (uri, uri_path) = (text(source, "diskURI"), path.child("diskURI"));
    match text(source, "kind") {
        "Managed" if !uri.starts_with("/subscriptions/") => errors.not_supported(&uri_path, uri, &[MANAGED_DISK]),
        "Managed" => {}
        _ if get(source, "kind").is_some() && !uri.starts_with("https://") => {
            errors.not_supported(&uri_path, uri, &[BLOB_DISK]);
        }
        _ => {}
    }
}

/// Validates that a secret that is named has a name.
pub(super) fn secret_name(source: &Value, path: &Path, errors: &mut Errors) {
    if get(source, "secretRef").is_some_and(|secret| text(secret, "name").is_empty()) {
        errors.required(&path.child("secretRef").child("name"), "");
    }
}

fn fibre_channel(source: &Value, path: &Path, errors: &mut Errors) {
    let names = list(source, "targetWWNs");
    let names_path = path.child("targetWWNs");
    match (names.is_empty(), list(source, "wwids").is_empty()) {
        (true, true) => errors.required(&names_path, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            let detail = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(&names_path, shown(&names.into()), detail);
        }
        (true, false) | (false, true) => {}
    }
    if names.is_empty() {
        return;
    }
    match int(source, "lun") {
        None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
        Some(number) => lun(number, path, errors),
    }
}

fn lun(lun: i64, path: &Path, errors: &mut Errors) {
    if !(0..=255).contains(&lun) {
        errors.invalid(&path.child("lun"), lun.to_string(), "must be between 0 and 255, inclusive");
    }
}

fn flex_options(source: &Value, path: &Path, errors: &mut Errors) {
    for (key, _) in entries(get(source, "options")) {
        let domain = format!(".{}", key.split('/').next().unwrap_or(key).to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(&path.child("options").key(key), quoted(key), detail);
        }
    }
}

fn flocker(source: &Value, path: &Path, errors: &mut Errors) {
    let name = text(source, "datasetName");
    match (name.is_empty(), text(source, "datasetUUID").is_empty()) {
        (true, true) => errors.required(path, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid(path, quoted("resource"), detail);
        }
        (true, false) | (false, true) => {}
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), quoted(name), "must not contain '/'");
    }
}

fn quobyte(source: &Value, path: &Path, errors: &mut Errors) {
    let registry = text(source, "registry");
    if registry.is_empty() {
        errors.required(&path.child("registry"), HOST_PORTS);
    } else if text(source, "tenant").len() > TENANT_MAX {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(&path.child("tenant"), detail);
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_port(pair)) {
            errors.invalid(&path.child("registry"), quoted(registry), HOST_PORTS);
        }
    }
    if text(source, "volume").is_empty() {
        errors.required(&path.child("volume"), "");
    }
}

/// `host:port`, where an address with colons stands in brackets.
fn is_host_port(pair: &str) -> bool {
    match pair.rsplit_once(':') {
        None => false,
        Some((host, port)) => {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            let inner = host.trim_start_matches('[').trim_end_matches(']');
            let brackets = |text: &str| text.contains(['[', ']']);
            (bracketed || !host.contains([':', '[', ']'])) && !brackets(inner) && !brackets(port)
        }
    }
}

fn storage_os(source: &Value, path: &Path, errors: &mut Errors) {
    for field in ["volumeName", "volumeNamespace"] {
        let name = text(source, field);
        if !name.is_empty() {
            errors.invalid_text(&path.child(field), name, names::dns_label(name));
        }
    }
    secret_name(source, path, errors);
}

/// Validates an `iscsi` source but for its portal. PersistentVolumes say less when the form of a name is wrong.
pub(crate) fn iscsi(source: &Value, persistent: bool, path: &Path, errors: &mut Errors) {
    let path = &path.child("iscsi");
    let form = if persistent { "must be valid format" } else { "must be valid format starting with iqn, eui, or naa" };
    match text(source, "iqn") {
        "" => errors.required(&path.child("iqn"), ""),
        name => initiator(name, form, &path.child("iqn"), errors),
    }
    lun(int(source, "lun").unwrap_or(0), path, errors);
    let authenticates = is_true(source, "chapAuthDiscovery") || is_true(source, "chapAuthSession");
    if authenticates && get(source, "secretRef").is_none() {
        errors.required(&path.child("secretRef"), "");
    }
    if persistent {
        secret_name(source, path, errors);
    }
    if let Some(name) = get(source, "initiatorName").and_then(Value::as_str) {
        initiator(name, form, &path.child("initiatorname"), errors);
    }
}

fn initiator(name: &str, form: &str, path: &Path, errors: &mut Errors) {
    let alphanumeric = |text: &str, length: usize| {
        // One character of any sort stands between the type and the number.
        let mut rest = text.chars();
        rest.next().is_some()
            && rest.as_str().len() == length
            && rest.as_str().bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let valid = match (name.strip_prefix("iqn"), name.strip_prefix("eui"), name.strip_prefix("naa")) {
        (Some(rest), _, _) => is_qualified_initiator(rest),
        (_, Some(rest), _) => alphanumeric(rest, 16),
        (_, _, Some(rest)) => alphanumeric(rest, 32),
        (None, None, None) => return errors.invalid(path, quoted(name), form),
    };
    if !valid {
        errors.invalid(path, quoted(name), "must be valid format");
    }
}

/// `.2015-02.example.com:name`, what follows `iqn`.
fn is_qualified_initiator(rest: &str) -> bool {
    let digits = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    let Some((date, rest)) = rest.strip_prefix('.').and_then(|r| r.split_once('.')) else { return false };
    let dated = date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let Some((authority, name)) = rest.split_once(':') else { return false };
    let named = !name.is_empty() && !name.contains([',', ';', '*', '&', '$', '|', ' ', '\t', '\n', '\r', '\u{c}']);
    let authority_fine =
        !authority.is_empty() && authority.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    dated && authority_fine && named
}

/// Validates the name of a CSI driver.
pub(crate) fn csi_driver(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
    }
    if name.len() > DRIVER_MAX {
        errors.too_long(path, DRIVER_MAX);
    }
    errors.invalid_text(path, name, names::dns_subdomain(&name.to_lowercase()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sources_say_what_they_lack() {
        let table = [
            ("awsElasticBlockStore", json!({}), vec!["v.awsElasticBlockStore.volumeID: Required value"]),
            (
                "gcePersistentDisk",
                json!({"partition": 256}),
                vec![
                    "v.persistentDisk.pdName: Required value",
                    "v.persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
                ],
            ),
            ("cephfs", json!({"monitors": []}), vec!["v.cephfs.monitors: Required value"]),
            (
                "azureDisk",
                json!({"diskName": "d", "diskURI": "x", "kind": "Managed", "cachingMode": "No"}),
                vec![
                    r#"v.azureDisk.cachingMode: Unsupported value: "No": supported values: "None", "ReadOnly", "ReadWrite""#,
                    r#"v.azureDisk.diskURI: Unsupported value: "x": supported values: "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}""#,
                ],
            ),
            (
                "nfs",
                json!({"server": "s"}),
                vec!["v.nfs.path: Required value", r#"v.nfs.path: Invalid value: "": must be an absolute path"#],
            ),
            (
                "fc",
                json!({"targetWWNs": ["w"], "wwids": ["i"], "lun": 256}),
                vec![
                    r#"v.fc.targetWWNs: Invalid value: []string{"w"}: targetWWNs and wwids can not be specified simultaneously"#,
                    "v.fc.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                ],
            ),
            (
                "flexVolume",
                json!({"driver": "d", "options": {"a.k8s.io/x": "y"}}),
                vec![
                    r#"v.flexVolume.options[a.k8s.io/x]: Invalid value: "a.k8s.io/x": kubernetes.io and k8s.io namespaces are reserved"#,
                ],
            ),
            (
                "flocker",
                json!({"datasetName": "a/b", "datasetUUID": "u"}),
                vec![
                    r#"v.flocker: Invalid value: "resource": datasetName and datasetUUID can not be specified simultaneously"#,
                    r#"v.flocker.datasetName: Invalid value: "a/b": must not contain '/'"#,
                ],
            ),
        ];
        check(table);
    }

    #[test]
    fn registries_secrets_and_paths() {
        let portal = "h:1,[::1]:2";
        check([
            ("quobyte", json!({"registry": portal, "volume": "v"}), vec![]),
            (
                "quobyte",
                json!({"registry": "h"}),
                vec![
                    r#"v.quobyte.registry: Invalid value: "h": must be a host:port pair or multiple pairs separated by commas"#,
                    "v.quobyte.volume: Required value",
                ],
            ),
            ("cinder", json!({"volumeID": "v", "secretRef": {}}), vec!["v.cinder.secretRef.name: Required value"]),
            (
                "hostPath",
                json!({"path": "/a", "type": "Dir"}),
                vec![
                    r#"v.hostPath.type: Unsupported value: "Dir": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket""#,
                ],
            ),
        ]);
    }

    fn check<const N: usize>(table: [(&str, Value, Vec<&str>); N]) {
        for (kind, value, expected) in table {
            let mut errors = Errors::default();
            source(kind, &value, &Path::new("v"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{kind} {value}");
        }
    }

    #[test]
    fn initiators_have_a_form() {
        let long = "naa.62004567BA64678D0123456789ABCDEF";
        for (name, expected) in [
            ("iqn.2015-02.example.com:test", vec![]),
            ("iqn.2015-02.example.com:a:b", vec![]),
            ("eui.0123456789ABCDEF", vec![]),
            (long, vec![]),
            (
                "iqn.2015-2.example.com:test",
                vec![r#"v.iscsi.iqn: Invalid value: "iqn.2015-2.example.com:test": must be valid format"#],
            ),
            ("eui.1", vec![r#"v.iscsi.iqn: Invalid value: "eui.1": must be valid format"#]),
            ("x", vec![r#"v.iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa"#]),
            ("", vec!["v.iscsi.iqn: Required value"]),
        ] {
            let mut errors = Errors::default();
            iscsi(&json!({"iqn": name}), false, &Path::new("v"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{name}");
        }
    }
}
