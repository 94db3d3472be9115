//! The priority of a pod comes from its class.

use std::sync::Arc;

use serde_json::Value;

use super::{Request, is_pod, refuse};
use crate::objects::error::Error;
use crate::objects::meta;
use crate::registry::excerpt::{Excerpt, fields};
use crate::store::{Key, Object, Resource};

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";
const PREEMPTS: &str = "PreemptLowerPriority";

/// Sets the priority of new pods, and keeps a second class from being the default.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    if is_pod(request.target) {
        return match request.old {
            Some(old) => {
                keep(object, old);
                Ok(())
            }
            None => pod(request, object),
        };
    }
    if &*request.target.kind.storage == CLASSES && object["globalDefault"] == true {
        return only_default(request, object);
    }
    Ok(())
}

/// An update that leaves the priority out means the one the pod has.
fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod["spec"][field] = old["spec"][field].clone();
        }
    }
}

fn pod(request: &Request<'_>, pod: &mut Value) -> Result<(), Error> {
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = if name.is_empty() {
        default_class(request)
    } else {
        let key = Key { resource: CLASSES.into(), namespace: "".into(), name: name.as_str().into() };
        let stored = request.snapshot.get(&key).and_then(|o| o.parse::<Value>().ok());
        let missing = || refuse(request, pod, format!("no PriorityClass with name {name} was found"));
        Some(stored.ok_or_else(missing)?)
    };
    let class = class.unwrap_or_default();
    let priority = class["value"].as_i64().unwrap_or(0);
    let policy = class["preemptionPolicy"].as_str().unwrap_or(PREEMPTS).to_owned();
    let given = pod["spec"]["priority"].as_i64();
    if given.is_some_and(|given| given != priority) {
        let detail = format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name",
            given.unwrap_or_default()
        );
        return Err(refuse(request, pod, detail));
    }
    let given = pod["spec"]["preemptionPolicy"].as_str().unwrap_or(&policy);
    if given != policy {
        let detail = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(refuse(request, pod, detail));
    }
    if let Some(name) = class["metadata"]["name"].as_str() {
        pod["spec"]["priorityClassName"] = name.into();
    }
    pod["spec"]["priority"] = priority.into();
    pod["spec"]["preemptionPolicy"] = policy.into();
    Ok(())
}

/// The class of pods that name none: the lowest, should there be several.
fn default_class(request: &Request<'_>) -> Option<Value> {
    let is_default = |class: &&Arc<Object>| {
        let excerpt = Excerpt::parse(&class.json, fields! { globalDefault });
        excerpt.is_ok_and(|class| class.value["globalDefault"] == true)
    };
    let defaults = request.snapshot.list(&Resource::from(CLASSES), None).filter(is_default);
    defaults.filter_map(|class| class.parse::<Value>().ok()).min_by_key(|class| class["value"].as_i64())
}

fn only_default(request: &Request<'_>, object: &Value) -> Result<(), Error> {
    let other = default_class(request).map(|c| meta::text(&c, "name").to_owned());
    match other.filter(|other| request.old.is_none() || other != meta::text(object, "name")) {
        Some(other) => {
            let detail = format!("PriorityClass {other} is already marked as default. Only one default can exist");
            Err(refuse(request, object, detail))
        }
        None => Ok(()),
    }
}
