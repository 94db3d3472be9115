//! One file a kind or family: its row and its hooks.

pub(super) mod configmap;
pub(super) mod deployment;
pub(super) mod event;
pub(super) mod lease;
pub(super) mod namespace;
pub(super) mod node;
pub(super) mod pod;
mod pod_table;
pub(super) mod replicaset;
pub(super) mod secret;
pub(super) mod service;
mod service_rules;
mod service_table;
pub(super) mod serviceaccount;
mod workload;
