//! The kinds that Skiff serves from the start.

use std::sync::Arc;

use super::kinds::{
    configmap, deployment, event, lease, namespace, node, pod, replicaset, secret, service, serviceaccount,
};
use super::{Kind, Registry};

impl Registry {
    /// The table of the built-in kinds.
    pub fn builtin() -> Self {
        let rows: [fn() -> Kind; 12] = [
            configmap::kind,
            event::kind,
            namespace::kind,
            node::kind,
            pod::kind,
            secret::kind,
            serviceaccount::kind,
            service::kind,
            deployment::kind,
            replicaset::kind,
            lease::kind,
            event::events_kind,
        ];
        Self { kinds: rows.iter().map(|row| Arc::new(row())).collect() }
    }
}

#[cfg(test)]
#[path = "builtin_tests.rs"]
mod tests;
