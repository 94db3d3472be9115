//! Pod specs: defaults and validation, shared by pods and by everything that has a pod template.

mod affinity;
mod annotations;
mod claims;
mod containers;
mod contexts;
mod defaults;
mod env;
mod files;
mod mounts;
mod probes;
mod resources;
mod scheduling;
mod security;
mod sources;
mod update;
mod validate;
mod volumes;
mod warnings;
mod windows;

pub(crate) use affinity::node_selector;
pub(crate) use claims::{access_modes, class_and_mode, positive, spec as claim_spec};
pub(crate) use containers::{one_of, protocol};
pub(crate) use defaults::{default_pod_only, default_source, default_spec};
pub(crate) use probes::port_or_name;
pub(crate) use resources::{
    COUNTED, canonical, container_resource_name, integral, overcommits, parse as parse_quantity, qos_class, quantity,
    requirements, resource_list, resource_name,
};
pub(crate) use scheduling::{taint_effect, tolerations};
pub(crate) use sources::{csi_driver, iscsi, source};
pub(crate) use update::{differences, pod_update};
pub(crate) use validate::{pod, pod_create, template, template_metadata};
pub(crate) use warnings::{OLD_VOLUMES, claim_warnings, node_terms, old_key, old_label, warnings};
