//! The volumes of a pod and their mounts, as a node is told of them. Pure.

use k8s_openapi::api::core::v1 as core;
use skiff_shared::pod::{Extra, KeyPath, Mount, ObjectRef, Projection, Volume, VolumeSource};

use super::{divisor, whole};

/// Mode of files where nothing says otherwise.
const FILE_MODE: i32 = 0o644;
/// Life of a token where its volume does not say, seconds.
const TOKEN_SECONDS: i64 = 3600;
/// Kinds of volumes that need what nodes do not have, with the plugin that Kubernetes has for them.
const FOREIGN: [(&str, &str); 20] = [
    ("awsElasticBlockStore", "kubernetes.io/aws-ebs"),
    ("azureDisk", "kubernetes.io/azure-disk"),
    ("azureFile", "kubernetes.io/azure-file"),
    ("cephfs", "kubernetes.io/cephfs"),
    ("cinder", "kubernetes.io/cinder"),
    ("fc", "kubernetes.io/fc"),
    ("flexVolume", "kubernetes.io/flexvolume"),
    ("flocker", "kubernetes.io/flocker"),
    ("gcePersistentDisk", "kubernetes.io/gce-pd"),
    ("gitRepo", "kubernetes.io/git-repo"),
    ("glusterfs", "kubernetes.io/glusterfs"),
    ("image", "kubernetes.io/image"),
    ("iscsi", "kubernetes.io/iscsi"),
    ("nfs", "kubernetes.io/nfs"),
    ("photonPersistentDisk", "kubernetes.io/photon-pd"),
    ("portworxVolume", "kubernetes.io/portworx-volume"),
    ("quobyte", "kubernetes.io/quobyte"),
    ("rbd", "kubernetes.io/rbd"),
    ("scaleIO", "kubernetes.io/scaleio"),
    ("storageos", "kubernetes.io/storageos"),
];

/// Everything about volumes that a pod's node is to know.
pub(super) fn extras(spec: &core::PodSpec) -> Vec<Extra> {
    let mut extras: Vec<Extra> = spec.volumes.iter().flatten().map(|v| Extra::Volume(volume(v))).collect();
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    for container in containers {
        extras.extend(mounts(&container.name, container.volume_mounts.as_deref()));
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        extras.extend(mounts(&container.name, container.volume_mounts.as_deref()));
    }
    extras.extend(spec.security_context.as_ref().and_then(|s| s.fs_group).map(Extra::FsGroup));
    extras
}

fn mounts(container: &str, mounts: Option<&[core::VolumeMount]>) -> impl Iterator<Item = Extra> {
    mounts.unwrap_or_default().iter().map(move |m| {
        let expression = m.sub_path_expr.clone().filter(|e| !e.is_empty());
        Extra::Mount(Mount {
            container: container.to_owned(),
            volume: m.name.clone(),
            path: m.mount_path.clone(),
            expand: expression.is_some(),
            sub_path: expression.or_else(|| m.sub_path.clone()).unwrap_or_default(),
            read_only: m.read_only.unwrap_or_default(),
            propagation: m.mount_propagation.clone().filter(|p| p != "None").unwrap_or_default(),
        })
    })
}

fn volume(v: &core::Volume) -> Volume {
    Volume { name: v.name.clone(), source: source(v) }
}

fn source(v: &core::Volume) -> VolumeSource {
    if let Some(dir) = &v.empty_dir {
        let size_limit_bytes = dir.size_limit.as_ref().and_then(whole).filter(|limit| *limit > 0);
        return VolumeSource::EmptyDir { memory: dir.medium.as_deref() == Some("Memory"), size_limit_bytes };
    }
    if let Some(host) = &v.host_path {
        return VolumeSource::HostPath { path: host.path.clone(), kind: host.type_.clone().unwrap_or_default() };
    }
    if let Some(map) = &v.config_map {
        let keys = keys(ObjectRef::ConfigMap(map.name.clone()), map.items.as_deref(), map.optional);
        return files(map.default_mode, vec![keys]);
    }
    if let Some(secret) = &v.secret {
        let name = secret.secret_name.clone().unwrap_or_default();
        return files(
            secret.default_mode,
            vec![keys(ObjectRef::Secret(name), secret.items.as_deref(), secret.optional)],
        );
    }
    if let Some(downward) = &v.downward_api {
        let items = downward.items.iter().flatten().filter_map(downward_file);
        return files(downward.default_mode, items.collect());
    }
    if let Some(projected) = &v.projected {
        return files(projected.default_mode, projected.sources.iter().flatten().flat_map(projection).collect());
    }
    VolumeSource::Unsupported(unsupported(v))
}

