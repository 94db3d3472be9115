//! ClusterRoles that are put together from others by label: `admin`, `edit`, `view` and those of users.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::reconcile::view::{self, Selector};
use crate::reconcile::{Controller, Plan, PlannedWrite};
use crate::store::{Event, Key, Snapshot};

const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";

/// Keeps the rules of aggregated ClusterRoles.
#[derive(Debug, Default)]
pub struct Aggregation;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Aggregated {
    aggregation_rule: Option<AggregationRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AggregationRule {
    cluster_role_selectors: Option<Vec<Selector>>,
}

impl Controller for Aggregation {
    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        // Any role may be part of any aggregated one, and there are few of those.
        if &*event.object.key.resource == CLUSTER_ROLES { self.all(snapshot) } else { Vec::new() }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        let roles = snapshot.list(&CLUSTER_ROLES.into(), None);
        let aggregates = |o: &&std::sync::Arc<crate::store::Object>| {
            o.parse::<Aggregated>().is_ok_and(|r| r.aggregation_rule.is_some())
        };
        roles.filter(aggregates).map(|o| o.key.clone()).collect()
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        let Some(stored) = snapshot.get(key) else { return Plan::nothing() };
        let selectors = stored.parse::<Aggregated>().unwrap_or_default().aggregation_rule;
        let Some(selectors) = selectors.map(|r| r.cluster_role_selectors.unwrap_or_default()) else {
            return Plan::nothing();
        };
        let mut rules: Vec<Value> = Vec::new();
        for selector in selectors.iter().filter_map(Selector::label_selector) {
            let parts = snapshot.list(&CLUSTER_ROLES.into(), None).filter(|o| o.key != *key);
            for part in parts.filter(|o| view::selects(&selector, o)) {
                let part: Value = part.parse().unwrap_or_default();
                let new = part["rules"].as_array().into_iter().flatten().filter(|r| !rules.contains(r)).cloned();
                let new: Vec<Value> = new.collect();
                rules.extend(new);
            }
        }
        let mut object: Value = stored.parse().unwrap_or_default();
        if object["rules"].as_array().map_or(&[][..], Vec::as_slice) == rules {
            return Plan::nothing();
        }
        object["rules"] = json!(rules);
        let why = format!("{} has {} rules", key.name, rules.len());
        let write = PlannedWrite::Update { key: key.clone(), revision: stored.revision, subresource: "", object };
        Plan { writes: vec![write], why, ..Plan::nothing() }
    }
}
