//! What a pod's RuntimeClass adds to it: overhead, node selector and tolerations.

use serde_json::{Value, json};

use super::{Request, refuse};
use crate::objects::error::Error;
use crate::store::Key;

/// Checks that the class of a new pod exists, and takes over what it says.
pub(super) fn check(request: &Request<'_>, pod: &mut Value) -> Result<(), Error> {
    if !request.creates_pod() {
        return Ok(());
    }
    let class = class_of(request, pod)?;
    overhead(request, pod, &class["overhead"]["podFixed"])?;
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let given = pod["spec"]["nodeSelector"][key].clone();
        if !given.is_null() && given != *value {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let detail = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}, pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(&given)
            );
            return Err(refuse(request, pod, detail));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    let given = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let added = scheduling["tolerations"].as_array().into_iter().flatten().filter(|t| !given.contains(t));
    let all: Vec<Value> = given.iter().chain(added).cloned().collect();
    if all.len() > given.len() {
        pod["spec"]["tolerations"] = json!(all);
    }
    Ok(())
}

/// The class that a pod names; `null` where it names none.
fn class_of(request: &Request<'_>, pod: &Value) -> Result<Value, Error> {
    let Some(name) = pod["spec"]["runtimeClassName"].as_str() else { return Ok(Value::Null) };
    let key = Key { resource: "runtimeclasses.node.k8s.io".into(), namespace: "".into(), name: name.into() };
    let stored = request.snapshot.get(&key).and_then(|o| o.parse().ok());
    stored.ok_or_else(|| refuse(request, pod, format!("pod rejected: RuntimeClass {name:?} not found")))
}

fn overhead(request: &Request<'_>, pod: &mut Value, fixed: &Value) -> Result<(), Error> {
    let given = &pod["spec"]["overhead"];
    if fixed.is_null() && given.as_object().is_some_and(|o| !o.is_empty()) {
        let detail = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(refuse(request, pod, detail.to_owned()));
    }
    if fixed.is_null() {
        return Ok(());
    }
    if !given.is_null() && given != fixed {
        let detail = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
        return Err(refuse(request, pod, detail.to_owned()));
    }
    pod["spec"]["overhead"] = fixed.clone();
    Ok(())
}
