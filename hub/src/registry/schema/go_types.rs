//! Names of Go types, as type errors quote them.

use super::Schema;
use super::model::Type;

/// Fields whose Go type is a named string: struct, field, type.
const NAMED_TEXTS: &[(&str, &str, &str)] = &[
    ("Container", "imagePullPolicy", "v1.PullPolicy"),
    ("Container", "restartPolicy", "v1.ContainerRestartPolicy"),
    ("Container", "terminationMessagePolicy", "v1.TerminationMessagePolicy"),
    ("ContainerPort", "protocol", "v1.Protocol"),
    ("CronJobSpec", "concurrencyPolicy", "v1.ConcurrencyPolicy"),
    ("DaemonSetUpdateStrategy", "type", "v1.DaemonSetUpdateStrategyType"),
    ("DeploymentStrategy", "type", "v1.DeploymentStrategyType"),
    ("EmptyDirVolumeSource", "medium", "v1.StorageMedium"),
    ("HTTPGetAction", "scheme", "v1.URIScheme"),
    ("HostPathVolumeSource", "type", "v1.HostPathType"),
    ("LabelSelectorRequirement", "operator", "v1.LabelSelectorOperator"),
    ("NodeSelectorRequirement", "operator", "v1.NodeSelectorOperator"),
    ("ObjectMeta", "uid", "types.UID"),
    ("OwnerReference", "uid", "types.UID"),
    ("PodSpec", "dnsPolicy", "v1.DNSPolicy"),
    ("PodSpec", "preemptionPolicy", "v1.PreemptionPolicy"),
    ("PodSpec", "restartPolicy", "v1.RestartPolicy"),
    ("PodStatus", "phase", "v1.PodPhase"),
    ("Secret", "type", "v1.SecretType"),
    ("ServicePort", "protocol", "v1.Protocol"),
    ("ServiceSpec", "externalTrafficPolicy", "v1.ServiceExternalTrafficPolicy"),
    ("ServiceSpec", "ipFamilyPolicy", "v1.IPFamilyPolicy"),
    ("ServiceSpec", "sessionAffinity", "v1.ServiceAffinity"),
    ("ServiceSpec", "type", "v1.ServiceType"),
    ("Taint", "effect", "v1.TaintEffect"),
    ("Toleration", "effect", "v1.TaintEffect"),
    ("Toleration", "operator", "v1.TolerationOperator"),
];

/// The type of a text: that of the field of `owner` at the end of `path`.
pub(super) fn text(owner: &str, path: &str) -> &'static str {
    let field = path.rsplit('.').next().unwrap_or_default();
    NAMED_TEXTS.iter().find(|named| (named.0, named.1) == (owner, field)).map_or("string", |named| named.2)
}

/// The type as Go prints it.
pub(super) fn name(schema: &Schema, ty: Type) -> String {
    match ty {
        Type::Bool => "bool".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::Double => "float64".into(),
        Type::String => "string".into(),
        Type::Bytes => "[]uint8".into(),
        Type::Time => "v1.Time".into(),
        Type::MicroTime => "v1.MicroTime".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::Any => "runtime.RawExtension".into(),
        Type::Struct(index) => {
            let name = schema.structure(index).name;
            name.rmatch_indices('.').nth(1).map_or(name, |(dot, _)| &name[dot + 1..]).to_owned()
        }
        Type::List(element) => format!("[]{}", name(schema, schema.element(element))),
        Type::Map(element) if schema.element(element) == Type::Quantity => "v1.ResourceList".into(),
        Type::Map(element) => format!("map[string]{}", name(schema, schema.element(element))),
    }
}
