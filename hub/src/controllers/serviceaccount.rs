//! What every namespace has from the start: the `default` ServiceAccount and the cluster's CA certificate.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::reconcile::view;
use crate::reconcile::{Controller, Plan, PlannedWrite};
use crate::store::{Event, EventKind, Key, Snapshot};

const ACCOUNT: &str = "default";
const CONFIG_MAP: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Keeps a `default` ServiceAccount in each active namespace.
#[derive(Debug, Default)]
pub struct ServiceAccounts;

/// Publishes the CA certificate as `kube-root-ca.crt` in each active namespace.
#[derive(Debug)]
pub struct RootCa {
    pem: String,
}

impl RootCa {
    /// With the CA certificate in PEM form.
    pub fn new(pem: String) -> Self {
        Self { pem }
    }
}

impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        "service-account-controller"
    }

    fn keys(&self, event: &Event, _snapshot: &Snapshot) -> Vec<Key> {
        namespaces(event, "serviceaccounts", ACCOUNT)
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        all_namespaces(snapshot)
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        let object = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": &*key.name},
        });
        if is_active(key, snapshot) && snapshot.get(&view::key("serviceaccounts", &key.name, ACCOUNT)).is_none() {
            create(object)
        } else {
            Plan::nothing()
        }
    }
}

impl Controller for RootCa {
    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher"
    }

    fn keys(&self, event: &Event, _snapshot: &Snapshot) -> Vec<Key> {
        namespaces(event, "configmaps", CONFIG_MAP)
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        all_namespaces(snapshot)
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        if !is_active(key, snapshot) {
            return Plan::nothing();
        }
        let data = json!({"ca.crt": self.pem});
        let Some(stored) = snapshot.get(&view::key("configmaps", &key.name, CONFIG_MAP)) else {
            return create(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": CONFIG_MAP, "namespace": &*key.name,
                    "annotations": {"kubernetes.io/description": DESCRIPTION},
                },
                "data": data,
            }));
        };
        let mut object: Value = stored.parse().unwrap_or_default();
        if object["data"] == data {
            return Plan::nothing();
        }
        object["data"] = data;
        let (key, revision) = (stored.key.clone(), stored.revision);
        let why = format!("{CONFIG_MAP} was changed: put the CA back");
        let writes = vec![PlannedWrite::Update { key, revision, subresource: "", object }];
        Plan { writes, why, ..Plan::nothing() }
    }
}

/// The namespace of an event: itself, or that of the object of this name that changed or went.
fn namespaces(event: &Event, resource: &str, name: &str) -> Vec<Key> {
    let key = &event.object.key;
    if &*key.resource == "namespaces" {
        return vec![key.clone()];
    }
    let ours = &*key.resource == resource && &*key.name == name && event.kind != EventKind::Added;
    if ours { vec![view::key("namespaces", "", &key.namespace)] } else { Vec::new() }
}

fn all_namespaces(snapshot: &Snapshot) -> Vec<Key> {
    view::all(snapshot, "namespaces")
}

fn is_active(namespace: &Key, snapshot: &Snapshot) -> bool {
    snapshot.get(namespace).is_some_and(|n| !n.meta.deleting)
}

fn create(object: Value) -> Plan {
    let why = format!("create {} {}", object["kind"], object["metadata"]["name"]);
    let write = PlannedWrite::Create { object, tolerate_exists: true, event: None, failed: None };
    Plan { writes: vec![write], why, ..Plan::nothing() }
}
