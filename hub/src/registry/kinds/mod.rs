//! One file a kind or family: its row and its hooks.

pub(super) mod configmap;
pub(super) mod controllerrevision;
pub(super) mod daemonset;
pub(super) mod deployment;
pub(super) mod endpoints;
pub(super) mod event;
pub(super) mod lease;
pub(super) mod limitrange;
pub(super) mod namespace;
pub(super) mod node;
pub(super) mod persistentvolume;
pub(super) mod persistentvolumeclaim;
pub(super) mod pod;
mod pod_table;
pub(super) mod podtemplate;
pub(super) mod replicaset;
pub(super) mod replicationcontroller;
pub(super) mod resourcequota;
pub(super) mod review;
pub(super) mod secret;
pub(super) mod service;
mod service_rules;
mod service_table;
pub(super) mod serviceaccount;
pub(super) mod statefulset;
#[cfg(test)]
mod testing;
mod workload;
