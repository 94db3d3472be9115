//! Every pod runs as a service account, which must exist.
//!
//! No volume with a token is added to pods: agents cannot renew tokens yet.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Request, refuse};
use crate::objects::error::Error;
use crate::objects::{Objects, Target};
use crate::store::Key;

const DEFAULT: &str = "default";
/// How long a pod waits for the `default` account of a namespace that has just been made. Kubernetes waits about one
/// second; small machines may be slower.
const PATIENCE: Duration = Duration::from_secs(3);

/// Names the account where the pod does not, checks that it exists, and takes over its pull secrets.
pub(super) fn check(request: &Request<'_>, pod: &mut Value) -> Result<(), Error> {
    if !request.creates_pod() {
        return Ok(());
    }
    let name = account(pod).to_owned();
    pod["spec"]["serviceAccountName"] = name.as_str().into();
    pod["spec"]["serviceAccount"] = name.as_str().into();
    let namespace = &request.target.namespace;
    let stored = request.snapshot.get(&key(namespace, &name));
    let stored: Value = stored.and_then(|o| o.parse().ok()).ok_or_else(|| {
        let detail = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        refuse(request, pod, detail)
    })?;
    let pulls = stored["imagePullSecrets"].as_array().filter(|p| !p.is_empty());
    if let Some(pulls) = pulls.filter(|_| pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)) {
        pod["spec"]["imagePullSecrets"] = json!(pulls);
    }
    Ok(())
}

/// Waits for the `default` account that a pod needs, but not for long.
pub(in crate::objects) async fn wait(objects: &Objects, target: &Target, pod: &Value) {
    if !super::is_pod(target) || account(pod) != DEFAULT {
        return;
    }
    let (key, mut revisions) = (key(&target.namespace, DEFAULT), objects.store().revisions());
    let there = revisions.wait_for(|_| objects.snapshot().get(&key).is_some());
    // Without it in the end, admission refuses the pod.
    let _ = tokio::time::timeout(PATIENCE, there).await;
}

fn account(pod: &Value) -> &str {
    pod["spec"]["serviceAccountName"].as_str().filter(|n| !n.is_empty()).unwrap_or(DEFAULT)
}

fn key(namespace: &str, name: &str) -> Key {
    Key { resource: "serviceaccounts".into(), namespace: namespace.into(), name: name.into() }
}
