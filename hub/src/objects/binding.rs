//! Bindings: they assign a pod to a node, once.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::{MODIFIED, not_found};
use super::{Error, Objects, Target, WriteOptions, Written, meta};
use crate::registry::{FieldError, FieldErrorKind};
use crate::store::{Key, Object};

impl Objects {
    /// Binds a pod to a node: sets `spec.nodeName`, the annotations of the binding and the `PodScheduled` condition.
    pub(super) async fn bind(
        &self,
        target: &Target,
        binding: &Value,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let name = meta::text(binding, "name").to_owned();
        if name.is_empty() {
            return Err(Error::BadRequest("Name parameter required.".into()));
        }
        check(binding, &name)?;
        let (resource, namespace) = (Self::PODS.into(), target.namespace.as_str().into());
        let key = Key { resource, namespace, name: name.as_str().into() };
        let kind = self.registry().kind("v1", "Pod").ok_or_else(|| not_found(Self::PODS, &name))?.clone();
        let target = Target { kind, name, namespace: target.namespace.clone(), subresource: String::new() };
        loop {
            let current = self.snapshot().get(&key).cloned().ok_or_else(|| not_found(Self::PODS, &target.name))?;
            preconditions(&target, binding, &current)?;
            let mut pod = target.view(&current)?;
            assign(&target, &mut pod, binding)?;
            let saved = self.save(&target, &current, pod, options.dry_run).await;
            if matches!(saved, Err(Error::Conflict { .. })) && self.moved_on(&current) {
                continue;
            }
            return saved;
        }
    }
}

/// What a binding must say.
fn check(binding: &Value, name: &str) -> Result<(), Error> {
    let text = |field: &str| binding["target"][field].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if !matches!(text("kind"), "" | "Node") {
        let detail = "supported values: \"<empty>\", \"Node\"".to_owned();
        let kind = FieldErrorKind::NotSupported(format!("{:?}", text("kind")));
        errors.push(FieldError { field: "target.kind".into(), kind, detail });
    }
    if text("name").is_empty() {
        let field = "target.name".into();
        errors.push(FieldError { field, kind: FieldErrorKind::Required, detail: String::new() });
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid { kind: "Binding".into(), group: String::new(), name: name.to_owned(), errors })
}

/// `uid` and `resourceVersion` of a binding are those that the pod must have.
fn preconditions(target: &Target, binding: &Value, current: &Object) -> Result<(), Error> {
    let uid = meta::text(binding, "uid");
    if !uid.is_empty() && uid != &*current.meta.uid {
        return Err(target.conflict(super::delete::uid_mismatch(uid, &current.meta.uid)));
    }
    let version = meta::text(binding, "resourceVersion");
    if !version.is_empty() && version != current.revision.to_string() {
        return Err(target.conflict(MODIFIED));
    }
    Ok(())
}

fn assign(target: &Target, pod: &mut Value, binding: &Value) -> Result<(), Error> {
    let name = &target.name;
    let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    let refusal = if meta::is_deleting(pod) {
        Some(format!("pod {name} is being deleted, cannot be assigned to a host"))
    } else if let Some(bound) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        Some(format!("pod {name} is already assigned to node {bound:?}"))
    } else if gated {
        Some(format!("pod {name} has non-empty .spec.schedulingGates"))
    } else {
        None
    };
    if let Some(detail) = refusal {
        return Err(Error::Conflict { resource: "pods/binding".into(), name: name.clone(), detail });
    }
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    for (key, value) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
        pod["metadata"]["annotations"][key] = value.clone();
    }
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": meta::timestamp(Timestamp::now()),
    });
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|c| c["type"] != "PodScheduled");
    conditions.push(scheduled);
    pod["status"]["conditions"] = conditions.into();
    Ok(())
}
