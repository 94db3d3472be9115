//! What the API server fills into a pod spec.

use serde_json::{Value, json};

use super::resources::canonical;
use crate::registry::json::{
    at, copy, ensure, entries, get, get_mut, is_true, items_mut, list, set, set_default, set_default_nonzero, text,
};

/// File mode of volumes made of objects: 0644.
const FILE_MODE: i64 = 0o644;
const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Sets the defaults that pods and pod templates have in common.
pub(crate) fn default_spec(spec: &mut Value) {
    set_default(spec, "dnsPolicy", "ClusterFirst");
    set_default(spec, "restartPolicy", "Always");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default(spec, "schedulerName", "default-scheduler");
    set_default(spec, "securityContext", json!({}));
    // `serviceAccount` is the deprecated alias of `serviceAccountName`; both are always shown.
    let account = text(spec, "serviceAccountName").to_owned();
    if account.is_empty() {
        let alias = text(spec, "serviceAccount").to_owned();
        if !alias.is_empty() {
            set(spec, "serviceAccountName", alias);
        }
    } else {
        set(spec, "serviceAccount", account);
    }
    for list in CONTAINER_LISTS {
        items_mut(spec, list).for_each(default_container);
    }
    items_mut(spec, "volumes").for_each(default_volume);
    if let Some(overhead) = get_mut(spec, "overhead") {
        canonical(overhead);
    }
}

/// Sets the defaults that only pods get. Their service account is admission's business.
pub(crate) fn default_pod_only(spec: &mut Value) {
    set_default(spec, "enableServiceLinks", true);
    let host_network = is_true(spec, "hostNetwork");
    for field in &CONTAINER_LISTS[..2] {
        for container in items_mut(spec, field) {
            requests_from_limits(container);
            if *field == "containers" || text(container, "restartPolicy") == "Always" {
                default_resize_policy(container);
            }
            if host_network {
                items_mut(container, "ports").for_each(host_port_is_container_port);
            }
        }
    }
}

fn host_port_is_container_port(port: &mut Value) {
    if get(port, "hostPort").is_none_or(|p| p.as_i64() == Some(0)) {
        let number = port.clone();
        if let Some(number) = get(&number, "containerPort") {
            set(port, "hostPort", number.clone());
        }
    }
}

/// A limit without a request is the request too.
fn requests_from_limits(container: &mut Value) {
    let Some(resources) = get_mut(container, "resources") else { return };
    let limits = resources.get("limits").cloned();
    if entries(limits.as_ref()).next().is_none() {
        return;
    }
    let Some(requests) = ensure(resources, "requests") else { return };
    for (name, limit) in entries(limits.as_ref()) {
        set_default(requests, name, limit.clone());
    }
}

/// Resources change without a restart unless the pod says otherwise.
fn default_resize_policy(container: &mut Value) {
    for resource in ["cpu", "memory"] {
        let asked = ["requests", "limits"].iter().any(|kind| at(container, &["resources", kind, resource]).is_some());
        if asked && !list(container, "resizePolicy").iter().any(|p| text(p, "resourceName") == resource) {
            let mut policies = list(container, "resizePolicy").to_vec();
            policies.push(json!({"resourceName": resource, "restartPolicy": "NotRequired"}));
            set(container, "resizePolicy", policies);
        }
    }
}

fn default_container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    set_default(container, "imagePullPolicy", policy);
    set_default(container, "terminationMessagePath", "/dev/termination-log");
    set_default(container, "terminationMessagePolicy", "File");
    set_default(container, "resources", json!({}));
    for list in ["limits", "requests"] {
        if let Some(list) = get_mut(container, "resources").and_then(|r| get_mut(r, list)) {
            canonical(list);
        }
    }
    for port in items_mut(container, "ports") {
        set_default(port, "protocol", "TCP");
    }
    for env in items_mut(container, "env") {
        if let Some(source) = get_mut(env, "valueFrom") {
            default_field_source(source);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = get_mut(container, probe) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = get_mut(container, "lifecycle") {
        for handler in ["postStart", "preStop"] {
            if let Some(handler) = get_mut(lifecycle, handler) {
                default_handler(handler);
            }
        }
    }
}

/// `Always` for the tag `latest` (also when unwritten), else `IfNotPresent`. What is no image's name has no tag either.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':');
    if !is_repository(&name[..name.len() - tag.map_or(0, |(_, tag)| tag.len() + 1)]) {
        return "IfNotPresent";
    }
    match tag {
        Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
        None if digest => "IfNotPresent",
        None => "Always",
    }
}

