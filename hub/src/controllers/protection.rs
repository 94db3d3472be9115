//! Lets deleted volumes and claims go once nothing uses them: claims when no pod does, volumes when they are not bound.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::objects::{CLAIM_PROTECTION, VOLUME_PROTECTION};
use crate::reconcile::{Controller, Plan, PlannedWrite};
use crate::store::{Event, EventKind, Key, Object, Snapshot};

const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";

/// Puts the protection of volumes and claims on and takes it off.
#[derive(Debug)]
pub struct Protection;

impl Controller for Protection {
    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let key = &event.object.key;
        match &*key.resource {
            CLAIMS | VOLUMES => vec![key.clone()],
            // A pod that goes may have been the last to use a claim.
            "pods" if event.kind == EventKind::Deleted => {
                let claims = snapshot.list(&CLAIMS.into(), Some(&key.namespace));
                claims.filter(|claim| claim.meta.deleting).map(|claim| claim.key.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        [CLAIMS, VOLUMES].iter().flat_map(|kind| snapshot.list(&(*kind).into(), None)).map(|o| o.key.clone()).collect()
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        let Some(stored) = snapshot.get(key) else { return Plan::nothing() };
        let finalizer = if &*key.resource == CLAIMS { CLAIM_PROTECTION } else { VOLUME_PROTECTION };
        let protected = stored.meta.finalizers.iter().any(|f| **f == *finalizer);
        if protected != stored.meta.deleting || (stored.meta.deleting && is_used(stored, snapshot)) {
            return Plan::nothing();
        }
        let mut rest: Vec<&str> = stored.meta.finalizers.iter().map(|f| &**f).filter(|f| *f != finalizer).collect();
        if !protected {
            rest.push(finalizer);
        }
        let why = format!("{} {} its protection", key.name, if protected { "is not used: take" } else { "lacks" });
        let finalizers = if rest.is_empty() { Value::Null } else { json!(rest) };
        let metadata = json!({
            "uid": &*stored.meta.uid, "resourceVersion": stored.revision.to_string(), "finalizers": finalizers,
        });
        let write = PlannedWrite::Patch { key: key.clone(), subresource: "", patch: json!({ "metadata": metadata }) };
        Plan { writes: vec![write], why, ..Plan::nothing() }
    }
}

fn is_used(stored: &Object, snapshot: &Snapshot) -> bool {
    let key = &stored.key;
    if &*key.resource == VOLUMES {
        return stored.parse::<Value>().is_ok_and(|volume| volume["status"]["phase"] == "Bound");
    }
    let pods = snapshot.list(&"pods".into(), Some(&key.namespace));
    pods.filter_map(|pod| Some((pod, pod.parse::<Value>().ok()?))).any(|(pod, value)| uses(pod, &value, stored))
}

/// Whether a pod that has a node uses a claim. One without cannot start any more, once the claim is deleted.
fn uses(pod: &Object, value: &Value, claim: &Object) -> bool {
    let spec = &value["spec"];
    let ended = matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let own = || claim.controller().is_some_and(|owner| owner.uid == pod.meta.uid);
    let names = |volume: &Value| {
        let made = format!("{}-{}", pod.key.name, volume["name"].as_str().unwrap_or_default());
        let ephemeral = !ended && volume["ephemeral"].is_object() && made == *claim.key.name && own();
        volume["persistentVolumeClaim"]["claimName"] == *claim.key.name || ephemeral
    };
    spec["nodeName"].as_str().is_some_and(|node| !node.is_empty())
        && spec["volumes"].as_array().into_iter().flatten().any(names)
}
