//! How lists and maps merge: the facts of Kubernetes' struct tags (`patchStrategy`, `patchMergeKey`, `listType`,
//! `listMapKey`) that `k8s-openapi`'s schemas do not carry.

use crate::kinds::Definitions;

/// How one field merges.
#[derive(Debug)]
pub(crate) struct Fact {
    /// Definition name without `io.k8s.` and the `api.` or `apimachinery.pkg.apis.` before the group.
    ty: &'static str,
    /// Field.
    field: &'static str,
    /// `x-kubernetes-patch-strategy`: `merge`, `retainKeys`, `merge,retainKeys`; empty for none.
    pub(crate) strategy: &'static str,
    /// `x-kubernetes-patch-merge-key`; empty for lists of scalars and for structs.
    pub(crate) key: &'static str,
    /// `x-kubernetes-list-type`: `map`, `set`, `atomic`; empty for structs.
    pub(crate) list_type: &'static str,
    /// `x-kubernetes-list-map-keys`.
    pub(crate) list_keys: &'static [&'static str],
}

/// A list of objects, merged by one key in patches and by `list_keys` in server-side apply.
const fn map(ty: &'static str, field: &'static str, key: &'static str, list_keys: &'static [&'static str]) -> Fact {
    Fact { ty, field, strategy: "merge", key, list_type: "map", list_keys }
}

/// A list of conditions.
const fn conditions(ty: &'static str) -> Fact {
    map(ty, "conditions", "type", &["type"])
}

/// A list of objects whose items are unions: setting one member clears the others.
const fn unions(ty: &'static str, field: &'static str) -> Fact {
    Fact { ty, field, strategy: "merge,retainKeys", key: "name", list_type: "map", list_keys: &["name"] }
}

/// A list of objects that merges by key in patches but is owned as a whole in server-side apply.
const fn atomic(ty: &'static str, field: &'static str, key: &'static str) -> Fact {
    Fact { ty, field, strategy: "merge", key, list_type: "atomic", list_keys: &[] }
}

/// A list of distinct scalars, merged in patches.
const fn merged_set(ty: &'static str, field: &'static str) -> Fact {
    Fact { ty, field, strategy: "merge", key: "", list_type: "set", list_keys: &[] }
}

/// A list of distinct scalars that patches replace.
const fn set(ty: &'static str, field: &'static str) -> Fact {
    Fact { ty, field, strategy: "", key: "", list_type: "set", list_keys: &[] }
}

/// A list of objects that patches replace, with keys in server-side apply only.
const fn applied(ty: &'static str, field: &'static str, list_keys: &'static [&'static str]) -> Fact {
    Fact { ty, field, strategy: "", key: "", list_type: "map", list_keys }
}

/// A struct that is a union.
const fn union(ty: &'static str, field: &'static str) -> Fact {
    Fact { ty, field, strategy: "retainKeys", key: "", list_type: "", list_keys: &[] }
}

/// The table, by package.
const FACTS: &[Fact] = &[
    map("meta.v1.ObjectMeta", "ownerReferences", "uid", &["uid"]),
    merged_set("meta.v1.ObjectMeta", "finalizers"),
    map("core.v1.PodSpec", "containers", "name", &["name"]),
    map("core.v1.PodSpec", "initContainers", "name", &["name"]),
    map("core.v1.PodSpec", "ephemeralContainers", "name", &["name"]),
    unions("core.v1.PodSpec", "volumes"),
    unions("core.v1.PodSpec", "resourceClaims"),
    map("core.v1.PodSpec", "imagePullSecrets", "name", &["name"]),
    map("core.v1.PodSpec", "hostAliases", "ip", &["ip"]),
    map("core.v1.PodSpec", "schedulingGates", "name", &["name"]),
    map("core.v1.PodSpec", "topologySpreadConstraints", "topologyKey", &["topologyKey", "whenUnsatisfiable"]),
    conditions("core.v1.PodStatus"),
    map("core.v1.PodStatus", "podIPs", "ip", &["ip"]),
    atomic("core.v1.PodStatus", "hostIPs", "ip"),
    unions("core.v1.PodStatus", "resourceClaimStatuses"),
    map("core.v1.Container", "env", "name", &["name"]),
    map("core.v1.Container", "ports", "containerPort", &["containerPort", "protocol"]),
    map("core.v1.Container", "volumeMounts", "mountPath", &["mountPath"]),
    map("core.v1.Container", "volumeDevices", "devicePath", &["devicePath"]),
    map("core.v1.EphemeralContainer", "env", "name", &["name"]),
    map("core.v1.EphemeralContainer", "ports", "containerPort", &["containerPort", "protocol"]),
    map("core.v1.EphemeralContainer", "volumeMounts", "mountPath", &["mountPath"]),
    map("core.v1.EphemeralContainer", "volumeDevices", "devicePath", &["devicePath"]),
    map("core.v1.ContainerStatus", "volumeMounts", "mountPath", &["mountPath"]),
    map("core.v1.ContainerStatus", "allocatedResourcesStatus", "name", &["name"]),
    applied("core.v1.ResourceStatus", "resources", &["resourceID"]),
    applied("core.v1.ResourceRequirements", "claims", &["name"]),
    map("core.v1.ServiceSpec", "ports", "port", &["port", "protocol"]),
    conditions("core.v1.ServiceStatus"),
    map("core.v1.ServiceAccount", "secrets", "name", &["name"]),
    merged_set("core.v1.NodeSpec", "podCIDRs"),
    conditions("core.v1.NodeStatus"),
    map("core.v1.NodeStatus", "addresses", "type", &["type"]),
    conditions("core.v1.NamespaceStatus"),
    conditions("core.v1.ReplicationControllerStatus"),
    conditions("core.v1.PersistentVolumeClaimStatus"),
    conditions("core.v1.ComponentStatus"),
    union("apps.v1.DeploymentSpec", "strategy"),
    conditions("apps.v1.DeploymentStatus"),
    conditions("apps.v1.ReplicaSetStatus"),
    conditions("apps.v1.StatefulSetStatus"),
    conditions("apps.v1.DaemonSetStatus"),
    atomic("batch.v1.JobStatus", "conditions", "type"),
    set("batch.v1.PodFailurePolicyOnExitCodesRequirement", "values"),
    set("batch.v1.UncountedTerminatedPods", "failed"),
    set("batch.v1.UncountedTerminatedPods", "succeeded"),
    conditions("policy.v1.PodDisruptionBudgetStatus"),
    conditions("autoscaling.v2.HorizontalPodAutoscalerStatus"),
    conditions("networking.v1.ServiceCIDRStatus"),
    map("storage.v1.CSINodeSpec", "drivers", "name", &["name"]),
    set("storage.v1.CSIDriverSpec", "volumeLifecycleModes"),
    set("discovery.v1.Endpoint", "addresses"),
    applied("certificates.v1.CertificateSigningRequestStatus", "conditions", &["type"]),
];