/// Files; in memory where some of them are secret.
fn files(mode: Option<i32>, sources: Vec<Projection>) -> VolumeSource {
    let memory = sources.iter().any(|source| match source {
        Projection::Object { source: ObjectRef::Secret(_), .. } | Projection::Token { .. } => true,
        Projection::Object { source: ObjectRef::ConfigMap(_), .. }
        | Projection::Field { .. }
        | Projection::Resource { .. } => false,
    });
    VolumeSource::Projected { mode: bits(mode.unwrap_or(FILE_MODE)), memory, sources }
}

fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or_default() & 0o777
}

fn keys(source: ObjectRef, items: Option<&[core::KeyToPath]>, optional: Option<bool>) -> Projection {
    let key = |i: &core::KeyToPath| KeyPath { key: i.key.clone(), path: i.path.clone(), mode: i.mode.map(bits) };
    let items = items.filter(|items| !items.is_empty()).map(|items| items.iter().map(key).collect());
    Projection::Object { source, items, optional: optional.unwrap_or_default() }
}

fn projection(p: &core::VolumeProjection) -> Vec<Projection> {
    if let Some(map) = &p.config_map {
        return vec![keys(ObjectRef::ConfigMap(map.name.clone()), map.items.as_deref(), map.optional)];
    }
    if let Some(secret) = &p.secret {
        return vec![keys(ObjectRef::Secret(secret.name.clone()), secret.items.as_deref(), secret.optional)];
    }
    if let Some(token) = &p.service_account_token {
        let seconds = token.expiration_seconds.unwrap_or(TOKEN_SECONDS);
        return vec![Projection::Token {
            path: token.path.clone(),
            audience: token.audience.clone().unwrap_or_default(),
            expiration_seconds: u64::try_from(seconds).unwrap_or_default(),
        }];
    }
    p.downward_api.iter().flat_map(|d| d.items.iter().flatten()).filter_map(downward_file).collect()
}

fn downward_file(item: &core::DownwardAPIVolumeFile) -> Option<Projection> {
    let (path, mode) = (item.path.clone(), item.mode.map(bits));
    if let Some(field) = &item.field_ref {
        return Some(Projection::Field { field: field.field_path.clone(), path, mode });
    }
    let r = item.resource_field_ref.as_ref()?;
    Some(Projection::Resource {
        container: r.container_name.clone().unwrap_or_default(),
        resource: r.resource.clone(),
        divisor: divisor(&r.resource, r.divisor.as_ref()),
        path,
        mode,
    })
}

