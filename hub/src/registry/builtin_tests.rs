//! The table as a whole.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn groups_come_in_the_order_of_kubernetes() {
    let groups = super::super::discovery::api_groups(&Registry::builtin());
    let names: Vec<_> = groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    let first = ["apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch"];
    assert_eq!(names[..first.len()], first);
}

#[test]
fn rows_are_found_and_unique() {
    let registry = Registry::builtin();
    let mut seen = BTreeSet::new();
    for kind in registry.kinds() {
        assert!(seen.insert((kind.group, kind.version, kind.plural)), "{kind:?} is there twice");
        assert!(kind.list_kind.is_empty() || kind.list_kind == format!("{}List", kind.kind), "{kind:?}");
        assert_eq!(kind.singular, kind.kind.to_lowercase());
        let found =
            [registry.resource(kind.group, kind.version, kind.plural), registry.kind(&kind.api_version(), kind.kind)];
        assert!(found.iter().all(|f| f.is_some_and(|f| Arc::ptr_eq(f, kind))), "{kind:?}");
        assert!(kind.subresources.is_sorted() && kind.schema.ends_with(&format!(".{}.{}", kind.version, kind.kind)));
    }
    assert!(registry.resource("", "v1", "gadgets").is_none());
}

/// Resource, short names, version and storage of every row, in the order of discovery.
const NAMES: [&str; 43] = [
    "componentstatuses cs v1 componentstatuses",
    "configmaps cm v1 configmaps",
    "endpoints ep v1 endpoints",
    "events ev v1 events",
    "limitranges limits v1 limitranges",
    "namespaces ns v1 namespaces",
    "nodes no v1 nodes",
    "persistentvolumeclaims pvc v1 persistentvolumeclaims",
    "persistentvolumes pv v1 persistentvolumes",
    "pods po v1 pods",
    "podtemplates  v1 podtemplates",
    "replicationcontrollers rc v1 replicationcontrollers",
    "resourcequotas quota v1 resourcequotas",
    "secrets  v1 secrets",
    "serviceaccounts sa v1 serviceaccounts",
    "services svc v1 services",
    "controllerrevisions.apps  apps/v1 controllerrevisions.apps",
    "daemonsets.apps ds apps/v1 daemonsets.apps",
    "deployments.apps deploy apps/v1 deployments.apps",
    "replicasets.apps rs apps/v1 replicasets.apps",
    "statefulsets.apps sts apps/v1 statefulsets.apps",
    "events.events.k8s.io ev events.k8s.io/v1 events",
    "horizontalpodautoscalers.autoscaling hpa autoscaling/v2 horizontalpodautoscalers.autoscaling",
    "horizontalpodautoscalers.autoscaling hpa autoscaling/v1 horizontalpodautoscalers.autoscaling",
    "cronjobs.batch cj batch/v1 cronjobs.batch",
    "jobs.batch  batch/v1 jobs.batch",
    "certificatesigningrequests.certificates.k8s.io csr certificates.k8s.io/v1 certificatesigningrequests.certificates.k8s.io",
    "ingressclasses.networking.k8s.io  networking.k8s.io/v1 ingressclasses.networking.k8s.io",
    "ingresses.networking.k8s.io ing networking.k8s.io/v1 ingresses.networking.k8s.io",
    "networkpolicies.networking.k8s.io netpol networking.k8s.io/v1 networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy pdb policy/v1 poddisruptionbudgets.policy",
    "clusterrolebindings.rbac.authorization.k8s.io  rbac.authorization.k8s.io/v1 clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io  rbac.authorization.k8s.io/v1 clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io  rbac.authorization.k8s.io/v1 rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io  rbac.authorization.k8s.io/v1 roles.rbac.authorization.k8s.io",
    "csidrivers.storage.k8s.io  storage.k8s.io/v1 csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io  storage.k8s.io/v1 csinodes.storage.k8s.io",
    "storageclasses.storage.k8s.io sc storage.k8s.io/v1 storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io  storage.k8s.io/v1 volumeattachments.storage.k8s.io",
    "priorityclasses.scheduling.k8s.io pc scheduling.k8s.io/v1 priorityclasses.scheduling.k8s.io",
    "leases.coordination.k8s.io  coordination.k8s.io/v1 leases.coordination.k8s.io",
    "runtimeclasses.node.k8s.io  node.k8s.io/v1 runtimeclasses.node.k8s.io",
    "endpointslices.discovery.k8s.io  discovery.k8s.io/v1 endpointslices.discovery.k8s.io",
];

#[test]
fn names_of_kubectl() {
    let registry = Registry::builtin();
    let table: Vec<String> = registry
        .kinds()
        .iter()
        .filter(|k| !k.list_kind.is_empty())
        .map(|k| format!("{} {} {} {}", k.group_resource(), k.short_names.join(","), k.api_version(), k.storage))
        .collect();
    assert_eq!(table, NAMES);
    let all: Vec<&str> = registry.kinds().iter().filter(|k| k.categories.contains(&"all")).map(|k| k.plural).collect();
    assert_eq!(
        all,
        [
            "pods",
            "replicationcontrollers",
            "services",
            "daemonsets",
            "deployments",
            "replicasets",
            "statefulsets",
            "horizontalpodautoscalers",
            "horizontalpodautoscalers",
            "cronjobs",
            "jobs"
        ]
    );
}

