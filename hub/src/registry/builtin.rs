//! The kinds that Skiff serves from the start.

use std::sync::Arc;

use super::kinds::{
    binding, certificatesigningrequest, componentstatus, configmap, controllerrevision, cronjob, csi, daemonset,
    deployment, endpoints, endpointslice, event, horizontalpodautoscaler, ingress, ingressclass, job, lease,
    limitrange, namespace, networkpolicy, node, persistentvolume, persistentvolumeclaim, pod, poddisruptionbudget,
    podtemplate, priorityclass, rbac, replicaset, replicationcontroller, resourcequota, runtimeclass, secret, service,
    serviceaccount, statefulset, storageclass,
};
use super::{Kind, Registry};

impl Registry {
    /// The table of the built-in kinds.
    pub fn builtin() -> Self {
        let rows: [fn() -> Kind; 44] = [
            binding::kind,
            componentstatus::kind,
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
            horizontalpodautoscaler::kind,
            horizontalpodautoscaler::kind_v1,
            cronjob::kind,
            job::kind,
            certificatesigningrequest::kind,
            ingressclass::kind,
            ingress::kind,
            networkpolicy::kind,
            poddisruptionbudget::kind,
            rbac::cluster_role_binding,
            rbac::cluster_role,
            rbac::role_binding,
            rbac::role,
            csi::driver,
            csi::node,
            storageclass::kind,
            csi::attachment,
            priorityclass::kind,
            lease::kind,
            runtimeclass::kind,
            endpointslice::kind,
        ];
        let mut kinds: Vec<_> = rows.iter().map(|row| Arc::new(row())).collect();
        // Discovery has the groups of reviews after that of events.
        let place = kinds.iter().position(|kind| kind.group == "autoscaling").unwrap_or(kinds.len());
        kinds.splice(place..place, super::kinds::review::kinds().into_iter().map(Arc::new));
        Self { kinds }
    }
}

#[cfg(test)]
#[path = "builtin_tests.rs"]
mod tests;
