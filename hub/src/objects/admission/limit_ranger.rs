//! LimitRanges: defaults of containers, and bounds of containers, pods and claims.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use skiff_shared::quantity::Quantity;

use super::resources::{Amounts, amounts, containers, of_pod, quantity};
use super::{Request, refuse};
use crate::objects::error::Error;
use crate::objects::meta;
use crate::store::Resource;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Fills in defaults, then checks bounds.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    let claim = &*request.target.kind.storage == "persistentvolumeclaims" && request.target.subresource.is_empty();
    // A resize is held to the bounds, but gets no defaults: it cannot remove what defaults would fill in.
    let resize = &*request.target.kind.storage == "pods" && request.target.subresource == "resize";
    if !request.creates_pod() && !claim && !resize {
        return Ok(());
    }
    let ranges: Vec<Value> = request
        .snapshot
        .list(&Resource::from("limitranges"), Some(&request.target.namespace))
        .filter_map(|o| o.parse().ok())
        .collect();
    for range in ranges.iter().filter(|_| request.creates_pod()) {
        default_pod(object, range);
    }
    for range in &ranges {
        let mut errors = Vec::new();
        for limit in range["spec"]["limits"].as_array().into_iter().flatten() {
            bounds(limit, object, claim, &mut errors);
        }
        if !errors.is_empty() {
            let all = if errors.len() == 1 { errors.remove(0) } else { format!("[{}]", errors.join(", ")) };
            return Err(refuse(request, object, all));
        }
    }
    Ok(())
}

/// Gives containers the requests and limits that they do not name, and writes down which.
fn default_pod(pod: &mut Value, range: &Value) {
    let limits = range["spec"]["limits"].as_array().into_iter().flatten();
    let Some(defaults) = limits.into_iter().find(|l| l["type"] == "Container") else { return };
    let mut set = Vec::new();
    for list in LISTS {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            default_container(container, list, defaults, &mut set);
        }
    }
    if !set.is_empty() {
        let annotations = meta::metadata(pod).entry("annotations").or_insert_with(|| json!({}));
        if annotations.is_null() {
            *annotations = json!({});
        }
        annotations[ANNOTATION] = format!("LimitRanger plugin set: {}", set.join("; ")).into();
    }
}

fn default_container(container: &mut Value, list: &str, defaults: &Value, set: &mut Vec<String>) {
    let what = if list == "containers" { "container" } else { "init container" };
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    for (field, source, word) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
        let Some(source) = defaults[source].as_object() else { continue };
        let given = container["resources"][field].as_object().cloned().unwrap_or_default();
        let added: Map<String, Value> =
            source.iter().filter(|(k, _)| !given.contains_key(*k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        if added.is_empty() {
            continue;
        }
        let names: Vec<&str> = added.keys().map(String::as_str).collect();
        set.push(format!("{} {word} for {what} {name}", names.join(", ")));
        let all: BTreeMap<String, Value> = given.into_iter().chain(added).collect();
        if !container["resources"].is_object() {
            container["resources"] = json!({});
        }
        container["resources"][field] = json!(all);
    }
}

/// Checks one limit against what it is about.
fn bounds(limit: &Value, object: &Value, claim: bool, errors: &mut Vec<String>) {
    match (limit["type"].as_str().unwrap_or_default(), claim) {
        ("Container", false) => {
            for container in LISTS.iter().flat_map(|list| containers(object, list)) {
                let resources = &container["resources"];
                judge(
                    limit,
                    "Container",
                    &amounts(&resources["requests"]),
                    Some(&amounts(&resources["limits"])),
                    errors,
                );
            }
        }
        ("Pod", false) => {
            judge(limit, "Pod", &of_pod(object, "requests"), Some(&of_pod(object, "limits")), errors);
        }
        ("PersistentVolumeClaim", true) => {
            let requests = amounts(&object["spec"]["resources"]["requests"]);
            judge(limit, "PersistentVolumeClaim", &requests, None, errors);
        }
        _ => {}
    }
}

/// Checks requests and limits. Claims have no limits: their bounds are about requests alone.
fn judge(limit: &Value, kind: &str, requests: &Amounts, limits: Option<&Amounts>, errors: &mut Vec<String>) {
    let most = limits.unwrap_or(requests);
    for (name, bound) in amounts(&limit["min"]) {
        let head = format!("minimum {name} usage per {kind} is {bound}");
        let below = |q: &&Quantity| q.nano() < bound.nano();
        match requests.get(&name) {
            None => errors.push(format!("{head}.  No request is specified")),
            Some(q) if below(&q) => errors.push(format!("{head}, but request is {q}")),
            Some(_) => errors.extend(most.get(&name).filter(below).map(|q| format!("{head}, but limit is {q}"))),
        }
    }
    for (name, bound) in amounts(&limit["max"]) {
        let head = format!("maximum {name} usage per {kind} is {bound}");
        let word = if limits.is_some() { "limit" } else { "request" };
        let above = |q: &&Quantity| q.nano() > bound.nano();
        match most.get(&name) {
            None => errors.push(format!("{head}.  No {word} is specified")),
            Some(q) if above(&q) => errors.push(format!("{head}, but {word} is {q}")),
            Some(_) => errors.extend(requests.get(&name).filter(above).map(|q| format!("{head}, but request is {q}"))),
        }
    }
    let ratios: BTreeSet<String> = amounts(&limit["maxLimitRequestRatio"]).into_keys().collect();
    for name in ratios {
        errors.extend(ratio(&name, &limit["maxLimitRequestRatio"][&name], kind, requests.get(&name), most.get(&name)));
    }
}

fn ratio(
    name: &str,
    bound: &Value,
    kind: &str,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = quantity(bound)?;
    let head = format!("{name} max limit to request ratio per {kind} is {bound}, but");
    let Some(request) = request.filter(|q| q.nano() != 0) else {
        return Some(format!("{head} no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|q| q.nano() != 0) else {
        return Some(format!("{head} no limit is specified or limit is 0"));
    };
    // Both sides in thousandths: exact enough to compare, and what the message shows.
    let provided = limit.milli() as f64 / request.milli() as f64;
    (provided * 1000.0 > bound.milli() as f64).then(|| format!("{head} provided ratio is {provided:.6}"))
}
