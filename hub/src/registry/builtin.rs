//! The kinds that Skiff serves from the start.

use std::sync::Arc;

use super::kinds::{
    configmap, controllerrevision, daemonset, deployment, endpoints, event, lease, limitrange, namespace, node,
    persistentvolume, persistentvolumeclaim, pod, podtemplate, replicaset, replicationcontroller, resourcequota,
    secret, service, serviceaccount, statefulset,
};
use super::{Kind, Registry};

impl Registry {
    /// The table of the built-in kinds.
    pub fn builtin() -> Self {
        let rows: [fn() -> Kind; 22] = [
            configmap::kind,
            endpoints::kind,
            event::kind,
            limitrange::kind,
            namespace::kind,
            node::kind,
            persistentvolumeclaim::kind,
            persistentvolume::kind,
            pod::kind,
            podtemplate::kind,
            replicationcontroller::kind,
            resourcequota::kind,
            secret::kind,
            serviceaccount::kind,
            service::kind,
            controllerrevision::kind,
            daemonset::kind,
            deployment::kind,
            replicaset::kind,
            statefulset::kind,
            event::events_kind,
            lease::kind,
        ];
        Self { kinds: rows.iter().map(|row| row()).chain(super::kinds::review::kinds()).map(Arc::new).collect() }
    }
}

#[cfg(test)]
#[path = "builtin_tests.rs"]
mod tests;
