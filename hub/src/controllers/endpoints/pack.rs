//! How endpoints are put into slices: as they lie already where possible, so that one change writes one slice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::view::Port;
use crate::reconcile::view::nullable;
use crate::reconcile::{Plan, PlannedWrite};
use crate::store::{Object, Snapshot};

/// The Service a slice belongs to.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who writes a slice.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// What a slice holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Content {
    /// `IPv4` or `IPv6`.
    pub(super) address_type: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) ports: Vec<Port>,
    #[serde(deserialize_with = "nullable")]
    pub(super) endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Endpoint {
    pub(super) addresses: Vec<String>,
    pub(super) conditions: Conditions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target_ref: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) zone: Option<String>,
}

/// How an endpoint fares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Conditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) serving: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) terminating: Option<bool>,
}

impl Endpoint {
    /// The same endpoint, whatever else changes about it.
    fn id(&self) -> (String, String) {
        let uid = self.target_ref.as_ref().and_then(|t| t["uid"].as_str()).unwrap_or_default();
        (self.addresses.first().cloned().unwrap_or_default(), uid.to_owned())
    }
}

/// Changes of slices, by their place in the list of those there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) create: Vec<Content>,
    pub(super) update: BTreeMap<usize, Content>,
    pub(super) delete: BTreeSet<usize>,
}

/// Puts the endpoints of each group (which must differ in type or ports) into slices of at most `most`. A group without
/// endpoints gets an empty slice.
pub(super) fn pack(existing: &[Content], groups: Vec<Content>, most: usize) -> Changes {
    let mut changes = Changes { delete: (0..existing.len()).collect(), ..Changes::default() };
    for group in groups {
        pack_group(existing, group, most, &mut changes);
    }
    // A slice that is to go takes what would need a new one.
    while let (Some(place), Some(_)) = (changes.delete.first().copied(), changes.create.first()) {
        let same_type = |content: &Content| content.address_type == existing[place].address_type;
        let Some(next) = changes.create.iter().position(same_type) else { break };
        changes.update.insert(place, changes.create.remove(next));
        changes.delete.remove(&place);
    }
    changes
}

fn pack_group(existing: &[Content], group: Content, most: usize, changes: &mut Changes) {
    let Content { address_type, ports, endpoints } = group;
    let wanted = endpoints.len();
    let mut pending: BTreeMap<_, Endpoint> = endpoints.into_iter().map(|e| (e.id(), e)).collect();
    let mut kept: BTreeMap<usize, Vec<Endpoint>> = BTreeMap::new();
    for (place, slice) in existing.iter().enumerate() {
        if slice.address_type == address_type && slice.ports == ports {
            kept.insert(place, slice.endpoints.iter().filter_map(|e| pending.remove(&e.id())).take(most).collect());
        }
    }
    // What is written anyway is filled up first.
    for (place, endpoints) in &mut kept {
        if *endpoints != existing[*place].endpoints {
            fill(endpoints, &mut pending, most);
        }
    }
    let content = |endpoints| Content { address_type: address_type.clone(), ports: ports.clone(), endpoints };
    while pending.len() >= most {
        let mut endpoints = Vec::new();
        fill(&mut endpoints, &mut pending, most);
        changes.create.push(content(endpoints));
    }
    if !pending.is_empty() {
        let room = kept.iter_mut().filter(|(_, e)| e.len() + pending.len() <= most).max_by_key(|(_, e)| e.len());
        let mut fresh = Vec::new();
        let target = room.map_or(&mut fresh, |(_, endpoints)| endpoints);
        fill(target, &mut pending, most);
        if !fresh.is_empty() {
            changes.create.push(content(fresh));
        }
    }
    if wanted == 0 {
        match kept.keys().next().copied() {
            Some(first) => kept.retain(|place, _| *place == first),
            None => changes.create.push(content(Vec::new())),
        }
    } else {
        kept.retain(|_, endpoints| !endpoints.is_empty());
    }
    for (place, endpoints) in kept {
        changes.delete.remove(&place);
        if endpoints != existing[place].endpoints {
            changes.update.insert(place, content(endpoints));
        }
    }
}