/// Parts of small letters and digits, with single separators within, after the host of a registry.
fn is_repository(name: &str) -> bool {
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        Some(_) | None => name,
    };
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |text: &str| [".", "_", "__"].contains(&text) || text.bytes().all(|b| b == b'-');
    path.split('/').all(|part| part.starts_with(inner) && part.ends_with(inner) && part.split(inner).all(separator))
}

fn default_field_source(source: &mut Value) {
    if let Some(field) = get_mut(source, "fieldRef") {
        set_default(field, "apiVersion", "v1");
    }
    if let Some(resource) = get_mut(source, "resourceFieldRef") {
        set_default(resource, "divisor", "0");
    }
}

fn default_probe(probe: &mut Value) {
    set_default_nonzero(probe, "timeoutSeconds", 1);
    set_default_nonzero(probe, "periodSeconds", 10);
    set_default_nonzero(probe, "successThreshold", 1);
    set_default_nonzero(probe, "failureThreshold", 3);
    default_handler(probe);
}

fn default_handler(handler: &mut Value) {
    if let Some(http) = get_mut(handler, "httpGet") {
        set_default(http, "path", "/");
        set_default(http, "scheme", "HTTP");
    }
    if let Some(grpc) = get_mut(handler, "grpc") {
        set_default(grpc, "service", "");
    }
}

fn default_volume(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|v| v.iter().any(|(k, source)| k != "name" && !source.is_null()));
    if !has_source {
        set(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = get_mut(volume, source) {
            set_default(source, "defaultMode", FILE_MODE);
            items_mut(source, "items").for_each(default_field_source);
            items_mut(source, "sources").for_each(default_projection);
        }
    }
    default_source(volume);
    if let Some(empty_dir) = get_mut(volume, "emptyDir") {
        let limit = empty_dir.clone();
        if get(&limit, "sizeLimit").is_some() {
            let mut list = json!({"sizeLimit": limit["sizeLimit"]});
            canonical(&mut list);
            copy(empty_dir, &list, "sizeLimit");
        }
    }
    if let Some(claim) =
        get_mut(volume, "ephemeral").and_then(|e| get_mut(e, "volumeClaimTemplate")).and_then(|t| get_mut(t, "spec"))
    {
        set_default(claim, "volumeMode", "Filesystem");
    }
}

/// Defaults of sources that volumes of pods and PersistentVolumes have in common.
const SOURCES: [(&str, &[(&str, &str)]); 5] = [
    ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
    ("hostPath", &[("type", "")]),
    ("iscsi", &[("iscsiInterface", "default")]),
    ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
    ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
];

/// Sets the defaults of the source of a volume of a pod, or of a PersistentVolume's spec.
pub(crate) fn default_source(holder: &mut Value) {
    for (kind, defaults) in SOURCES {
        let Some(source) = get_mut(holder, kind) else { continue };
        for (field, value) in defaults {
            set_default(source, field, *value);
        }
    }
    if let Some(disk) = get_mut(holder, "azureDisk") {
        set_default(disk, "readOnly", false);
    }
}

fn default_projection(source: &mut Value) {
    if let Some(downward) = get_mut(source, "downwardAPI") {
        items_mut(downward, "items").for_each(default_field_source);
    }
    if let Some(token) = get_mut(source, "serviceAccountToken") {
        set_default(token, "expirationSeconds", 3600);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.25", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("nginx:1@sha256:abc", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "Always"),
            ("registry.k8s.io/a-b/c__d", "Always"),
            ("Nginx", "IfNotPresent"),
            ("-x", "IfNotPresent"),
            ("a b:latest", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_small_pod_gets_everything() {
        let mut spec = json!({"containers": [{
            "name": "a", "image": "x:1", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}, "requests": {"cpu": "0.5"}},
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"port": 80}},
        }], "volumes": [{"name": "tmp"}, {"name": "c", "configMap": {"name": "c"}}]});
        default_spec(&mut spec);
        default_pod_only(&mut spec);
        assert_eq!(
            spec,
            json!({
                "containers": [{
                    "name": "a", "image": "x:1", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
                    "resizePolicy": [
                        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
                        {"resourceName": "memory", "restartPolicy": "NotRequired"},
                    ],
                    "env": [{"name": "IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
                    "readinessProbe": {
                        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                    },
                    "imagePullPolicy": "IfNotPresent",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c", "defaultMode": 420}}],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": true,
            })
        );
    }

    #[test]
    fn host_network_takes_host_ports() {
        let mut spec = json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]});
        default_pod_only(&mut spec);
        assert_eq!(spec["containers"][0]["ports"][0]["hostPort"], 80);
    }
}
