//! Every pod runs as a service account, which must exist, and has a volume with a token of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Request, refuse};
use crate::objects::error::Error;
use crate::objects::meta::generate_name;
use crate::objects::{Objects, Target};
use crate::store::Key;

const DEFAULT: &str = "default";
/// How long a pod waits for the `default` account of a namespace that has just been made. Kubernetes waits about one
/// second; small machines may be slower.
const PATIENCE: Duration = Duration::from_secs(3);

/// Prefix of the name of the volume with the token.
const VOLUME: &str = "kube-api-access-";
/// Where containers have it.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Life of the token until it is renewed, seconds: odd, so that it is told from those that people ask for.
const TOKEN_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";
/// A service account with this annotation lets its pods use no Secrets but its own.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// Names the account where the pod does not, checks that it exists, mounts its token, and takes over its pull secrets.
pub(super) fn check(request: &Request<'_>, pod: &mut Value) -> Result<(), Error> {
    if !request.creates_pod() {
        return Ok(());
    }
    if !pod["metadata"]["annotations"][MIRROR].is_null() {
        return mirror(pod).map_or(Ok(()), |detail| Err(refuse(request, pod, detail.to_owned())));
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
    if stored["metadata"]["annotations"][ENFORCE].as_str().is_some_and(is_yes)
        && let Some(detail) = foreign_secret(&stored, pod)
    {
        return Err(refuse(request, pod, detail));
    }
    let automount = [&pod["spec"], &stored].into_iter().find_map(|o| o["automountServiceAccountToken"].as_bool());
    if automount.unwrap_or(true) {
        mount_token(pod);
    }
    let pulls = stored["imagePullSecrets"].as_array().filter(|p| !p.is_empty());
    if let Some(pulls) = pulls.filter(|_| pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)) {
        pod["spec"]["imagePullSecrets"] = json!(pulls);
    }
    Ok(())
}

/// What a mirror pod may not have.
fn mirror(pod: &Value) -> Option<&'static str> {
    let named = pod["spec"]["serviceAccountName"].as_str().is_some_and(|n| !n.is_empty());
    let volumes = || pod["spec"]["volumes"].as_array().into_iter().flatten();
    let projected = |v: &Value| v["projected"]["sources"].as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
    if named {
        Some("a mirror pod may not reference service accounts")
    } else if volumes().any(|v| v["secret"].is_object()) {
        Some("a mirror pod may not reference secrets")
    } else if volumes().flat_map(projected).any(|source| source["serviceAccountToken"].is_object()) {
        Some("a mirror pod may not use ServiceAccountToken volume projections")
    } else {
        None
    }
}

/// What Go's `ParseBool` takes for true.
fn is_yes(text: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].contains(&text)
}

/// The complaint about a Secret that the account does not list.
fn foreign_secret(account: &Value, pod: &Value) -> Option<String> {
    let name = account["metadata"]["name"].as_str().unwrap_or_default();
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let listed = |field: &str, secret: &str| items(&account[field]).iter().any(|s| s["name"] == secret);
    let unlisted = |secret: &Value| secret.as_str().filter(|s| !listed("secrets", s)).map(str::to_owned);
    let advice =
        |what: String| format!("{what} is not allowed because service account {name} does not reference that secret");
    let volumes = items(&pod["spec"]["volumes"]);
    if let Some(secret) = volumes.iter().find_map(|v| unlisted(&v["secret"]["secretName"])) {
        return Some(advice(format!("volume with secret.secretName={secret:?}")));
    }
    for (field, word) in [("initContainers", "init container"), ("containers", "container")] {
        for container in items(&pod["spec"][field]) {
            for variable in items(&container["env"]) {
                if let Some(secret) = unlisted(&variable["valueFrom"]["secretKeyRef"]["name"]) {
                    let (c, v) = (container["name"].as_str().unwrap_or(""), variable["name"].as_str().unwrap_or(""));
                    let what = format!("{word} {c} with envVar {v} referencing secret.secretName={secret:?}");
                    return Some(advice(what));
                }
            }
        }
    }
    let pulls = items(&pod["spec"]["imagePullSecrets"]);
    let pull = pulls.iter().enumerate().find(|(_, p)| !listed("imagePullSecrets", p["name"].as_str().unwrap_or("")))?;
    let what = format!("imagePullSecrets[{}].name={:?}", pull.0, pull.1["name"].as_str().unwrap_or(""));
    Some(format!("{what} is not allowed because service account {name} does not reference that imagePullSecret"))
}

/// Adds the volume with the token, and mounts it where no container's own mount is in the way.
fn mount_token(pod: &mut Value) {
    let names: Vec<&str> =
        pod["spec"]["volumes"].as_array().into_iter().flatten().filter_map(|v| v["name"].as_str()).collect();
    let there = names.iter().find(|n| n.starts_with(VOLUME)).map(|n| (*n).to_owned());
    let name = there.clone().unwrap_or_else(|| {
        let fresh = std::iter::repeat_with(|| generate_name(VOLUME));
        fresh.filter(|n| !names.contains(&n.as_str())).take(1).collect()
    });
    let mut needed = false;
    for field in ["initContainers", "containers"] {
        for container in pod["spec"][field].as_array_mut().into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().all(|m| m["mountPath"] != MOUNT_PATH) {
                let own = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
                container["volumeMounts"] = mounts.into_iter().chain([own]).collect();
                needed = true;
            }
        }
    }
    if needed && there.is_none() {
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        pod["spec"]["volumes"] = volumes.into_iter().chain([token_volume(&name)]).collect();
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
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
