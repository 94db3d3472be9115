//! Every top-level kind the hub may ever serve, and all that they refer to, as JSON schemas by definition name.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1 as apps, authentication::v1 as authentication, authorization::v1 as authorization,
    autoscaling::v1 as autoscaling, autoscaling::v2 as autoscaling_v2, batch::v1 as batch,
    certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
    events::v1 as events, networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
    scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::schemars::generate::SchemaSettings;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use k8s_openapi::{ListableResource, Resource};
use serde_json::{Value, json};

/// JSON schemas by definition name (`io.k8s.api.core.v1.Pod`), references as `#/definitions/NAME`.
pub(crate) type Definitions = BTreeMap<String, Value>;

macro_rules! kinds {
    ($collector:expr, $add:ident: $($module:ident { $($kind:ident)* })*) => {
        $($($collector.$add::<$module::$kind>();)*)*
    };
}

/// Collects the definitions of every kind, its list, and everything they refer to.
pub(crate) fn definitions() -> Definitions {
    let mut collector = Collector { generator: generator(), marks: BTreeMap::new(), lists: Definitions::new() };
    kinds!(collector, listed:
        core {
            ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim
            Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
        }
        apps { ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet }
        batch { CronJob Job }
        networking { Ingress IngressClass IPAddress NetworkPolicy ServiceCIDR }
        discovery { EndpointSlice }
        policy { PodDisruptionBudget }
        autoscaling { HorizontalPodAutoscaler }
        autoscaling_v2 { HorizontalPodAutoscaler }
        rbac { ClusterRole ClusterRoleBinding Role RoleBinding }
        storage { CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment }
        scheduling { PriorityClass }
        node { RuntimeClass }
        coordination { Lease }
        certificates { CertificateSigningRequest }
        events { Event }
    );
    kinds!(collector, single:
        core { Binding }
        policy { Eviction }
        autoscaling { Scale }
        authentication { SelfSubjectReview TokenRequest TokenReview }
        authorization { LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview }
        meta { APIGroup APIGroupList APIResourceList APIVersions Status }
    );
    collector.generator.subschema_for::<meta::DeleteOptions>();
    collector.generator.subschema_for::<meta::Patch>();
    collector.mark::<meta::DeleteOptions>("", "v1", "DeleteOptions");
    collector.finish()
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft07()
        .with(|settings| {
            // Only root schemas need the draft's transforms; references here keep the description beside them.
            settings.transforms.clear();
            settings.meta_schema = None;
        })
        .into_generator()
}

struct Collector {
    generator: SchemaGenerator,
    marks: BTreeMap<String, Vec<Value>>,
    lists: Definitions,
}

impl Collector {
    fn single<T: Resource + JsonSchema>(&mut self) {
        self.generator.subschema_for::<T>();
        self.mark::<T>(T::GROUP, T::VERSION, T::KIND);
    }

    fn listed<T: ListableResource + JsonSchema>(&mut self) {
        self.single::<T>();
        let item = T::schema_name();
        let package = item.rsplit_once('.').map_or("", |(package, _)| package);
        let name = format!("{package}.{}", T::LIST_KIND);
        self.lists.insert(name.clone(), list_schema(&item, T::KIND, T::LIST_KIND));
        self.marks.entry(name).or_default().push(mark(T::GROUP, T::VERSION, T::LIST_KIND));
    }

    fn mark<T: JsonSchema>(&mut self, group: &str, version: &str, kind: &str) {
        self.marks.entry(T::schema_name().into_owned()).or_default().push(mark(group, version, kind));
    }

    fn finish(mut self) -> Definitions {
        self.generator.subschema_for::<meta::ListMeta>();
        let mut all: Definitions = self.generator.take_definitions(false).into_iter().chain(self.lists).collect();
        for (name, marks) in self.marks {
            if let Some(schema) = all.get_mut(&name) {
                schema["x-kubernetes-group-version-kind"] = Value::Array(marks);
            }
        }
        for (name, schema) in &mut all {
            plain_numbers_and_strings(schema);
            mend_required(name, schema);
        }
        all
    }
}

fn mark(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "kind": kind, "version": version })
}

/// `k8s-openapi`'s generic list has no schema of its own.
fn list_schema(item: &str, kind: &str, list_kind: &str) -> Value {
    json!({
        "description": format!("{list_kind} is a list of {kind}s."),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {
                "description": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
                "type": "string",
            },
            "items": { "description": format!("Items is the list of {kind}s."), "type": "array", "items": { "$ref": format!("#/definitions/{item}") } },
            "kind": {
                "description": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
                "type": "string",
            },
            "metadata": {
                "$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
                "description": "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
            },
        },
    })
}

/// The crate takes for required what its types always have; Kubernetes' documents do so only for what clients must send.
fn mend_required(name: &str, schema: &mut Value) {
    let Some(required) = schema.get("required").and_then(Value::as_array) else { return };
    let optional = |field: &Value| {
        let text = field.as_str().map_or("", |field| schema["properties"][field]["description"].as_str().unwrap_or(""));
        let of_metadata = field == "metadata" && name != "io.k8s.api.core.v1.Event";
        of_metadata || text.contains("due to backwards compatibility is allowed to be empty")
    };
    let mut left: Vec<Value> = required.iter().filter(|field| !optional(field)).cloned().collect();
    if name == "io.k8s.api.events.v1.Event" {
        left.push("eventTime".into());
    }
    match schema.as_object_mut() {
        Some(object) if left.is_empty() => drop(object.remove("required")),
        Some(object) => drop(object.insert("required".into(), left.into())),
        None => {}
    }
}

/// Kubernetes' own documents describe quantities as strings and int-or-strings by a format.
fn plain_numbers_and_strings(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.remove("x-kubernetes-int-or-string").is_some() {
        object.insert("type".into(), "string".into());
        if object.get("description").and_then(Value::as_str).is_some_and(|text| text.starts_with("IntOrString")) {
            object.insert("format".into(), "int-or-string".into());
        }
    }
}