fn fill(endpoints: &mut Vec<Endpoint>, pending: &mut BTreeMap<(String, String), Endpoint>, most: usize) {
    while endpoints.len() < most
        && let Some((_, endpoint)) = pending.pop_first()
    {
        endpoints.push(endpoint);
    }
}

/// Whose slices are written, and what they have in common.
#[derive(Debug)]
pub(super) struct Set<'a> {
    pub(super) namespace: &'a str,
    pub(super) service: &'a str,
    pub(super) manager: &'a str,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) owner: Value,
}

/// The slices of a Service that a manager writes.
pub(super) fn existing<'s>(
    snapshot: &'s Snapshot,
    namespace: &'s str,
    service: &str,
    manager: &str,
) -> Vec<&'s Arc<Object>> {
    use crate::reconcile::view::label;
    let ours = |o: &&Arc<Object>| {
        label(o, SERVICE_NAME) == Some(service) && label(o, MANAGED_BY) == Some(manager) && !o.meta.deleting
    };
    snapshot.list(&"endpointslices.discovery.k8s.io".into(), Some(namespace)).filter(ours).collect()
}

impl Set<'_> {
    /// The plan that leaves these groups in slices, and nothing else.
    pub(super) fn plan(&self, slices: &[&Arc<Object>], groups: Vec<Content>, most: usize) -> Plan {
        let contents: Vec<Content> = slices.iter().map(|s| s.parse().unwrap_or_default()).collect();
        let mut changes = pack(&contents, groups, most);
        for (place, slice) in slices.iter().enumerate() {
            if !changes.delete.contains(&place) && !self.has_labels(slice) {
                changes.update.entry(place).or_insert_with(|| contents[place].clone());
            }
        }
        let (created, updated, deleted) = (changes.create.len(), changes.update.len(), changes.delete.len());
        let mut plan = Plan::nothing();
        if created + updated + deleted > 0 {
            plan.why = format!("slices: {created} new, {updated} changed, {deleted} removed");
        }
        plan.writes.extend(changes.create.into_iter().map(|content| self.create(content)));
        plan.writes.extend(changes.update.into_iter().filter_map(|(place, c)| self.update(slices[place], c)));
        plan.writes.extend(changes.delete.into_iter().map(|place| delete(slices[place])));
        plan
    }

    fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.insert(SERVICE_NAME.to_owned(), self.service.to_owned());
        labels.insert(MANAGED_BY.to_owned(), self.manager.to_owned());
        labels
    }

    fn has_labels(&self, slice: &Object) -> bool {
        let labels = self.all_labels();
        labels.len() == slice.meta.labels.len()
            && slice.meta.labels.iter().all(|(k, v)| labels.get(&**k).is_some_and(|wanted| **wanted == **v))
    }

    fn create(&self, content: Content) -> PlannedWrite {
        let mut metadata = json!({
            "generateName": format!("{}-", self.service), "namespace": self.namespace, "labels": self.all_labels(),
            "ownerReferences": [self.owner],
        });
        if !self.annotations.is_empty() {
            metadata["annotations"] = json!(self.annotations);
        }
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": content.address_type, "ports": content.ports, "endpoints": content.endpoints,
        });
        PlannedWrite::Create { object, tolerate_exists: false, event: None, failed: None }
    }

    fn update(&self, slice: &Object, content: Content) -> Option<PlannedWrite> {
        let mut object: Value = slice.parse().ok()?;
        object["metadata"]["labels"] = json!(self.all_labels());
        if !self.annotations.is_empty() {
            object["metadata"]["annotations"] = json!(self.annotations);
        }
        object["ports"] = json!(content.ports);
        object["endpoints"] = json!(content.endpoints);
        let (key, revision) = (slice.key.clone(), slice.revision);
        Some(PlannedWrite::Update { key, revision, subresource: "", object })
    }
}