/// A small good object of a kind.
fn small(kind: &Kind) -> Value {
    let namespace = if kind.namespaced { json!("default") } else { Value::Null };
    let mut object =
        json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "a", "namespace": namespace}});
    let containers = json!([{"name": "c", "image": "i"}]);
    let workload = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}});
    let once = json!({"spec": {"restartPolicy": "Never", "containers": containers}});
    let fields = match kind.kind {
        "Pod" => json!({"spec": {"containers": containers}}),
        "Service" => json!({"spec": {"ports": [{"port": 80}]}}),
        "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet" => json!({"spec": workload}),
        "ReplicationController" => json!({"spec": {"template": workload["template"]}}),
        "PodTemplate" => json!({"template": workload["template"]}),
        "Job" => json!({"spec": {"template": once}}),
        "CronJob" => json!({"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": once}}}}),
        "Ingress" => json!({"spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}}),
        "IngressClass" => json!({"spec": {"controller": "example.com/ingress"}}),
        "EndpointSlice" => json!({"addressType": "IPv4", "endpoints": []}),
        "HorizontalPodAutoscaler" => {
            json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 2}})
        }
        "StorageClass" => json!({"provisioner": "example.com/disk"}),
        "VolumeAttachment" => {
            json!({"spec": {"attacher": "x.io", "nodeName": "n", "source": {"persistentVolumeName": "v"}}})
        }
        "RuntimeClass" => json!({"handler": "runc"}),
        "ClusterRoleBinding" | "RoleBinding" => json!({"roleRef": {"kind": "ClusterRole", "name": "view"}}),
        "CertificateSigningRequest" => json!({"spec": {
            "request": crate::registry::kinds::testing::REQUEST, "signerName": "example.com/a", "usages": ["client auth"],
        }}),
        "ControllerRevision" => json!({"data": {}}),
        "PersistentVolume" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/d"}}})
        }
        "PersistentVolumeClaim" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
        }
        "Event" if kind.group.is_empty() => json!({"involvedObject": {"namespace": "default"}}),
        "Event" => json!({
            "regarding": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "x",
            "reportingInstance": "y", "action": "z", "reason": "r", "type": "Normal",
        }),
        _ => json!({}),
    };
    json_patch::merge(&mut object, &fields);
    object
}

#[test]
fn a_small_object_of_every_kind_is_valid_and_stays_as_it_is() {
    for kind in Registry::builtin().kinds() {
        let mut object = small(kind);
        (kind.hooks.default)(&mut object);
        (kind.hooks.prepare_create)(&mut object);
        assert_eq!((kind.hooks.validate)(&object, None), [], "{kind:?}");
        assert_eq!((kind.hooks.row)(&object, 0).len(), kind.hooks.columns.len(), "{kind:?}");
        let mut again = object.clone();
        (kind.hooks.default)(&mut again);
        (kind.hooks.prepare_update)(&mut again, &object);
        assert_eq!(again, object, "{kind:?}");
        assert_eq!((kind.hooks.validate)(&again, Some(&object)), [], "{kind:?}");
        if let (Some(to), Some(from)) = (kind.hooks.to_stored, kind.hooks.from_stored) {
            assert_eq!(from(to(object.clone())), object, "{kind:?}");
        }
    }
}

#[test]
fn status_is_the_servers() {
    for kind in Registry::builtin().kinds().iter().filter(|k| k.subresources.contains(&"status")) {
        let mut old = small(kind);
        old["status"] = json!({"mark": "old"});
        let mut new = small(kind);
        new["status"] = json!({"mark": "new"});
        (kind.hooks.prepare_update)(&mut new, &old);
        assert_eq!(new["status"], json!({"mark": "old"}), "{kind:?}");
        if kind.kind != "Node" {
            (kind.hooks.prepare_create)(&mut new);
            assert_eq!(new["status"].get("mark"), None, "{kind:?}");
        }
    }
}

#[test]
fn unknown_fields_survive() {
    for kind in Registry::builtin().kinds() {
        let mut object = small(kind);
        object["x-unknown"] = json!({"kept": [1, null]});
        (kind.hooks.default)(&mut object);
        (kind.hooks.prepare_create)(&mut object);
        assert_eq!(object["x-unknown"], json!({"kept": [1, null]}), "{kind:?}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from)
    ];
    let field = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "data",
        "binaryData",
        "stringData",
        "labels",
        "ports",
        "port",
        "nodePort",
        "template",
        "selector",
        "matchLabels",
        "strategy",
        "rollingUpdate",
        "containers",
        "containerStatuses",
        "state",
        "terminated",
        "conditions",
        "type",
        "taints",
        "series",
        "involvedObject",
        "regarding",
        "apiVersion",
        "clusterIPs",
        "finalizers",
        "immutable",
        "name",
        "namespace",
    ]);
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(field.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_input_makes_a_hook_panic(new in any_json(), old in any_json(), now in any::<i64>()) {
        for kind in Registry::builtin().kinds() {
            let mut object = new.clone();
            (kind.hooks.default)(&mut object);
            (kind.hooks.prepare_create)(&mut object);
            (kind.hooks.prepare_update)(&mut object, &old);
            (kind.hooks.validate)(&object, None);
            (kind.hooks.validate)(&object, Some(&old));
            (kind.hooks.field)(&object, "status.phase");
            prop_assert_eq!((kind.hooks.row)(&object, now).len(), kind.hooks.columns.len());
            if let (Some(to), Some(from)) = (kind.hooks.to_stored, kind.hooks.from_stored) {
                from(to(object));
            }
        }
    }
}
