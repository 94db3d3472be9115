//! From Kubernetes objects to what a node is told. Pure.

mod checks;
mod extras;
pub(super) mod service_env;
mod volumes;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as K8sQuantity;
use skiff_shared::ids::{InvalidId, PodUid};
use skiff_shared::pod::{
    Container, Data, Deletion, EnvFrom, EnvValue, EnvVar, ItemKey, ObjectRef, Pod, Port, Projection, Protocol,
    PullPolicy, Qos, Resources, RestartPolicy, Security, VolumeSource,
};
use skiff_shared::quantity::Quantity;

/// A pod as its node sees it.
///
/// # Errors
/// [`InvalidId`] when the pod has no usable uid.
pub(super) fn pod(pod: &core::Pod) -> Result<Pod, InvalidId> {
    let meta = &pod.metadata;
    let spec = pod.spec.clone().unwrap_or_default();
    let security = spec.security_context.clone().unwrap_or_default();
    let name = meta.name.clone().unwrap_or_default();
    // Kubernetes turns a negative grace into one second.
    let grace = spec.termination_grace_period_seconds.map_or(30, |grace| if grace < 0 { 1 } else { grace });
    let containers = |list: &[core::Container]| list.iter().map(|c| container(c, &security)).collect();
    Ok(Pod {
        uid: PodUid::parse(meta.uid.as_deref().unwrap_or_default())?,
        namespace: meta.namespace.clone().unwrap_or_default(),
        labels: sorted(meta.labels.as_ref()),
        annotations: sorted(meta.annotations.as_ref()),
        init_containers: containers(spec.init_containers.as_deref().unwrap_or_default()),
        containers: containers(&spec.containers),
        restart_policy: restart_policy(spec.restart_policy.as_deref()),
        termination_grace_seconds: seconds(grace),
        active_deadline_seconds: spec.active_deadline_seconds.and_then(|s| u64::try_from(s).ok()),
        hostname: spec.hostname.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| host_label(&name)),
        host_network: spec.host_network.unwrap_or_default(),
        service_account: spec.service_account_name.clone().unwrap_or_default(),
        qos: pod.status.as_ref().and_then(|s| s.qos_class.as_deref()).and_then(qos_named).unwrap_or_else(|| qos(&spec)),
        deletion: meta.deletion_timestamp.as_ref().map(|at| Deletion {
            grace_seconds: seconds(meta.deletion_grace_period_seconds.unwrap_or(grace)),
            deadline_unix_ms: at.0.as_millisecond(),
        }),
        created_unix_ms: meta.creation_timestamp.as_ref().map_or(0, |t| t.0.as_millisecond()),
        extras: [
            extras::extras(&spec, &security),
            volumes::extras(&spec),
            checks::extras(&spec),
            extras::readiness_gates(pod),
        ]
        .concat(),
        name,
    })
}

/// A ConfigMap's content.
pub(super) fn config_map(map: &core::ConfigMap) -> Data {
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
    data(&map.metadata, text.chain(binary).collect())
}

/// A Secret's content.
pub(super) fn secret(secret: &core::Secret) -> Data {
    data(&secret.metadata, secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect())
}

/// The ConfigMaps and Secrets that a pod refers to.
pub(super) fn references(pod: &Pod) -> BTreeSet<ItemKey> {
    let key = |source: &ObjectRef| match source {
        ObjectRef::ConfigMap(name) => ItemKey::ConfigMap { namespace: pod.namespace.clone(), name: name.clone() },
        ObjectRef::Secret(name) => ItemKey::Secret { namespace: pod.namespace.clone(), name: name.clone() },
    };
    let all = || pod.every_container();
    let whole = all().flat_map(|c| &c.env_from).map(|e| key(&e.source));
    let single = all().flat_map(|c| &c.env).filter_map(|e| match &e.value {
        EnvValue::Key { source, .. } => Some(key(source)),
        EnvValue::Literal(_) | EnvValue::Field(_) | EnvValue::Resource { .. } => None,
    });
    let mounted = pod.volumes().filter_map(|v| match &v.source {
        VolumeSource::Projected { sources, .. } => Some(sources),
        VolumeSource::EmptyDir { .. } | VolumeSource::HostPath { .. } | VolumeSource::Unsupported(_) => None,
    });
    let files = mounted.flatten().filter_map(|p| match p {
        Projection::Object { source, .. } => Some(key(source)),
        Projection::Field { .. } | Projection::Resource { .. } | Projection::Token { .. } => None,
    });
    let pulls = pod.pull_secrets().map(|name| key(&ObjectRef::Secret(name.to_owned())));
    whole.chain(single).chain(files).chain(pulls).collect()
}

