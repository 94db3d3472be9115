//! Requests and limits of pods as amounts by resource.

use std::collections::BTreeMap;

use serde_json::Value;
use skiff_shared::quantity::Quantity;

/// Amounts by name of the resource.
pub(in crate::objects) type Amounts = BTreeMap<String, Quantity>;

/// A quantity; `None` for what is none.
pub(in crate::objects) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A resource list.
pub(in crate::objects) fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect()
}

/// The containers in one list of a pod.
pub(in crate::objects) fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    pod["spec"][list].as_array().into_iter().flatten()
}

/// Adds amounts.
pub(in crate::objects) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, more) in more {
        sum.entry(name.clone()).and_modify(|q| *q = q.plus(*more)).or_insert(*more);
    }
}

/// What a pod needs at once (`requests` or `limits`): its containers together with its sidecars, or, where that is
/// more, one of its init containers beside the sidecars before it; and its overhead.
pub(in crate::objects) fn of_pod(pod: &Value, field: &str) -> Amounts {
    let (mut running, mut sidecars, mut starting) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in containers(pod, "containers") {
        add(&mut running, &amounts(&container["resources"][field]));
    }
    for container in containers(pod, "initContainers") {
        let mut own = amounts(&container["resources"][field]);
        if container["restartPolicy"] == "Always" {
            add(&mut sidecars, &own);
            own.clone_from(&sidecars);
        } else {
            add(&mut own, &sidecars);
        }
        larger(&mut starting, &own);
    }
    add(&mut running, &sidecars);
    larger(&mut running, &starting);
    let overhead = amounts(&pod["spec"]["overhead"]);
    if field == "requests" || !running.is_empty() {
        add(&mut running, &overhead);
    }
    running
}

/// Raises amounts to those that are larger.
pub(in crate::objects) fn larger(most: &mut Amounts, other: &Amounts) {
    for (name, other) in other {
        let bigger = |q: &mut Quantity| {
            if q.nano() < other.nano() {
                *q = *other;
            }
        };
        most.entry(name.clone()).and_modify(bigger).or_insert(*other);
    }
}