/// The write that removes a slice.
fn delete(slice: &Object) -> PlannedWrite {
    PlannedWrite::Delete {
        key: slice.key.clone(),
        uid: slice.meta.uid.to_string(),
        grace_seconds: None,
        propagation: None,
        event: None,
    }
}

/// The plan that removes slices.
pub(super) fn remove(slices: &[&Arc<Object>]) -> Plan {
    if slices.is_empty() {
        return Plan::nothing();
    }
    let why = format!("slices: {} removed", slices.len());
    Plan { writes: slices.iter().map(|s| delete(s)).collect(), why, ..Plan::nothing() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slice by its port and the last numbers of its addresses; those that are not ready are negative.
    fn content(port: u16, ids: &[i32]) -> Content {
        let endpoint = |id: &i32| Endpoint {
            addresses: vec![format!("10.0.0.{:03}", id.abs())],
            conditions: Conditions { ready: Some(*id > 0), ..Conditions::default() },
            ..Endpoint::default()
        };
        let ports = if port == 0 { vec![] } else { vec![Port { port: Some(port), ..Port::default() }] };
        Content { address_type: "IPv4".into(), ports, endpoints: ids.iter().map(endpoint).collect() }
    }

    fn changes(create: &[Content], update: &[(usize, Content)], delete: &[usize]) -> Changes {
        let (update, delete) = (update.iter().cloned().collect(), delete.iter().copied().collect());
        Changes { create: create.to_vec(), update, delete }
    }

    #[test]
    fn slices_change_as_little_as_can_be() {
        let c = content;
        for (what, existing, groups, expected) in [
            ("nothing yet", vec![], vec![c(80, &[1, 2])], changes(&[c(80, &[1, 2])], &[], &[])),
            ("all there", vec![c(80, &[2, 1])], vec![c(80, &[1, 2])], changes(&[], &[], &[])),
            ("one fails", vec![c(80, &[1, 2])], vec![c(80, &[1, -2])], changes(&[], &[(0, c(80, &[1, -2]))], &[])),
            ("one goes", vec![c(80, &[1, 2])], vec![c(80, &[2])], changes(&[], &[(0, c(80, &[2]))], &[])),
            ("one comes", vec![c(80, &[1])], vec![c(80, &[1, 2])], changes(&[], &[(0, c(80, &[1, 2]))], &[])),
            (
                "the fullest with room takes it",
                vec![c(80, &[1]), c(80, &[2, 3]), c(80, &[4, 5, 6])],
                vec![c(80, &[1, 2, 3, 4, 5, 6, 7])],
                changes(&[], &[(1, c(80, &[2, 3, 7]))], &[]),
            ),
            ("all full", vec![c(80, &[1, 2, 3])], vec![c(80, &[1, 2, 3, 4])], changes(&[c(80, &[4])], &[], &[])),
            ("many come", vec![], vec![c(80, &[1, 2, 3, 4])], changes(&[c(80, &[1, 2, 3]), c(80, &[4])], &[], &[])),
            (
                "a slice that changes is filled before others",
                vec![c(80, &[1, 9]), c(80, &[2])],
                vec![c(80, &[1, 2, 3, 4])],
                changes(&[], &[(0, c(80, &[1, 3, 4]))], &[]),
            ),
            ("other ports", vec![c(80, &[1])], vec![c(81, &[1])], changes(&[], &[(0, c(81, &[1]))], &[])),
            (
                "two sets of ports",
                vec![c(80, &[1, 2])],
                vec![c(80, &[1]), c(81, &[2])],
                changes(&[c(81, &[2])], &[(0, c(80, &[1]))], &[]),
            ),
            ("none left", vec![c(80, &[1]), c(80, &[2])], vec![c(0, &[])], changes(&[], &[(0, c(0, &[]))], &[1])),
            ("still none", vec![c(0, &[])], vec![c(0, &[])], changes(&[], &[], &[])),
            ("no group", vec![c(80, &[1])], vec![], changes(&[], &[], &[0])),
        ] {
            assert_eq!(pack(&existing, groups, 3), expected, "{what}");
        }
    }
}