fn data(
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    mut entries: Vec<(String, Vec<u8>)>,
) -> Data {
    entries.sort();
    Data { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default(), entries }
}

fn sorted(map: Option<&std::collections::BTreeMap<String, String>>) -> Vec<(String, String)> {
    map.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn seconds(s: i64) -> u32 {
    u32::try_from(s.max(0)).unwrap_or(u32::MAX)
}

/// A host name holds at most 63 characters and does not end in a dash or dot (kubelet's `truncatePodHostnameIfNeeded`).
fn host_label(name: &str) -> String {
    name.get(..63).map_or(name, |cut| cut.trim_end_matches(['-', '.'])).to_owned()
}

fn restart_policy(policy: Option<&str>) -> RestartPolicy {
    match policy {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some(_) | None => RestartPolicy::Always,
    }
}

fn qos_named(class: &str) -> Option<Qos> {
    match class {
        "Guaranteed" => Some(Qos::Guaranteed),
        "Burstable" => Some(Qos::Burstable),
        "BestEffort" => Some(Qos::BestEffort),
        _ => None,
    }
}

/// The QoS class by Kubernetes' rules, for a pod whose status does not say.
fn qos(spec: &core::PodSpec) -> Qos {
    let all: Vec<Resources> = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .map(|c| c.resources.as_ref().map(resources).unwrap_or_default())
        .collect();
    let guaranteed = |r: &Resources| {
        r.cpu_limit_milli.is_some()
            && r.memory_limit_bytes.is_some()
            && r.cpu_request_milli.is_none_or(|v| Some(v) == r.cpu_limit_milli)
            && r.memory_request_bytes.is_none_or(|v| Some(v) == r.memory_limit_bytes)
    };
    if all.iter().all(|r| *r == Resources::default()) {
        Qos::BestEffort
    } else if all.iter().all(guaranteed) {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

fn container(c: &core::Container, pod: &core::PodSecurityContext) -> Container {
    Container {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        pull_policy: pull_policy(c),
        command: c.command.clone().unwrap_or_default(),
        args: c.args.clone().unwrap_or_default(),
        working_dir: c.working_dir.clone().filter(|d| !d.is_empty()),
        env_from: c.env_from.iter().flatten().filter_map(env_from).collect(),
        env: c.env.iter().flatten().map(env).collect(),
        ports: c.ports.iter().flatten().filter_map(port).collect(),
        resources: c.resources.as_ref().map(resources).unwrap_or_default(),
        stdin: c.stdin.unwrap_or_default(),
        stdin_once: c.stdin_once.unwrap_or_default(),
        tty: c.tty.unwrap_or_default(),
        termination_message_from_logs: c.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"),
        security: security(c.security_context.as_ref(), pod),
        sidecar: c.restart_policy.as_deref() == Some("Always"),
    }
}

/// The policy, or its default: `Always` for the tag `latest` (also implied), else `IfNotPresent`.
fn pull_policy(c: &core::Container) -> PullPolicy {
    let image = c.image.as_deref().unwrap_or_default();
    let tag = image.rsplit('/').next().unwrap_or_default();
    match c.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        Some(_) | None if !image.contains('@') && (!tag.contains(':') || tag.ends_with(":latest")) => {
            PullPolicy::Always
        }
        Some(_) | None => PullPolicy::IfNotPresent,
    }
}

fn env_from(e: &core::EnvFromSource) -> Option<EnvFrom> {
    let prefix = e.prefix.clone().unwrap_or_default();
    if let Some(map) = &e.config_map_ref {
        let source = ObjectRef::ConfigMap(map.name.clone());
        return Some(EnvFrom { prefix, source, optional: map.optional.unwrap_or_default() });
    }
    let secret = e.secret_ref.as_ref()?;
    let source = ObjectRef::Secret(secret.name.clone());
    Some(EnvFrom { prefix, source, optional: secret.optional.unwrap_or_default() })
}

fn env(e: &core::EnvVar) -> EnvVar {
    let literal = || EnvValue::Literal(e.value.clone().unwrap_or_default());
    let value = e.value_from.as_ref().and_then(env_source).unwrap_or_else(literal);
    EnvVar { name: e.name.clone(), value }
}

fn env_source(from: &core::EnvVarSource) -> Option<EnvValue> {
    if let Some(k) = &from.config_map_key_ref {
        let source = ObjectRef::ConfigMap(k.name.clone());
        return Some(EnvValue::Key { source, key: k.key.clone(), optional: k.optional.unwrap_or_default() });
    }
    if let Some(k) = &from.secret_key_ref {
        let source = ObjectRef::Secret(k.name.clone());
        return Some(EnvValue::Key { source, key: k.key.clone(), optional: k.optional.unwrap_or_default() });
    }
    if let Some(field) = &from.field_ref {
        return Some(EnvValue::Field(field.field_path.clone()));
    }
    from.resource_field_ref.as_ref().map(|r| EnvValue::Resource {
        container: r.container_name.clone().unwrap_or_default(),
        resource: r.resource.clone(),
        divisor: divisor(&r.resource, r.divisor.as_ref()),
    })
}

/// `0` and absent mean 1: one CPU (1000 milli) or one byte.
fn divisor(resource: &str, divisor: Option<&K8sQuantity>) -> u64 {
    let cpu = resource.ends_with(".cpu");
    let given = divisor.and_then(|q| if cpu { milli(q) } else { whole(q) }).filter(|d| *d > 0);
    given.unwrap_or(if cpu { 1000 } else { 1 })
}

fn port(p: &core::ContainerPort) -> Option<Port> {
    Some(Port {
        name: p.name.clone().unwrap_or_default(),
        container_port: u16::try_from(p.container_port).ok()?,
        host_port: p.host_port.filter(|port| *port != 0).and_then(|port| u16::try_from(port).ok()),
        host_ip: p.host_ip.clone().unwrap_or_default(),
        protocol: match p.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(_) | None => Protocol::Tcp,
        },
    })
}

fn resources(r: &core::ResourceRequirements) -> Resources {
    let request = |name: &str| r.requests.as_ref().and_then(|m| m.get(name));
    let limit = |name: &str| r.limits.as_ref().and_then(|m| m.get(name));
    Resources {
        cpu_request_milli: request("cpu").and_then(milli),
        cpu_limit_milli: limit("cpu").and_then(milli),
        memory_request_bytes: request("memory").and_then(whole),
        memory_limit_bytes: limit("memory").and_then(whole),
    }
}

fn milli(q: &K8sQuantity) -> Option<u64> {
    Quantity::parse(&q.0).ok().and_then(|q| u64::try_from(q.milli()).ok())
}

fn whole(q: &K8sQuantity) -> Option<u64> {
    Quantity::parse(&q.0).ok().and_then(|q| u64::try_from(q.value()).ok())
}

fn security(own: Option<&core::SecurityContext>, pod: &core::PodSecurityContext) -> Security {
    let own = own.cloned().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let bare = |list: Option<Vec<String>>| {
        list.into_iter().flatten().map(|c| c.strip_prefix("CAP_").unwrap_or(&c).to_owned()).collect()
    };
    let mut supplemental_groups = pod.supplemental_groups.clone().unwrap_or_default();
    supplemental_groups.extend(pod.fs_group.filter(|g| !supplemental_groups.contains(g)));
    Security {
        run_as_user: own.run_as_user.or(pod.run_as_user),
        run_as_group: own.run_as_group.or(pod.run_as_group),
        run_as_non_root: own.run_as_non_root.or(pod.run_as_non_root).unwrap_or_default(),
        privileged: own.privileged.unwrap_or_default(),
        read_only_root: own.read_only_root_filesystem.unwrap_or_default(),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        cap_add: bare(capabilities.add),
        cap_drop: bare(capabilities.drop),
        supplemental_groups,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: serde_json::Value) -> Pod {
        pod(&serde_json::from_value(value).unwrap()).unwrap()
    }

    #[test]
    fn a_minimal_pod_gets_kubernetes_defaults() {
        let pod = parse(json!({
            "metadata": {"uid": "u1", "name": "web", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:01Z"},
            "spec": {"containers": [{"name": "c", "image": "reg:5000/img"}]}
        }));
        assert_eq!((pod.hostname.as_str(), pod.termination_grace_seconds, pod.qos), ("web", 30, Qos::BestEffort));
        assert_eq!(
            (pod.restart_policy, pod.deletion, pod.created_unix_ms),
            (RestartPolicy::Always, None, 1_767_225_601_000)
        );
        assert_eq!(pod.containers[0].pull_policy, PullPolicy::Always);
        assert!(references(&pod).is_empty());
    }

    #[test]
    fn every_field_an_agent_acts_on_is_carried() {
        let pod = parse(json!({
            "metadata": {"uid": "u1", "name": "web", "namespace": "ns", "labels": {"b": "2", "a": "1"},
                "deletionTimestamp": "2026-01-01T00:00:10Z", "deletionGracePeriodSeconds": 10},
            "spec": {
                "restartPolicy": "Never", "hostNetwork": true, "securityContext": {"runAsUser": 5, "runAsNonRoot": true},
                "containers": [{
                    "name": "c", "image": "img:1", "command": ["x"], "workingDir": "/w",
                    "ports": [{"containerPort": 53, "hostPort": 5353, "protocol": "UDP"}],
                    "envFrom": [{"prefix": "P", "secretRef": {"name": "s", "optional": true}}],
                    "env": [
                        {"name": "A", "value": "v"},
                        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
                        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                        {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                        {"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}
                    ],
                    "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Mi"}},
                    "securityContext": {"runAsUser": 7, "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"], "add": ["CAP_NET_ADMIN"]}}
                }]
            }
        }));
        let c = &pod.containers[0];
        assert_eq!(pod.labels, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        assert_eq!(pod.deletion, Some(Deletion { grace_seconds: 10, deadline_unix_ms: 1_767_225_610_000 }));
        assert_eq!((pod.qos, c.pull_policy, pod.host_network), (Qos::Burstable, PullPolicy::IfNotPresent, true));
        assert_eq!((c.ports[0].host_port, c.ports[0].protocol), (Some(5353), Protocol::Udp));
        assert_eq!((c.resources.cpu_request_milli, c.resources.memory_limit_bytes), (Some(100), Some(1 << 20)));
        assert_eq!(
            (c.security.run_as_user, c.security.run_as_non_root, c.security.no_new_privileges),
            (Some(7), true, true)
        );
        assert_eq!(
            (c.security.cap_add.as_slice(), c.security.cap_drop.as_slice()),
            (&["NET_ADMIN".to_owned()][..], &["ALL".to_owned()][..])
        );
        let resource = |resource: &str, divisor| EnvValue::Resource {
            container: String::new(),
            resource: resource.into(),
            divisor,
        };
        assert_eq!(c.env[3].value, resource("limits.memory", 1 << 20));
        assert_eq!(c.env[4].value, resource("limits.cpu", 1000));
        let (namespace, map, secret) = ("ns".to_owned(), "m".to_owned(), "s".to_owned());
        let wanted = [
            ItemKey::ConfigMap { namespace: namespace.clone(), name: map },
            ItemKey::Secret { namespace, name: secret },
        ];
        assert_eq!(references(&pod).into_iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn data_is_decoded_and_sorted() {
        let map = serde_json::from_value(
            json!({"metadata": {"name": "m", "namespace": "n"}, "data": {"z": "1"}, "binaryData": {"a": "AP8="}}),
        );
        let entries = config_map(&map.unwrap()).entries;
        assert_eq!(entries, [("a".to_owned(), vec![0, 255]), ("z".to_owned(), b"1".to_vec())]);
    }
}