/// Structs that server-side apply owns as a whole (`+structType=atomic`).
const ATOMIC_STRUCTS: &[&str] = &[
    "autoscaling.v1.CrossVersionObjectReference",
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.ScopeSelector",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TopologySelectorTerm",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
    "rbac.v1.RoleRef",
    "rbac.v1.Subject",
];

/// Maps and structs that server-side apply owns as a whole in this place (`+mapType=atomic`).
const ATOMIC_FIELDS: &[(&str, &str)] = &[
    ("core.v1.PodSpec", "nodeSelector"),
    ("core.v1.ReplicationControllerSpec", "selector"),
    ("core.v1.ServiceSpec", "selector"),
    ("node.v1.Scheduling", "nodeSelector"),
    ("storage.v1.VolumeAttachmentStatus", "attachmentMetadata"),
];

/// Structs that are atomic but for these places (`+structType=granular`).
const GRANULAR_FIELDS: &[(&str, &str)] = &[("core.v1.PersistentVolumeSpec", "claimRef")];

/// Whether server-side apply owns every struct of a type as a whole.
pub(crate) fn atomic_struct(definition: &str) -> bool {
    ATOMIC_STRUCTS.contains(&short(definition))
}

/// Whether server-side apply owns a map or struct in a field as a whole; `None` where its type decides.
pub(crate) fn atomic_field(definition: &str, field: &str) -> Option<bool> {
    let place = (short(definition), field);
    let atomic = ATOMIC_FIELDS.contains(&place);
    (atomic || GRANULAR_FIELDS.contains(&place)).then_some(atomic)
}

/// How a field merges, where it is not replaced as a whole.
pub(crate) fn fact(definition: &str, field: &str) -> Option<&'static Fact> {
    let short = short(definition);
    FACTS.iter().find(|fact| fact.ty == short && fact.field == field)
}

/// Every fact must name a type and field that exists, so that a typing error fails the build.
pub(crate) fn check(definitions: &Definitions) -> Result<(), String> {
    let missing = |fact: &&Fact| {
        !definitions.iter().any(|(name, schema)| short(name) == fact.ty && !schema["properties"][fact.field].is_null())
    };
    if let Some(fact) = FACTS.iter().find(missing) {
        return Err(format!("no field {}.{}", fact.ty, fact.field));
    }
    let known = |ty: &str| definitions.keys().any(|name| short(name) == ty);
    if let Some(ty) = ATOMIC_STRUCTS.iter().find(|ty| !known(ty)) {
        return Err(format!("no type {ty}"));
    }
    let field = |(ty, field): &(&str, &str)| {
        definitions.iter().any(|(name, schema)| short(name) == *ty && !schema["properties"][*field].is_null())
    };
    let place = ATOMIC_FIELDS.iter().chain(GRANULAR_FIELDS).find(|place| !field(place));
    place.map_or(Ok(()), |(ty, field)| Err(format!("no field {ty}.{field}")))
}

fn short(definition: &str) -> &str {
    let name = definition.strip_prefix("io.k8s.").unwrap_or(definition);
    name.strip_prefix("api.").or_else(|| name.strip_prefix("apimachinery.pkg.apis.")).unwrap_or(name)
}