/// Why a volume cannot be had, as a kubelet without the plugin would say.
fn unsupported(v: &core::Volume) -> String {
    if let Some(csi) = &v.csi {
        return format!(
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name {} not found in the list of registered CSI drivers",
            csi.driver
        );
    }
    if let Some(claim) = &v.persistent_volume_claim {
        return format!(
            "persistentvolumeclaim {:?} cannot be mounted: this node runs no plugin for it",
            claim.claim_name
        );
    }
    if v.ephemeral.is_some() {
        return format!("ephemeral volume {:?} cannot be mounted: this node runs no plugin for it", v.name);
    }
    let value = serde_json::to_value(v).unwrap_or_default();
    let plugin = FOREIGN.iter().find(|(field, _)| !value[*field].is_null()).map(|(_, plugin)| *plugin);
    format!("no volume plugin matched: this node does not run {}", plugin.unwrap_or("volumes of this kind"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn source_of(volume: Value) -> VolumeSource {
        let mut volume = volume;
        volume["name"] = "v".into();
        source(&serde_json::from_value(volume).unwrap())
    }

    fn object(source: ObjectRef, optional: bool) -> Projection {
        Projection::Object { source, items: None, optional }
    }

    #[test]
    fn every_kind_of_volume_is_told() {
        let config = || ObjectRef::ConfigMap("c".into());
        let secret = || ObjectRef::Secret("s".into());
        let files = |mode, memory, sources| VolumeSource::Projected { mode, memory, sources };
        for (volume, expected) in [
            (json!({"emptyDir": {}}), VolumeSource::EmptyDir { memory: false, size_limit_bytes: None }),
            (
                json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
                VolumeSource::EmptyDir { memory: true, size_limit_bytes: Some(1 << 20) },
            ),
            (
                json!({"hostPath": {"path": "/x", "type": "File"}}),
                VolumeSource::HostPath { path: "/x".into(), kind: "File".into() },
            ),
            (json!({"configMap": {"name": "c"}}), files(0o644, false, vec![object(config(), false)])),
            (
                json!({"secret": {"secretName": "s", "defaultMode": 256, "optional": true}}),
                files(0o400, true, vec![object(secret(), true)]),
            ),
            (
                json!({"configMap": {"name": "c", "items": [{"key": "k", "path": "p/q", "mode": 511}]}}),
                files(
                    0o644,
                    false,
                    vec![Projection::Object {
                        source: config(),
                        items: Some(vec![KeyPath { key: "k".into(), path: "p/q".into(), mode: Some(0o777) }]),
                        optional: false,
                    }],
                ),
            ),
            (
                json!({"downwardAPI": {"items": [
                    {"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "m", "mode": 256, "resourceFieldRef": {"containerName": "a", "resource": "limits.memory", "divisor": "1Mi"}},
                ]}}),
                files(
                    0o644,
                    false,
                    vec![
                        Projection::Field { field: "metadata.labels".into(), path: "l".into(), mode: None },
                        Projection::Resource {
                            container: "a".into(),
                            resource: "limits.memory".into(),
                            divisor: 1 << 20,
                            path: "m".into(),
                            mode: Some(0o400),
                        },
                    ],
                ),
            ),
            (
                json!({"projected": {"defaultMode": 288, "sources": [
                    {"serviceAccountToken": {"path": "t", "audience": "a"}}, {"configMap": {"name": "c"}},
                ]}}),
                files(
                    0o440,
                    true,
                    vec![
                        Projection::Token { path: "t".into(), audience: "a".into(), expiration_seconds: 3600 },
                        object(config(), false),
                    ],
                ),
            ),
            (
                json!({"nfs": {"server": "s", "path": "/"}}),
                VolumeSource::Unsupported("no volume plugin matched: this node does not run kubernetes.io/nfs".into()),
            ),
        ] {
            assert_eq!(source_of(volume.clone()), expected, "{volume}");
        }
    }

    #[test]
    fn mounts_are_told_for_containers_of_every_kind() {
        let mount = |name: &str| json!({"name": "c", "volumeMounts": [{"name": name, "mountPath": "/m", "subPathExpr": "$(A)", "readOnly": true, "mountPropagation": "HostToContainer"}]});
        let spec = json!({"containers": [mount("b")], "initContainers": [mount("a")], "ephemeralContainers": [mount("c")], "securityContext": {"fsGroup": 7}});
        let told = extras(&serde_json::from_value(spec).unwrap());
        let expected = |volume: &str| {
            Extra::Mount(Mount {
                container: "c".into(),
                volume: volume.into(),
                path: "/m".into(),
                sub_path: "$(A)".into(),
                expand: true,
                read_only: true,
                propagation: "HostToContainer".into(),
            })
        };
        assert_eq!(told, [expected("a"), expected("b"), expected("c"), Extra::FsGroup(7)]);
    }
}
