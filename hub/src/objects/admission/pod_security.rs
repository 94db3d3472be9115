//! Pod Security: the levels that a namespace's labels ask for.

use serde_json::Value;

use super::{Request, refuse};
use crate::objects::error::Error;
use crate::objects::{Objects, pod_standards};
use crate::store::Key;

/// The one part of a pod that can bring containers of another level.
const EPHEMERAL: &str = "ephemeralcontainers";
const PREFIX: &str = "pod-security.kubernetes.io/";

/// Refuses pods below the namespace's `enforce` level and warns of those below its `warn` level.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    let Some(spec) = pod_spec(request, object) else { return Ok(()) };
    let key = Key {
        resource: Objects::NAMESPACES.into(),
        namespace: "".into(),
        name: request.target.namespace.as_str().into(),
    };
    let Some(namespace) = request.snapshot.get(&key) else { return Ok(()) };
    let label = |name: &str| {
        let labels = namespace.meta.labels.iter();
        labels.into_iter().find(|(k, _)| k.strip_prefix(PREFIX) == Some(name)).map(|(_, v)| &**v)
    };
    let violations = |mode: &str| {
        let level = label(mode).unwrap_or("privileged");
        let found = pod_standards::violations(level, spec);
        let version = label(&format!("{mode}-version")).unwrap_or("latest");
        (!found.is_empty()).then(|| format!("PodSecurity {:?}: {}", format!("{level}:{version}"), found.join(", ")))
    };
    let pod = &*request.target.kind.storage == Objects::PODS;
    let enforced = if pod { violations("enforce") } else { None };
    if let Some(text) = enforced {
        return Err(refuse(request, object, format!("violates {text}")));
    }
    if let Some(text) = violations("warn") {
        request.warnings.borrow_mut().push(format!("would violate {text}"));
    }
    Ok(())
}

/// The spec of a new or changed pod, or of the pods of a workload.
fn pod_spec<'a>(request: &Request<'_>, object: &'a Value) -> Option<&'a Value> {
    if !matches!(request.target.subresource.as_str(), "" | EPHEMERAL) {
        return None;
    }
    let path: &[&str] = match request.target.kind.kind {
        "Pod" => &["spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            &["spec", "template", "spec"]
        }
        "PodTemplate" => &["template", "spec"],
        _ => return None,
    };
    let at = |value: &'a Value| path.iter().fold(value, |v, field| &v[*field]);
    let spec = at(object);
    let same = request.old.is_some_and(|old| path.iter().fold(old, |v, field| &v[*field]) == spec);
    (spec.is_object() && !same).then_some(spec)
}
